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
# That n recordings all differ the same way by chance has the probability 2 x 2^-n: below 5% from
# six on (the sign test).
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
class Estimate:
    """A mean over seeds and clips with its 90% and 95% bootstrap intervals."""

    value: float
    low90: float
    high90: float
    low95: float
    high95: float
    seeds: int
    recordings: int


def estimate(scores: np.ndarray, groups: Sequence[str], resamples: int = RESAMPLES) -> Estimate:
    """Mean of `scores` of shape (seeds, clips) and how far it might be off.

    Seeds and recordings are two crossed sources of chance, so both are drawn again with
    replacement, independently ("pigeonhole bootstrap": Owen 2007, doi 10.1214/07-AOAS122). Clips
    of one recording (`groups`, one name per clip) are drawn together: they are not independent.
    The intervals are percentile intervals (Efron & Tibshirani 1993, chapter 13), too narrow for a
    handful of seeds or recordings. For a paired difference give `variant - source`: what is hard
    on both sides cancels (Bouthillier et al. 2021, arXiv 2103.03098). Same input, same numbers.

    >>> estimate(np.zeros((3, 4)), "abcd", resamples=10).high90
    0.0
    """
    scores = np.asarray(scores, dtype=float)
    seeds = len(scores)
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
    return Estimate(float(scores.mean()), *np.quantile(means, [0.05, 0.95, 0.025, 0.975]).tolist(),
                    seeds, int(recordings))


def least_margin(recordings: int) -> float:
    """A loss that hits this share of all recordings hits none of so many one time in twenty.

    1 - 0.05^(1/n), the 95% bound of a zero numerator, about 3/n (Hanley & Lippman-Hand 1983, doi
    10.1001/jama.1983.03330370053031).

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

    `equivalent`: the 90% interval lies inside ±margin, so both one-sided tests at 5% reject a
    difference of `margin` or more (Schuirmann 1987, doi 10.1007/BF01068419). Resampling does not
    show a loss that falls on recordings that were not drawn, so below `recordings_needed(margin)`
    it is `too few recordings` instead. Else `worse` or `better`: the 95% interval leaves out zero,
    over `FEWEST_TO_DIFFER` recordings or more. Else `undecided`. A single seed has no verdict, for
    its intervals do not show how seeds differ.
    """
    if difference.seeds == 1:
        return Verdict.ONE_SEED
    if -margin < difference.low90 and difference.high90 < margin:
        enough = difference.recordings >= recordings_needed(margin)
        return Verdict.EQUIVALENT if enough else Verdict.FEW
    if difference.recordings < FEWEST_TO_DIFFER:
        return Verdict.UNDECIDED
    if difference.high95 < 0:
        return Verdict.WORSE
    if difference.low95 > 0:
        return Verdict.BETTER
    return Verdict.UNDECIDED


def clips_per_arm(accuracy: float, difference: float) -> int:
    """Clips of each of two unpaired groups to see `difference` at 5%, two-sided, in 8 of 10 cases.

    The usual normal approximation for two proportions (Fleiss, Levin & Paik 2003, chapter 4).

    >>> clips_per_arm(0.65, 0.02)
    8803
    """
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    other = accuracy + difference
    variance = accuracy * (1 - accuracy) + other * (1 - other)
    return int(np.ceil(z**2 * variance / difference**2))
