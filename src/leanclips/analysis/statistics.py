"""Spread, intervals and the verdict: arithmetic on arrays, no files.

Accuracies and differences are fractions of clips (0.05 = 5 points).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
RANDOM_SEED = 20_260_101
# All of so many recordings differ the same way by chance in 2 x 2^-n: one time in twenty takes six
# (the sign test).
FEWEST_TO_DIFFER = 6


class Verdict(StrEnum):
    """What the intervals allow to say about a difference."""

    EQUIVALENT = "equivalent"
    WORSE = "worse"
    BETTER = "better"
    UNDECIDED = "undecided"
    FEW = "too few recordings"
    ONE_SEED = "one seed"


@dataclass(frozen=True)
class Spread:
    """Least, mean and greatest of some values, as the case study reports them."""

    least: float
    mean: float
    greatest: float


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and clips with its 90% and 95% bootstrap intervals, and what it rests
    on.
    """

    value: float
    within90: Interval
    within95: Interval
    seeds: int
    recordings: int


def spread(values: Sequence[float]) -> Spread:
    """Minimum, mean and maximum. An empty sequence has none: ValueError."""
    array = np.asarray(values, dtype=float)
    return Spread(float(array.min()), float(array.mean()), float(array.max()))


def estimate(scores: np.ndarray, groups: Sequence[str], resamples: int = RESAMPLES) -> Estimate:
    """Mean of `scores` of shape (seeds, clips) and how far it might be off.

    Seeds and recordings are two crossed sources of chance, so both are drawn again with
    replacement, independently ("pigeonhole bootstrap": Owen 2007, Annals of Applied
    Statistics 1(2), doi 10.1214/07-AOAS122). Clips of one recording
    (`groups`, one name per clip) are drawn together: they are not independent. The intervals
    are percentile intervals (Efron & Tibshirani 1993, chapter 13). For a paired difference
    give `variant - source`, the same seeds and clips on both sides: what a split or a hard
    clip adds to both cancels (Bouthillier et al. 2021, arXiv 2103.03098). A handful of seeds or
    recordings makes the intervals too narrow. Same input, same numbers.

    >>> estimate(np.zeros((3, 4)), "abcd", resamples=10).within90
    Interval(low=0.0, high=0.0)
    """
    scores = np.asarray(scores, dtype=float)
    seeds, clips = scores.shape
    if clips != len(groups):
        raise ValueError(f"{clips} clips but {len(groups)} group names")
    members = np.unique(list(groups), return_inverse=True)[1]
    recordings = members.max() + 1
    by_group = np.zeros((seeds, recordings))
    np.add.at(by_group.T, members, scores.T)
    sizes = np.bincount(members)
    rng = np.random.default_rng(RANDOM_SEED)
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    group_counts = rng.multinomial(recordings, np.full(recordings, 1 / recordings),
                                   size=resamples)
    sums = ((seed_counts @ by_group) * group_counts).sum(axis=1)
    means = sums / (seeds * (group_counts @ sizes))
    low95, low90, high90, high95 = (float(q) for q in
                                    np.quantile(means, [0.025, 0.05, 0.95, 0.975]))
    return Estimate(float(scores.mean()), Interval(low90, high90), Interval(low95, high95),
                    seeds, int(recordings))


def least_margin(recordings: int) -> float:
    """The share of recordings that may be lost unseen: with a twentieth chance, none of so many.

    1 - 0.05^(1/n), the 95% bound of a zero numerator, about 3/n (Hanley & Lippman-Hand 1983,
    JAMA 249(13), doi 10.1001/jama.1983.03330370053031).

    >>> round(least_margin(27), 3)
    0.105
    """
    return float(1 - 0.05 ** (1 / recordings))


def recordings_needed(margin: float) -> int:
    """The fewest recordings that can show equivalence within `margin` (see `least_margin`).

    >>> recordings_needed(0.05)
    59
    """
    return int(np.ceil(np.log(0.05) / np.log(1 - margin)))


def verdict(difference: Estimate, margin: float) -> Verdict:
    """What may be said of a paired difference, given the margin that was fixed beforehand.

    `equivalent`: both one-sided tests at 5% reject a difference of `margin` or more, which
    is the same as the 90% interval lying inside ±margin (Schuirmann 1987, doi
    10.1007/BF01068419). Resampling knows nothing of recordings that were not drawn, so a loss
    that falls on few of them goes unseen where too few were: below `recordings_needed(margin)`
    it is `too few recordings` instead. Else `worse` or `better`: the 95% interval leaves out
    zero, over `FEWEST_TO_DIFFER` recordings or more. Else `undecided`: too few clips or seeds to
    say either. A single seed's intervals know nothing of how seeds differ, so it has no verdict.
    """
    if difference.seeds == 1:
        return Verdict.ONE_SEED
    if -margin < difference.within90.low and difference.within90.high < margin:
        enough = difference.recordings >= recordings_needed(margin)
        return Verdict.EQUIVALENT if enough else Verdict.FEW
    if difference.recordings < FEWEST_TO_DIFFER:
        return Verdict.UNDECIDED
    if difference.within95.high < 0:
        return Verdict.WORSE
    if difference.within95.low > 0:
        return Verdict.BETTER
    return Verdict.UNDECIDED


def standard_error(accuracy: float, clips: int) -> float:
    """Standard error of an accuracy measured once on `clips` clips: sqrt(p (1 - p) / n).

    >>> round(standard_error(0.65, 36), 3)
    0.079
    """
    return float(np.sqrt(accuracy * (1 - accuracy) / clips))


def wilson(correct: float, clips: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for `correct` of `clips` (Wilson 1927, JASA 22, 209-212)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = correct / clips
    centre = (share + z**2 / (2 * clips)) / (1 + z**2 / clips)
    half = z / (1 + z**2 / clips) * np.sqrt(share * (1 - share) / clips
                                            + z**2 / (4 * clips**2))
    return Interval(float(centre - half), float(centre + half))


def clips_per_arm(accuracy: float, difference: float, power: float = 0.8) -> int:
    """Clips in each of two unpaired groups needed to see `difference` at 5%, two-sided.

    The usual normal approximation for two proportions (Fleiss, Levin & Paik 2003, chapter 4).

    >>> clips_per_arm(0.65, 0.02)
    8803
    """
    normal = NormalDist()
    z = normal.inv_cdf(0.975) + normal.inv_cdf(power)
    other = accuracy + difference
    variance = accuracy * (1 - accuracy) + other * (1 - other)
    return int(np.ceil(z**2 * variance / difference**2))
