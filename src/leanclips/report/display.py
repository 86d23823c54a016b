"""Tables and figures: one object each, shown by a notebook cell (HTML) and by the book (Markdown).

The book has every figure twice, in ink that reads on a white page and on a dark one, and shows the
one that fits. A notebook's figure takes the colour of the page that it stands on.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from leanclips.clips import Clip
from leanclips.files import write_text, written_aside
from leanclips.records import write_csv
from leanclips.report.formats import DASH, MINUS, fill, told
from leanclips.rounds import LEAKS, pretraining_leaks
from leanclips.study import Study

SYNTHETIC = ("Synthetic clips: rendered figures, not camera video. The numbers show that the "
             "study runs, not how real video behaves.")
WIDTH = 6.8  # inches: one column of the book, so that 10 points stay 10 points
MARKERS = "osD^vPX*"
ROWS_AT_ONCE, MOST_ROWS = 24, 500  # of a notebook's table: before it scrolls, and at all
TEXT = ' style="text-align: left; padding: 0.2em 0.6em"'
NUMBER = ' style="text-align: right; padding: 0.2em 0.6em; white-space: nowrap"'
NUMERIC = re.compile(rf"[+{MINUS}]?\s?\d|{DASH}$")
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|$#~])")
# Matplotlib's rule for lines, which would reach the whole page.
STYLE = '<style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>'


def markdown(text: object) -> str:
    """Text that Markdown shows as it is."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


@dataclass(frozen=True)
class Table:
    """`header` and `rows` are what a page shows, `data` what its CSV holds."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: pd.DataFrame

    @classmethod
    def of(cls, name: str, caption: str, data: pd.DataFrame, columns: dict[str, str]) -> "Table":
        """A table whose cells are templates (formats.fill) of the columns of `data`."""
        rows = tuple(tuple(fill(cell, row) for cell in columns.values())
                     for row in data.to_dict("records"))
        return cls(name, caption.strip(), tuple(columns), rows, data)

    @classmethod
    def matrix(cls, name: str, caption: str, data: pd.DataFrame, corner: str,
               cell: str) -> "Table":
        """A table whose first two columns of `data` name its rows and columns."""
        row, column = data.columns[:2]
        grid = data.assign(cell=told(data, cell)).pivot(index=row, columns=column, values="cell")
        grid = grid.reindex(data[row].unique())[data[column].unique()].fillna(DASH)
        return cls(name, caption, (corner, *grid), tuple(grid.itertuples(name=None)), data)

    def write(self, folder: Path) -> None:
        """`<name>.csv` in `folder`."""
        write_csv(folder / f"{self.name}.csv", self.data)

    def markdown(self, folder: str = "") -> str:
        """As a page of the book shows it, with a link to its CSV where that is in a `folder`.

        A cell that begins with a bracket is a link.
        """
        rule = ["--:" if numeric else ":--" for numeric in self._numeric()]
        rows = [[cell if cell.startswith("[") else markdown(cell) for cell in row]
                for row in self.rows]
        lines = [f"| {' | '.join(cells)} |" for cells in (map(markdown, self.header), rule, *rows)]
        link = f" [CSV]({folder}/{self.name}.csv)" if folder else ""
        return "\n".join([f"```{{table}} {markdown(self.caption)}{link}", *lines, "```"])

    def _numeric(self) -> list[bool]:
        """Which columns hold numbers, and are set to the right."""
        return [all(NUMERIC.match(row[column]) for row in self.rows)
                for column in range(len(self.header))]

    def _repr_html_(self) -> str:
        styles, rows = [NUMBER if n else TEXT for n in self._numeric()], self.rows[:MOST_ROWS]
        cut = f" Shown: the first {len(rows)} of {len(self.rows):,}." * (rows != self.rows)
        caption = escape(self.caption + cut)
        head, *body = ("<tr>" + "".join(f"<{tag}{style}>{escape(cell)}</{tag}>" for cell, style
                                        in zip(cells, styles, strict=True)) + "</tr>\n"
                       for tag, cells in (("th", self.header), *(("td", row) for row in rows)))
        html = (f'<table class="dataframe">\n<caption{TEXT}>{caption}</caption>\n'
                f"<thead>{head}</thead>\n<tbody>{''.join(body)}</tbody>\n</table>")
        if len(self.rows) <= ROWS_AT_ONCE:
            return html
        return ('<div style="max-height: 32em; overflow: auto" tabindex="0" role="region" '
                f'aria-label="{caption}">\n{html}\n</div>')  # scrolls, by keyboard too

    def __repr__(self) -> str:
        rows = pd.DataFrame(self.rows[:MOST_ROWS], columns=list(self.header)).to_string(index=False)
        return f"{self.caption}\n{rows}"


@dataclass(frozen=True)
class Theme:
    """Ink for one background."""

    name: str
    ink: str
    faint: str
    page: str


THEMES = (Theme("light", "#323232", "#d4d4d4", "#ffffff"),
          Theme("dark", "#ced6dd", "#48566b", "#121212"))
# For a notebook: colours that no figure uses, and what stands for them in its page.
PAGE = Theme("page", ink="#010203", faint="#010204", page="#010205")
FONT = "DejaVu Sans"  # measured with; matplotlib brings it
IN_PAGE = {PAGE.ink: "currentColor", PAGE.faint: "#80808060", PAGE.page: "none",
           f"'{FONT}', sans-serif": "inherit", f"'{FONT}'": "inherit"}


@dataclass(frozen=True)
class Points:
    """What a figure's points say: a template of the rows of `data`, which has a panel for each
    value of the column `panel`, and the columns `x` and `y`.
    """

    data: pd.DataFrame
    panel: str
    x: str
    y: str
    text: str

    def on(self, canvas: Canvas) -> list[tuple[float, float, str]]:
        """Left and top of each point in percent of the drawn canvas, and what it says."""
        panels, found = dict(zip(self.data[self.panel].unique(), canvas.axes, strict=True)), []
        for row, text in zip(self.data.to_dict("records"), told(self.data, self.text), strict=True):
            pixels = panels[row[self.panel]].transData.transform((row[self.x], row[self.y]))
            left, bottom = (100 * canvas.transFigure.inverted().transform(pixels)).round(2).tolist()
            found.append((left, round(100 - bottom, 2), text))
        return found


@dataclass(frozen=True)
class Figure:
    """`draw` makes the picture for a theme; caption and alt text come from the same numbers. The
    book shows what `points` say where the mouse or the focus is.
    """

    name: str
    caption: str
    alt: str
    data: pd.DataFrame
    draw: Callable[[Theme], Canvas]
    points: Points | None = None

    def write(self, folder: Path) -> None:
        """`<name>-light.svg`, `<name>-dark.svg` and `<name>.csv` in `folder`, and what the points
        say as `<name>-points.json`.
        """
        write_csv(folder / f"{self.name}.csv", self.data)
        for theme in THEMES:
            with ink(theme), written_aside(folder / f"{self.name}-{theme.name}.svg") as aside:
                canvas = self.draw(theme)
                canvas.savefig(aside, metadata={"Date": None, "Creator": "leanclips"})
        if self.points:
            write_text(folder / f"{self.name}-points.json",
                       json.dumps(self.points.on(canvas), ensure_ascii=False))

    def markdown(self, folder: str) -> str:
        """As a page of the book shows it, in both themes, its files being in `folder`."""
        path = f"{folder}/{self.name}"
        return (f"```{{themed-figure}} {path}\n:alt: {json.dumps(self.alt, ensure_ascii=False)}"
                f"\n\n{markdown(self.caption)} [Numbers (CSV)]({path}.csv)\n```")

    def _repr_html_(self) -> str:
        return (f'<figure style="margin: 0">\n{self._svg()}<figcaption style="color: inherit">'
                f'{escape(self.caption)}</figcaption>\n</figure>')

    def _svg(self) -> str:
        """An <svg> element to put into a page; equal figures give equal text."""
        out = io.StringIO()
        with ink(PAGE):
            mpl.rcParams.update({"svg.fonttype": "none", "font.sans-serif": [FONT]})
            self.draw(PAGE).savefig(out, format="svg", metadata={
                "Date": None, "Creator": None, "Format": None, "Type": None})
        drawn = out.getvalue()
        drawn = drawn[drawn.index("<svg"):].replace(STYLE, "")
        for drawn_as, in_page in IN_PAGE.items():
            drawn = drawn.replace(drawn_as, in_page)
        described = (f'<svg role="img" aria-label="{escape(self.alt)}" style="max-width: 100%; '
                     'height: auto; stroke-linejoin: round; stroke-linecap: butt"')
        return drawn.replace("<svg", described, 1)

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.alt}"


def introduce(study: Study, clips: Sequence[Clip]) -> Markdown:
    """The study's title, what it is about, and what to know about its numbers."""
    lines = (study.about, *warnings(study.synthetic is not None, pretraining_leaks(clips, study)))
    return Markdown("\n\n".join([f"**{markdown(study.title)}**", *map(markdown, lines)]))


def warnings(synthetic: bool, leaks: bool) -> list[str]:
    """What must stand wherever such numbers show."""
    return [SYNTHETIC] * synthetic + [LEAKS] * leaks


def colours(names: Sequence[str]) -> dict[str, tuple]:
    """A colour-blind safe colour for each name, by its place: the same in every figure."""
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def markers(names: Sequence[str]) -> dict[str, str]:
    """A marker for each name, so that colour is never the only difference."""
    return {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}


@contextmanager
def ink(theme: Theme):
    """Matplotlib's settings for one theme; fixed ids and outlined text give equal bytes."""
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    with mpl.rc_context():
        sns.set_theme(style="whitegrid", rc=dict.fromkeys(inked, theme.ink) | {
            "axes.edgecolor": theme.faint, "grid.color": theme.faint,
            "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9,
            "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.titleweight": "bold",
            "axes.titlelocation": "left", "grid.linewidth": 0.6, "axes.facecolor": "none",
            "figure.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
            "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "leanclips",
            "svg.fonttype": "path", "text.parse_math": False})
        yield


def panels(rows: int, columns: int, height: float, **options: object) -> tuple[Canvas, list[Axes]]:
    """An empty figure of the book's width and its axes, row by row."""
    canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False, **options)
    return canvas, list(axes.flat)


def percent_axis(axis: mpl.axis.Axis) -> None:
    """Fractions as percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def points_axis(axis: mpl.axis.Axis) -> None:
    """Fractions as percentage points with their sign."""
    axis.set_major_formatter(lambda value, _: "0" if abs(value) < 5e-4 else
                             f"{100 * value:+.3g}".replace("-", MINUS))


def legend_above(canvas: Canvas, ax: Axes, columns: int) -> None:
    """One legend for all panels, on top."""
    canvas.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=columns)
    if own := ax.get_legend():  # seaborn's
        own.remove()
