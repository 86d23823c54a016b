"""Content-adaptive re-encoding: each clip as small as it gets at a quality target."""

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from leanclips.compression.codec import encode_x264
from leanclips.compression.probe import Probe, probe
from leanclips.compression.quality import Quality, measure
from leanclips.compression.search import Trial, best, search
from leanclips.errors import StudyError
from leanclips.files import written_aside

LEAST_SAVING = 0.05
# x264 keeps these as they are, and turns any other into one of them.
PIXEL_FORMATS = {f"yuv{full}{layout}p{depth}" for layout in (420, 422, 444)
                 for full, depth in (("", ""), ("j", ""), ("", "10le"))}


class Reason(StrEnum):
    """Why a delivered file is what it is."""

    CROP = "crop"
    CONSTANT = "constant"
    OPTIMIZED = "optimized"
    NO_GAIN = "no-gain"
    UNREACHABLE = "target-unreachable"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: `path` is the delivered file, `trials` every encode on the way.

    `quality` is that of the delivered bytes against the source clip; 100 for kept originals.
    """

    path: Path
    bytes_in: int
    bytes_out: int
    crf: float | None
    quality: Quality
    trials: tuple[Trial, ...]
    reason: Reason


def optimize(source: Path, target: float, destination: Path) -> Outcome:
    """Deliver `source` at the highest x264 CRF whose file holds `target` (VMAF NEG, worst second).

    The original bytes are delivered, under the suffix of `source`, where re-encoding saves less
    than 5 %, cannot reach the target, or the format is not supported: `reason` says which.
    Raises StudyError for a clip that cannot be decoded.
    """
    facts, size = probe(source), source.stat().st_size
    if facts.width % 2 or facts.height % 2 or facts.pixels not in PIXEL_FORMATS:
        return keep(source, destination, (), Reason.UNSUPPORTED)
    with TemporaryDirectory() as folder:
        qualities: dict[float, Quality] = {}

        def encode(crf: float) -> Trial:
            candidate = Path(folder) / f"{crf}.mp4"
            encode_x264(source, candidate, crf)
            qualities[crf] = measure(candidate, source, facts.fps)
            return Trial(crf, candidate.stat().st_size, qualities[crf].worst)

        most = (1 - LEAST_SAVING) * size
        trials = tuple(search(encode, target,
                              lambda trial: trial.quality < target and trial.bytes > most))
        chosen = best(trials, target)
        if chosen is None or chosen.bytes > most:
            reached = chosen is not None or any(trial.bytes > most for trial in trials)
            return keep(source, destination, trials,
                        Reason.NO_GAIN if reached else Reason.UNREACHABLE)
        deliver(Path(folder) / f"{chosen.crf}.mp4", facts, destination)
        return Outcome(destination, size, chosen.bytes, chosen.crf, qualities[chosen.crf], trials,
                       Reason.OPTIMIZED)


def constant(source: Path, crf: float, destination: Path) -> Outcome:
    """Deliver `source` by x264 at this CRF: the control, with nothing adapted to the clip."""
    facts = probe(source)
    with TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.mp4"
        encode_x264(source, candidate, crf)
        quality = measure(candidate, source, facts.fps)
        deliver(candidate, facts, destination)
    size = destination.stat().st_size
    return Outcome(destination, source.stat().st_size, size, crf, quality,
                   (Trial(crf, size, quality.worst),), Reason.CONSTANT)


def keep(source: Path, destination: Path, trials: tuple[Trial, ...], reason: Reason) -> Outcome:
    """Deliver the original bytes."""
    path = destination.with_suffix(source.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(source, aside)
    size = source.stat().st_size
    return Outcome(path, size, size, None, Quality(100.0, 100.0), trials, reason)


def deliver(candidate: Path, source: Probe, destination: Path) -> None:
    """Put `candidate` in place once it is seen to have the frames and size of its source."""
    made = probe(candidate)
    for what in ("frames", "width", "height"):
        if getattr(made, what) != getattr(source, what):
            raise StudyError(f"the re-encoded file has another number of {what} "
                             f"({getattr(made, what)}, not {getattr(source, what)})", destination,
                             "please report this clip; it was not replaced")
    with written_aside(destination) as aside:
        shutil.copyfile(candidate, aside)
