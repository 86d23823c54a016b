"""What the clips done so far tell about the next one: where to begin, how far to step."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log2
from statistics import median

import numpy as np

from leanclips.compression.content import Content
from leanclips.compression.search import GAINS, SLOPE, Guess, Trial, step_terms

MISSING_QP = 24.0
# An encode finer than the source's own quantizers takes more bytes than it, for nothing.
BELOW_SOURCE = 2.0
# An encode's mean quantizer lies about so far above its CRF.
QP_ABOVE_CRF = 3.0
# A clip that never came this near to its target (a black one, say) teaches nothing.
NEAR = 3.0
# How much the starting values weigh against what is measured.
LOOKS_WEIGHT = 4.0
FIRST_WEIGHT = 0.5
SLOPE_WEIGHT = 4.0
GAINS_WEIGHT = 20.0
ENOUGH = 8  # clips, for any forecast of bytes to be relied on


@dataclass(frozen=True)
class Solved:
    """A clip that is done: its looks, the one CRF that would hold its target, its headroom per
    CRF there, and the CRF and headroom of its first encode. A CRF means something within its
    `codec` only.
    """

    looks: tuple[float, ...]
    crf: float
    slope: float
    first: tuple[float, float]
    codec: str = "h264"


def looks(content: Content) -> tuple[float, ...]:
    """What foretells a clip's CRF: source quantizer, bits, motion, detail, grain, contrast."""
    counts = (content.bits, content.motion + 0.1, content.detail + 0.1, content.grain + 0.1,
              content.contrast + 0.1)
    return (MISSING_QP if content.qp is None else content.qp,
            *(log2(max(count, 1e-4)) for count in counts))


def solved(content: Content, trials: Sequence[Trial], tolerance: float,
           codec: str = "h264") -> Solved | None:
    """What a clip's trials teach; None where none came near its target."""
    near = sorted(trials, key=lambda trial: abs(trial.worst - tolerance / 2))
    if not near or abs(near[0].worst - tolerance / 2) > NEAR:
        return None
    slope = SLOPE
    if len(near) > 1:
        slopes = [(b - a) / (y - x) for a, b, x, y in zip(
            near[0].headroom, near[1].headroom, near[0].crfs, near[1].crfs, strict=True) if x != y]
        slope = min(max(median(slopes), 3 * SLOPE), SLOPE / 3) if slopes else SLOPE
    crf = min(crf + (tolerance / 2 - headroom) / slope
              for crf, headroom in zip(near[0].crfs, near[0].headroom, strict=True))
    return Solved(looks(content), crf, slope, (max(trials[0].crfs), trials[0].worst), codec)


def guess(content: Content, done: Sequence[Solved], first: float, tolerance: float,
          slope: float = SLOPE) -> Guess:
    """Where to begin: a ridge regression of the CRF on the looks of the clips in `done`.

    It starts from `first` and `slope` (the codec's) for every clip. Never far below the source's
    own mean quantizer; that a CRF with finer ones than these takes more bytes is believed at once.
    """
    gains = tuple(gain / -slope for gain in GAINS)
    qp = -inf if content.qp is None else content.qp
    floor, no_finer = qp - BELOW_SOURCE, qp - QP_ABOVE_CRF
    if not done:
        return Guess(max(first, floor), slope, gains, no_finer)
    crfs = np.array([clip.crf for clip in done])
    seen = np.array([clip.looks for clip in done])
    scale = seen.std(axis=0) + 0.1
    spread = (seen - seen.mean(axis=0)) / scale
    weights = np.linalg.solve(spread.T @ spread + LOOKS_WEIGHT * np.eye(spread.shape[1]),
                              spread.T @ (crfs - crfs.mean()))
    level = (crfs.sum() + first * FIRST_WEIGHT) / (len(crfs) + FIRST_WEIGHT)
    crf = level + (np.array(looks(content)) - seen.mean(axis=0)) / scale @ weights
    crf = min(max(crf, min(first, crfs.min())), max(first, crfs.max()))
    slope = ((sum(clip.slope for clip in done) + SLOPE_WEIGHT * slope)
             / (len(done) + SLOPE_WEIGHT))
    return Guess(float(max(crf, floor)), float(slope), _gains(done, tolerance, gains),
                 inf if len(done) >= ENOUGH else no_finer)


def _gains(done: Sequence[Solved], tolerance: float,
           gains: tuple[float, ...]) -> tuple[float, ...]:
    """How many CRF a headroom was worth: a ridge regression through the first encodes."""
    terms = np.array([step_terms(*clip.first, tolerance) for clip in done])
    steps = np.array([clip.crf - clip.first[0] for clip in done])
    start = np.array(gains)
    found = np.linalg.solve(terms.T @ terms + GAINS_WEIGHT * np.eye(len(start)),
                            terms.T @ (steps - terms @ start))
    return tuple((start + found).tolist())


