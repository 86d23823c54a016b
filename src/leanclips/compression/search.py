"""The search for the CRFs that hold a target at the fewest bytes. Arithmetic only, no video.

Quality is given as *headroom*: about how many CRF an encode is above its target (quality.py). Over
CRF it is nearly a straight line of slope -1, so a secant step lands close.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from math import inf, log, log2
from statistics import fmean, median

import numpy as np

from leanclips.compression.ffmpeg import CODECS, Codec
from leanclips.compression.inspect import Looks

HALVING = -log(2) / 6  # log of a set's bytes per CRF: they halve about every 6
SLOPE = -1.0
USUAL_CRF = 20.0  # a set's first one; what a headroom is worth depends on how far it is
GAINS = (1.0, -0.03, -0.05)
MOST_TRIALS = 6
CLOSE = 0.6  # CRF: a zone this near to where it held the target before goes back there
SPREAD = 4.0  # a zone's CRF is at most this far above the median one
WORTH_A_TRY = 0.01  # share of the bytes that another encode is expected to save
UPWARD = 1.5  # a first step up is cautious: the full step may be this much longer
UNSURE = 12  # CRF: at this distance, a forecast of the bytes may be twice the truth
ZONES_SAVE = 1.1  # zones may save this much more than the first encode predicts
LOWEST, HIGHEST = 1.0, 51.0  # CRFs of x264
BELOW_SOURCE = 2.0  # finer quantizers than the source's take more bytes than it, for nothing
QP_ABOVE_CRF = 3.0  # an encode's mean quantizer lies about so far above its CRF
NEAR = 3.0  # a clip that never came this near to its target (a black one, say) is not learnt from
# How much the starting values weigh against what is measured.
LOOKS_WEIGHT, FIRST_WEIGHT, SLOPE_WEIGHT, GAINS_WEIGHT = 4.0, 0.5, 4.0, 20.0
ENOUGH = 8  # clips, for every forecast of bytes to be trusted


@dataclass(frozen=True)
class Guess:
    """What is known before the first encode."""

    crf: float  # to begin with
    tolerance: float  # the tolerated headroom
    codec: Codec = CODECS["h264"]
    slope: float = SLOPE  # headroom per CRF near the target
    gains: tuple[float, ...] = GAINS  # how many CRF headroom is worth at first (see `step`)
    relied_to: float = -inf  # highest CRF at which the first encode's forecast of bytes is trusted

    def step(self, crf: float, headroom: float) -> float:
        """The CRF at the middle of the tolerance; quality over CRF is curved, so the way counts."""
        terms = step_terms(crf, headroom, self.tolerance)
        step = sum(gain * term for gain, term in zip(self.gains, terms, strict=True))
        low, high = sorted((terms[0] / 2, terms[0] * 2))  # of the straight step
        return crf + min(max(step, low), high)


def step_terms(crf: float, headroom: float, tolerance: float) -> tuple[float, float, float]:
    """The terms of a step: the headroom to go, its square, and its product with the CRF."""
    way = headroom - tolerance / 2
    return way, way * way, way * (crf - USUAL_CRF)


@dataclass(frozen=True)
class Trial:
    """One encode: the CRF of each zone, the file's size, and the headroom of each zone."""

    crfs: tuple[float, ...]
    bytes: int
    headroom: tuple[float, ...]

    @property
    def worst(self) -> float:
        """At zero or above, the encode holds the target."""
        return min(self.headroom)


def search(encode: Callable[[tuple[float, ...]], Trial], zones: int, guess: Guess,
           most: float) -> list[Trial]:
    """Every trial until the worst zone is in [0, tolerance] and the others have little to spare,
    or the clip is not expected to get down to `most` bytes. `encode` takes the CRF of each zone.
    """
    trials: list[Trial] = []
    crfs = (guess.codec.at(guess.crf),) * zones
    while len(trials) < MOST_TRIALS and crfs not in [trial.crfs for trial in trials]:
        trials.append(encode(crfs))
        crfs = next_crfs(trials, guess)
        left = fmean(2 ** ((was - now) / 6) for was, now in zip(trials[-1].crfs, crfs, strict=True))
        if (_hopeless(trials, crfs, guess, most)
                or 0 <= trials[-1].worst <= guess.tolerance and 1 - left < WORTH_A_TRY):
            break
    return trials


def best(trials: Sequence[Trial]) -> Trial | None:
    """The smallest trial that holds the target in every zone."""
    held = [trial for trial in trials if trial.worst >= 0]
    return min(held, key=lambda trial: trial.bytes, default=None)


def _hopeless(trials: Sequence[Trial], crfs: Sequence[float], guess: Guess, most: float) -> bool:
    """Whether the clip will not get down to `most` bytes; `crfs` come next.

    The first encode predicts it. A step down is predicted well up to `guess.relied_to`; beyond it
    the allowance grows with the step. A step up may gain more than predicted. Later steps vary too
    much for a prediction: there, an encode that misses its target has to exceed `most` itself.
    Zones may save more. A target that seems out of reach is tried at the end of the scale.
    """
    trial, allowed = trials[-1], most * (1 if len(crfs) == 1 else ZONES_SAVE)
    if len(trials) > 1:
        return trial.worst < 0 and trial.bytes > allowed
    if min(crfs) == guess.codec.lowest < min(trial.crfs):
        return False
    steps = [now - was for was, now in zip(trial.crfs, crfs, strict=True)]
    share = fmean(2 ** (-step * (UPWARD if step > 0 else 1) / guess.codec.halving)
                  for step in steps)
    doubt = 1 if fmean(crfs) <= guess.relied_to else 2 ** (max(map(abs, steps)) / UNSURE)
    return trial.bytes * share > allowed * doubt


def next_crfs(trials: Sequence[Trial], guess: Guess) -> tuple[float, ...]:
    """The CRF of each zone for the next encode. Each zone has its own curve, since a zone's
    quantizers hardly change the quality of other zones. The part of a step up that exceeds the
    other zones' is damped, and no CRF is more than SPREAD above the median.
    """
    curves = [[(trial.crfs[n], trial.headroom[n]) for trial in trials]
              for n in range(len(trials[0].crfs))]
    if len(curves) == 1:
        return (next_crf(curves[0], guess),)
    # A single zone may be a little too good, but not all of them.
    least = guess.tolerance * (2 if trials[-1].worst <= guess.tolerance else 1)
    steps = [_next_in_zone(points, least, guess) - points[-1][0] for points in curves]
    shared = max(min(steps), 0)  # what every zone may go up
    wanted = [points[-1][0] + (step if step < shared else shared + 0.6 * (step - shared))
              for points, step in zip(curves, steps, strict=True)]
    if trials[-1].worst < 0 and len(trials) >= 3:
        # One or another of many zones misses by chance: lower all until an error like the last
        # one makes none miss. Keep an encode that held where the lowered one would be no smaller.
        held = best(trials)
        last_chance = held is None and len(trials) == MOST_TRIALS - 1
        least = (2.0 if last_chance else 0.7) * (guess.tolerance / 2 - trials[-1].worst)
        wanted = [min(crf, was + (room - least) / -guess.slope) for crf, was, room
                  in zip(wanted, trials[-1].crfs, trials[-1].headroom, strict=True)]
        if held and np.less_equal(wanted, held.crfs).all():
            wanted = held.crfs
    most = median(wanted) + SPREAD
    return tuple(guess.codec.at(min(crf, most)) for crf in wanted)


def next_crf(points: Sequence[tuple[float, float]], guess: Guess) -> float:
    """The CRF to try next, from (CRF, headroom) of the trials: a secant step to the middle of
    [0, tolerance], above every CRF that held the target and below every one that missed it.

    If several steps do not bracket the target (on a flat curve, say), an end of the scale is tried.
    If no CRF is left inside the bracket, the best one is returned.
    """
    codec, aim = guess.codec, guess.tolerance / 2
    if 0 <= points[-1][1] <= guess.tolerance:
        return points[-1][0]
    below, above = (codec.lowest - codec.step, inf), (codec.highest + codec.step, -inf)
    low = max((point for point in points if point[1] >= 0), default=below)
    high = min((point for point in points if point[1] < 0 and point > low), default=above)
    first, last = low[0] + codec.step, high[0] - codec.step
    if first > last + 1e-9:
        return max(low[0], codec.lowest)
    if low in points and high in points:
        crf = _between(points, low, high, aim)
    elif len(points) > 4:
        crf = last if low in points else first
    else:
        crf = _secant(points, aim, guess)
    return codec.at(min(max(crf, first), last))


def _between(points: Sequence[tuple[float, float]], low: tuple[float, float],
             high: tuple[float, float], aim: float) -> float:
    """Where the line through both ends of the bracket meets `aim` (the Illinois method)."""
    above, below = low[1] - aim, aim - high[1]
    if len(points) > 2:  # an end that stays while the other moves twice counts half: it moves too
        above *= 0.5 if low not in points[-2:] else 1
        below *= 0.5 if high not in points[-2:] else 1
    if above <= 0:  # the held end is below the aim already: bisect
        return (low[0] + high[0]) / 2
    return low[0] + (high[0] - low[0]) * above / (above + below)


def _next_in_zone(points: Sequence[tuple[float, float]], least: float, guess: Guess) -> float:
    """A secant step for one zone of several; the others' CRFs change its quality a little.

    No step up at a headroom below `least`, and at most half the way to a CRF that missed. A step
    down leads well into the tolerance, or back to where the zone held the target before.
    """
    crf, headroom = points[-1]
    if headroom > least:
        missed = [at for at, room in points if at > crf and room < 0]
        return min([_secant(points[-2:], guess.tolerance / 2, guess),
                    *((crf + at) / 2 for at in missed)])
    if headroom >= 0:
        return crf
    aim = guess.tolerance * 0.7
    held = max((point for point in points if point[0] < crf and point[1] >= 0), default=None)
    if held and crf - held[0] <= CLOSE:
        return held[0]
    step = _between(points, held, points[-1], aim) if held else _secant(points[-2:], aim, guess)
    return min(step, crf - 2 * guess.codec.step)


def _secant(points: Sequence[tuple[float, float]], aim: float, guess: Guess) -> float:
    """Where the line through the two points nearest to `aim` meets it; a guess from one point."""
    if len(points) == 1:
        return guess.step(*points[0]) + (guess.tolerance / 2 - aim) / -guess.slope
    (crf, room), (other, beside) = sorted(reversed(points), key=lambda p: abs(p[1] - aim))[:2]
    slope = guess.slope
    if crf != other:  # kept within four times the expected one
        slope = min(max((beside - room) / (other - crf), 4 * slope), slope / 4)
    return crf + (aim - room) / slope


@dataclass(frozen=True)
class Solved:
    """What can be learnt from a finished clip."""

    looks: tuple[float, ...]  # its `features`
    crf: float  # the one that would hold its target
    slope: float  # its headroom per CRF there
    first: tuple[float, float]  # CRF and headroom of its first encode
    codec: str = "h264"  # whose CRFs cannot be compared with another's


def features(looks: Looks) -> tuple[float, ...]:
    """What predicts a clip's CRF: source quantizer, and logarithms of the other measures."""
    qp, bits, *levels = astuple(looks)
    return (24.0 if qp is None else qp, log2(max(bits, 1e-4)),
            *(log2(level + 0.1) for level in levels))


def solved(looks: Looks, trials: Sequence[Trial], tolerance: float, codec: str) -> Solved | None:
    """What can be learnt from a clip's trials; None if none of them came near the target."""
    near = sorted(trials, key=lambda trial: abs(trial.worst - tolerance / 2))
    if not near or abs(near[0].worst - tolerance / 2) > NEAR:
        return None
    slopes = [(b - a) / (y - x) for other in near[1:2] for a, b, x, y in zip(
        near[0].headroom, other.headroom, near[0].crfs, other.crfs, strict=True) if x != y]
    slope = min(max(median(slopes or [SLOPE]), 3 * SLOPE), SLOPE / 3)
    crf = min(crf + (tolerance / 2 - headroom) / slope
              for crf, headroom in zip(near[0].crfs, near[0].headroom, strict=True))
    return Solved(features(looks), crf, slope, (max(trials[0].crfs), trials[0].worst), codec)


def guess(looks: Looks, done: Sequence[Solved], codec: Codec, tolerance: float) -> Guess:
    """Where to begin: ridge regressions of the CRF on the looks of the clips in `done`, and of what
    headroom was worth on their first encodes; without clips, the codec's `first` and `slope`.
    Never far below the source's own mean quantizer.
    """
    crf, gains = codec.first, np.array(GAINS) / -codec.slope
    qp = -inf if looks.qp is None else looks.qp
    slope = ((sum(clip.slope for clip in done) + SLOPE_WEIGHT * codec.slope)
             / (len(done) + SLOPE_WEIGHT))
    if done:
        crfs = np.array([clip.crf for clip in done])
        seen = np.array([clip.looks for clip in done])
        scale = seen.std(axis=0) + 0.1
        spread = (seen - seen.mean(axis=0)) / scale
        weights = np.linalg.solve(spread.T @ spread + LOOKS_WEIGHT * np.eye(spread.shape[1]),
                                  spread.T @ (crfs - crfs.mean()))
        level = (crfs.sum() + codec.first * FIRST_WEIGHT) / (len(crfs) + FIRST_WEIGHT)
        crf = level + (np.array(features(looks)) - seen.mean(axis=0)) / scale @ weights
        crf = np.clip(crf, min(codec.first, crfs.min()), max(codec.first, crfs.max()))
        terms = np.array([step_terms(*clip.first, tolerance) for clip in done])
        steps = np.array([clip.crf - clip.first[0] for clip in done])
        gains = gains + np.linalg.solve(terms.T @ terms + GAINS_WEIGHT * np.eye(len(gains)),
                                        terms.T @ (steps - terms @ gains))
    return Guess(float(max(crf, qp - BELOW_SOURCE)), tolerance, codec, slope,
                 tuple(gains.tolist()), inf if len(done) >= ENOUGH else qp - QP_ABOVE_CRF)


def next_crf_for_bytes(trials: Sequence[tuple[float, int]], wanted: int,
                       first: float) -> float:
    """The CRF for a set of `wanted` bytes, from trials (CRF, total bytes); without any: `first`.

    log(bytes) is nearly linear in CRF, about halving every 6: a secant through the two trials
    nearest to the goal, kept between the trials on either side of it.
    """
    if not trials:
        return round(first, 2)
    (at, size), *others = sorted(trials, key=lambda trial: abs(log(trial[1] / wanted)))[:2]
    slopes = [log(total / size) / (crf - at) for crf, total in others if crf != at]
    slope = next((slope for slope in slopes if 4 * HALVING < slope < HALVING / 4), HALVING)
    crf = at + log(wanted / size) / slope
    low = max((crf for crf, total in trials if total >= wanted), default=LOWEST)
    high = min((crf for crf, total in trials if total < wanted), default=HIGHEST)
    return round(crf if low <= crf <= high else (low + high) / 2, 2)
