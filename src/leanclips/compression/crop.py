"""The source variant: a square region of the original, as the case study made it."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from leanclips.clips import Roi
from leanclips.compression.codec import write_openh264
from leanclips.compression.probe import open_video, probe, timestamps
from leanclips.errors import StudyError
from leanclips.files import written_aside

JITTER_SECONDS = 0.002
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
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        box = square(roi, frame.shape[1], frame.shape[0], where)
        yield np.ascontiguousarray(frame[box.y:box.y + box.side, box.x:box.x + box.side])


def crop(original: Path, roi: Roi | None, destination: Path) -> None:
    """Crop `original` with OpenCV and write it by OpenH264 at OpenCV's default rate.

    Frame count, frame rate and timestamps stay; audio goes, as it does with OpenCV. StudyError
    if the clip cannot be decoded whole.
    """
    facts = probe(original, whole=True)  # OpenCV paints over damage without a word
    capture = cv2.VideoCapture(str(original.absolute()))
    try:
        width, height = (round(capture.get(prop))
                         for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not capture.isOpened() or width < 16 or height < 16:
            raise StudyError("OpenCV cannot decode the clip", original, "replace the clip")
        side = square(roi, width, height, original).side
        with written_aside(destination) as aside:
            frames = cropped_frames(capture, roi, original)
            count = write_openh264(frames, side, facts.fps, aside)
            if count != facts.frames:
                raise StudyError(f"only {count} of its {facts.frames} frames can be decoded",
                                 original, "the clip is damaged: replace it")
            keep_timestamps(aside, timestamps(original), facts.fps)
    finally:
        capture.release()


def keep_timestamps(path: Path, seconds: np.ndarray, fps: float) -> None:
    """Give the packets of `path` the timestamps `seconds` where they are not simply regular.

    OpenH264 writes no B-frames, so packets come in display order.
    """
    seconds = seconds - seconds[0]
    if np.abs(seconds - np.arange(len(seconds)) / fps).max() < JITTER_SECONDS:
        return
    ticks = np.round(seconds / float(TIME_BASE)).astype(int)
    gaps = np.diff(ticks, append=ticks[-1] + round(float(np.median(np.diff(ticks)))))
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with (written_aside(path) as aside, open_video(path) as source,
          av.open(str(aside.absolute()), "w", options=options) as out):
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.time_base = TIME_BASE
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, tick, gap in zip(packets, ticks, gaps, strict=True):
            packet.stream, packet.time_base = stream, TIME_BASE
            packet.pts = packet.dts = int(tick)
            packet.duration = int(gap)
            out.mux(packet)
