"""What optimizing a tree would come to, from samples of a few of its clips; nothing is written."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from leanclips.compression.batch import ClipJob, make
from leanclips.compression.ffmpeg import Encoding, cut
from leanclips.compression.inspect import inspect, probe
from leanclips.compression.optimize import Drift
from leanclips.compression.quality import Goal
from leanclips.compression.tree import in_playlists, is_video, ready
from leanclips.errors import ClipError
from leanclips.workers import run_all

MOST_CLIPS = 5
SAMPLE_SECONDS = 10.0


@dataclass(frozen=True)
class Forecast:
    """What is expected of a clip."""

    file: str
    bytes_in: int
    bytes_out: int
    crf: float | None  # None where the original would be kept
    seconds: float  # of work, on one core
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is expected of some clips, and of the whole tree by the bytes of its videos."""

    clips: tuple[Forecast, ...]
    videos: int  # how many the tree holds
    bytes_in: int  # of all files
    bytes_out: int
    seconds: float  # with the given number of jobs


def plan(source: Path, destination: Path, goal: Goal, jobs: int, encoding: Encoding = Encoding(),
         drift: Drift | None = None, *, keep_names: bool = False, again: bool = False) -> Plan:
    """What `optimize_tree` with the same arguments is expected to do, from videos that are evenly
    spread over the tree. StudyError where that raises it before it writes anything.
    """
    tree, _, encoding = ready(source, destination, goal, encoding, keep_names)
    segments = in_playlists(tree.files)
    sizes = {file: file.stat().st_size for file in tree.files}
    videos = [file for file in tree.files if is_video(file) and file not in segments]
    root, how = source if source.is_dir() else source.parent, ("optimize", goal, encoding)
    clips = run_all(partial(forecast, root=root, how=(*how, *["again"] * again), drift=drift),
                    videos[::max(ceil(len(videos) / MOST_CLIPS), 1)], jobs, "plan")
    seen = sum(clip.bytes_in for clip in clips)
    times = sum(map(sizes.get, videos)) / max(seen, 1)
    saved = times * (seen - sum(clip.bytes_out for clip in clips))
    return Plan(tuple(clips), len(videos), sum(sizes.values()), round(sum(sizes.values()) - saved),
                times * sum(clip.seconds for clip in clips) / max(min(jobs, len(videos)), 1))


def forecast(file: Path, root: Path, how: tuple, drift: Drift | None) -> Forecast:
    """Optimize a sample of the clip, and take the whole for as many times as much."""
    size = file.stat().st_size
    with TemporaryDirectory(prefix="leanclips-") as name:
        folder = Path(name)
        sample, times = _sample(file, folder)
        begun = time.monotonic()
        outcome = make(ClipJob(sample, folder / "out" / file.name, folder / "record.json", how,
                               drift, lenient=True)).outcome
        return Forecast(file.relative_to(root).as_posix(), size,
                        round(size * outcome.bytes_out / max(outcome.bytes_in, 1)), outcome.crf,
                        round(times * (time.monotonic() - begun), 2), str(outcome.reason))


def _sample(file: Path, folder: Path) -> tuple[Path, float]:
    """A part of the clip, and how many times as long the clip is: its middle; its start, where a
    keyframe in the middle does not suffice to decode what follows; the whole of a short clip.
    """
    with suppress(ClipError):
        long, sample = probe(file).seconds, folder / f"sample{file.suffix}"
        for start in (long / 2 - SAMPLE_SECONDS / 2, 0) if long > 1.5 * SAMPLE_SECONDS else ():
            with suppress(ClipError):
                cut(file, sample, start, SAMPLE_SECONDS)
                return sample, long / inspect(sample).seconds
    return file, 1.0
