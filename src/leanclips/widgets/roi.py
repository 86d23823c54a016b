"""Mark each clip's square region of interest, by keyboard alone if need be."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np

from leanclips.clips import Clip, Roi, clips_root, read_table, verify_file, write_table
from leanclips.compression.crop import square
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import Study
from leanclips.widgets.frames import Frames, png

LEAST_SIDE = 16
OUTSIDE = 0.4  # brightness of what is cut away
LINE = (0, 200, 255)  # BGR


def mark(layout: Layout, study: Study, clips: Sequence[Clip]) -> "RoiMarker":
    """The widget for a study's clips; Save writes to its clips.csv."""
    return RoiMarker(layout.table, clips_root(layout, study), clips)


def save_roi(table: Path, clip_id: str, roi: Roi | None) -> None:
    """Write one clip's ROI into clips.csv (None: the largest centred square)."""
    write_table(table, [replace(clip, roi=roi) if clip.id == clip_id else clip
                        for clip in read_table(table)])


def marked(frame: np.ndarray, roi: Roi) -> np.ndarray:
    """The frame with the square drawn and its surroundings dimmed."""
    picture = (frame * OUTSIDE).astype(np.uint8)
    inside = np.s_[roi.y:roi.y + roi.side, roi.x:roi.x + roi.side]
    picture[inside] = frame[inside]
    cv2.rectangle(picture, (roi.x, roi.y), (roi.x + roi.side - 1, roi.y + roi.side - 1), LINE,
                  max(1, round(frame.shape[1] / 320)))
    return picture


class RoiMarker(widgets.VBox):
    """Choose a clip, move the square by sliders (arrow keys work too), save."""

    def __init__(self, table: Path, root: Path, clips: Sequence[Clip]):
        self.table, self.root = table, root
        self.clips = {clip.id: clip for clip in clips}
        self.frames: Frames | None = None
        self.clip = widgets.Dropdown(description="Clip", options=[
            (f"{clip.label}: {clip.id}", clip.id) for clip in clips])
        self.frame = _slider("Frame")
        self.x, self.y = _slider("Left"), _slider("Top")
        self.side = _slider("Side", step=2)
        self.centre = widgets.Button(description="Largest centred square",
                                     layout=widgets.Layout(width="auto"))
        self.save = widgets.Button(description="Save to clips.csv", button_style="primary",
                                   layout=widgets.Layout(width="auto"))
        self.status = widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="640px"))
        super().__init__([self.clip, self.frame, self.x, self.y, self.side,
                          widgets.HBox([self.centre, self.save]), self.status, self.picture])
        self.clip.observe(lambda change: self._open(), "value")
        self.side.observe(lambda change: self._limit(), "value")
        for slider in (self.frame, self.x, self.y, self.side):
            slider.observe(lambda change: self._draw(), "value")
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
            roi = square(clip.roi, self.frames.width, self.frames.height, path)
        except StudyError as error:
            self.frames, self.save.disabled, self.picture.value = None, True, b""
            return self._say(error)
        self.save.disabled = False
        _range(self.frame, self.frames.count - 1)
        self._place(roi)
        self._say("This clip has a saved square." if clip.roi else
                  "No square is saved for this clip: the largest centred one will be cut.")

    def _largest(self) -> Roi:
        return square(None, self.frames.width, self.frames.height, self.frames.path)

    def _place(self, roi: Roi | None) -> None:
        """Move the sliders to `roi`, or to the largest centred square."""
        if self.frames is None:
            return
        roi = roi or self._largest()
        _range(self.side, self._largest().side, LEAST_SIDE, roi.side)
        self._limit()
        self.x.value, self.y.value = roi.x, roi.y
        self._draw()

    def _limit(self) -> None:
        """Keep the square inside the frame."""
        if self.frames is not None:
            _range(self.x, self.frames.width - self.side.value, value=self.x.value)
            _range(self.y, self.frames.height - self.side.value, value=self.y.value)

    def _draw(self) -> None:
        if self.frames is None:
            return
        try:
            self.picture.value = png(marked(self.frames[self.frame.value], self.roi))
        except StudyError as error:
            self._say(error)

    def _save(self) -> None:
        clip = self.clips[self.clip.value]
        roi = None if self.roi == self._largest() else self.roi
        try:
            save_roi(self.table, clip.id, roi)
        except StudyError as error:
            return self._say(error)
        self.clips[clip.id] = replace(clip, roi=roi)
        self._say(f"Saved for {clip.id}: {roi or 'the largest centred square'}. The next run of "
                  "the study cuts this clip again, and does again what depends on it.")

    def _say(self, message: object) -> None:
        self.status.value = f'<span role="status">{escape(str(message))}</span>'


def _slider(description: str, step: int = 1) -> widgets.IntSlider:
    return widgets.IntSlider(description=description, min=0, max=0, step=step,
                             layout=widgets.Layout(width="640px", max_width="100%"))


def _range(slider: widgets.IntSlider, most: int, least: int = 0, value: int = 0) -> None:
    """Set a slider's ends and value in one step, so that no end cuts the value on the way."""
    with slider.hold_trait_notifications():
        slider.min, slider.max = least, most
        slider.value = min(max(value, least), most)
