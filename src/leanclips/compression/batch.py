"""Many clips, each made once: resumable file by file, each learning from those before.

Each delivered clip has a record (JSON) with the key of everything that determined it, but for
where its search began; a clip whose record and bytes still fit is not made again.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from leanclips.clips import Roi
from leanclips.compression.codec import ffmpeg, ffmpeg_version
from leanclips.compression.crop import crop
from leanclips.compression.optimize import (Drift, Outcome, Reason, Sample, constant, external,
                                            keep, optimize)
from leanclips.compression.prior import Solved
from leanclips.compression.probe import Probe, probe
from leanclips.compression.quality import Goal, Quality
from leanclips.errors import ClipError, StudyError
from leanclips.files import file_sha256, key, remove_asides, write_text
from leanclips.workers import run_learning

RECIPE = 4  # raise it when a change in this package makes other bytes from the same inputs


@dataclass(frozen=True)
class Task:
    """One clip to make: the parent's bytes, `how` and `drift` determine the result.

    `how` is ("crop", roi, frames), ("constant", crf), ("external", file), ("copy",) or
    ("optimize", goal, codec). `lenient`: what cannot be read is delivered as it is; else it is
    an error.
    """

    parent: Path
    destination: Path
    record: Path
    how: tuple
    drift: Drift | None = None
    lenient: bool = False


@dataclass(frozen=True)
class Made:
    """A delivered clip. `facts` is None where it cannot be read as a video."""

    outcome: Outcome
    facts: Probe | None
    sha256_in: str
    sha256: str


def make_all(tasks: Sequence[Task], jobs: int, what: str) -> list[Made]:
    """Make every clip that is not made already, in order. `what` names the work in progress."""
    ffmpeg()  # a missing codec is one clear message here, not one from every worker
    remove_asides(path.parent for task in tasks for path in (task.destination, task.record))
    saved = [0, 0]

    def note(made: Made) -> str:
        saved[0] += made.outcome.bytes_in - made.outcome.bytes_out
        saved[1] += made.outcome.bytes_in
        return f"{saved[0] / 1e6:.1f} MB ({saved[0] / max(saved[1], 1):.0%}) saved"

    # In no order: neighbours in a table are alike, and every part of a set has to learn from all.
    order = random.Random(len(tasks)).sample(range(len(tasks)), len(tasks))
    made = run_learning(make, [tasks[n] for n in order], jobs, what,
                        lambda made: made.outcome.solved,
                        note if any(task.how[0] == "optimize" for task in tasks) else None)
    return [one for _, one in sorted(zip(order, made, strict=True), key=lambda pair: pair[0])]


def make(task: Task, known: Sequence[Solved | None] = ()) -> Made:
    """Make one clip, or find it made already."""
    sha256_in = file_sha256(task.parent)
    wanted = key(RECIPE, task.destination.name, [_told(part) for part in task.how],
                 task.drift and task.drift.fingerprint, sha256_in, ffmpeg_version())
    record = _read(task.record)
    if (made := _made_before(task, record, wanted)) is not None:
        return made
    outcome = _outcome(task, [clip for clip in known if clip is not None])
    made = Made(outcome, None if task.how[0] == "copy" else _facts(outcome.path, task.lenient),
                sha256_in, file_sha256(outcome.path))
    _remove_former(task, record, outcome.path)
    write_text(task.record, json.dumps(
        {"file": task.parent.name, "key": wanted} | asdict(made)
        | {"outcome": asdict(outcome) | {"path": outcome.path.name}}, indent=1))
    return made


def _told(part: object) -> object:
    """A part of `how` as it determines the result: another tool's file by its content."""
    if isinstance(part, Path):
        return file_sha256(part)
    return asdict(part) if isinstance(part, Goal | Roi) else part


def _read(record: Path) -> object:
    """What an earlier run noted of the clip; None where there is nothing to be read."""
    try:
        return json.loads(record.read_text())
    except (OSError, ValueError):
        return None


def _remove_former(task: Task, record: object, path: Path) -> None:
    """An earlier result of this clip may have had another suffix."""
    try:
        former = task.destination.with_name(record["outcome"]["path"])
        if former != path and file_sha256(former) == record["sha256"]:
            former.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        return


def _made_before(task: Task, record: object, wanted: str) -> Made | None:
    try:
        path = task.destination.with_name(record["outcome"]["path"])
        if record["key"] != wanted or file_sha256(path) != record["sha256"]:
            return None
        return Made(_restored(record["outcome"], path),
                    record["facts"] and Probe(**record["facts"]), record["sha256_in"],
                    record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _restored(outcome: dict, path: Path) -> Outcome:
    """An Outcome from its JSON, in which tuples have become lists."""
    lists = {name: tuple(outcome[name]) for name in ("crfs", "starts")}
    quality = outcome["quality"] | {name: tuple(outcome["quality"][name])
                                    for name in ("windows", "headroom")}
    tries = tuple(Sample(**sample | {"crfs": tuple(sample["crfs"])})
                  for sample in outcome["tries"])
    return Outcome(**outcome | lists | {
        "path": path, "quality": Quality(**quality), "reason": Reason(outcome["reason"]),
        "tries": tries, "solved": outcome["solved"] and _solved(outcome["solved"])})


def _solved(clip: dict) -> Solved:
    return Solved(**clip | {name: tuple(clip[name]) for name in ("looks", "first")})


def _facts(path: Path, lenient: bool) -> Probe | None:
    try:
        return probe(path, least=1)
    except ClipError:
        if lenient:
            return None
        raise


def _outcome(task: Task, known: Sequence[Solved]) -> Outcome:
    kind, *settings = task.how
    try:
        if kind == "crop":
            return _cropped(task, *settings)
        if kind == "constant":
            return constant(task.parent, *settings, task.destination)
        if kind == "external":
            return external(task.parent, *settings, task.destination)
        if kind == "copy":
            return keep(task.parent, task.destination, Reason.NOT_VIDEO)
        return optimize(task.parent, settings[0], task.destination, settings[1], known,
                        task.drift)
    except ClipError as error:
        if not task.lenient:
            raise
        return keep(task.parent, task.destination, Reason.UNREADABLE, error.what)


def _cropped(task: Task, roi: Roi | None, frames: int | None) -> Outcome:
    found = probe(task.parent).frames
    if frames not in (None, found):
        raise StudyError(f"the clip has {found} frames where clips.csv says {frames}",
                         task.parent, "replace the clip or correct clips.csv")
    crop(task.parent, roi, task.destination)
    return Outcome(task.destination, task.parent.stat().st_size, task.destination.stat().st_size,
                   Quality(100.0, 100.0), Reason.CROP)
