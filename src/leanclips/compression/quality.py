"""Perceptual quality of a re-encoded clip: a score per frame, and that of the worst second."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from leanclips.compression.ffmpeg import PERFECT_DB, compare
from leanclips.errors import ClipError

WINDOW_SECONDS, WINDOW_FRAMES = 1.0, 8  # the least
MOST_ZONES = 2000  # they have to fit on a command line
PERCENTILE = 10
# VMAF ignores colour, and so does v1, though it has features of chroma: five J-HMDB clips without
# any score 99.0 or more by it. Camera video at VMAF NEG 93 has 44 dB or more in its worse chroma
# plane (38 J-HMDB clips); below 34 dB, colours are lost without a change of the score.
CHROMA_DB = 34.0
CHROMA_DB_PER_CRF = 0.45


def logit(percent: float) -> float:
    """log(p / (100 - p)), with the ends of the scale kept finite."""
    share = min(max(percent / 100, 1e-4), 1 - 1e-4)
    return log(share / (1 - share))


@dataclass(frozen=True)
class Metric:
    """A measure of quality: `straight` makes it nearly linear in CRF, falling by `per_crf`."""

    target: float
    tolerance: float  # a delivered clip lies in [target, target + tolerance]
    highest: float
    straight: Callable[[float], float]
    per_crf: float
    largest: float  # no target is above it, where the scale saturates

    def headroom(self, score: float, target: float) -> float:
        """About how many CRF `score` is above `target`; negative if it misses the target."""
        return (self.straight(score) - self.straight(target)) / self.per_crf


METRICS = {
    # logit(VMAF NEG) over CRF: R² ≥ 0.993 on seven segments.
    "vmaf": Metric(93, 0.5, 100, logit, 0.128, 99.9),
    # VMAF v1 at 96 is NEG 93 (95.9 on 12 J-HMDB clips, standard deviation 0.6): R² ≥ 0.985.
    "vmaf1": Metric(96, 0.3, 100, logit, 0.132, 99.9),
    "ssim": Metric(0.98, 0.001, 1, lambda ssim: -log(max(1 - ssim, 1e-6)), 0.11, 0.9999),
    "xpsnr": Metric(40, 0.25, PERFECT_DB, lambda decibels: decibels, 0.55, 59),
}


@dataclass(frozen=True)
class Goal:
    """What a delivered clip has to hold: `target` on the scale of `metric`, in every window."""

    target: float = METRICS["vmaf"].target
    metric: str = "vmaf"
    height: int | None = None  # of the display that the score is for, in pixels; None: the clip's
    drift: float | None = None  # largest allowed cosine distance of its features from the source's
    share: float = 0.95  # of the source's bytes, at most; else the source is kept

    @property
    def mark(self) -> str:
        """The tag `leanclips` of a file that is made for it."""
        return f"{self.metric} {self.target:g}" + (f" at {self.height} lines" if self.height
                                                   else "")

    @property
    def tolerance(self) -> float:
        """In CRF: how far a delivered clip may be above the target."""
        metric = METRICS[self.metric]
        return metric.headroom(min(self.target + metric.tolerance, metric.highest), self.target)

    @property
    def chroma(self) -> float:
        """The least PSNR of either chroma plane, in dB; it moves with the target, CRF for CRF."""
        metric = METRICS[self.metric]
        return CHROMA_DB + CHROMA_DB_PER_CRF * metric.headroom(self.target, metric.target)


@dataclass(frozen=True)
class Quality:
    """Scores on the goal's metric. That of a second is its frames' 10th percentile."""

    worst: float  # the least score of a second, wherever it begins
    mean: float  # of all frames
    chroma: float = PERFECT_DB  # of the worse plane, as PSNR in dB: the least of a second
    zones: tuple[float, ...] = ()  # of each zone, its worst second's
    headroom: tuple[float, ...] = ()  # about how many CRF above the goal; below it: negative


@dataclass(frozen=True)
class Timeline:
    """A clip's frames in time."""

    zones: tuple[slice, ...]  # of frames, each of which may have a CRF of its own
    seconds: np.ndarray  # every one's first frame and the frame after its last, (seconds, 2)

    @property
    def frames(self) -> int:
        return self.zones[-1].stop


def timeline(times: Sequence[float], cuts: Sequence[int] = ()) -> Timeline:
    """The timeline of frames at `times`, in seconds, where scenes begin with the frames `cuts`.

    A zone lies within a scene and lasts at least a second and 8 frames, less than twice that; a
    shorter scene joins a neighbour. A clip of over half an hour has longer zones, at most 2,000.
    A second begins at each frame and holds at least 8; the last one ends with the clip.
    """
    ends = np.array([*times, times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)])
    seconds = max(WINDOW_SECONDS, (times[-1] - times[0]) / MOST_ZONES)

    def lasts(first: int, end: int) -> bool:
        return ends[end] - ends[first] >= seconds - 1e-6 and end - first >= WINDOW_FRAMES

    def parted(first: int, end: int, frames: Iterable[int]) -> list[slice]:
        starts = [first]
        for frame in frames:
            if lasts(starts[-1], frame) and lasts(frame, end):
                starts.append(frame)
        return [slice(a, b) for a, b in pairwise([*starts, end])]

    zones = [part for scene in parted(0, len(times), cuts)
             for part in parted(scene.start, scene.stop, range(scene.start + 1, scene.stop))]
    first = np.arange(len(times))
    end = np.maximum(np.searchsorted(ends, ends[:-1] + WINDOW_SECONDS - 1e-6),
                     first + WINDOW_FRAMES)
    whole = end <= len(times)
    return Timeline(tuple(zones), np.column_stack([first, end])[whole] if whole.any()
                    else np.array([[0, len(times)]]))


def measure(distorted: Path, reference: Path, times: Timeline, goal: Goal) -> Quality:
    """Quality of `distorted` against `reference` in each second.

    ClipError if not every frame was compared, StudyError if one of them cannot be decoded.
    """
    scores, chroma, *_ = compare(distorted, reference, goal.metric, goal.height)
    if len(scores) != times.frames:
        raise ClipError(f"{len(scores)} of {times.frames} frames could be compared", distorted,
                        "check that the clip plays")
    return judge(scores, chroma, times, goal)


def judge(scores: np.ndarray, chroma: np.ndarray, times: Timeline, goal: Goal) -> Quality:
    """The quality of a clip from its frames' scores and chroma PSNR in dB, (frames,) each."""
    metric = METRICS[goal.metric]
    worst, colour = (_worst_of_zones(values, times) for values in (scores, chroma))
    headroom = tuple(min(metric.headroom(score, goal.target),
                         (decibels - goal.chroma) / CHROMA_DB_PER_CRF)
                     for score, decibels in zip(worst, colour, strict=True))
    return Quality(round(min(worst), 4), round(float(scores.mean()), 4), round(min(colour), 2),
                   tuple(round(score, 4) for score in worst), headroom)


def _worst_of_zones(values: np.ndarray, times: Timeline) -> list[float]:
    """The value of the worst second of each zone: the 10th percentile of its frames' values."""
    first, end = times.seconds.T
    found = np.empty(len(first))
    for length in np.unique(end - first):
        chosen = end - first == length
        frames = sliding_window_view(values, length)[first[chosen]]
        found[chosen] = np.percentile(frames, PERCENTILE, axis=1)
    starts = np.array([zone.start for zone in times.zones])
    zone, later = (np.searchsorted(starts, frame, side="right") - 1 for frame in (first, end - 1))
    border, sums = starts[later], np.concatenate([[0.0], np.cumsum(values)])
    two = later > zone
    with np.errstate(invalid="ignore", divide="ignore"):
        before = (sums[border] - sums[first]) / (border - first)
        after = (sums[end] - sums[border]) / (end - border)
    # A second that spans two zones counts for the one that is worse within it.
    zone = np.where(two & (after < before), later, zone)
    return [float(found[zone == n].min()) for n in range(len(starts))]
