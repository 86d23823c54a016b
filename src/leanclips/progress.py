"""Progress of long work: a bar for a person, plain lines for a log file."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10
SECONDS_BETWEEN_BARS = 0.5


def progress(items: Iterable[T], total: int, what: str, unit: str = "clips",
             note: Callable[[T], str] | None = None) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done, the rate and the time left.

    `note` says of each item what to show beside that.
    """
    if _in_notebook():
        yield from _in_cell(items, total, what, unit)
    elif sys.stderr.isatty():
        with tqdm(items, total=total, desc=what, unit=f" {unit}") as bar:
            for item in bar:
                yield item
                if note:
                    bar.set_postfix_str(note(item))
    else:
        yield from _lines(items, total, what, unit, note)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return get_ipython() is not None


def _in_cell(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """A bar below the cell, gone when the work is done: an executed notebook keeps none of it.

    Plain text: tqdm's own notebook bar is a widget, which only its kernel can show.
    """
    from IPython.display import clear_output

    start, last = time.monotonic(), 0.0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_BARS:
            last = now
            clear_output(wait=True)
            print(tqdm.format_meter(done, total, now - start, ncols=80, prefix=what,
                                    unit=f" {unit}"), flush=True)
    clear_output()


def _lines(items: Iterable[T], total: int, what: str, unit: str,
           note: Callable[[T], str] | None) -> Iterator[T]:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        noted = f", {note(item)}" if note else ""
        now = time.monotonic()
        if done == total or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate
            print(f"{what}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left{noted}",
                  file=sys.stderr, flush=True)
