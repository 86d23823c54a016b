"""Content-adaptive re-encoding: each clip as small as it gets at a quality target."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import log
from pathlib import Path
from statistics import fmean
from typing import Protocol

from leanclips.compression.contract import broken, delivered, suffix_for, suffixes, unsupported
from leanclips.compression.ffmpeg import (CODECS, Encoding, encode, filters_of, has, require,
                                          smallest_scored)
from leanclips.compression.inspect import Inspection, inspect
from leanclips.compression.long import CannotBeCut, prepare, search_long, until_done
from leanclips.compression.quality import (CHROMA_DB_PER_CRF, METRICS, Goal, Quality, measure,
                                           timeline)
from leanclips.compression.search import (HIGHEST, MOST_TRIALS, Solved, Trial, best, guess, search,
                                          solved)
from leanclips.errors import ClipError, StudyError
from leanclips.files import folder_aside, like, written_aside
from leanclips.workers import cores

# log(drift) of J-HMDB crops rises by about this much per CRF (0.034 at 23, 0.301 at 43).
DRIFT_PER_CRF = 0.11


class Drift(Protocol):
    """The mean cosine distance (0 to 2) of a network's features between two files' frames."""

    fingerprint: str  # names the network and the frames it sees

    def __call__(self, source: Path, made: Path) -> float: ...


class Reason(StrEnum):
    """Why a file was delivered as it is."""

    CROP = "crop"
    CONSTANT = "constant"
    EXTERNAL = "external"
    ALREADY = "already-optimized"
    OPTIMIZED = "optimized"
    ABOVE = "above-tolerance"
    NO_GAIN = "no-gain"
    UNREACHABLE = "target-unreachable"
    UNSUPPORTED = "unsupported"
    BROKEN = "contract-broken"
    UNREADABLE = "unreadable"
    NOT_VIDEO = "not-video"
    IN_PLAYLIST = "in-playlist"


@dataclass(frozen=True)
class Sample:
    """One encode of a search: the CRF of each zone, its bytes, its worst second's score."""

    crfs: tuple[float, ...]
    bytes: int
    quality: float

    def __str__(self) -> str:
        return f"{round(fmean(self.crfs), 2):g}:{self.bytes}:{self.quality:g}"


@dataclass(frozen=True)
class Outcome:
    """The result for a clip."""

    path: Path  # the delivered file
    bytes_in: int
    bytes_out: int
    quality: Quality  # of the delivered file against the source, perfect for kept originals
    reason: Reason
    crfs: tuple[float, ...] = ()  # of each zone (one: the whole clip)
    starts: tuple[int, ...] = (0,)  # the first frame of each zone
    tries: tuple[Sample, ...] = ()  # every encode of the search
    detail: str = ""  # adds to the reason, in words
    drift: float | None = None  # the cosine distance of its features
    solved: Solved | None = None

    @property
    def crf(self) -> float | None:
        """The mean CRF of its zones; None for a file that was not encoded."""
        return round(fmean(self.crfs), 2) if self.crfs else None


def optimize(source: Path, goal: Goal, destination: Path, encoding: Encoding = Encoding(),
             done: Sequence[Solved] = (), drift: Drift | None = None, *, again: bool = False,
             jobs: int | None = None, state: Path | None = None) -> Outcome:
    """Deliver `source` as small as a few encodes get it while every second holds `goal`.

    From the finished clips in `done` of the same codec, the search learns where to begin.
    `goal.drift` limits what `drift` measures, and needs it.

    A long file is encoded in parts, `jobs` at a time (None: one for each core), with progress. They
    are kept in the folder `state` (None: beside the destination) until the file is delivered, so
    that a killed run goes on where it was.

    The file is delivered in the container of the source, or as MP4 (Matroska if MP4 cannot hold
    its audio). The original bytes are delivered if re-encoding leaves more than `goal.share` of
    them, cannot hold the goal, or would lose something: `reason` says which. A file that an
    earlier call made for this target or a lower one is delivered as it is, unless `again`.
    ClipError for a clip that cannot be decoded whole, StudyError for a goal, codec or destination
    that cannot be.
    """
    source, destination = Path(source), Path(destination)
    require_for(goal, encoding)
    if source.resolve() in {delivered(source, destination, suffix).resolve()
                            for suffix in (source.suffix, *suffixes(source, encoding.codec))}:
        raise StudyError("would be delivered in place of its source", source,
                         "name another destination")
    was = inspect(source)
    times = timeline(was.times, was.cuts)
    kept = partial(keep, source, destination, perfect=METRICS[goal.metric].highest)
    codec = encoding.codec or (was.codec if was.codec in CODECS else "h264")
    encoding = replace(encoding, codec=codec)
    kind, most = CODECS[codec], goal.share * source.stat().st_size
    if not again and _marked(was, goal):
        return kept(Reason.ALREADY, was.mark)
    suffix = encoding.suffix or suffix_for(source, was, codec)
    why = unsupported(was, codec, suffix)
    if min(was.width, was.height) < smallest_scored(goal.metric) and goal.height is None:
        why = why or f"{was.width}x{was.height} is too small to be scored by {goal.metric}"
    if why or not has(kind.encoder):
        return kept(Reason.UNSUPPORTED, why or f"this FFmpeg has no {kind.encoder}")
    starts = tuple(zone.start for zone in times.zones)
    made: dict[Trial, tuple[Path, Quality, float | None]] = {}  # the drift where it is limited
    state = state or destination.with_name(f".{destination.name}.parts")
    with until_done(state), folder_aside(destination.parent) as folder:

        def attempt(crfs: tuple[float, ...]) -> Trial:
            path = folder / f"try-{len(made)}{suffix}"
            encode(source, path, encoding, was.fps, crfs, starts, was, goal.mark)
            quality, moved = measure(path, source, times, goal), None
            headroom = quality.headroom if len(crfs) > 1 else (min(quality.headroom),)
            if goal.drift is not None:
                moved = drift(source, path)
                headroom = tuple(min(room, _drift_room(goal.drift, moved)) for room in headroom)
            trial = Trial(crfs, path.stat().st_size, headroom)
            made[trial] = path, quality, moved
            for other, (file, *_) in made.items():
                if other is not best(made):
                    file.unlink(missing_ok=True)
            return trial

        def in_parts() -> list[Trial]:
            with suppress(CannotBeCut):
                work = prepare(source, was, times, goal, encoding, state, jobs or cores())
                states = search_long(work, first, most, folder, suffix)
                if best(states) or list(states)[-1].bytes > most:
                    made.update({trial: (*found, None) for trial, found in states.items()})
                    return list(states)
            return []

        first = guess(was.looks, [clip for clip in done if clip.codec == codec], kind,
                      goal.tolerance)
        try:
            tries = in_parts() or search(attempt, len(starts) if kind.zones else 1, first, most)
        except ClipError as error:  # the clip decodes, so the encoder or the container fails
            return kept(Reason.UNSUPPORTED, error.what)
        found = {"tries": tuple(Sample(one.crfs, one.bytes, made[one][1].worst) for one in tries),
                 "solved": solved(was.looks, tries, goal.tolerance, codec)}
        chosen = best(tries)
        if chosen is None or chosen.bytes > most:
            return kept(*why_kept(tries, kind.lowest, most), **found)
        candidate, quality, moved = made[chosen]
        if lost := problems(was, candidate, codec):
            return kept(Reason.BROKEN, "; ".join(lost), **found)
        path = delivered(source, destination, candidate.suffix)
        like(source, candidate)
        os.replace(candidate, path)
    if drift and moved is None:
        moved = drift(source, path)
    reason, detail = _why_above(quality, moved, goal, max(chosen.crfs) >= kind.highest)
    if was.codec != codec:
        detail = "; ".join(filter(None, (f"{was.codec} to {codec}", detail)))
    return Outcome(path, source.stat().st_size, chosen.bytes, quality, reason, chosen.crfs,
                   starts, detail=detail, drift=moved, **found)


def _marked(was: Inspection, goal: Goal) -> bool:
    """Whether leanclips made this file for the same metric, and for this target or a lower one."""
    with suppress(ValueError):  # another tag of that name
        metric, target, *display = was.mark.split()
        return (float(target) <= goal.target
                and [metric, *display] == [goal.metric, *goal.mark.split()[2:]])
    return False


def _drift_room(allowed: float, drift: float) -> float:
    """About how many CRF the features' drift is below what is allowed."""
    return log(allowed / max(drift, 1e-9)) / DRIFT_PER_CRF if allowed else -HIGHEST


def _why_above(quality: Quality, drift: float | None, goal: Goal,
               at_highest: bool) -> tuple[Reason, str]:
    """Why an encode was delivered: it is within the tolerance, or what keeps it above."""
    metric = METRICS[goal.metric]
    if quality.worst <= goal.target + metric.tolerance:
        return Reason.OPTIMIZED, ""
    scored = "at the highest CRF" if at_highest else "no CRF nearer to the target was found"
    rooms = {scored: metric.headroom(quality.worst, goal.target),
             "held up by its colours": (quality.chroma - goal.chroma) / CHROMA_DB_PER_CRF}
    if goal.drift is not None:
        rooms["held up by the features"] = _drift_room(goal.drift, drift)
    return Reason.ABOVE, min(rooms, key=rooms.get)


def why_kept(trials: Sequence[Trial], lowest: float, most: float) -> tuple[Reason, str]:
    """Why an original was kept: no encode holds the target in `most` bytes."""
    if any(trial.bytes > most for trial in trials):
        return Reason.NO_GAIN, ""
    # Only a zone that misses at the lowest CRF proves that the target cannot be reached.
    if any(crf <= lowest and room < 0 for trial in trials
           for crf, room in zip(trial.crfs, trial.headroom, strict=True)):
        return Reason.UNREACHABLE, ""
    return Reason.NO_GAIN, ("the target was not reached in six encodes"
                            if len(trials) == MOST_TRIALS else "")


def require_for(goal: Goal, encoding: Encoding) -> None:
    """StudyError for a goal or encoding that cannot be, or that this FFmpeg cannot make."""
    metric, codec, preset = METRICS.get(goal.metric), encoding.codec, encoding.preset
    if metric is None or codec not in (None, *CODECS):
        raise StudyError(f"there is no '{codec if metric else goal.metric}'", "optimize",
                         f"use a metric of {', '.join(METRICS)}; a codec of {', '.join(CODECS)}")
    presets = CODECS[codec].presets if codec else ()
    for wrong, what, remedy in (
            (not 0 < goal.target <= metric.largest,
             f"the target {goal.target:g} is not on the scale of {goal.metric}",
             f"use a value above 0, at most {metric.largest:g}"),
            (goal.share <= 0, f"a share of {goal.share:g} of the bytes cannot be",
             "use a value above 0"),
            (encoding.keyframes <= 0, f"keyframes cannot be {encoding.keyframes:g} s apart",
             "use a time above 0, in seconds"),
            (preset and preset not in presets,
             f"there is no preset '{preset}' of the codec {codec or 'of each clip'}",
             f"use {', '.join(presets)}" if codec else "name the codec as well")):
        if wrong:
            raise StudyError(what, "optimize", remedy)
    require(CODECS[codec or "h264"].encoder, *filters_of(goal.metric))


def problems(was: Inspection, made: Path, codec: str) -> list[str]:
    """What breaks the contract in the file `made`, in words; it is decoded from end to end."""
    try:
        return broken(was, inspect(made, look=False), codec)
    except ClipError as error:
        return [error.what]


def constant(source: Path, crf: float, destination: Path,
             encoding: Encoding = Encoding("h264")) -> Outcome:
    """Deliver `source` at this CRF: the control. StudyError if it would lose something."""
    was = inspect(source)
    with written_aside(destination) as candidate:
        encode(source, candidate, encoding, was.fps, (crf,), was=was)
        quality = measure(candidate, source, timeline(was.times, was.cuts), Goal())
        if found := problems(was, candidate, encoding.codec):
            raise StudyError(f"the re-encoded file breaks the contract ({'; '.join(found)})",
                             source, "please report this clip; it was not replaced")
    size = destination.stat().st_size
    return Outcome(destination, source.stat().st_size, size, quality, Reason.CONSTANT, (crf,),
                   tries=(Sample((crf,), size, quality.worst),))


def external(source: Path, made: Path, destination: Path) -> Outcome:
    """Deliver `made`, another tool's encode of `source`. ClipError where it breaks the contract."""
    was, now = inspect(source), inspect(made)
    if found := broken(was, now, now.codec, whole=False):
        raise ClipError(f"the file does not keep what its source is ({'; '.join(found)})", made,
                        "encode it again without changing that")
    path = destination.with_suffix(made.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(made, aside)
        quality = measure(aside, source, timeline(was.times, was.cuts), Goal())
    return Outcome(path, source.stat().st_size, path.stat().st_size, quality, Reason.EXTERNAL)


def keep(source: Path, destination: Path, reason: Reason, detail: str = "",
         perfect: float = 100.0, **found) -> Outcome:
    """Deliver the bytes of `source`, which score `perfect`, with what a search `found`."""
    path = delivered(source, destination, source.suffix)
    with written_aside(path) as aside:
        shutil.copyfile(source, aside)
        like(source, aside)
    size = source.stat().st_size
    return Outcome(path, size, size, Quality(perfect, perfect), reason, detail=detail, **found)
