"""What re-encoding has to keep, and the container that keeps it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leanclips.compression.ffmpeg import CODECS
from leanclips.compression.inspect import CLOCKED, Inspection

HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
REORDERED = 17  # frames at the end, of which an encoder may write some in another order
UNKNOWN = 2  # its code of "unspecified" for colours
# Tracks that go into MP4; the others need Matroska.
IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "mov_text"}
# The codecs that FFmpeg puts into a container; other containers are not kept.
TAKEN = dict.fromkeys((".mp4", ".mkv"), set(CODECS)) | {".m4v": {"h264"}, ".mov": {"h264", "hevc"}}


def unsupported(source: Inspection, codec: str, suffix: str = ".mp4") -> str | None:
    """Why leanclips cannot re-encode this file into this suffix without a loss; None if it can."""
    transfer, matroska = source.colours[2], suffix.lower() == ".mkv"
    losses = {
        **dict.fromkeys(source.others, True),
        "a data track": matroska and any(track.kind == "data" for track in source.tracks),
        # FFmpeg's MP4 has room for the stereo of headsets alone.
        "stereo metadata": not matroska and "stereo metadata" in source.sides,
        # x265 writes user data under its own name, SVT-AV1 neither.
        "user-data SEI": codec != "h264" and "user-data SEI" in source.sides,
        "closed captions": codec == "av1" and "closed captions" in source.sides,
        "interlaced": source.interlaced,
        f"HDR ({HDR.get(transfer)})": transfer in HDR,
        f"{source.depth}-bit": source.depth > 8,
        f"pixel format {source.pixels}": source.pixels not in CODECS[codec].pixels,
        f"odd size {source.width}x{source.height}": source.width % 2 or source.height % 2}
    return next((loss for loss, happens in losses.items() if happens), None)


def broken(source: Inspection, made: Inspection, codec: str, whole: bool = True) -> list[str]:
    """What `made` does not keep of `source`, in words; empty if the contract holds. Unless `whole`,
    what is beside pictures, tracks and chapters may go.

    Times may differ by a tick of the coarser clock, at most by a millisecond, Matroska's unit.
    """
    same_tracks = ([(track.kind, track.codec, track.packets) for track in source.tracks]
                   == [(track.kind, track.codec, track.packets) for track in made.tracks])
    losses = {
        f"codec {made.codec}": made.codec != codec,
        f"{made.frames} frames instead of {source.frames}": made.frames != source.frames,
        "timestamps": (made.frames == source.frames
                       and not _close(source.times, made.times, source.tick, made.tick)),
        f"pixel format {made.pixels} instead of {source.pixels}": made.pixels != source.pixels,
        f"size {_size(made)} instead of {_size(source)}": _size(made) != _size(source),
        f"rotation {made.rotation} instead of {source.rotation}": made.rotation != source.rotation,
        f"pixel aspect {made.aspect:g} instead of {source.aspect:g}": (
            abs(made.aspect / source.aspect - 1) > 1e-3),
        f"colour tags {made.colours} instead of {source.colours}": any(
            was not in (now, UNKNOWN)
            for was, now in zip(source.colours, made.colours, strict=True)),
        "chapters": (
            [title for _, title in source.chapters] != [title for _, title in made.chapters]
            or not _close([start for start, _ in source.chapters],
                          [start for start, _ in made.chapters], 1e-3)),
        "audio or subtitles": not same_tracks,
        "times of audio or subtitles": same_tracks and not all(
            _close(was.times, now.times, was.tick, now.tick)
            for was, now in zip(source.tracks, made.tracks, strict=True)),
        **(_beside(source, made) if same_tracks and whole else {})}
    return [loss for loss, happens in losses.items() if happens]


def _beside(source: Inspection, made: Inspection) -> dict[str, object]:
    """Whether what else the file holds gets lost, each in words."""
    lost = [name for name, value in source.tags.items() if made.tags.get(name) != value]
    # MP4 tells how far apart frames are decoded: the last one shown may have the length of another.
    exchanged = max(np.diff(source.times[-REORDERED:]), default=0)
    return {
        "first timestamp": (
            all(clip.container.startswith(CLOCKED) for clip in (source, made))
            and not _close([source.start], [made.start], source.tick, made.tick)),
        # Where a file does not say how long its last frame is, it ends with it.
        f"{made.end:.3f} s instead of {source.end:.3f} s": (
            source.end > source.times[-1] and abs(made.end - source.end) > exchanged + 2e-3),
        f"{made.stated:.3f} s by the average rate instead of {made.end:.3f} s": (
            abs(made.stated - made.end) > 1.5 * made.end / made.frames),
        "length of the sound": any(
            was.trim not in (0, now.trim)
            for was, now in zip(source.tracks, made.tracks, strict=True)),
        f"tags ({', '.join(lost)})": lost,
        **{side: made.sides.get(side) != found for side, found in source.sides.items()}}


def _size(clip: Inspection) -> str:
    """Width and height as they are stored, before rotation."""
    size = clip.width, clip.height
    return "{}x{}".format(*(size[::-1] if clip.rotation in (90, 270) else size))


def _close(was: Sequence[float], now: Sequence[float], *ticks: float) -> bool:
    return len(was) == len(now) and bool(
        np.all(np.abs(np.subtract(was, now)) <= min(max(ticks), 1e-3) + 1e-6))


def suffixes(source: Path, codec: str | None) -> tuple[str, ...]:
    """The suffixes that a re-encoded file may have, best first. `codec` None stands for any."""
    taken = TAKEN.get(source.suffix.lower())
    if taken is None:
        return ".mp4", ".mkv"
    return tuple(dict.fromkeys(source.suffix if name in taken else ".mp4"
                               for name in ([codec] if codec else CODECS)))


def suffix_for(path: Path, source: Inspection, codec: str) -> str:
    """The suffix of a re-encoded file."""
    first, *others = suffixes(path, codec)
    return (others[0] if others and any(
        track.codec not in IN_MP4 and track.kind != "data" or track.trim
        for track in source.tracks) else first)


def delivered(source: Path, destination: Path, suffix: str) -> Path:
    """`destination` with the suffix of the delivered file."""
    if destination.stem == source.name and suffix == source.suffix:
        suffix = ""  # its place has the whole name (clip.avi.x), which ends with it already
    return destination.with_suffix(suffix)
