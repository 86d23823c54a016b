"""What re-encoding has to leave as it was, read from the files themselves."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from leanclips.compression.codec import CODECS
from leanclips.compression.content import Content
from leanclips.compression.probe import REPLACE, opened
from leanclips.errors import ClipError

DEPTH = 8
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
UNKNOWN = 2  # its code of "unspecified" for colours


@dataclass(frozen=True)
class Track:
    """An audio or subtitle track: its packets' bytes, and when each begins, in seconds from the
    first frame shown.
    """

    kind: str
    codec: str
    packets: str
    times: tuple[float, ...]
    tick: float


@dataclass(frozen=True)
class Facts:
    """What a file holds beside the pictures. `times` are seconds from the first frame shown, as
    are the starts of the `chapters`, each with its title.
    """

    codec: str
    pixels: str
    size: tuple[int, int]
    aspect: float
    rotation: int
    colours: tuple[int, ...]
    times: tuple[float, ...]
    tick: float
    tracks: tuple[Track, ...]
    videos: int
    others: tuple[str, ...]
    depth: int
    chapters: tuple[tuple[float, str], ...] = ()


def facts(path: Path, content: Content | None = None) -> Facts:
    """Read them, decoding the first frame only; the frames' times are those of `content`, if it
    is given. ClipError where the file cannot be read.
    """
    with opened(path) as (container, video):
        known = [stream for stream in container.streams
                 if stream.type in ("audio", "subtitle") and stream.codec_context is not None]
        kept = sorted(known, key=lambda stream: stream.type)  # as codec.encode maps them
        pictures = [stream for stream in container.streams.video if _is_picture(stream)]
        chapters = container.chapters()
        others = tuple("a cover picture" if stream in pictures else
                       f"{'an' if stream.type.startswith('a') else 'a'} {stream.type} track"
                       for stream in container.streams
                       if stream not in known and (stream.type != "video" or stream in pictures)
                       and not _is_chapters(stream, len(chapters)))
        if video.metadata.get("alpha_mode") == "1":  # WebM's, which decoders here leave out
            others += ("an alpha channel",)
        times = {stream.index: [] for stream in (video, *kept)}
        digests = {stream.index: hashlib.sha256() for stream in kept}
        frame = None
        for packet in container.demux([video, *kept]):
            index, data = packet.stream.index, bytes(packet)
            if index == video.index and frame is None:
                frame = next(iter(packet.decode()), None)
            if not data or (index == video.index and packet.is_discard):
                continue
            if index in digests:
                data = _payload(packet.stream.codec.canonical_name, data)
                digests[index].update(data)
            if data:
                times[index].append(packet.pts if packet.pts is not None else packet.dts)
        if frame is None:
            raise ClipError("the clip holds no frame", path, REPLACE)
        shown = _seconds(times[video.index], video)
        start = min(shown, default=0.0)
        context = video.codec_context
        return Facts(
            video.codec.canonical_name, frame.format.name, (frame.width, frame.height),
            float(video.sample_aspect_ratio or 1) or 1.0, int(frame.rotation) % 360,
            _colours(context),
            tuple(sorted(t - start for t in shown)) if content is None else content.times,
            float(video.time_base),
            tuple(_track(stream, times[stream.index], digests[stream.index].hexdigest(), start)
                  for stream in kept),
            len(container.streams.video) - len(pictures), others,
            max(part.bits for part in frame.format.components),
            tuple((float(chapter["start"] * chapter["time_base"]) - start,
                   chapter["metadata"].get("title", "")) for chapter in chapters))


def _track(stream: av.stream.Stream, ticks: list[int | None], digest: str,
           start: float) -> Track:
    """PCM has no packets of its own: containers cut it as they like, so it has one time."""
    codec = stream.codec.canonical_name
    times = [t - start for t in _seconds(ticks, stream)]
    return Track(stream.type, codec, digest,
                 tuple(times[:1] if codec.startswith("pcm_") else times), float(stream.time_base))


def _payload(codec: str, data: bytes) -> bytes:
    """A packet less what containers add: the ADTS header of AAC, the empty end of mov_text."""
    if codec == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9:]
    return b"" if codec == "mov_text" and data == b"\0\0" else data


def _is_chapters(stream: av.stream.Stream, count: int) -> bool:
    """Whether this is the track of text in which MP4 keeps its chapters: FFmpeg writes it anew."""
    return stream.type == "data" and stream.name == "bin_data" and stream.frames == count > 0


def _is_picture(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _seconds(ticks: list[int | None], stream: av.stream.Stream) -> list[float]:
    if None in ticks:  # No times at all (a raw stream): the stated rate is all there is.
        return [n / float(getattr(stream, "average_rate", None) or 25) for n in range(len(ticks))]
    return (np.array(ticks, dtype=np.int64) * float(stream.time_base)).tolist()


def _colours(context: av.VideoCodecContext) -> tuple[int, ...]:
    """Range (limited where unsaid), primaries, transfer and matrix."""
    return (2 if context.color_range == 2 else 1, context.color_primaries, context.color_trc,
            context.colorspace)


def unsupported(source: Facts, interlaced: bool, codec: str) -> str | None:
    """Why leanclips cannot re-encode this file without losing something; None if it can."""
    width, height = source.size
    if source.videos > 1:
        return "two video tracks"
    if source.others:
        return source.others[0]
    if interlaced:
        return "interlaced"
    if source.colours[2] in HDR:
        return f"HDR ({HDR[source.colours[2]]})"
    if source.depth > DEPTH:
        return f"{source.depth}-bit"
    if source.pixels not in CODECS[codec].pixels:
        return f"pixel format {source.pixels}"
    if width % 2 or height % 2:
        return f"odd size {width}x{height}"
    return None


def broken(source: Facts, made: Facts, codec: str) -> list[str]:
    """What `made` does not keep of `source`, in words; empty if the contract holds.

    Times may differ by a tick of the coarser of both clocks, a millisecond at most: that is what
    Matroska counts in.
    """
    found = []
    if made.codec != codec:
        found.append(f"codec {made.codec}")
    if len(made.times) != len(source.times):
        found.append(f"{len(made.times)} frames instead of {len(source.times)}")
    elif not _close(source.times, made.times, source.tick, made.tick):
        found.append("timestamps")
    for what, name in (("pixels", "pixel format"), ("size", "size"), ("rotation", "rotation")):
        if getattr(source, what) != getattr(made, what):
            found.append(f"{name} {getattr(made, what)} instead of {getattr(source, what)}")
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


def _close(was: Sequence[float], now: Sequence[float], *ticks: float) -> bool:
    return len(was) == len(now) and bool(
        np.all(np.abs(np.subtract(was, now)) <= min(max(ticks), 1e-3) + 1e-6))
