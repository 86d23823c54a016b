"""Progress of long work: a bar for a person, plain lines for a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10


def progress(items: Iterable[T], total: int, what: str, unit: str = "clips") -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done, the rate and the time left."""
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        yield from tqdm(items, total=total, desc=what, unit=f" {unit}")
    else:
        yield from _lines(items, total, what, unit)


def _lines(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if done == total or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate
            print(f"{what}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left",
                  file=sys.stderr, flush=True)
