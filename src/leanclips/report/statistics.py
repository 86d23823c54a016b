"""Spread, intervals and the verdict: arithmetic on arrays, no files.

Accuracies and differences are fractions of clips (0.05 = 5 points).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

RESAMPLES = 10_000
RANDOM_SEED = 20_260_101
# That n recordings all differ the same way by chance has the probability 2 x 2^-n: below 5% from
# six on (the sign test).
FEWEST_TO_DIFFER = 6
TAILS = np.array([0.05, 0.95, 0.025, 0.975])


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
    """A mean over seeds and clips; its intervals end at the outer ends by two methods (see
    `intervals`). `error`: the two-way standard error. `effective`: as many recordings of equal size
    the clips are worth (Kish). `design`: the variance over that of independent clips. Spread is NaN
    for one seed and for less than `FEWEST_TO_DIFFER` recordings.
    """

    value: float
    low90: float
    high90: float
    low95: float
    high95: float
    seeds: int
    recordings: int
    error: float = np.nan
    freedom: float = np.nan
    effective: float = np.nan
    design: float = np.nan

    @property
    def detectable(self) -> float:
        """The least true difference told from zero at 5% in 8 of 10 cases (Bloom 1995)."""
        return float(self.error * (stdtrit(self.freedom, 0.975) + stdtrit(self.freedom, 0.8)))


def estimate(scores: np.ndarray, groups: Sequence[str], resamples: int = RESAMPLES,
             least: float = -1.0) -> Estimate:
    """Mean of `scores` of shape (seeds, clips) and how far it might be off (see `intervals`).

    Clips of one recording (`groups`, one name per clip) are not independent. For a paired
    difference give `variant - source`: what is hard on both sides cancels (Bouthillier et al. 2021,
    arXiv 2103.03098). No interval goes below `least` or above 1. Same input, same numbers.

    >>> estimate(np.zeros((3, 8)), "abcdefgh", resamples=10).high90
    0.0
    """
    scores = np.asarray(scores, dtype=float)
    members = np.unique(list(groups), return_inverse=True)[1]
    sizes = np.bincount(members)
    sums = np.zeros((len(scores), len(sizes)))
    np.add.at(sums.T, members, scores.T)
    if len(scores) == 1 or len(sizes) < FEWEST_TO_DIFFER:
        return Estimate(float(scores.mean()), *[np.nan] * 4, *sums.shape)
    error, freedom, *ends = intervals(sums, sizes, resamples)
    ends = np.clip(ends, least, 1)
    outer = np.where(TAILS < 0.5, ends.min(axis=0), ends.max(axis=0))
    alone = scores.mean(axis=0).var(ddof=1) / scores.shape[1]
    return Estimate(float(scores.mean()), *outer.tolist(), *sums.shape, float(error),
                    float(freedom), sizes.sum() ** 2 / (sizes @ sizes),
                    float(error**2 / alone) if alone else np.nan)


def intervals(sums: np.ndarray, sizes: np.ndarray, resamples: int = RESAMPLES
              ) -> tuple[np.ndarray, ...]:
    """Standard error, its degrees of freedom, and the ends at TAILS, shape (4, ...), by bootstrap
    and by Student's t, of each mean: `sums` of shape (..., seeds, recordings) over `sizes` clips.

    Seeds and recordings are two crossed sources of chance: the error is clustered both ways. Its
    degrees of freedom are Satterthwaite's; the usual ones, of the smaller number of clusters, are 9
    for ten seeds that hardly differ, and cover 93%. The bootstrap draws recordings and is
    studentized (Efron & Tibshirani 1993, chapter 12.5); percentiles of the mean over seeds cover
    too little where seeds differ or few recordings lose (tests/benchmarks/coverage.py).
    """
    (seeds, recordings), value = sums.shape[-2:], sums.mean(-2).sum(-1) / sizes.sum()
    cells = (sums - value[..., None, None] * sizes) / (seeds * sizes.sum())
    rows, columns, both = variances(cells)
    # A sum below one of its terms says that the other source of chance adds nothing.
    total = np.maximum(rows + columns - both, np.maximum(rows, columns))
    parts = rows**2 / (recordings - 1) + columns**2 / (seeds - 1)
    freedom = np.divide(total**2, parts, out=np.full_like(total, recordings - 1), where=parts > 0)
    counts, means = _drawn(recordings, resamples), sums.mean(-2)
    each = np.stack(np.broadcast_arrays(sizes, means, sizes**2, means * sizes, means**2)) @ counts
    drawn, again = each[0], each[1] / each[0]
    squares = (each[4] - 2 * again * each[3] + again**2 * each[2]) * recordings / (recordings - 1)
    spread = np.sqrt(np.maximum(squares, 0)) / drawn
    usual = np.where(rows > 0, np.sqrt(rows), 1)[..., None]  # for a resample without any spread
    off = (again - value[..., None]) / np.where(spread > 1e-6 * usual, spread, usual)
    error, tails = np.sqrt(total), TAILS.reshape(-1, *[1] * value.ndim)
    return (error, freedom, value - error * np.quantile(off, 1 - TAILS, axis=-1),
            value + error * stdtrit(freedom, tails))


def variances(cells: np.ndarray) -> tuple[np.ndarray, ...]:
    """Variance of a sum of centred `cells` (..., seeds, recordings), clustered by recording, by
    seed, and by cell, G clusters with the factor G / (G - 1). The first two less the third is the
    two-way variance (Cameron, Gelbach & Miller 2011, doi 10.1198/jbes.2010.07136).
    """
    clusters = cells.sum(-2), cells.sum(-1), cells.reshape(*cells.shape[:-2], -1)
    return tuple((each**2).sum(-1) * each.shape[-1] / (each.shape[-1] - 1) for each in clusters)


@lru_cache(2)
def _drawn(recordings: int, resamples: int) -> np.ndarray:
    """How often each resample draws each recording: shape (recordings, resamples)."""
    even, rng = np.full(recordings, 1 / recordings), np.random.default_rng(RANDOM_SEED)
    return rng.multinomial(recordings, even, size=resamples).T.astype(float)


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

    `equivalent`: the 95% interval lies inside ±margin. Two one-sided tests at 5%, the 90% interval
    (Schuirmann 1987, doi 10.1007/BF01068419), would say so of a loss of the margin in 6-9% of
    cases, instead of 5%, where it falls on few recordings. Resampling does not show a
    loss on recordings that were not drawn, so below `recordings_needed(margin)` it is `too few
    recordings`. Else `worse` or `better`: the 95% interval leaves out zero. Else `undecided`.
    """
    if difference.seeds == 1:
        return Verdict.ONE_SEED
    if difference.recordings < FEWEST_TO_DIFFER:
        return Verdict.FEW
    if -margin < difference.low95 and difference.high95 < margin:
        enough = difference.recordings >= recordings_needed(margin)
        return Verdict.EQUIVALENT if enough else Verdict.FEW
    different = Verdict.WORSE if difference.high95 < 0 else Verdict.BETTER
    return Verdict.UNDECIDED if difference.low95 <= 0 <= difference.high95 else different
