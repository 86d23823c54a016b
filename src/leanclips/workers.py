"""The same function over many clips, in several processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TypeVar

import cv2
import psutil

from leanclips.errors import StudyError
from leanclips.progress import progress

T, R = TypeVar("T"), TypeVar("R")
LEARN_FROM = 256
LAG = 8
AHEAD = 4


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(function: Callable[[T], R], items: Sequence[T], jobs: int, what: str) -> list[R]:
    """`[function(item) for item in items]` in `jobs` processes, in order, with progress.

    The first exception stops the work: what has not begun is not started. Each worker is one
    process with one thread of arithmetic (sums depend on how threads share them out), so the
    results are the same whatever the number of workers.
    """
    if not items:
        return []
    with _pool(jobs, len(items)) as pool:
        return list(progress(pool.map(function, items), len(items), what))


def run_each(function: Callable[[T], R], items: Sequence[T], jobs: int, what: str) -> Iterator[R]:
    """Like `run_all`, result by result, no more than a few of them ahead of who takes them."""
    def in_turn(pool: ProcessPoolExecutor) -> Iterator[R]:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    if items:
        with _pool(jobs, len(items)) as pool:
            yield from progress(in_turn(pool), len(items), what)


def run_learning(function: Callable[[T, list], R], items: Sequence[T], jobs: int, what: str,
                 learn: Callable[[R], object], note: Callable[[R], str] | None = None) -> list[R]:
    """Like `run_all`, but `function` also gets what `learn` tells of earlier results.

    Those are the results of all items but the latest quarter, or the latest LAG, before this
    one, at most LEARN_FROM of them: which they are does not depend on the number of workers.
    More than LAG workers wait a little at the beginning. `note` says of each result what the
    progress shows beside it.
    """
    results: list[R] = []

    def in_turn(pool: ProcessPoolExecutor) -> Iterator[R]:
        futures = []
        for index, item in enumerate(items):
            known_before = max(index - max(LAG, index // 4), 0)
            while len(results) < known_before:
                results.append(futures[len(results)].result())
                yield results[-1]
            known = results[max(known_before - LEARN_FROM, 0):known_before]
            futures.append(pool.submit(function, item, [learn(result) for result in known]))
        for future in futures[len(results):]:
            results.append(future.result())
            yield results[-1]

    if items:
        with _pool(jobs, len(items)) as pool:
            for _ in progress(in_turn(pool), len(items), what, note=note):
                pass
    return results


@contextmanager
def _pool(jobs: int, items: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, items), mp_context=context, initializer=_begin) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise StudyError("a worker process was ended from outside (is the memory full?)",
                             "leanclips", "start again with fewer --jobs") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin() -> None:
    """A worker has one thread of arithmetic, and ends at Ctrl-C or with its parent, however that
    ends.
    """
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
    """End whatever this process has started: an FFmpeg at work, a notebook's kernel."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
