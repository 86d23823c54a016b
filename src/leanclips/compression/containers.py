"""Which container a re-encoded file gets, and with it its suffix."""

from pathlib import Path

from leanclips.compression.codec import CODECS
from leanclips.compression.contract import Facts

# What goes into MP4; the rest goes into Matroska.
IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "mov_text"}
KEPT_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv"}
TAKEN = {".m4v": {"h264"}, ".mov": {"h264", "hevc"}}  # FFmpeg puts no other codec into these


def suffixes(source: Path, codec: str | None) -> tuple[str, ...]:
    """The suffixes that a re-encoded file may have, best first: the source's own where that
    container is kept. `codec` None is any of them.
    """
    own = source.suffix.lower()
    if own not in KEPT_SUFFIXES:
        return ".mp4", ".mkv"
    taken = TAKEN.get(own, set(CODECS))
    return tuple(dict.fromkeys(source.suffix if name in taken else ".mp4"
                               for name in ([codec] if codec else CODECS)))


def suffix_for(source: Path, was: Facts, codec: str) -> str:
    """The suffix of a re-encoded file."""
    first, *others = suffixes(source, codec)
    return others[0] if others and any(track.codec not in IN_MP4 for track in was.tracks) else first


def delivered(source: Path, destination: Path, suffix: str) -> Path:
    """`destination` with the suffix of what is delivered there. After the source's whole name
    (clip.avi.x) its own suffix is there already.
    """
    whole_name = destination.stem == source.name
    return destination.with_suffix("" if whole_name and suffix == source.suffix else suffix)
