"""How every figure looks, and how it is written: an SVG for each theme and a CSV beside them.

The same figure is drawn twice, in ink that reads on a white page and on a dark one; the page
shows the one that fits (the classes only-light and only-dark of the theme).
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from leanclips.files import written_aside
from leanclips.records import write_csv

WIDTH = 6.8  # inches: one column of the book, so that 10 points stay 10 points
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Theme:
    """Ink for one background."""

    name: str
    ink: str
    faint: str
    page: str


THEMES = (Theme("light", "#323232", "#d4d4d4", "#ffffff"),
          Theme("dark", "#ced6dd", "#48566b", "#121212"))


@dataclass(frozen=True)
class Figure:
    """`draw` makes the picture for a theme; caption and alt text come from the same numbers."""

    name: str
    caption: str
    alt: str
    data: pd.DataFrame
    draw: Callable[[Theme], Canvas]


def colours(names: Sequence[str]) -> dict[str, tuple]:
    """A colour-blind safe colour for each name, by its place: the same in every figure."""
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def markers(names: Sequence[str]) -> dict[str, str]:
    """A marker for each name, so that colour is never the only difference."""
    return {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}


@contextmanager
def ink(theme: Theme):
    """Matplotlib's settings for one theme; fixed ids and outlined text give equal bytes."""
    with mpl.rc_context():
        sns.set_theme(style="whitegrid", rc={
            "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9,
            "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.titleweight": "bold",
            "text.color": theme.ink, "axes.labelcolor": theme.ink, "xtick.color": theme.ink,
            "ytick.color": theme.ink, "axes.edgecolor": theme.faint, "grid.color": theme.faint,
            "grid.linewidth": 0.6, "axes.facecolor": "none", "figure.facecolor": "none",
            "savefig.facecolor": "none", "legend.frameon": False, "axes.spines.top": False,
            "axes.spines.right": False, "svg.hashsalt": "leanclips", "svg.fonttype": "path",
            "text.parse_math": False,
            "axes.titlelocation": "left"})
        yield


def panels(rows: int, columns: int, height: float, **options: object) -> tuple[Canvas, list[Axes]]:
    """An empty figure of the book's width and its axes, row by row."""
    canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False, **options)
    return canvas, list(axes.flat)


def percent_axis(axis: mpl.axis.Axis) -> None:
    """Fractions as percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))


def points_axis(axis: mpl.axis.Axis) -> None:
    """Fractions as percentage points with their sign."""
    axis.set_major_formatter(FuncFormatter(
        lambda value, _: "0" if abs(value) < 5e-4 else f"{100 * value:+.3g}".replace("-", "−")))


def legend_above(canvas: Canvas, ax: Axes, columns: int) -> None:
    """One legend for all panels, on top."""
    handles, labels = ax.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=columns)


def write(figure: Figure, folder: Path) -> None:
    """`<name>-light.svg`, `<name>-dark.svg` and `<name>.csv` in `folder`."""
    write_csv(folder / f"{figure.name}.csv", figure.data)
    for theme in THEMES:
        with ink(theme), written_aside(folder / f"{figure.name}-{theme.name}.svg") as aside:
            figure.draw(theme).savefig(aside, metadata={"Date": None, "Creator": "leanclips"})
