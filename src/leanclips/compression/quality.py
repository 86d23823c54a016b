"""Perceptual quality of a re-encoded clip: VMAF NEG per frame, and the worst second."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from leanclips.compression.codec import vmaf_log
from leanclips.errors import StudyError

WINDOW_SECONDS = 1.0
PERCENTILE = 10


@dataclass(frozen=True)
class Quality:
    """VMAF NEG at the clip's own resolution, 0 to 100. `worst` is the gate, `mean` is shown."""

    worst: float
    mean: float


def windows(frames: int, fps: float) -> list[slice]:
    """Consecutive windows of a second; a rest of less than half a second joins the last one."""
    length = max(1, round(WINDOW_SECONDS * fps))
    starts = list(range(0, frames, length))
    if len(starts) > 1 and frames - starts[-1] < length / 2:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], frames], strict=True)]


def worst_window(scores: np.ndarray, fps: float) -> float:
    """The least 10th percentile of the frame scores (frames,) over the windows of a second."""
    return min(float(np.percentile(scores[part], PERCENTILE))
               for part in windows(len(scores), fps))


def measure(distorted: Path, reference: Path, fps: float) -> Quality:
    """VMAF NEG (model vmaf_v0.6.1neg) of `distorted` against `reference`, frame by frame.

    Raises StudyError if either cannot be decoded.
    """
    with TemporaryDirectory() as folder:
        log = json.loads(vmaf_log(distorted, reference, Path(folder)).read_text())
    scores = np.array([frame["metrics"]["vmaf"] for frame in log["frames"]])
    if not len(scores):
        raise StudyError("VMAF compared no frame", distorted, "check that the clip plays")
    return Quality(round(worst_window(scores, fps), 4), round(float(scores.mean()), 4))
