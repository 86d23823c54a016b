"""Numbers and names as text: one place, so that prose, tables and captions agree.

A number that is missing stops the book (ValueError) instead of printing "nan"; a cell of a table
(`fill`) shows a dash for it.
"""

import math
from collections.abc import Callable, Mapping
from string import Formatter

import pandas as pd

from leanclips.records import IN_ORDER
from leanclips.study import CRNN, LINEAR, OWN, TEMPORAL

MINUS, DASH = "\u2212", "\u2013"
# As in a sentence: classifiers, their inputs, and what they are tested on.
NAMES = {LINEAR: "linear classifier", TEMPORAL: "temporal classifier", CRNN: "CRNN",
         IN_ORDER: "frames in order", "shuffled": "frames shuffled", "middle": "middle frame",
         "mean": "mean frame", OWN: "own kind"}
# A row of comparisons: the difference and its 90% interval, in points.
CHANGE = "{difference:points} ({low90:points} to {high90:points})"


def known(value: float) -> float:
    """`value`, if it is a number."""
    if value is None or not math.isfinite(value):
        raise ValueError(f"a number is missing (got {value})")
    return value


def _fixed(value: float, digits: int) -> str:
    """With a true minus sign, and none before a zero."""
    return f"{value:z.{digits}f}".replace("-", MINUS)


def percent(share: float, digits: int = 1) -> str:
    """0.654 as 65.4%."""
    return _fixed(100 * known(share), digits) + "%"


def points(difference: float) -> str:
    """-0.012 as −1.2 (percentage points, always with its sign unless it rounds to zero)."""
    text = _fixed(100 * known(difference), 1)
    return text if text.startswith(MINUS) or text == "0.0" else f"+{text}"


def change(difference: float, low90: float, high90: float) -> str:
    """A difference, and its interval where it has one."""
    interval = "" if pd.isna(low90) else f" (90% interval {points(low90)} to {points(high90)})"
    return f"{points(difference)} points{interval}"


def within(margin: float) -> str:
    """0.05 as 5 (points, without a sign)."""
    return f"{100 * known(margin):g}"


def megabytes(size: float) -> str:
    """Bytes in GB, MB or kB, to three figures."""
    size = known(size)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{size:.0f} bytes"


def duration(seconds: float) -> str:
    """12.3 as 12 s, 600 as 10 min, 7260 as 2 h 01 min."""
    seconds = known(seconds)
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def thousands(count: float) -> str:
    """12345 as 12,345."""
    return f"{round(known(count)):,}"


def about(count: float) -> str:
    """8803 as 8,800: two figures, for estimates."""
    return thousands(float(f"{known(count):.2g}"))


def several(count: int, one: str, more: str | None = None) -> str:
    """1 clip, 2 clips."""
    return f"{thousands(count)} {one if count == 1 else more or one + 's'}"


def listing(items: list[str]) -> str:
    """a, b and c."""
    return "".join(items) if len(items) < 2 else ", ".join(items[:-1]) + " and " + items[-1]


def in_words(name: str) -> str:
    """A name of the records as a sentence has it."""
    return NAMES.get(name, name)


def heading(name: str) -> str:
    """A name as at the start of a sentence or over a column."""
    return in_words(name)[:1].upper() + in_words(name)[1:]


FORMATS: dict[str, Callable[[float], str]] = {
    "count": thousands, "duration": duration, "percent": percent, "points": points,
    "size": megabytes, "words": in_words, "heading": heading,
    "width": lambda share: points(share).lstrip("+")}


def fill(template: str, row: Mapping[str, object]) -> str:
    """The template with the row's values in its fields, in one of FORMATS or of Python's own
    formats; a dash if one of them is missing.
    """
    text = ""
    for before, name, spec, _ in Formatter().parse(template):
        text += before
        if name:
            if pd.isna(row[name]):
                return DASH
            text += FORMATS[spec](row[name]) if spec in FORMATS else format(row[name], spec)
    return text


def told(rows: pd.DataFrame, template: str) -> list[str]:
    """The template filled with each row."""
    return [fill(template, row) for row in rows.to_dict("records")]
