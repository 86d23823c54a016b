"""Content-adaptive re-encoding: each clip as small as it gets at a quality target."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log
from pathlib import Path
from statistics import fmean
from typing import Protocol

from leanclips.compression.codec import CODECS, Setting, encode
from leanclips.compression.containers import delivered, suffix_for
from leanclips.compression.content import Content, examine
from leanclips.compression.contract import Facts, broken, facts, unsupported
from leanclips.compression.prior import Solved, guess, solved
from leanclips.compression.probe import REPLACE
from leanclips.compression.quality import (CHROMA_DB_PER_CRF, METRICS, Goal, Quality,
                                           measure, windows)
from leanclips.compression.search import HIGHEST, MOST_TRIALS, Scale, Trial, best, search
from leanclips.errors import ClipError, StudyError
from leanclips.files import folder_aside, written_aside

LEAST_SAVING = 0.05
# log(drift) of J-HMDB crops rises by about this much per CRF (0.034 at 23, 0.301 at 43).
DRIFT_PER_CRF = 0.11


class Drift(Protocol):
    """How far the features of a network move from one file's frames to another's.

    `fingerprint` names the network and the frames it sees.
    """

    fingerprint: str

    def __call__(self, source: Path, made: Path) -> float:
        """The mean cosine distance of the features of the frames, 0 to 2."""


class Reason(StrEnum):
    """Why a delivered file is what it is."""

    CROP = "crop"
    CONSTANT = "constant"
    EXTERNAL = "external"
    OPTIMIZED = "optimized"
    ABOVE = "above-tolerance"
    NO_GAIN = "no-gain"
    UNREACHABLE = "target-unreachable"
    UNSUPPORTED = "unsupported"
    BROKEN = "contract-broken"
    UNREADABLE = "unreadable"
    NOT_VIDEO = "not-video"


@dataclass(frozen=True)
class Sample:
    """An encode on the way: the CRF of each window, its bytes, its worst window's score."""

    crfs: tuple[float, ...]
    bytes: int
    quality: float

    def __str__(self) -> str:
        return f"{round(fmean(self.crfs), 2):g}:{self.bytes}:{self.quality:g}"


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: `path` is the delivered file, `tries` every encode on the way.

    `quality` is that of the delivered bytes against the source clip, perfect for kept originals.
    `starts` are the first frames of its windows, `crfs` the CRF of each (one: the whole clip).
    `detail` says more than `reason`, in words. `drift` is the cosine distance of its features.
    """

    path: Path
    bytes_in: int
    bytes_out: int
    quality: Quality
    reason: Reason
    crfs: tuple[float, ...] = ()
    starts: tuple[int, ...] = (0,)
    tries: tuple[Sample, ...] = ()
    detail: str = ""
    drift: float | None = None
    solved: Solved | None = None

    @property
    def crf(self) -> float | None:
        """The mean CRF of its windows; None for a file that was not encoded."""
        return round(fmean(self.crfs), 2) if self.crfs else None


def optimize(source: Path, goal: Goal, destination: Path, codec: str | None = None,
             done: Sequence[Solved] = (), drift: Drift | None = None) -> Outcome:
    """Deliver `source` as small as a few encodes find it while every second holds `goal`.

    `codec` is a name of CODECS; by default the source's own, or H.264 where that is none of
    them. `done` are clips like it; from those of its codec the search learns where to begin.
    `drift(source, candidate)` measures how far the features of a network move; `goal.drift` makes
    it a gate.

    The file is delivered in the container of the source, or as MP4 (Matroska where MP4 cannot
    hold its audio), with the suffix of that. The original bytes are delivered where re-encoding
    saves less than 5 %, cannot hold the goal, or would lose something: `reason` says which.
    Raises ClipError for a clip that cannot be decoded whole.
    """
    content, was, parts = _known(source)
    if goal.drift is not None and drift is None:
        raise StudyError("there is no measure of the features' drift", source, "pass one")
    codec = codec or (was.codec if was.codec in CODECS else "h264")
    if why := unsupported(was, content.interlaced, codec):
        return keep(source, destination, Reason.UNSUPPORTED, why)
    with folder_aside(destination.parent) as folder:
        path = folder / f"try{suffix_for(source, was, codec)}"
        tries = _Tries(source, goal, codec, content, parts, path, drift)
        try:
            trials = tries.search([clip for clip in done if clip.codec == codec])
        except ClipError as error:  # it decodes, so it is the encoder or the container
            return keep(source, destination, Reason.UNSUPPORTED, error.what)
        learnt = solved(content, trials, goal.tolerance, codec)
        chosen, most = best(trials), _most(source)
        if chosen is None or chosen.bytes > most:
            return keep(source, destination, *_why_kept(trials, CODECS[codec].lowest, most),
                        tries=tries.samples(), learnt=learnt)
        made = tries.made[trials.index(chosen)]
        if found := problems(was, made.path, codec):
            return keep(source, destination, Reason.BROKEN, "; ".join(found),
                        tries=tries.samples(), learnt=learnt)
        path = delivered(source, destination, made.path.suffix)
        os.replace(made.path, path)
    reason, detail = _why_above(made, goal, codec)
    if was.codec != codec:
        detail = "; ".join(filter(None, (f"{was.codec} to {codec}", detail)))
    return Outcome(path, source.stat().st_size, made.bytes, made.quality, reason, made.crfs,
                   tuple(part.start for part in parts), tries.samples(), detail,
                   drift(source, path) if drift and made.drift is None else made.drift, learnt)


@dataclass(frozen=True)
class _Made:
    path: Path
    crfs: tuple[float, ...]
    bytes: int
    quality: Quality
    drift: float | None


class _Tries:
    """The encodes of one clip, beside `path`; only those that may be delivered stay there."""

    def __init__(self, source: Path, goal: Goal, codec: str, content: Content,
                 parts: Sequence[slice], path: Path, drift: Drift | None):
        self.source, self.goal, self.codec, self.content = source, goal, codec, content
        self.windows, self.path, self.drift = parts, path, drift
        self.starts = (tuple(window.start for window in self.windows) if CODECS[codec].zones
                       else (0,))
        self.made: list[_Made] = []

    def search(self, done: Sequence[Solved]) -> list[Trial]:
        codec = CODECS[self.codec]
        return search(self.encode, len(self.starts), self.goal.tolerance,
                      guess(self.content, done, codec.first, self.goal.tolerance,
                            codec.slope),
                      Scale(codec.lowest, codec.highest, codec.step, codec.halving),
                      _most(self.source))

    def encode(self, crfs: tuple[float, ...]) -> Trial:
        path = self.path.with_stem(f"{self.path.stem}-{len(self.made)}")
        encode(self.source, path, Setting(self.codec, crfs, self.starts))
        quality = measure(path, self.source, self.windows, self.goal)
        headroom = quality.headroom if len(self.starts) > 1 else (min(quality.headroom),)
        drift = None
        if self.drift and self.goal.drift is not None:
            drift = self.drift(self.source, path)
            allowed = _drift_room(self.goal.drift, drift)
            headroom = tuple(min(room, allowed) for room in headroom)
        made = _Made(path, crfs, path.stat().st_size, quality, drift)
        held = [other for other in self.made if other.path.exists()]
        if min(headroom) < 0 or any(other.bytes <= made.bytes for other in held):
            path.unlink()
        else:
            for other in held:
                other.path.unlink()
        self.made.append(made)
        return Trial(crfs, made.bytes, headroom)

    def samples(self) -> tuple[Sample, ...]:
        return tuple(Sample(made.crfs, made.bytes, made.quality.worst) for made in self.made)


def _most(source: Path) -> float:
    """The bytes that a delivered file may take."""
    return (1 - LEAST_SAVING) * source.stat().st_size


def _drift_room(allowed: float, drift: float) -> float:
    """How many CRF the features' drift is below what is allowed, about."""
    return log(allowed / max(drift, 1e-9)) / DRIFT_PER_CRF if allowed else -HIGHEST


def _why_above(made: _Made, goal: Goal, codec: str) -> tuple[Reason, str]:
    """The reason of a delivered encode: within the tolerance, or what keeps it above."""
    metric = METRICS[goal.metric]
    if made.quality.worst <= goal.target + metric.tolerance:
        return Reason.OPTIMIZED, ""
    rooms = {"": metric.headroom(made.quality.worst, goal.target),
             "held up by its colours": (made.quality.chroma - goal.chroma) / CHROMA_DB_PER_CRF}
    if goal.drift is not None:
        rooms["held up by the features"] = _drift_room(goal.drift, made.drift)
    if least := min(rooms, key=rooms.get):
        return Reason.ABOVE, least
    if max(made.crfs) >= CODECS[codec].highest:
        return Reason.ABOVE, "at the highest CRF"
    return Reason.ABOVE, "no CRF nearer to the target was found"


def _why_kept(trials: Sequence[Trial], lowest: float, most: float) -> tuple[Reason, str]:
    """The reason of a clip of which no encode holds the target in `most` bytes.

    Only a window that misses at the lowest CRF proves that none does. The search ends early where
    the target would take more than `most` bytes.
    """
    if any(trial.bytes > most for trial in trials):
        return Reason.NO_GAIN, ""
    if any(crf <= lowest and room < 0 for trial in trials
           for crf, room in zip(trial.crfs, trial.headroom, strict=True)):
        return Reason.UNREACHABLE, ""
    return Reason.NO_GAIN, ("the target was not reached in six encodes"
                            if len(trials) == MOST_TRIALS else "")


def _known(source: Path) -> tuple[Content, Facts, list[slice]]:
    """What a clip shows, what it holds, and its windows of frames."""
    content = examine(source)
    if content.damaged or not content.times:
        raise ClipError("the clip is cut short or damaged", source, REPLACE)
    return content, facts(source, content), windows(content.times, content.cuts)


def problems(was: Facts, made: Path, codec: str) -> list[str]:
    """What breaks the contract in the file `made`, in words; it is decoded from end to end."""
    try:
        content = examine(made)
        return broken(was, facts(made, content), codec) + ["damaged frames"] * content.damaged
    except ClipError as error:
        return [error.what]


def constant(source: Path, crf: float, destination: Path, goal: Goal = Goal()) -> Outcome:
    """Deliver `source` by x264 at this CRF: the control, with nothing adapted to the clip.

    StudyError where it would lose something.
    """
    _, was, parts = _known(source)
    with folder_aside(destination.parent) as folder:
        candidate = folder / "candidate.mp4"
        encode(source, candidate, Setting("h264", (crf,)))
        quality = measure(candidate, source, parts, goal)
        if found := problems(was, candidate, "h264"):
            raise StudyError(f"the re-encoded file breaks the contract ({'; '.join(found)})",
                             source, "please report this clip; it was not replaced")
        os.replace(candidate, destination)
    size = destination.stat().st_size
    return Outcome(destination, source.stat().st_size, size, quality, Reason.CONSTANT, (crf,),
                   tries=(Sample((crf,), size, quality.worst),))


def external(source: Path, made: Path, destination: Path, goal: Goal = Goal()) -> Outcome:
    """Deliver `made`, another tool's encode of `source`, as it is.

    ClipError where it breaks the contract; its codec is free.
    """
    _, was, parts = _known(source)
    now = facts(made)
    if found := problems(was, made, now.codec):
        raise ClipError(f"the file does not keep what its source is ({'; '.join(found)})", made,
                        "encode it again without changing that")
    quality = measure(made, source, parts, goal, destination.parent)
    path = destination.with_suffix(made.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(made, aside)
    return Outcome(path, source.stat().st_size, path.stat().st_size, quality, Reason.EXTERNAL)


def keep(source: Path, destination: Path, reason: Reason, detail: str = "",
         tries: tuple[Sample, ...] = (), learnt: Solved | None = None) -> Outcome:
    """Deliver the original bytes, under the suffix of `source`."""
    path = delivered(source, destination, source.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(source, aside)
    size = source.stat().st_size
    return Outcome(path, size, size, Quality(100.0, 100.0), reason, tries=tries, detail=detail,
                   solved=learnt)
