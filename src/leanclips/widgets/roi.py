"""Mark each clip's square region of interest, by mouse, touch or keyboard."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from leanclips.clips import Clip, Roi, clips_root, read_table, verify_file, write_table
from leanclips.compression.crop import square
from leanclips.compression.inspect import probe
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import Study
from leanclips.widgets.browser import ClipWidget, script

MOST_FRAMES = 300  # of a clip, evenly spaced: the browser's memory is bounded
LONGEST_SIDE = 960  # of a shown frame, in pixels
AT_ONCE = 8  # frames in a message
MAP_SIDE = 160  # the longer side of a map of motion
SHARE, AROUND = 0.9, 0.1  # of the motion in the suggested square; of its side, on each side of it


def mark(layout: Layout, study: Study, clips: Sequence[Clip]) -> "RoiMarker":
    """The widget for a study's clips; it writes each square to its clips.csv at once."""
    return RoiMarker(layout.table, clips_root(layout, study), clips)


class Preview:
    """A clip's frames as displayed, for the browser; and the motion in those that were taken."""

    def __init__(self, path: Path):
        self.path, self.facts = path, probe(path)
        self.every = -(-self.facts.frames // MOST_FRAMES)
        self.motion, self._before = np.zeros((1, 1)), None

    def frames(self) -> Iterator[bytes]:
        """JPEG files of every `every`-th frame."""
        capture = cv2.VideoCapture(str(self.path.absolute()))
        for number in range(self.facts.frames):
            ok, frame = capture.read()
            if not ok:
                raise StudyError(f"frame {number + 1} cannot be decoded", self.path,
                                 "replace the clip by a good copy")
            if number % self.every == 0:
                self._compare(frame)
                yield cv2.imencode(".jpg", fitted(frame, LONGEST_SIDE))[1].tobytes()

    def _compare(self, frame: np.ndarray) -> None:
        grey = fitted(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), MAP_SIDE).astype(np.float32)
        if self._before is not None:
            self.motion = self.motion + np.abs(grey - self._before)
        self._before = grey


def fitted(frame: np.ndarray, side: int) -> np.ndarray:
    """The frame, made smaller where its longer side is more than `side` pixels."""
    scale = side / max(frame.shape[:2])
    return frame if scale >= 1 else cv2.resize(frame, None, fx=scale, fy=scale,
                                               interpolation=cv2.INTER_AREA)


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
        held = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
                + sums[:-side, :-side])
        if held.max() >= SHARE * sums[-1, -1]:
            break
    scale = width / moving.shape[1]
    down, across = (scale * (first + side / 2)
                    for first in np.unravel_index(held.argmax(), held.shape))
    side = min(max(round(scale * side * (1 + 2 * AROUND)), 16), width, height) // 2 * 2
    x, y = (min(max(round(middle - side / 2), 0), room - side)
            for middle, room in ((across, width), (down, height)))
    return Roi(x, y, side)


class RoiMarker(ClipWidget):
    """Draw the square on the moving clip. Every change is saved at once, and can be undone."""

    _esm = script("roi")
    asks = ("show", "step", "unmarked", "find", "more", "mark", "clear", "copy", "undo")

    def __init__(self, table: Path, root: Path, clips: Sequence[Clip]):
        super().__init__(clips)
        self.table, self.root = table, root
        self.preview: Preview | None = None
        self.done: list[tuple[str, Roi | None]] = []  # each clip changed, and its square before

    def show(self, clip_id: str | None = None) -> None:
        """Show a clip; its frames follow as they are asked for."""
        self.current, self.preview = clip_id or self.current, None
        clip = self.clip
        self.tell("clip", id=clip.id, label=clip.label, group=clip.group)
        self._tell_state()
        path = verify_file(self.root, clip)
        preview = Preview(path)
        facts = preview.facts
        self.tell("size", width=facts.width, height=facts.height, frames=facts.frames,
                  fps=facts.fps, every=preview.every,
                  largest=astuple(square(None, facts.width, facts.height, path)))
        self.preview, self._frames = preview, preview.frames()
        square(clip.roi, facts.width, facts.height, path)

    def more(self, clip_id: str) -> None:
        """The next frames of the clip; after the last, the square that its motion suggests."""
        if self.preview is not None and clip_id == self.current:
            frames = list(islice(self._frames, AT_ONCE))
            facts = self.preview.facts
            found = None if frames else suggest(self.preview.motion, facts.width, facts.height)
            self.tell("frames", frames, of=clip_id, suggestion=found and astuple(found))

    def unmarked(self) -> None:
        """Show the next clip without a square, from the current one on and round the list."""
        after = self.place + 1
        for clip in self.clips[after:] + self.clips[:after]:
            if clip.roi is None:
                return self.show(clip.id)
        self.tell("said", text="Every clip has a square.")

    def mark(self, clip_id: str, x: int, y: int, side: int) -> None:
        """Save this square, made to fit the frame."""
        if self.preview is not None and clip_id == self.current:
            facts = self.preview.facts
            roi = Roi.parse(f"{x} {y} {side}")
            self._change(square(roi, facts.width, facts.height, self.preview.path))

    def clear(self) -> None:
        """Take the clip's square away: the largest centred one will be cut."""
        self._change(None)

    def copy(self) -> None:
        """Take the square of the nearest marked clip before this one of the same recording."""
        for clip in reversed(self.clips[:self.place]):
            if clip.group == self.clip.group and clip.roi is not None:
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

    def _change(self, roi: Roi | None) -> None:
        if roi != self.clip.roi:
            before = self.current, self.clip.roi
            self._save(roi, "Saved")
            self.done.append(before)

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
        self.tell("state", roi=self.clip.roi and astuple(self.clip.roi), place=self.place,
                  clips=len(self.clips), marked=sum(clip.roi is not None for clip in self.clips))
