"""Parallel work over many clips, and its progress: a bar in a terminal, lines in a log file."""

import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import cv2
import psutil
from tqdm import tqdm

from leanclips.errors import StudyError

T, R = TypeVar("T"), TypeVar("R")
LEARN_FROM = 256
LEARN_FIRST = 8
SECONDS_BETWEEN_LINES = 10


def cores() -> int:
    """CPU cores that this process may use (all of them where the system does not say)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def description() -> dict[str, object]:
    """What a reader has to know of this computer to make sense of its times."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {"cores": cores(), "cpu": cpu, "system": platform.system()}


def run_all(function: Callable[[T], R], items: Sequence[T], jobs: int, what: str,
            load: Sequence[str] = ()) -> list[R]:
    """`[function(item) for item in items]` in `jobs` processes, in order, with progress.

    The first exception stops the work: no further item is started. Each worker process computes
    in one thread, because sums depend on how threads share them out; so the results do not
    depend on the number of workers. `load` names modules that take long to import: one process
    imports them, and the workers are its forks.
    """
    if not items:
        return []
    with _pool(jobs, len(items), load) as pool:
        return list(progress(pool.map(function, items), len(items), what))


def run_learning(function: Callable[[T, list], R], items: Sequence[T], jobs: int, what: str,
                 learn: Callable[[R], object], note: Callable[[R], str] | None = None
                 ) -> Iterator[R]:
    """Yield the results in order, like `run_all`; `function` also gets what `learn` takes from
    earlier ones.

    Those are of the items before `known_before`, at most LEARN_FROM of them: which ones does not
    depend on the number of workers. `note` gives the text beside the progress of a result.
    """
    def in_turn(pool: ProcessPoolExecutor) -> Iterator[R]:
        futures, learnt = [], []
        for index, item in enumerate(items):
            before = known_before(index)
            for future in futures[len(learnt):before]:
                learnt.append(learn(future.result()))
                yield future.result()
            known = learnt[max(before - LEARN_FROM, 0):before]
            futures.append(pool.submit(function, item, known))
        for future in futures[len(learnt):]:
            yield future.result()

    if items:
        with _pool(jobs, len(items)) as pool:
            yield from progress(in_turn(pool), len(items), what, note=note)


def known_before(index: int) -> int:
    """The items before this one are finished when item `index` begins.

    It is a quarter of the largest power of two up to `index`, and none for the first items. So
    workers wait only for items that were begun long before: 16 workers take 1.02 times as long for
    160 clips as if they never waited (tests/test_workers.py); learning from all but the last
    quarter, they took 1.54 times as long.
    """
    before = (1 << index.bit_length()) // 8
    return before if before >= LEARN_FIRST else 0


@contextmanager
def _pool(jobs: int, items: int, load: Sequence[str] = ()) -> Iterator[ProcessPoolExecutor]:
    end_if_imported_by_worker()
    context = multiprocessing.get_context("forkserver" if load else "spawn")
    if load:
        context.set_forkserver_preload(list(load))
    begun = context.Event()
    with ProcessPoolExecutor(min(jobs, items), mp_context=context, initializer=_begin,
                             initargs=(begun,)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            if not begun.is_set():
                raise StudyError("no worker process can start: each imports the script that was "
                                 "started", getattr(sys.modules["__main__"], "__file__", "-c"),
                                 "save it as a file, with all that it does below the line "
                                 "'if __name__ == \"__main__\":'") from None
            raise StudyError("a worker process was killed (is the memory full?)",
                             "leanclips", "start again with fewer --jobs") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def end_if_imported_by_worker() -> None:
    """End, without a word, a worker that does its script's work again for lack of a main guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing does
        sys.exit(1)  # `_pool` in its parent says what to do


def _begin(begun: Event) -> None:
    """Set up a worker: one OpenCV thread; it ends at Ctrl-C and when its parent ends."""
    begun.set()
    cv2.setNumThreads(1)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job
        signal.signal(signal.SIGINT, lambda *_: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    _end()


def _end() -> None:
    kill_children()
    os._exit(1)


def kill_children() -> None:
    """Kill all processes that this one has started, such as FFmpeg or a notebook's kernel."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def progress(items: Iterable[T], total: int, what: str, unit: str = "clips",
             note: Callable[[T], str] | None = None) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done, the rate and the time left.

    A terminal and a notebook get a bar, which goes from the notebook when the work is done; a log
    file gets lines. `note` gives the text to show beside that for each item.
    """
    cell = "ipykernel" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    lines = not (cell or sys.stderr.isatty())
    with tqdm(items, total=total, desc=what, unit=f" {unit}", leave=not cell, disable=lines,
              file=sys.stdout if cell else sys.stderr) as bar:  # a cell shows stderr as a failure
        start = last = time.monotonic()
        for done, item in enumerate(bar, 1):
            yield item
            text, now = note(item) if note else "", time.monotonic()
            bar.set_postfix_str(text, refresh=False)
            if lines and (done == total or now - last >= SECONDS_BETWEEN_LINES):
                last, rate = now, done / max(now - start, 1e-9)
                print(f"{what}: {done}/{total} {unit}, {rate:.1f}/s, {(total - done) / rate:.0f} s "
                      f"left{', ' * bool(text)}{text}", file=sys.stderr, flush=True)
