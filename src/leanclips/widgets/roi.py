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
from leanclips.widgets.compare import ClipViewer, Frames, png, set_range, slider


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


class RoiMarker(ClipViewer):
    """Choose a clip, move the square by sliders (arrow keys work too), save."""

    def __init__(self, table: Path, root: Path, clips: Sequence[Clip]):
        self.table, self.root = table, root
        self.clips = {clip.id: clip for clip in clips}
        self.frames: Frames | None = None
        self.x, self.y, self.side = slider("Left"), slider("Top"), slider("Side", step=2)
        wide = {"layout": widgets.Layout(width="auto")}
        self.centre = widgets.Button(description="Largest centred square", **wide)
        self.save = widgets.Button(description="Save to clips.csv", button_style="primary", **wide)
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="640px"))
        self.side.observe(lambda change: self._try(self._place, self.roi), "value")
        self.centre.on_click(lambda button: self._try(self._place, None))
        self.save.on_click(lambda button: self._try(self._save))
        super().__init__(clips, (self.x, self.y, self.side), self.picture,
                         widgets.HBox([self.centre, self.save]))

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
        except StudyError:
            self.frames, self.save.disabled, self.picture.value = None, True, b""
            raise
        self.save.disabled = False
        set_range(self.frame, self.frames.facts.frames - 1)
        self._place(roi)
        self._say("This clip has a saved square." if clip.roi else
                  "No square is saved for this clip: the largest centred one will be cut.")

    def _place(self, roi: Roi | None) -> None:
        """Move the sliders to `roi` (or to the largest centred square), inside the frame."""
        if self.frames is not None:
            roi = roi or self.largest
            set_range(self.side, self.largest.side, 16, roi.side)
            set_range(self.x, self.size[0] - self.side.value, value=roi.x)
            set_range(self.y, self.size[1] - self.side.value, value=roi.y)
            self._draw()

    def _draw(self) -> None:
        if self.frames is not None:
            self.picture.value = png(marked(self.frames[self.frame.value], self.roi))

    def _save(self) -> None:
        clip = self.clips[self.clip.value]
        roi = None if self.roi == self.largest else self.roi
        write_table(self.table, [replace(row, roi=roi) if row.id == clip.id else row
                                 for row in read_table(self.table)])
        self.clips[clip.id] = replace(clip, roi=roi)
        self._say(f"Saved for {clip.id}: {roi or 'the largest centred square'}. The next run of "
                  "the study cuts this clip again and redoes what depends on it.")
