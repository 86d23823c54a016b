"""The source variant: a square region of the original, as the case study made it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from leanclips.clips import Roi
from leanclips.compression.ffmpeg import crop_encoder, write_crop
from leanclips.compression.inspect import inspect, open_video
from leanclips.errors import StudyError
from leanclips.files import written_aside

TIME_BASE = Fraction(1, 90_000)


def square(roi: Roi | None, width: int, height: int, where: Path) -> Roi:
    """The ROI with an even side, or the largest centred square; StudyError if it does not fit."""
    if roi is None:
        side = min(width, height)
        roi = Roi((width - side) // 2, (height - side) // 2, side)
    if roi.x + roi.side > width or roi.y + roi.side > height:
        raise StudyError(f"the ROI '{roi}' lies outside its {width}×{height} pixels", where,
                         "correct the roi column of clips.csv")
    return Roi(roi.x, roi.y, roi.side - roi.side % 2)


def cropped_frames(capture: cv2.VideoCapture, roi: Roi | None, where: Path) -> Iterator[np.ndarray]:
    """Frames (side, side, 3), BGR, in displayed orientation."""
    while (frame := capture.read()[1]) is not None:
        box = square(roi, frame.shape[1], frame.shape[0], where)
        yield frame[box.y:box.y + box.side, box.x:box.x + box.side]


def crop(original: Path, roi: Roi | None, destination: Path, frames: int | None = None,
         encoder: str | None = None) -> None:
    """Crop `original` with OpenCV; `write_crop` encodes it.

    Frame count, frame rate and timestamps stay; audio goes, as it does with OpenCV. StudyError if
    the clip cannot be decoded whole or has another number of `frames`.
    """
    clip = inspect(original, least=2)  # OpenCV conceals damage silently
    if frames not in (None, clip.frames):
        raise StudyError(f"the clip has {clip.frames} frames where clips.csv says {frames}",
                         original, "replace the clip or correct clips.csv")
    capture = cv2.VideoCapture(str(original.absolute()))
    try:
        if not capture.isOpened() or min(clip.width, clip.height) < 16:
            raise StudyError("OpenCV cannot decode the clip", original, "replace the clip")
        side = square(roi, clip.width, clip.height, original).side
        with written_aside(destination) as aside:
            count = write_crop(cropped_frames(capture, roi, original), side, clip.fps, aside,
                               encoder or crop_encoder())
            if count != clip.frames:
                raise StudyError(f"only {count} of its {clip.frames} frames can be decoded",
                                 original, "the clip is damaged: replace it")
            keep_timestamps(aside, clip.times, clip.fps)
    finally:
        capture.release()


def keep_timestamps(path: Path, seconds: Sequence[float], fps: float) -> None:
    """Give the packets of `path` the timestamps `seconds`, unless they are regular within 2 ms."""
    if np.abs(np.subtract(seconds, np.arange(len(seconds)) / fps)).max() < 0.002:
        return
    ticks = np.round(np.array(seconds) / float(TIME_BASE)).astype(int)
    gaps = np.diff(ticks, append=ticks[-1] + round(float(np.median(np.diff(ticks)))))
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with (written_aside(path) as aside, open_video(path) as source,
          av.open(str(aside.absolute()), "w", options=options) as out):
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.time_base = TIME_BASE
        # The crop's encoders write no B-frames, so packets come in display order.
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, tick, gap in zip(packets, ticks, gaps, strict=True):
            packet.stream, packet.time_base = stream, TIME_BASE
            packet.pts = packet.dts = int(tick)
            packet.duration = int(gap)
            out.mux(packet)
