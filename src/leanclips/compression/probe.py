"""What a video file holds: size, frames, times. Read with PyAV, without decoding where safe."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from leanclips.compression.matroska import ends_early
from leanclips.errors import ClipError, StudyError

# One packet is one shown frame. Elsewhere packets may hold none (VP9's and AV1's hidden
# frames) or a packed pair (MPEG-4 in AVI), so the frames are decoded and counted.
PACKET_IS_FRAME = {"h264", "hevc", "mjpeg", "vp8", "prores", "dnxhd", "ffv1"}
REPLACE = "replace it by a good copy or take it out of the set"


@dataclass(frozen=True)
class Probe:
    """A clip as it is shown: width and height after rotation (degrees, counter-clockwise).

    `fps` is the rate that the container states; `seconds` runs from the first frame's time to
    the end of the last one. J-HMDB states 30 and holds gaps: 40 frames may last 1.6 s.
    `pixels` is FFmpeg's name of the pixel format.
    """

    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    rotation: int
    codec: str
    pixels: str


def probe(path: Path, whole: bool = False, least: int = 2) -> Probe:
    """Probe `path`; `whole` decodes every frame, which finds damage that packets do not show.

    StudyError where the file cannot be read, holds no video or has fewer than `least` frames.
    """
    frames, packets, times, ends = 0, 0, [], []
    first, damaged = None, False
    with opened(path) as (container, stream):
        decode_all = whole or stream.codec_context.name not in PACKET_IS_FRAME
        for packet in container.demux(stream):
            damaged |= packet.is_corrupt
            packets += packet.size > 0
            shown = packet.size > 0 and not packet.is_discard
            if shown and packet.pts is not None:
                times.append(packet.pts)
                ends.append(packet.pts + (packet.duration or 0))
            if decode_all or first is None:
                decoded = packet.decode()
                damaged |= any(frame.is_corrupt for frame in decoded)
                first = first or next(iter(decoded), None)
            frames += len(decoded) if decode_all else shown
        # MP4 and MOV list every packet in their index: fewer of them means a cut file.
        damaged |= "mp4" in container.format.name and packets < stream.frames
        damaged |= ends_early(path)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        time_base, codec = stream.time_base, stream.codec_context.name
    if damaged:
        raise ClipError("the clip is cut short or damaged", path, REPLACE)
    if first is None or frames == 0:
        raise ClipError("the clip holds no frame", path, REPLACE)
    if frames < least:
        raise ClipError(f"the clip has one frame only and needs at least {least}", path,
                         "replace it or take it out of the set")
    seconds = float((max(ends) - min(times)) * time_base) if len(times) == frames else 0.0
    rotation = int(first.rotation) % 360
    width, height = first.width, first.height
    if rotation in (90, 270):
        width, height = height, width
    return Probe(width, height, frames, fps, seconds or frames / (fps or 25), rotation, codec,
                 first.format.name)


def timestamps(path: Path) -> np.ndarray:
    """Seconds at which each frame is shown, ascending, the first at 0: shape (frames,)."""
    with opened(path) as (container, stream):
        packets = [packet for packet in container.demux(stream)
                   if packet.size > 0 and not packet.is_discard]
        times = [packet.pts for packet in packets]
        safe = stream.codec_context.name in PACKET_IS_FRAME
        time_base, rate = stream.time_base, stream.average_rate or 25
    if not safe or None in times:
        with opened(path) as (container, stream):
            times = [frame.pts for frame in container.decode(stream)]
    return since_first(times, time_base, rate)


def since_first(ticks: Sequence[int | None], time_base: Fraction, rate: Fraction) -> np.ndarray:
    """Seconds of frames shown at these ticks, ascending, the first at 0: shape (frames,)."""
    if None in ticks:  # No times at all (a raw stream): the stated rate is all there is.
        return np.arange(len(ticks)) / float(rate)
    ascending = np.sort(np.array(ticks, dtype=np.int64))
    return (ascending - ascending[:1]) * float(time_base)


def open_video(path: Path) -> av.container.InputContainer:
    """The file, opened. FFmpeg takes a relative name with a colon in it for an address, and a
    title may be in any encoding.
    """
    return av.open(str(path.absolute()), metadata_errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream; ClipError where FFmpeg cannot read it."""
    if not path.is_file():
        raise ClipError("the clip is missing", path, "restore it or take it out of the set")
    if path.stat().st_size == 0:
        raise ClipError("the clip is empty (0 bytes)", path, REPLACE)
    try:
        with open_video(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ClipError("the file holds no video", path, REPLACE)
            if stream.codec_context is None:
                raise ClipError("the clip is of an unknown format", path, REPLACE)
            yield container, stream
    except av.error.FFmpegError as error:
        if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise StudyError(f"the clip cannot be read now ({error.strerror})", path,
                             "start again, with fewer --jobs") from None
        raise ClipError(f"the clip cannot be read ({error.strerror})", path, REPLACE) from None
