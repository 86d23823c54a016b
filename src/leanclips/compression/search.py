"""The search for the CRFs that hold a target at the fewest bytes. Pure arithmetic: no video here.

Quality comes as *headroom*: about how many CRF an encode is above its target (quality.py). Over
CRF it is nearly a straight line of slope -1, so a secant step lands close.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from operator import le
from statistics import fmean, median

# The bytes of a clip or a set halve about every 6 CRF.
HALVING = -log(2) / 6
SLOPE = -1.0
USUAL_CRF = 20.0
GAINS = (1.0, -0.03, -0.05)
MOST_TRIALS = 6
DAMPING = 0.6
CLOSE = 0.6  # CRF: nearer to where it held the target before, a window goes back there
SPREAD = 4.0  # a window's CRF stays this near to the median one
CAREFUL_FROM = 3  # trials
CAUTION = 0.7
LAST_CAUTION = 2.0
WORTH_A_TRY = 0.01  # share of the bytes that another encode has to promise
UPWARD = 1.5  # a first step up is a careful one: there may be half as much more to go
UNSURE = 12  # CRF: so far off, a forecast of the bytes may be twice the truth
ZONES_SAVE = 1.1  # by zones, beyond what the first encode foretells
FIRST_OF_SET = 20.0
LOWEST, HIGHEST = 1.0, 51.0


@dataclass(frozen=True)
class Scale:
    """The CRFs that may be tried; the bytes halve about every `halving` of them."""

    lowest: float = LOWEST
    highest: float = HIGHEST
    step: float = 0.1
    halving: float = 5.5

    def at(self, crf: float) -> float:
        """The nearest CRF on the scale."""
        return min(max(round(round(crf / self.step) * self.step, 4), self.lowest), self.highest)


@dataclass(frozen=True)
class Guess:
    """What is known before the first encode: the CRF to begin with, headroom per CRF near the
    target, how many CRF the first encode's headroom is worth (see `step`), and up to which CRF
    the bytes it foretells are relied on.
    """

    crf: float
    slope: float = SLOPE
    gains: tuple[float, ...] = GAINS
    relied_to: float = -inf

    def step(self, crf: float, headroom: float, tolerance: float) -> float:
        """From the first encode's CRF and headroom, the CRF at the middle of the tolerance.

        Headroom over CRF bends: far from the target, and at another CRF, it is worth another
        step. Kept between half and twice the straight one.
        """
        terms = step_terms(crf, headroom, tolerance)
        step = sum(gain * term for gain, term in zip(self.gains, terms, strict=True))
        low, high = sorted((terms[0] / 2, terms[0] * 2))
        return crf + min(max(step, low), high)


def step_terms(crf: float, headroom: float, tolerance: float) -> tuple[float, float, float]:
    """What a step is made of: the way to go in headroom, its square, and it times the CRF."""
    way = headroom - tolerance / 2
    return way, way * way, way * (crf - USUAL_CRF)


@dataclass(frozen=True)
class Trial:
    """One encode: the CRF of each window, the file's size, and the headroom of each window."""

    crfs: tuple[float, ...]
    bytes: int
    headroom: tuple[float, ...]

    @property
    def worst(self) -> float:
        """At zero or above, the encode holds the target."""
        return min(self.headroom)


def search(encode: Callable[[tuple[float, ...]], Trial], windows: int, tolerance: float,
           guess: Guess, scale: Scale, most: float) -> list[Trial]:
    """Encode until the worst window is in [0, tolerance] and no other one has much to give.

    `encode` takes the CRF of each of the `windows`. The search ends where the clip is not expected
    to get to `most` bytes. Returns every trial, in order; `best` picks from them.
    """
    trials: list[Trial] = []
    crfs = (scale.at(guess.crf),) * windows
    while len(trials) < MOST_TRIALS and crfs not in [trial.crfs for trial in trials]:
        trials.append(encode(crfs))
        crfs = next_crfs(trials, tolerance, guess, scale)
        if _hopeless(trials, crfs, guess.relied_to, scale, most):
            break
        if 0 <= trials[-1].worst <= tolerance and _promise(trials[-1], crfs) < WORTH_A_TRY:
            break
    return trials


def best(trials: Sequence[Trial]) -> Trial | None:
    """The smallest trial that holds the target in every window."""
    held = [trial for trial in trials if trial.worst >= 0]
    return min(held, key=lambda trial: trial.bytes, default=None)


def _hopeless(trials: Sequence[Trial], crfs: Sequence[float], relied_to: float, scale: Scale,
              most: float) -> bool:
    """Whether the clip will not get to `most` bytes; `crfs` come next.

    The first encode foretells it: a step down is forecast well up to the CRF `relied_to`, beyond
    it the doubt grows with the step; one up may fall short of what there is to gain. Later steps
    swing too much to tell by; there an encode that misses its target has to take more by itself.
    Zones may save on top of that. A target that seems out of reach is tried at the end of the
    scale.
    """
    trial, allowed = trials[-1], most * (1 if len(crfs) == 1 else ZONES_SAVE)
    if len(trials) > 1:
        return trial.worst < 0 and trial.bytes > allowed
    if min(crfs) == scale.lowest < min(trial.crfs):
        return False
    steps = [now - was for was, now in zip(trial.crfs, crfs, strict=True)]
    share = fmean(2 ** (-step * (UPWARD if step > 0 else 1) / scale.halving) for step in steps)
    doubt = 1 if fmean(crfs) <= relied_to else 2 ** (max(map(abs, steps)) / UNSURE)
    return trial.bytes * share > allowed * doubt


def _promise(trial: Trial, crfs: Sequence[float]) -> float:
    """The share of its bytes that `crfs` would save, about."""
    return 1 - fmean(2 ** ((was - now) / 6) for was, now in zip(trial.crfs, crfs, strict=True))


def next_crfs(trials: Sequence[Trial], tolerance: float, guess: Guess,
              scale: Scale) -> tuple[float, ...]:
    """The CRF of each window for the next encode.

    A zone's quantizers leave the other windows' quality alone but for what is predicted across
    the border, so each window has a curve of its own. What one goes up beyond the others is
    damped, and a CRF more than SPREAD above the median is drawn down to it.
    """
    curves = [[(trial.crfs[n], trial.headroom[n]) for trial in trials]
              for n in range(len(trials[0].crfs))]
    if len(curves) == 1:
        return (next_crf(curves[0], tolerance, guess, scale),)
    # One window may be a little too good, not all of them.
    least = tolerance * (2 if trials[-1].worst <= tolerance else 1)
    steps = [_next_in_zone(points, tolerance, least, guess, scale) - points[-1][0]
             for points in curves]
    shared = max(min(steps), 0)  # what every window may go up
    wanted = [points[-1][0] + (step if step < shared else shared + DAMPING * (step - shared))
              for points, step in zip(curves, steps, strict=True)]
    if trials[-1].worst < 0 and len(trials) >= CAREFUL_FROM:
        wanted = _carefully(trials, wanted, tolerance, guess.slope)
    most = median(wanted) + SPREAD
    return tuple(scale.at(min(crf, most)) for crf in wanted)


def _carefully(trials: Sequence[Trial], wanted: Sequence[float], tolerance: float,
               slope: float) -> Sequence[float]:
    """`wanted` lowered so far that a surprise like the last one misses in no window.

    With many windows one after the other misses by chance, until the encodes are used up. Stays
    at an encode that held where that would be no smaller.
    """
    held = best(trials)
    last_chance = held is None and len(trials) == MOST_TRIALS - 1
    least = (LAST_CAUTION if last_chance else CAUTION) * (tolerance / 2 - trials[-1].worst)
    safe = [min(crf, was + (room - least) / -slope) for crf, was, room
            in zip(wanted, trials[-1].crfs, trials[-1].headroom, strict=True)]
    return held.crfs if held and all(map(le, safe, held.crfs)) else safe


def next_crf(points: Sequence[tuple[float, float]], tolerance: float, guess: Guess,
             scale: Scale) -> float:
    """The CRF to try next, from (CRF, headroom) of the trials: a secant step.

    It aims at the middle of [0, tolerance], kept inside the bracket: above every CRF that held
    the target, below every one that missed it. A curve that steps on one side cannot follow
    (flat at the top of the scale, say) is bracketed by an end of the scale. Stays at the best
    where no CRF is left between the brackets.
    """
    if 0 <= points[-1][1] <= tolerance:
        return points[-1][0]
    low = max((point for point in points if point[1] >= 0), default=None)
    high = min((point for point in points if point[1] < 0 and (low is None or point > low)),
               default=None)
    first = scale.lowest if low is None else low[0] + scale.step
    last = scale.highest if high is None else high[0] - scale.step
    if first > last + 1e-9:
        return scale.lowest if low is None else low[0]
    if low is not None and high is not None:
        crf = _between(points, low, high, tolerance / 2)
    elif len(points) > 4:
        crf = first if low is None else last
    else:
        crf = _secant(points, tolerance / 2, tolerance, guess)
    return scale.at(min(max(crf, first), last))


def _between(points: Sequence[tuple[float, float]], low: tuple[float, float],
             high: tuple[float, float], aim: float) -> float:
    """Where the line through both ends of the bracket meets `aim` (the Illinois method).

    An end that stays while the other moves twice counts half, so that it moves too.
    """
    above, below = low[1] - aim, aim - high[1]
    if len(points) > 2:
        above *= 0.5 if low not in points[-2:] else 1
        below *= 0.5 if high not in points[-2:] else 1
    if above <= 0:  # the held end is below the aim already: half of what is left
        return (low[0] + high[0]) / 2
    return low[0] + (high[0] - low[0]) * above / (above + below)


def _next_in_zone(points: Sequence[tuple[float, float]], tolerance: float, least: float,
                  guess: Guess, scale: Scale) -> float:
    """A secant step for one window among others, whose quality their CRFs move a little too.

    Up not at all below `least`, and half the way at most to where it missed the target; down
    for sure: well into the tolerance, or back to where the window held the target before.
    """
    crf, headroom = points[-1]
    if headroom > least:
        missed = [at for at, room in points if at > crf and room < 0]
        return min([_secant(points[-2:], tolerance / 2, tolerance, guess),
                    *((crf + at) / 2 for at in missed)])
    if headroom >= 0:
        return crf
    held = max((point for point in points if point[0] < crf and point[1] >= 0), default=None)
    if held and crf - held[0] <= CLOSE:
        return held[0]
    if held and len(points) > 1:
        return min(_between(points, held, points[-1], tolerance * 0.7), crf - 2 * scale.step)
    return min(_secant(points[-2:], tolerance * 0.7, tolerance, guess), crf - 2 * scale.step)


def _secant(points: Sequence[tuple[float, float]], aim: float, tolerance: float,
            guess: Guess) -> float:
    """Where the line through the two points nearest to `aim` meets it; a guess from one point."""
    if len(points) == 1:
        return guess.step(*points[0], tolerance) + (tolerance / 2 - aim) / -guess.slope
    near = sorted(reversed(points), key=lambda point: abs(point[1] - aim))[:2]
    return near[0][0] + (aim - near[0][1]) / _slope(near, guess.slope)


def _slope(near: Sequence[tuple[float, float]], expected: float) -> float:
    """Headroom per CRF through two points, kept within four times the expected one."""
    if near[0][0] == near[1][0]:
        return expected
    slope = (near[1][1] - near[0][1]) / (near[1][0] - near[0][0])
    return min(max(slope, 4 * expected), expected / 4)


def next_crf_for_bytes(trials: Sequence[tuple[float, int]], wanted: int) -> float:
    """The CRF at which a whole set should take `wanted` bytes, from trials (CRF, total bytes).

    log(bytes) is nearly linear in CRF, about halving every 6: a secant through the two trials
    nearest to the goal, kept between the trials on either side of it.
    """
    if not trials:
        return FIRST_OF_SET
    near = sorted(trials, key=lambda trial: abs(log(trial[1] / wanted)))[:2]
    slope = HALVING
    if len(near) == 2 and near[0][0] != near[1][0]:
        secant = log(near[1][1] / near[0][1]) / (near[1][0] - near[0][0])
        slope = secant if 4 * HALVING < secant < HALVING / 4 else HALVING
    crf = near[0][0] + log(wanted / near[0][1]) / slope
    low = max((crf for crf, total in trials if total >= wanted), default=LOWEST)
    high = min((crf for crf, total in trials if total < wanted), default=HIGHEST)
    if not low <= crf <= high:
        crf = (low + high) / 2
    return round(crf, 2)
