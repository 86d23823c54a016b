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

from leanclips.compression.contract import broken, delivered, suffix_for, unsupported
from leanclips.compression.ffmpeg import CODECS, encode, filters_of, has, require
from leanclips.compression.inspect import Inspection, inspect
from leanclips.compression.quality import (CHROMA_DB_PER_CRF, METRICS, Goal, Quality,
                                           measure, windows)
from leanclips.compression.search import (HIGHEST, MOST_TRIALS, Solved, Trial, best, guess, search,
                                          solved)
from leanclips.errors import ClipError, StudyError
from leanclips.files import folder_aside, written_aside

LEAST_SAVING = 0.05
# log(drift) of J-HMDB crops rises by about this much per CRF (0.034 at 23, 0.301 at 43).
DRIFT_PER_CRF = 0.11


class Drift(Protocol):
    """The mean cosine distance (0 to 2) of a network's features between two files' frames.

    `fingerprint` names the network and the frames it sees.
    """

    fingerprint: str

    def __call__(self, source: Path, made: Path) -> float: ...


class Reason(StrEnum):
    """Why a file was delivered as it is."""

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
    """One encode of a search: the CRF of each window, its bytes, its worst window's score."""

    crfs: tuple[float, ...]
    bytes: int
    quality: float

    def __str__(self) -> str:
        return f"{round(fmean(self.crfs), 2):g}:{self.bytes}:{self.quality:g}"


@dataclass(frozen=True)
class Outcome:
    """The result for a clip: `path` is the delivered file, `tries` every encode of the search.

    `quality` is that of the delivered file against the source clip, perfect for kept originals.
    `starts` are the first frames of its windows, `crfs` the CRF of each (one: the whole clip).
    `detail` adds to `reason`, in words. `drift` is the cosine distance of its features.
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
    """Deliver `source` as small as a few encodes get it while every second holds `goal`.

    `codec` is a name of CODECS; by default the source's own, or H.264 if that is none of them.
    From the finished clips in `done` of the same codec, the search learns where to begin.
    `goal.drift` limits what `drift` measures, and needs it.

    The file is delivered in the container of the source, or as MP4 (Matroska if MP4 cannot hold
    its audio). The original bytes are delivered if re-encoding saves less than 5 %, cannot hold the
    goal, or would lose something: `reason` says which. ClipError for a clip that cannot be decoded
    whole, StudyError if FFmpeg lacks what the goal and codec need.
    """
    require_for(goal, codec)
    was = inspect(source)
    parts = windows(was.times, was.cuts)
    codec = codec or (was.codec if was.codec in CODECS else "h264")
    kind, most = CODECS[codec], (1 - LEAST_SAVING) * source.stat().st_size
    why = unsupported(was, codec)
    if why or not has(kind.encoder):
        return keep(source, destination, Reason.UNSUPPORTED,
                    why or f"this FFmpeg has no {kind.encoder}")
    starts = tuple(part.start for part in parts)
    tries: list[_Try] = []
    with folder_aside(destination.parent) as folder:

        def attempt(crfs: tuple[float, ...]) -> _Try:
            path = folder / f"try-{len(tries)}{suffix_for(source, was, codec)}"
            encode(source, path, codec, crfs, starts)
            quality, moved = measure(path, source, parts, goal), None
            headroom = quality.headroom if len(crfs) > 1 else (min(quality.headroom),)
            if goal.drift is not None:
                moved = drift(source, path)
                headroom = tuple(min(room, _drift_room(goal.drift, moved)) for room in headroom)
            tries.append(_Try(crfs, path.stat().st_size, headroom, path, quality, moved))
            for one in tries:
                if one is not best(tries):
                    one.path.unlink(missing_ok=True)
            return tries[-1]

        try:
            search(attempt, len(parts) if kind.zones else 1,
                   guess(was.looks, [clip for clip in done if clip.codec == codec], kind,
                         goal.tolerance), most)
        except ClipError as error:  # the clip decodes, so the encoder or the container fails
            return keep(source, destination, Reason.UNSUPPORTED, error.what)
        found = {"tries": tuple(Sample(one.crfs, one.bytes, one.quality.worst) for one in tries),
                 "solved": solved(was.looks, tries, goal.tolerance, codec)}
        chosen = best(tries)
        if chosen is None or chosen.bytes > most:
            return keep(source, destination, *why_kept(tries, kind.lowest, most), **found)
        if lost := problems(was, chosen.path, codec):
            return keep(source, destination, Reason.BROKEN, "; ".join(lost), **found)
        path = delivered(source, destination, chosen.path.suffix)
        os.replace(chosen.path, path)
    reason, detail = _why_above(chosen, goal, kind.highest)
    if was.codec != codec:
        detail = "; ".join(filter(None, (f"{was.codec} to {codec}", detail)))
    return Outcome(path, source.stat().st_size, chosen.bytes, chosen.quality, reason, chosen.crfs,
                   starts, detail=detail, drift=drift(source, path)
                   if drift and chosen.drift is None else chosen.drift, **found)


@dataclass(frozen=True)
class _Try(Trial):
    """An encode in the file `path`, and the drift of its features where that is limited."""

    path: Path
    quality: Quality
    drift: float | None


def _drift_room(allowed: float, drift: float) -> float:
    """About how many CRF the features' drift is below what is allowed."""
    return log(allowed / max(drift, 1e-9)) / DRIFT_PER_CRF if allowed else -HIGHEST


def _why_above(made: _Try, goal: Goal, highest: float) -> tuple[Reason, str]:
    """Why an encode was delivered: it is within the tolerance, or what keeps it above."""
    metric = METRICS[goal.metric]
    if made.quality.worst <= goal.target + metric.tolerance:
        return Reason.OPTIMIZED, ""
    rooms = {"": metric.headroom(made.quality.worst, goal.target),
             "held up by its colours": (made.quality.chroma - goal.chroma) / CHROMA_DB_PER_CRF}
    if goal.drift is not None:
        rooms["held up by the features"] = _drift_room(goal.drift, made.drift)
    at_end = max(made.crfs) >= highest
    return Reason.ABOVE, min(rooms, key=rooms.get) or (
        "at the highest CRF" if at_end else "no CRF nearer to the target was found")


def why_kept(trials: Sequence[Trial], lowest: float, most: float) -> tuple[Reason, str]:
    """Why an original was kept: no encode holds the target in `most` bytes. Only a window that
    misses at the lowest CRF proves that the target cannot be reached.
    """
    if any(trial.bytes > most for trial in trials):
        return Reason.NO_GAIN, ""
    if any(crf <= lowest and room < 0 for trial in trials
           for crf, room in zip(trial.crfs, trial.headroom, strict=True)):
        return Reason.UNREACHABLE, ""
    used_up = len(trials) == MOST_TRIALS
    return Reason.NO_GAIN, "the target was not reached in six encodes" if used_up else ""


def require_for(goal: Goal, codec: str | None) -> None:
    """StudyError where FFmpeg lacks what `optimize` needs: x264, unless there is a `codec`."""
    require(CODECS[codec or "h264"].encoder, *filters_of(goal.metric))


def problems(was: Inspection, made: Path, codec: str) -> list[str]:
    """What breaks the contract in the file `made`, in words; it is decoded from end to end."""
    try:
        return broken(was, inspect(made), codec)
    except ClipError as error:
        return [error.what]


def constant(source: Path, crf: float, destination: Path) -> Outcome:
    """Deliver `source` by x264 at this CRF: the control. StudyError if it would lose something."""
    was = inspect(source)
    with folder_aside(destination.parent) as folder:
        candidate = folder / "candidate.mp4"
        encode(source, candidate, "h264", (crf,))
        quality = measure(candidate, source, windows(was.times, was.cuts), Goal())
        if found := problems(was, candidate, "h264"):
            raise StudyError(f"the re-encoded file breaks the contract ({'; '.join(found)})",
                             source, "please report this clip; it was not replaced")
        os.replace(candidate, destination)
    size = destination.stat().st_size
    return Outcome(destination, source.stat().st_size, size, quality, Reason.CONSTANT, (crf,),
                   tries=(Sample((crf,), size, quality.worst),))


def external(source: Path, made: Path, destination: Path) -> Outcome:
    """Deliver `made`, another tool's encode of `source`. ClipError where it breaks the contract."""
    was, now = inspect(source), inspect(made)
    if found := broken(was, now, now.codec):
        raise ClipError(f"the file does not keep what its source is ({'; '.join(found)})", made,
                        "encode it again without changing that")
    quality = measure(made, source, windows(was.times, was.cuts), Goal(), destination.parent)
    path = destination.with_suffix(made.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(made, aside)
    return Outcome(path, source.stat().st_size, path.stat().st_size, quality, Reason.EXTERNAL)


def keep(source: Path, destination: Path, reason: Reason, detail: str = "", **found) -> Outcome:
    """Deliver the original bytes, under the suffix of `source`; `found` by a search."""
    path = delivered(source, destination, source.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(source, aside)
    size = source.stat().st_size
    return Outcome(path, size, size, Quality(100.0, 100.0), reason, detail=detail, **found)
