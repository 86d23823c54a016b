"""Many clips, each made once and learning from those before.

A delivered clip's record (JSON) has the key of everything that determined it, except where its
search began. A clip whose record and bytes match is not made again.
"""

import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from leanclips.clips import Roi
from leanclips.compression.crop import crop
from leanclips.compression.ffmpeg import Encoding, ffmpeg_version, filters_of
from leanclips.compression.inspect import Probe, probe
from leanclips.compression.long import lasts_long
from leanclips.compression.optimize import (Drift, Outcome, Reason, constant, external, keep,
                                            optimize)
from leanclips.compression.quality import Goal, Quality
from leanclips.compression.search import Solved
from leanclips.errors import ClipError, StudyError
from leanclips.files import file_sha256, folder_aside, key, remove_asides, write_text
from leanclips.workers import LEARN_FROM, run_learning

RECIPE = 6  # raise it when a change in this package makes other bytes from the same inputs


@dataclass(frozen=True)
class ClipJob:
    """One clip to make: the parent's bytes, `how` and `drift` determine the result.

    `how` is ("crop", roi, frames, encoder), ("constant", crf, encoding), ("external", file),
    ("copy", reason[, detail]) or ("optimize", goal, encoding[, "again": leanclips' own too]).
    """

    parent: Path
    destination: Path
    record: Path
    how: tuple
    drift: Drift | None = None
    lenient: bool = False  # a clip that cannot be read is kept, else an error
    made_in: Path | None = None  # made in this folder, then renamed to the destination's very name


@dataclass(frozen=True)
class Made:
    """A delivered clip, of the parent `file`."""

    file: str
    key: str
    outcome: Outcome
    facts: Probe | None  # None where it is no readable video
    sha256_in: str
    sha256: str

    def row(self, scored: bool) -> dict[str, object]:
        """The clip's values in a report, by column; its quality only where it was `scored`."""
        outcome, facts, quality = self.outcome, self.facts, self.outcome.quality
        row = {"bytes_in": outcome.bytes_in, "bytes_out": outcome.bytes_out, "crf": outcome.crf,
               "drift": outcome.drift, "encodes": len(outcome.tries), "detail": outcome.detail,
               "reason": str(outcome.reason), "probes": "; ".join(map(str, outcome.tries)),
               "sha256_in": self.sha256_in, "sha256": self.sha256}
        if facts:
            row |= {"seconds": round(facts.seconds, 4), "frames": facts.frames,
                    "width": facts.width, "height": facts.height, "fps": round(facts.fps, 4)}
        if scored:
            row |= {"quality": quality.worst, "quality_mean": quality.mean,
                    "chroma": quality.chroma, "zones": len(quality.zones)}
        return row


def make_all(clip_jobs: Sequence[ClipJob], jobs: int, what: str) -> Iterator[tuple[int, Made]]:
    """Make every clip that is not made already, and yield the number of each job with its result,
    as it comes. `what` names the work in progress.
    """
    remove_asides(folder for job in clip_jobs
                  for folder in (job.made_in or job.destination.parent, job.record.parent))
    saved = total = 0
    # In random order: neighbours in a table are alike, and each clip should learn from all kinds.
    order = random.Random(len(clip_jobs)).sample(range(len(clip_jobs)), len(clip_jobs))
    saves = any(job.how[0] == "optimize" for job in clip_jobs)

    def note(made: Made | None) -> str:
        if made is None:
            return "a long one is left for the end"
        return saves * f"{saved / 1e6:.1f} MB ({saved / max(total, 1):.0%}) saved"

    known, left = [], []
    results = run_learning(_make_short, [clip_jobs[n] for n in order], jobs, what,
                           lambda made: made and made.outcome.solved, note)
    for number, made in zip(order, results, strict=True):
        if made is None:
            left.append(number)
            continue
        known.append(made.outcome.solved)
        saved += made.outcome.bytes_in - made.outcome.bytes_out
        total += made.outcome.bytes_in
        yield number, made
    for number in left:  # long ones, each on all cores
        yield number, make(clip_jobs[number], known[-LEARN_FROM:], jobs)


def _make_short(job: ClipJob, known: Sequence[Solved | None] = ()) -> Made | None:
    """Make one clip; None for a long one that is to be optimized."""
    return None if job.how[0] == "optimize" and lasts_long(job.parent) else make(job, known)


def make(job: ClipJob, known: Sequence[Solved | None] = (), jobs: int = 1) -> Made:
    """Make a clip that is not made already; a long one `jobs` parts at a time."""
    sha256_in = file_sha256(job.parent)
    wanted = key(RECIPE, job.destination.name, [_told(part) for part in job.how],
                 job.drift and job.drift.fingerprint, sha256_in, ffmpeg_version(),
                 *["exact"] * bool(job.made_in))
    before = _before(job)
    if before and before.key == wanted:
        return before
    outcome = _deliver(job, [clip for clip in known if clip is not None], jobs)
    facts = None
    if job.how[0] != "copy":
        with suppress(ClipError) if job.lenient else nullcontext():
            facts = probe(outcome.path, least=1)
    made = Made(job.parent.name, wanted, outcome, facts, sha256_in, file_sha256(outcome.path))
    # It had another suffix; another clip of this run may have that name by now.
    if (before := _before(job)) and before.outcome.path != outcome.path:
        before.outcome.path.unlink()
    write_text(job.record, json.dumps(asdict(made), indent=1, default=lambda path: path.name))
    return made


def _before(job: ClipJob) -> Made | None:
    """The result of an earlier run, if its file is as it was made."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(job.record.read_text())
        record["outcome"]["path"] = path = job.destination.with_name(record["outcome"]["path"])
        made = TypeAdapter(Made).validate_python(record)
        return made if file_sha256(path) == made.sha256 else None
    return None


def _told(part: object) -> object:
    """A part of `how` in the key: another tool's file by its content, a goal with its filters."""
    if isinstance(part, Path):
        return file_sha256(part)
    if isinstance(part, Goal) and part.metric == "ssim" and filters_of("ssim") != ("libvmaf",):
        return asdict(part) | {"filters": filters_of("ssim")}
    return asdict(part) if isinstance(part, Goal | Encoding | Roi) else part


def _deliver(job: ClipJob, known: Sequence[Solved], jobs: int) -> Outcome:
    """The outcome of a job whose result has the name that it gets, or just its destination's."""
    if job.made_in is None:
        return _outcome(job, known, jobs)
    with folder_aside(job.made_in) as folder:
        outcome = _outcome(replace(job, destination=folder / job.parent.name), known, jobs)
        wanted = job.destination.suffix.lower()
        if not outcome.crfs and job.parent.suffix.lower() != wanted:
            why = ", ".join(filter(None, (outcome.reason, outcome.detail)))
            raise StudyError(f"stays as it is ({why}), and so cannot become a {wanted} file",
                             job.parent, "name a folder for it")
        os.replace(outcome.path, job.destination)
    return replace(outcome, path=job.destination)


def _outcome(job: ClipJob, known: Sequence[Solved], jobs: int) -> Outcome:
    try:
        match job.how:
            case "crop", roi, frames, encoder:
                crop(job.parent, roi, job.destination, frames, encoder)
                return Outcome(job.destination, job.parent.stat().st_size,
                               job.destination.stat().st_size, Quality(100.0, 100.0), Reason.CROP,
                               detail=encoder)
            case "constant", crf, encoding:
                return constant(job.parent, crf, job.destination, encoding)
            case "external", file:
                return external(job.parent, file, job.destination)
            case "copy", *why:
                return keep(job.parent, job.destination, *why)
            case "optimize", goal, encoding, *again:
                return optimize(job.parent, goal, job.destination, encoding, known, job.drift,
                                again=bool(again), jobs=jobs,
                                state=job.record.with_suffix(".parts"))
    except Exception as error:
        told = isinstance(error, ClipError)
        if not job.lenient or not told and isinstance(error, StudyError | OSError | MemoryError):
            raise  # what is the machine's or the folder's, all clips have
        why = f"leanclips fails on it ({type(error).__name__}: {error})"
        return keep(job.parent, job.destination, Reason.UNREADABLE, error.what if told else why)
