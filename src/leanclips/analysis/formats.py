"""Numbers as the book prints them: one place, so that prose, tables and captions agree.

A number that is not there stops the book (ValueError) instead of printing "nan"; where it may be
missing, `number` shows a dash.
"""

import math

import pandas as pd

from leanclips.analysis.statistics import Estimate, Interval, Spread

MINUS = "\u2212"
CLASSIFIER_NAMES = {"crnn": "CRNN", "linear": "linear classifier"}


def known(value: float) -> float:
    """`value`, if it is a number."""
    if value is None or not math.isfinite(value):
        raise ValueError(f"a number is missing (got {value})")
    return value


def _signless(text: str) -> str:
    """No minus sign before a zero."""
    return text if any(digit in text for digit in "123456789") else text.lstrip("-")


def percent(share: float, digits: int = 1) -> str:
    """0.654 as 65.4%."""
    return _signless(f"{100 * known(share):.{digits}f}").replace("-", MINUS) + "%"


def number(value: float, digits: int) -> str:
    """2.5 as 2.50; a dash where nothing was measured."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def points(difference: float, digits: int = 1) -> str:
    """-0.012 as −1.2 (percentage points, always with its sign unless it rounds to zero)."""
    text = _signless(f"{100 * known(difference):.{digits}f}")
    signed = text if text.startswith("-") or not any(c in text for c in "123456789") else "+" + text
    return signed.replace("-", MINUS)


def within(margin: float) -> str:
    """0.05 as 5 (points, without a sign)."""
    return f"{100 * known(margin):g}"


def width(distance: float) -> str:
    """0.183 as 18.3 (points, without a sign)."""
    return points(distance).lstrip("+")


def interval(between: Interval) -> str:
    """An interval of differences, in points."""
    return f"{points(between.low)} to {points(between.high)}"


def change(difference: Estimate) -> str:
    """A difference and its 90% interval, in points."""
    return f"{points(difference.value)} ({interval(difference.within90)})"


def spread(values: Spread, digits: int = 0) -> str:
    """min / mean / max, as the case study prints them."""
    shown = (values.least, values.mean, values.greatest)
    return " / ".join(percent(value, digits) for value in shown)


def megabytes(size: float) -> str:
    """Bytes as MB (10^6), to three figures, or kB below one."""
    size = known(size)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{size:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
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


def classifier_name(name: str) -> str:
    """As in a sentence."""
    return CLASSIFIER_NAMES.get(name, name)


def capitalized(text: str) -> str:
    """As at the start of one."""
    return text[:1].upper() + text[1:]
