"""A variant's clips beside the source crops they were made from, frame by frame."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np

from leanclips.clips import Clip
from leanclips.compression.inspect import probe
from leanclips.errors import StudyError
from leanclips.report.formats import megabytes
from leanclips.report.results import Encoded
from leanclips.study import SOURCE

WIDTH = 448  # pixels of each picture in the page


class Frames:
    """A clip's frames (height, width, 3), BGR, as displayed; decoded as they are asked for.

    Forward is quick; going back decodes from the start again. Only one frame is kept.
    """

    def __init__(self, path: Path):
        self.path, self.facts = path, probe(path)
        self._place = float("inf")  # nothing is open yet

    def __getitem__(self, place: int) -> np.ndarray:
        if place < self._place:
            self._capture, self._place = cv2.VideoCapture(str(self.path.absolute())), -1
        while self._place < place:
            ok, frame = self._capture.read()
            if not ok:
                raise StudyError(f"frame {place + 1} cannot be decoded", self.path,
                                 "replace the clip by a good copy")
            self._place, self._frame = self._place + 1, frame
        return self._frame


def png(frame: np.ndarray, width: int | None = None) -> bytes:
    """A PNG file of the frame, at `width` pixels across if given: each pixel a plain square."""
    if width is not None:
        size = width, round(frame.shape[0] * width / frame.shape[1])
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", frame)[1].tobytes()


def part(frame: np.ndarray, zoom: int, across: int, down: int) -> np.ndarray:
    """The 1/zoom of the frame's width and height at (across, down) percent of its room."""
    for axis, place in enumerate((down, across)):
        shown = max(1, frame.shape[axis] // zoom)
        first = round((frame.shape[axis] - shown) * place / 100)
        frame = frame.take(range(first, first + shown), axis)
    return frame


class ClipViewer(widgets.VBox):
    """Choose a clip and a frame. A StudyError becomes a sentence that a screen reader announces.

    A subclass opens the chosen clip (`_open`) and draws it as the controls say (`_draw`).
    """

    def __init__(self, clips: Sequence[Clip], controls: Sequence[widgets.ValueWidget],
                 picture: widgets.Widget, *buttons: widgets.Widget):
        self.clip = widgets.Dropdown(description="Clip", options=[
            (f"{clip.label}: {clip.id}", clip.id) for clip in clips])
        self.frame, self.status = slider("Frame"), widgets.HTML()
        super().__init__([self.clip, self.frame, *controls, *buttons, self.status, picture])
        self.clip.observe(lambda change: self._try(self._open), "value")
        for control in (self.frame, *controls):
            control.observe(lambda change: self._try(self._draw), "value")
        self._try(self._open)

    def _try(self, step: Callable, *arguments: object) -> None:
        try:
            step(*arguments)
        except StudyError as error:
            self._say(error)

    def _say(self, message: object) -> None:
        self.status.value = f'<span role="status">{escape(str(message))}</span>'


class Compare(ClipViewer):
    """The same frame of both files, side by side, as near as the pixels."""

    def __init__(self, results: Encoded, variant: str):
        self.results, self.names = results, (SOURCE, variant)
        self.reports = {name: results.report(name).set_index("clip") for name in self.names}
        self.zoom = widgets.Dropdown(description="Zoom", value=1, options=[
            (f"{zoom}×", zoom) for zoom in (1, 2, 4, 8)])
        self.across, self.down = slider("Across", 100, 50), slider("Down", 100, 50)
        self.captions = {name: widgets.HTML() for name in self.names}
        self.pictures = {name: widgets.Image(format="png", layout=widgets.Layout(width="100%"))
                         for name in self.names}
        half = widgets.Layout(width="50%", max_width=f"{WIDTH}px")
        pair = [widgets.VBox([self.pictures[name], self.captions[name]], layout=half)
                for name in self.names]
        super().__init__(results.compared, (self.zoom, self.across, self.down), widgets.HBox(pair))

    def _open(self) -> None:
        """Show the chosen clip from its first frame."""
        self.frames, self.status.value = {}, ""
        try:
            self.frames = {name: Frames(self.results.layout.made_clip(name, self.clip.value))
                           for name in self.names}
        except StudyError:
            for picture in self.pictures.values():
                picture.value = b""
            raise
        for name, caption in self.captions.items():
            row = self.reports[name].loc[self.clip.value]
            told = f"{name}: {megabytes(row['bytes_out'])}"
            if name != SOURCE:
                told += (f", {row['bytes_out'] / row['bytes_in']:.0%} of the source crop, VMAF NEG "
                         f"{row['quality']:.1f}")
                told += f" ({row['reason']})" if row["reason"] != name else ""
            caption.value = escape(told)
        set_range(self.frame, min(frames.facts.frames for frames in self.frames.values()) - 1)
        self._draw()

    def _draw(self) -> None:
        self.across.disabled = self.down.disabled = self.zoom.value == 1
        for name, frames in self.frames.items():
            shown = part(frames[self.frame.value], self.zoom.value, self.across.value,
                         self.down.value)
            self.pictures[name].value = png(shown, WIDTH)


def slider(description: str, most: int = 0, value: int = 0, step: int = 1) -> widgets.IntSlider:
    return widgets.IntSlider(description=description, min=0, max=most, value=value, step=step,
                             layout=widgets.Layout(width="640px", max_width="100%"))


def set_range(slider: widgets.IntSlider, most: int, least: int = 0, value: int = 0) -> None:
    """Set a slider's ends and value in one step, so that no end cuts the value on the way."""
    with slider.hold_trait_notifications():
        slider.min, slider.max = least, most
        slider.value = min(max(value, least), most)
