"""Mark each clip's square region of interest, by keyboard alone if need be."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np

from leanclips.clips import Clip, Roi, clips_root, read_table, verify_file, write_table
from leanclips.compression.crop import square
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import Study
from leanclips.widgets.compare import Frames, clip_menu, png, say, set_range, slider


def mark(layout: Layout, study: Study, clips: Sequence[Clip]) -> "RoiMarker":
    """The widget for a study's clips; Save writes to its clips.csv."""
    return RoiMarker(layout.table, clips_root(layout, study), clips)


def marked(frame: np.ndarray, roi: Roi) -> np.ndarray:
    """The frame with the square drawn and its surroundings dimmed."""
    picture = (0.4 * frame).astype(np.uint8)
    inside = np.s_[roi.y:roi.y + roi.side, roi.x:roi.x + roi.side]
    picture[inside] = frame[inside]
    cv2.rectangle(picture, (roi.x, roi.y, roi.side, roi.side), (0, 200, 255),
                  max(1, round(frame.shape[1] / 320)))
    return picture


class RoiMarker(widgets.VBox):
    """Choose a clip, move the square by sliders (arrow keys work too), save."""

    def __init__(self, table: Path, root: Path, clips: Sequence[Clip]):
        self.table, self.root = table, root
        self.clips = {clip.id: clip for clip in clips}
        self.frames: Frames | None = None
        self.clip = clip_menu(clips)
        self.frame = slider("Frame")
        self.x, self.y = slider("Left"), slider("Top")
        self.side = slider("Side", step=2)
        wide = {"layout": widgets.Layout(width="auto")}
        self.centre = widgets.Button(description="Largest centred square", **wide)
        self.save = widgets.Button(description="Save to clips.csv", button_style="primary", **wide)
        self.status = widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="640px"))
        super().__init__([self.clip, self.frame, self.x, self.y, self.side,
                          widgets.HBox([self.centre, self.save]), self.status, self.picture])
        self.clip.observe(lambda change: self._open(), "value")
        self.side.observe(lambda change: self._limit(), "value")
        for control in (self.frame, self.x, self.y, self.side):
            control.observe(lambda change: self._draw(), "value")
        self.centre.on_click(lambda button: self._place(None))
        self.save.on_click(lambda button: self._save())
        self._open()

    @property
    def roi(self) -> Roi:
        """The square as it stands."""
        return Roi(self.x.value, self.y.value, self.side.value)

    def _open(self) -> None:
        """Show the chosen clip with the ROI that it has."""
        clip = self.clips[self.clip.value]
        try:
            path = verify_file(self.root, clip)
            self.frames = Frames(path)
            self.size = self.frames.facts.width, self.frames.facts.height
            self.largest, roi = square(None, *self.size, path), square(clip.roi, *self.size, path)
        except StudyError as error:
            self.frames, self.save.disabled, self.picture.value = None, True, b""
            return say(self.status, error)
        self.save.disabled = False
        set_range(self.frame, self.frames.facts.frames - 1)
        self._place(roi)
        say(self.status, "This clip has a saved square." if clip.roi else
            "No square is saved for this clip: the largest centred one will be cut.")

    def _place(self, roi: Roi | None) -> None:
        """Move the sliders to `roi`, or to the largest centred square."""
        if self.frames is not None:
            roi = roi or self.largest
            set_range(self.side, self.largest.side, 16, roi.side)
            self._limit()
            self.x.value, self.y.value = roi.x, roi.y
            self._draw()

    def _limit(self) -> None:
        """Keep the square inside the frame."""
        if self.frames is not None:
            for control, size in zip((self.x, self.y), self.size, strict=True):
                set_range(control, size - self.side.value, value=control.value)

    def _draw(self) -> None:
        try:
            if self.frames is not None:
                self.picture.value = png(marked(self.frames[self.frame.value], self.roi))
        except StudyError as error:
            say(self.status, error)

    def _save(self) -> None:
        clip = self.clips[self.clip.value]
        roi = None if self.roi == self.largest else self.roi
        try:
            write_table(self.table, [replace(row, roi=roi) if row.id == clip.id else row
                                     for row in read_table(self.table)])
        except StudyError as error:
            return say(self.status, error)
        self.clips[clip.id] = replace(clip, roi=roi)
        say(self.status, f"Saved for {clip.id}: {roi or 'the largest centred square'}. The next "
            "run of the study cuts this clip again and redoes what depends on it.")
