"""What re-encoding has to keep, and the container that keeps it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leanclips.compression.ffmpeg import CODECS
from leanclips.compression.inspect import Inspection

HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
UNKNOWN = 2  # its code of "unspecified" for colours
# Tracks that go into MP4; the others need Matroska.
IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "mov_text"}
KEPT_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv"}
TAKEN = {".m4v": {"h264"}, ".mov": {"h264", "hevc"}}  # FFmpeg puts no other codec into these


def unsupported(source: Inspection, codec: str) -> str | None:
    """Why leanclips cannot re-encode this file without losing something; None if it can."""
    if source.videos > 1:
        return "two video tracks"
    if source.others:
        return source.others[0]
    if source.interlaced:
        return "interlaced"
    if source.colours[2] in HDR:
        return f"HDR ({HDR[source.colours[2]]})"
    if source.depth > 8:
        return f"{source.depth}-bit"
    if source.pixels not in CODECS[codec].pixels:
        return f"pixel format {source.pixels}"
    if source.width % 2 or source.height % 2:
        return f"odd size {source.width}x{source.height}"
    return None


def broken(source: Inspection, made: Inspection, codec: str) -> list[str]:
    """What `made` does not keep of `source`, in words; empty if the contract holds.

    Times may differ by a tick of the coarser clock, at most by a millisecond, Matroska's unit.
    """
    found = []
    if made.codec != codec:
        found.append(f"codec {made.codec}")
    if made.frames != source.frames:
        found.append(f"{made.frames} frames instead of {source.frames}")
    elif not _close(source.times, made.times, source.tick, made.tick):
        found.append("timestamps")
    for name, was, now in (("pixel format", source.pixels, made.pixels),
                           ("size", _size(source), _size(made)),
                           ("rotation", source.rotation, made.rotation)):
        if was != now:
            found.append(f"{name} {now} instead of {was}")
    if abs(made.aspect / source.aspect - 1) > 1e-3:
        found.append(f"pixel aspect {made.aspect:g} instead of {source.aspect:g}")
    if any(was not in (now, UNKNOWN) for was, now in zip(source.colours, made.colours,
                                                         strict=True)):
        found.append(f"colour tags {made.colours} instead of {source.colours}")
    if ([title for _, title in source.chapters] != [title for _, title in made.chapters]
            or not _close([start for start, _ in source.chapters],
                          [start for start, _ in made.chapters], 1e-3)):
        found.append("chapters")
    if ([(track.kind, track.codec, track.packets) for track in source.tracks]
            != [(track.kind, track.codec, track.packets) for track in made.tracks]):
        found.append("audio or subtitles")
    elif not all(_close(was.times, now.times, was.tick, now.tick)
                 for was, now in zip(source.tracks, made.tracks, strict=True)):
        found.append("times of audio or subtitles")
    return found


def _size(clip: Inspection) -> str:
    """Width and height as they are stored, before rotation."""
    size = clip.width, clip.height
    return "{}x{}".format(*(size[::-1] if clip.rotation in (90, 270) else size))


def _close(was: Sequence[float], now: Sequence[float], *ticks: float) -> bool:
    return len(was) == len(now) and bool(
        np.all(np.abs(np.subtract(was, now)) <= min(max(ticks), 1e-3) + 1e-6))


def suffixes(source: Path, codec: str | None) -> tuple[str, ...]:
    """The suffixes that a re-encoded file may have, best first. `codec` None stands for any."""
    own = source.suffix.lower()
    if own not in KEPT_SUFFIXES:
        return ".mp4", ".mkv"
    taken = TAKEN.get(own, set(CODECS))
    return tuple(dict.fromkeys(source.suffix if name in taken else ".mp4"
                               for name in ([codec] if codec else CODECS)))


def suffix_for(path: Path, source: Inspection, codec: str) -> str:
    """The suffix of a re-encoded file."""
    first, *others = suffixes(path, codec)
    return (others[0] if others and any(track.codec not in IN_MP4 for track in source.tracks)
            else first)


def delivered(source: Path, destination: Path, suffix: str) -> Path:
    """`destination` with the suffix of the delivered file. After the source's whole name
    (clip.avi.x) its own suffix is there already.
    """
    whole_name = destination.stem == source.name
    return destination.with_suffix("" if whole_name and suffix == source.suffix else suffix)
