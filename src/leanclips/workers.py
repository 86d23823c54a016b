"""The same function over many clips, in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import cv2

from leanclips.progress import progress

T, R = TypeVar("T"), TypeVar("R")


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
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(items))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            return list(progress(pool.map(function, items), len(items), what))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin() -> None:
    """A worker has one thread of arithmetic, and ends with its parent, however that ends.

    Ctrl-C is the parent's affair: it reaches the whole process group.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
