"""Frames of a clip by number, as pictures for the browser."""

from pathlib import Path

import cv2
import numpy as np

from leanclips.compression.probe import probe
from leanclips.errors import StudyError


class Frames:
    """A clip's frames (height, width, 3), BGR, as displayed; decoded as they are asked for.

    Forward is quick; going back decodes from the start again. Only one frame is kept.
    """

    def __init__(self, path: Path):
        self.path = path
        facts = probe(path)
        self.count, self.width, self.height = facts.frames, facts.width, facts.height
        self._rewind()

    def _rewind(self) -> None:
        self._capture = cv2.VideoCapture(str(self.path.absolute()))
        self._place, self._frame = -1, None

    def __getitem__(self, place: int) -> np.ndarray:
        if place < self._place:
            self._rewind()
        while self._place < place:
            ok, frame = self._capture.read()
            if not ok:
                raise StudyError(f"frame {place + 1} cannot be decoded", self.path,
                                 "replace the clip by a good copy")
            self._place, self._frame = self._place + 1, frame
        return self._frame


def png(frame: np.ndarray) -> bytes:
    """A frame as the bytes of a PNG file."""
    return cv2.imencode(".png", frame)[1].tobytes()


def enlarged(frame: np.ndarray, width: int) -> np.ndarray:
    """The frame at `width` pixels across, each pixel a plain square."""
    height = round(frame.shape[0] * width / frame.shape[1])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST)
