"""Tables and figures as a notebook shows them, in the ink of whatever page they stand on."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
import pandas as pd

from leanclips.analysis.style import Figure, Theme, ink
from leanclips.analysis.tables import Table
from leanclips.clips import Clip
from leanclips.leaks import LEAKS, pretraining_leaks
from leanclips.study import Study

SYNTHETIC = ("Synthetic clips: rendered figures, not camera video. The numbers show that the "
             "study runs, not how real video behaves.")
ROWS_AT_ONCE = 24
TEXT = ' style="text-align: left; padding: 0.2em 0.6em"'
NUMBER = ' style="text-align: right; padding: 0.2em 0.6em; white-space: nowrap"'
STYLE = '<style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>'

# Colours that no figure uses, and what stands for them in the page: its own text colour and
# font, so that one drawing reads in JupyterLab and in the book, on white and on dark.
PAGE = Theme("page", ink="#010203", faint="#010204", page="#010205")
FONT = "DejaVu Sans"  # measured with; matplotlib brings it
IN_PAGE = {PAGE.ink: "currentColor", PAGE.faint: "#80808060", PAGE.page: "none",
           f"'{FONT}', sans-serif": "inherit", f"'{FONT}'": "inherit"}


@dataclass(frozen=True)
class Shown:
    """What a cell's last line displays: HTML, or plain text where there is none."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def introduce(study: Study, clips: Sequence[Clip]) -> Shown:
    """The study's title and what it is about, with what to beware of in its numbers."""
    about = " ".join(study.about.split())
    warnings = [SYNTHETIC] * (study.synthetic is not None)
    warnings += [LEAKS] * pretraining_leaks(clips, study)
    lines = [line for line in (study.title, about, *warnings) if line]
    title, *others = map(escape, lines)
    html = f"<p><strong>{title}</strong></p>" + "".join(f"<p>{line}</p>" for line in others)
    return Shown(html, "\n".join(lines))


def show(item: Table | Figure) -> Shown:
    """A table or a figure with its caption."""
    return _table(item) if isinstance(item, Table) else _figure(item)


def _table(table: Table) -> Shown:
    text = [not all(_is_number(row[column]) for row in table.rows)
            for column in range(len(table.header))]
    body = "\n".join(_row("td", row, text) for row in table.rows)
    caption = escape(table.caption)
    html = (f'<table class="dataframe">\n<caption{TEXT}>{caption}</caption>\n<thead>'
            f'{_row("th", table.header, text)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>')
    if len(table.rows) > ROWS_AT_ONCE:  # It scrolls in itself, and by keyboard.
        html = (f'<div style="max-height: 32em; overflow: auto" tabindex="0" role="region" '
                f'aria-label="{caption}">\n{html}\n</div>')
    plain = pd.DataFrame(table.rows, columns=list(table.header)).to_string(index=False)
    return Shown(html, f"{table.caption}\n{plain}")


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in ("+", "−", "–", "?")


def _row(tag: str, cells: tuple[str, ...], text: list[bool]) -> str:
    return "<tr>" + "".join(f"<{tag}{TEXT if is_text else NUMBER}>{escape(cell)}</{tag}>"
                            for cell, is_text in zip(cells, text, strict=True)) + "</tr>"


def _figure(figure: Figure) -> Shown:
    html = (f'<figure style="margin: 0">\n{svg(figure)}'
            f'<figcaption style="color: inherit">{escape(figure.caption)}</figcaption>\n</figure>')
    return Shown(html, f"{figure.caption}\n{figure.alt}")


def svg(figure: Figure) -> str:
    """The figure as an <svg> element to put into a page; equal figures give equal text."""
    out = io.StringIO()
    with ink(PAGE):
        mpl.rcParams.update({"svg.fonttype": "none", "font.sans-serif": [FONT]})
        figure.draw(PAGE).savefig(out, format="svg", metadata={
            "Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg"):].replace(STYLE, "")  # its rules would reach the whole page
    for drawn_as, in_page in IN_PAGE.items():
        drawn = drawn.replace(drawn_as, in_page)
    described = (f'<svg role="img" aria-label="{escape(figure.alt)}" style="max-width: 100%; '
                 'height: auto; stroke-linejoin: round; stroke-linecap: butt"')
    return drawn.replace("<svg", described, 1)
