"""The search for the highest CRF that holds a quality target. Pure arithmetic: no video here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

# logit(VMAF NEG/100) falls by about this much per CRF (measured on seven segments, R² ≥ 0.993).
SLOPE = -0.128
# The bytes of a set halve about every 6 CRF.
HALVING = -log(2) / 6
FIRST_CRF = 20.0
LOWEST_CRF, HIGHEST_CRF = 1.0, 51.0
STEP = 0.1
TOLERANCE = 0.5
MOST_TRIALS = 8


@dataclass(frozen=True)
class Trial:
    """One encode of a clip: its CRF, its size and its worst-second quality (0 to 100)."""

    crf: float
    bytes: int
    quality: float


def logit(quality: float) -> float:
    """log(q / (100 - q)), with the ends of the scale kept finite."""
    share = min(max(quality / 100, 1e-4), 1 - 1e-4)
    return log(share / (1 - share))


def next_crf(trials: Sequence[Trial], target: float) -> float | None:
    """The CRF to try next, or None when no CRF on the grid is left between the brackets.

    A secant step in logit space through the two trials nearest to the target, aimed at the
    middle of [target, target + TOLERANCE] and kept inside the bracket: above every CRF that
    held the target, below every CRF that missed it. A curve that the secant cannot follow
    (flat at the top of the scale, say) is bracketed by an end of the scale, then halved.
    """
    if not trials:
        return FIRST_CRF
    low = max((trial.crf for trial in trials if trial.quality >= target), default=None)
    missed = [trial.crf for trial in trials
              if trial.quality < target and (low is None or trial.crf > low)]
    high = min(missed, default=None)
    first = LOWEST_CRF if low is None else low + STEP
    last = HIGHEST_CRF if high is None else high - STEP
    if first > last + 1e-9:
        return None
    aim = logit(target + TOLERANCE / 2)
    near = sorted(reversed(trials), key=lambda trial: abs(logit(trial.quality) - aim))[:2]
    crf = near[0].crf + (aim - logit(near[0].quality)) / _slope(near)
    if len(trials) > 4:
        crf = first if low is None else last if high is None else (low + high) / 2
    return round(min(max(crf, first), last) / STEP) * STEP


def _slope(near: Sequence[Trial]) -> float:
    """Logit per CRF through two trials, the prior where they say nothing plausible."""
    if len(near) == 2 and near[0].crf != near[1].crf:
        slope = (logit(near[1].quality) - logit(near[0].quality)) / (near[1].crf - near[0].crf)
        if 4 * SLOPE < slope < SLOPE / 4:
            return slope
    return SLOPE


def search(encode: Callable[[float], Trial], target: float,
           hopeless: Callable[[Trial], bool] = lambda trial: False) -> list[Trial]:
    """Encode until a trial lies in [target, target + TOLERANCE], or none can do better.

    `hopeless(trial)` ends the search early (a trial that misses the target and saves nothing).
    Returns every trial, in order; `best` picks from them. At most MOST_TRIALS encodes.
    """
    trials: list[Trial] = []
    while len(trials) < MOST_TRIALS:
        crf = next_crf(trials, target)
        if crf is None:
            break
        trials.append(encode(round(crf, 2)))
        if target <= trials[-1].quality <= target + TOLERANCE or hopeless(trials[-1]):
            break
    return trials


def best(trials: Sequence[Trial], target: float) -> Trial | None:
    """The smallest trial that holds the target."""
    held = [trial for trial in trials if trial.quality >= target]
    return min(held, key=lambda trial: (trial.bytes, -trial.crf), default=None)


def next_crf_for_bytes(trials: Sequence[tuple[float, int]], wanted: int) -> float:
    """The CRF at which a whole set should take `wanted` bytes, from trials (CRF, total bytes).

    log(bytes) is nearly linear in CRF, about halving every 6: a secant through the two trials
    nearest to the goal, kept between the trials on either side of it.
    """
    if not trials:
        return FIRST_CRF
    near = sorted(trials, key=lambda trial: abs(log(trial[1] / wanted)))[:2]
    slope = HALVING
    if len(near) == 2 and near[0][0] != near[1][0]:
        secant = log(near[1][1] / near[0][1]) / (near[1][0] - near[0][0])
        slope = secant if 4 * HALVING < secant < HALVING / 4 else HALVING
    crf = near[0][0] + log(wanted / near[0][1]) / slope
    low = max((crf for crf, total in trials if total >= wanted), default=LOWEST_CRF)
    high = min((crf for crf, total in trials if total < wanted), default=HIGHEST_CRF)
    if not low <= crf <= high:
        crf = (low + high) / 2
    return round(crf, 2)
