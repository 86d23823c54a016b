"""Mark each clip's square region of interest, by mouse, touch or keyboard."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from leanclips.clips import Clip, Roi, read_table, verify_file, write_table
from leanclips.compression.crop import square
from leanclips.compression.inspect import probe
from leanclips.errors import StudyError
from leanclips.widgets.browser import ClipWidget, script

MOST_FRAMES = 300  # of a clip, evenly spaced: the browser's memory is bounded
LONGEST_SIDE, MAP_SIDE = 960, 160  # of a shown frame, and of a map of motion, in pixels
AT_ONCE = 8  # frames in a message
SHARE, AROUND = 0.9, 0.1  # of the motion in the suggested square; of its side, on each side of it


class Preview:
    """A clip's frames as displayed, for the browser, and the motion in those that were taken."""

    def __init__(self, path: Path):
        self.path, self.facts = path, probe(path)
        self.every, self.motion = -(-self.facts.frames // MOST_FRAMES), np.zeros((1, 1))

    def frames(self) -> Iterator[bytes]:
        """JPEG files of every `every`-th frame."""
        capture, before = cv2.VideoCapture(str(self.path.absolute())), None
        for number in range(self.facts.frames):
            ok, frame = capture.read()
            if not ok:
                raise StudyError(f"frame {number + 1} cannot be decoded", self.path,
                                 "replace the clip by a good copy")
            if number % self.every == 0:
                grey = fitted(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), MAP_SIDE).astype(np.float32)
                self.motion = self.motion + np.abs(grey - (grey if before is None else before))
                before = grey
                yield cv2.imencode(".jpg", fitted(frame, LONGEST_SIDE))[1].tobytes()


def fitted(frame: np.ndarray, side: int) -> np.ndarray:
    """The frame, made smaller where its longer side is more than `side` pixels."""
    scale = min(1, side / max(frame.shape[:2]))
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def suggest(motion: np.ndarray, width: int, height: int) -> Roi | None:
    """A square around what moves, in a clip of this size; None if nothing stands out.

    `motion` (rows, columns) is how much each part of the picture changes from frame to frame. What
    changes less than twice the median is background. The square is the smallest that holds 90% of
    the rest (or, where none does, the largest that fits, with the most of it), and a tenth more.
    """
    moving = np.clip(motion - 2 * np.median(motion), 0, None)
    if not moving.any():
        return None
    sums = cv2.integral(moving.astype(np.float64))
    for side in range(min(4, *moving.shape), min(moving.shape) + 1):
        held = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        if held.max() >= SHARE * sums[-1, -1]:
            break
    scale, first = width / moving.shape[1], np.unravel_index(held.argmax(), held.shape)
    down, across = (scale * (place + side / 2) for place in first)
    side = min(max(round(scale * side * (1 + 2 * AROUND)), 16), width, height) // 2 * 2
    x, y = (min(max(round(middle - side / 2), 0), room - side)
            for middle, room in ((across, width), (down, height)))
    return Roi(x, y, side)


class RoiMarker(ClipWidget):
    """Draw the square on the clip. Every change is saved to `table` at once, and can be undone."""

    _esm = script("roi")

    def __init__(self, table: Path, root: Path, clips: Sequence[Clip]):
        super().__init__(clips)
        self.table, self.root, self.preview = table, root, None
        self.done: list[tuple[str, Roi | None]] = []  # each clip changed, and its square before

    def show(self, clip_id: str | None = None) -> None:
        """Show a clip; its frames follow as they are asked for."""
        self.current, self.preview = clip_id or self.current, None
        clip = self.clips[self.place]
        self.tell("clip", id=clip.id, label=clip.label, group=clip.group)
        self._tell_state()
        preview = Preview(verify_file(self.root, clip))
        size = preview.facts.width, preview.facts.height
        self.tell("size", **asdict(preview.facts), every=preview.every,
                  largest=astuple(square(None, *size, preview.path)))
        self.preview, self._size, self._frames = preview, size, preview.frames()
        square(clip.roi, *size, preview.path)  # StudyError if it does not fit

    def more(self, clip_id: str) -> None:
        """The next frames of the clip; after the last, the square that its motion suggests."""
        if self.preview is not None and clip_id == self.current:
            frames = list(islice(self._frames, AT_ONCE))
            found = None if frames else suggest(self.preview.motion, *self._size)
            self.tell("frames", frames, of=clip_id, suggestion=found and astuple(found))

    def unmarked(self) -> None:
        """Show the next clip without a square, from the current one on and round the list."""
        after = self.clips[self.place + 1:] + self.clips[:self.place + 1]
        found = next((clip.id for clip in after if clip.roi is None), None)
        self.show(found) if found else self.tell("said", text="Every clip has a square.")

    def mark(self, clip_id: str, *numbers: int) -> None:
        """Save this square (x, y, side), or none: the largest centred one will be cut."""
        if self.preview is None or clip_id != self.current:
            return
        roi, before = Roi.parse(" ".join(map(str, numbers))), self.clips[self.place].roi
        roi = roi and square(roi, *self._size, self.preview.path)
        if roi != before:
            self._save(roi, "Saved")
            self.done.append((clip_id, before))

    def copy(self) -> None:
        """Take the square of the nearest marked clip before this one of the same recording."""
        for clip in reversed(self.clips[:self.place]):
            if clip.group == self.clips[self.place].group and clip.roi is not None:
                return self.mark(self.current, *astuple(clip.roi))
        self.tell("said", text="No earlier clip of this recording has a square.")

    def undo(self) -> None:
        """Take back the last change, and show the clip that it was made on."""
        if not self.done:
            return self.tell("said", text="There is nothing to undo.")
        clip_id, roi = self.done.pop()
        if clip_id != self.current:
            self.show(clip_id)
        self._save(roi, "Undone")

    def _save(self, roi: Roi | None, said: str) -> None:
        """Write clips.csv, whole or not at all; what others wrote to it meanwhile stays."""
        rows = read_table(self.table)
        if self.current not in {row.id for row in rows}:
            raise StudyError(f"lists no clip '{self.current}' any more", self.table,
                             "restart the notebook")
        rows = [replace(row, roi=roi) if row.id == self.current else row for row in rows]
        write_table(self.table, rows)
        self.clips = rows
        self._tell_state()
        self.tell("said", text=f"{said}: {roi or 'no square, the largest centred one is cut'}.")

    def _tell_state(self) -> None:
        roi, marked = self.clips[self.place].roi, sum(clip.roi is not None for clip in self.clips)
        self.tell("state", roi=roi and astuple(roi), place=self.place, clips=len(self.clips),
                  marked=marked)
