"""A variant's clips beside the source crops they were made from, frame by frame."""

from collections.abc import Sequence
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


class Compare(widgets.VBox):
    """The same frame of both files, side by side, as near as the pixels."""

    def __init__(self, results: Encoded, variant: str):
        self.results, self.names = results, (SOURCE, variant)
        self.reports = {name: results.report(name).set_index("clip") for name in self.names}
        self.frames: dict[str, Frames] = {}
        self.clip = clip_menu(results.compared)
        self.frame = slider("Frame")
        self.zoom = widgets.Dropdown(description="Zoom", value=1, options=[
            (f"{zoom}×", zoom) for zoom in (1, 2, 4, 8)])
        self.across, self.down = slider("Across", 100, 50), slider("Down", 100, 50)
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
            return say(self.status, error)
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
        try:
            for name, frames in self.frames.items():
                shown = part(frames[self.frame.value], self.zoom.value, self.across.value,
                             self.down.value)
                self.pictures[name].value = png(shown, WIDTH)
        except StudyError as error:
            say(self.status, error)


def clip_menu(clips: Sequence[Clip]) -> widgets.Dropdown:
    return widgets.Dropdown(description="Clip", options=[
        (f"{clip.label}: {clip.id}", clip.id) for clip in clips])


def say(where: widgets.HTML, message: object) -> None:
    """Show a message that a screen reader announces."""
    where.value = f'<span role="status">{escape(str(message))}</span>'


def slider(description: str, most: int = 0, value: int = 0, step: int = 1) -> widgets.IntSlider:
    return widgets.IntSlider(description=description, min=0, max=most, value=value, step=step,
                             layout=widgets.Layout(width="640px", max_width="100%"))


def set_range(slider: widgets.IntSlider, most: int, least: int = 0, value: int = 0) -> None:
    """Set a slider's ends and value in one step, so that no end cuts the value on the way."""
    with slider.hold_trait_notifications():
        slider.min, slider.max = least, most
        slider.value = min(max(value, least), most)
