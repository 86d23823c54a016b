"""A variant's clips beside the source crops they were made from."""

from html import escape

import ipywidgets as widgets
import numpy as np

from leanclips.analysis.formats import megabytes
from leanclips.analysis.results import Results
from leanclips.errors import StudyError
from leanclips.study import SOURCE
from leanclips.widgets.frames import Frames, enlarged, png

WIDTH = 448  # pixels of each picture in the page
ZOOMS = (1, 2, 4, 8)


def part(frame: np.ndarray, zoom: int, across: int, down: int) -> np.ndarray:
    """The 1/zoom of the frame's width and height at (across, down) percent of its room."""
    height, width = (max(1, size // zoom) for size in frame.shape[:2])
    top, left = (round((size - shown) * place / 100) for size, shown, place in
                 zip(frame.shape[:2], (height, width), (down, across), strict=True))
    return frame[top:top + height, left:left + width]


class Compare(widgets.VBox):
    """The same frame of both files, side by side, as near as the pixels."""

    def __init__(self, results: Results, variant: str):
        self.results, self.names = results, (SOURCE, variant)
        self.reports = {name: results.report(name).set_index("clip") for name in self.names}
        self.frames: dict[str, Frames] = {}
        self.clip = widgets.Dropdown(description="Clip", options=[
            (f"{clip.label}: {clip.id}", clip.id) for clip in results.compared])
        self.frame = _slider("Frame", 0)
        self.zoom = widgets.Dropdown(description="Zoom", value=1, options=[
            (f"{zoom}×", zoom) for zoom in ZOOMS])
        self.across, self.down = _slider("Across", 100, 50), _slider("Down", 100, 50)
        self.status = widgets.HTML()
        self.captions = {name: widgets.HTML() for name in self.names}
        self.pictures = {name: widgets.Image(format="png", layout=widgets.Layout(width="100%"))
                         for name in self.names}
        half = widgets.Layout(width="50%", max_width=f"{WIDTH}px")
        pair = [widgets.VBox([self.pictures[name], self.captions[name]], layout=half)
                for name in self.names]
        super().__init__([self.clip, self.frame, self.zoom, self.across, self.down, self.status,
                          widgets.HBox(pair)])
        self.clip.observe(lambda change: self._open(), "value")
        for control in (self.frame, self.zoom, self.across, self.down):
            control.observe(lambda change: self._draw(), "value")
        self._open()

    def _open(self) -> None:
        """Show the chosen clip from its first frame."""
        self.frames, self.status.value = {}, ""
        try:
            self.frames = {name: Frames(self.results.layout.made_clip(name, self.clip.value))
                           for name in self.names}
        except StudyError as error:
            for picture in self.pictures.values():
                picture.value = b""
            return self._say(error)
        for name, caption in self.captions.items():
            caption.value = escape(self._caption(name))
        with self.frame.hold_trait_notifications():
            self.frame.max = min(frames.count for frames in self.frames.values()) - 1
            self.frame.value = 0
        self._draw()

    def _caption(self, name: str) -> str:
        row = self.reports[name].loc[self.clip.value]
        told = f"{name}: {megabytes(row['bytes_out'])}"
        if name == SOURCE:
            return told
        told += (f", {row['bytes_out'] / row['bytes_in']:.0%} of the source crop, "
                 f"VMAF NEG {row['quality']:.1f}")
        return told if row["reason"] == name else f"{told} ({row['reason']})"

    def _draw(self) -> None:
        self.across.disabled = self.down.disabled = self.zoom.value == 1
        try:
            for name, frames in self.frames.items():
                shown = part(frames[self.frame.value], self.zoom.value, self.across.value,
                             self.down.value)
                self.pictures[name].value = png(enlarged(shown, WIDTH))
        except StudyError as error:
            self._say(error)

    def _say(self, message: object) -> None:
        self.status.value = f'<span role="status">{escape(str(message))}</span>'


def _slider(description: str, most: int, value: int = 0) -> widgets.IntSlider:
    return widgets.IntSlider(description=description, min=0, max=most, value=value,
                             layout=widgets.Layout(width="640px", max_width="100%"))
