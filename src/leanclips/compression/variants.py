"""The stages crop, optimize and constant: all clips of a variant, resumable clip by clip.

Each delivered clip has a record beside it (`<id>.json`) with the key of everything that
determined it; a clip whose record and bytes still fit is not made again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from leanclips.clips import Clip, Role, clips_root, of_role, verify_file
from leanclips.compression.codec import encode_x264, ffmpeg, ffmpeg_version
from leanclips.compression.crop import crop
from leanclips.compression.optimize import Outcome, Reason, constant, optimize
from leanclips.compression.probe import probe
from leanclips.compression.quality import Quality
from leanclips.compression.search import next_crf_for_bytes
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, remove_asides, write_text
from leanclips.layout import Layout
from leanclips.records import REPORT, read_csv, write_csv
from leanclips.study import SOURCE, Constant, Optimized, Study
from leanclips.workers import run_all

ORIGINALS = "originals"
RECIPE = 1  # raise it when a change here or below makes other bytes from the same inputs
SAME_BYTES = 0.01
MOST_SETS = 12


@dataclass(frozen=True)
class Task:
    """One clip to make: `settings` and the parent's bytes determine the result."""

    clip: Clip
    parent: Path
    destination: Path
    record: Path
    settings: tuple


def make_source(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Stage crop: the source variant of every clip."""
    root = clips_root(layout, study)
    tasks = [Task(clip, verify_file(root, clip), layout.clip(SOURCE, clip.id),
                  layout.clip_record(SOURCE, clip.id), ("crop", str(clip.roi), clip.frames))
             for clip in clips]
    _make(layout, SOURCE, tasks, jobs)


def make_originals(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Optimize the uncropped originals to the first optimized variant's target.

    Nothing is trained on them: the case study reports this saving beside that on the crops.
    """
    root = clips_root(layout, study)
    target = next(v.target for v in study.variants.values() if isinstance(v, Optimized))
    tasks = [Task(clip, verify_file(root, clip), layout.clip(ORIGINALS, clip.id),
                  layout.clip_record(ORIGINALS, clip.id), ("optimize", target))
             for clip in of_role(clips, Role.TARGET, Role.HELDOUT)]
    _make(layout, ORIGINALS, tasks, jobs)


def make_variant(layout: Layout, study: Study, clips: Sequence[Clip], name: str,
                 jobs: int) -> None:
    """Stage optimize or constant: one variant of the target and held-out clips."""
    variant = study.variants[name]
    chosen = of_role(clips, Role.TARGET, Role.HELDOUT)
    if isinstance(variant, Constant):
        settings = ("constant", find_constant_crf(layout, chosen, name, variant.bytes_of, jobs))
    else:
        settings = ("optimize", variant.target)
    tasks = [Task(clip, layout.made_clip(SOURCE, clip.id), layout.clip(name, clip.id),
                  layout.clip_record(name, clip.id), settings) for clip in chosen]
    _make(layout, name, tasks, jobs)


def _make(layout: Layout, variant: str, tasks: Sequence[Task], jobs: int) -> None:
    ffmpeg()  # a missing codec is one clear message here, not one from every worker
    report = layout.report(variant)
    remove_asides(report.parent)
    rows = run_all(make_clip, tasks, jobs, variant)
    write_csv(report, pd.DataFrame(rows, columns=list(REPORT)))


def make_clip(task: Task) -> dict:
    """Make one clip, or find it made already; return its row of report.csv."""
    wanted = key(RECIPE, task.settings, file_sha256(task.parent), ffmpeg_version())
    if (row := _made_before(task, wanted)) is not None:
        return row
    outcome = _outcome(task)
    row = _row(task.clip, outcome)
    write_text(task.record, json.dumps({"key": wanted, "path": outcome.path.name, "row": row},
                                       indent=1))
    return row


def _made_before(task: Task, wanted: str) -> dict | None:
    try:
        record = json.loads(task.record.read_text())
        delivered = task.destination.with_name(record["path"])
        if record["key"] == wanted and file_sha256(delivered) == record["row"]["sha256"]:
            # What clips.csv says of the clip may have changed since.
            return record["row"] | {"clip": task.clip.id, "role": str(task.clip.role),
                                    "label": task.clip.label}
    except (OSError, ValueError, KeyError):
        pass
    return None


def _outcome(task: Task) -> Outcome:
    kind, *settings = task.settings
    if kind == "crop":
        facts = probe(task.parent)
        if task.clip.frames not in (None, facts.frames):
            raise StudyError(f"the clip has {facts.frames} frames where clips.csv says "
                             f"{task.clip.frames}", task.parent,
                             "replace the clip or correct clips.csv")
        crop(task.parent, task.clip.roi, task.destination)
        return Outcome(task.destination, task.parent.stat().st_size,
                       task.destination.stat().st_size, None, Quality(100.0, 100.0), (),
                       Reason.CROP)
    return {"optimize": optimize, "constant": constant}[kind](
        task.parent, settings[0], task.destination)


def _row(clip: Clip, outcome: Outcome) -> dict:
    facts = probe(outcome.path)
    crop_only = outcome.reason is Reason.CROP
    return dict(zip(REPORT, (
        clip.id, str(clip.role), clip.label, round(facts.seconds, 4), facts.frames, facts.width,
        facts.height, round(facts.fps, 4), outcome.bytes_in, outcome.bytes_out, outcome.crf,
        None if crop_only else outcome.quality.worst, None if crop_only else outcome.quality.mean,
        len(outcome.trials), str(outcome.reason), file_sha256(outcome.path),
        "; ".join(f"{t.crf:g}:{t.bytes}:{t.quality:g}" for t in outcome.trials)), strict=True))


def find_constant_crf(layout: Layout, clips: Sequence[Clip], name: str, bytes_of: str,
                      jobs: int) -> float:
    """The one CRF at which the whole set takes the bytes of variant `bytes_of`, within 1 %.

    Every set tried is noted in control.json, so a stopped search goes on where it was.
    Raises StudyError if no CRF comes that near (the set is a handful of clips, say).
    """
    goal = read_csv(layout.report(bytes_of))
    parents = [layout.made_clip(SOURCE, clip.id) for clip in clips]
    wanted = key(RECIPE, ffmpeg_version(), list(goal["sha256"]),
                 list(read_csv(layout.report(SOURCE))["sha256"]))
    tried = _tried(layout.control(name), wanted)
    total = int(goal["bytes_out"].sum())
    while not tried or abs(tried[-1][1] / total - 1) > SAME_BYTES:
        crf = next_crf_for_bytes(tried, total)
        if crf in [trial[0] for trial in tried] or len(tried) >= MOST_SETS:
            break
        sizes = run_all(partial(_size_at, crf), parents, jobs, f"{name} at CRF {crf:g}")
        tried.append((crf, sum(sizes)))
        write_text(layout.control(name), json.dumps({"key": wanted, "wanted_bytes": total,
                                                     "sets": tried}, indent=1))
    crf, reached = min(tried, key=lambda trial: abs(trial[1] - total))
    if abs(reached / total - 1) > 2 * SAME_BYTES:
        raise StudyError(f"no constant CRF takes the bytes of '{bytes_of}' within 2 % "
                         f"(nearest: CRF {crf:g})", layout.control(name),
                         f"remove the variant '{name}' from study.yml, or use more clips")
    return crf


def _tried(path: Path, wanted: str) -> list[tuple[float, int]]:
    try:
        control = json.loads(path.read_text())
        return [tuple(trial) for trial in control["sets"]] if control["key"] == wanted else []
    except (OSError, ValueError, KeyError):
        return []


def _size_at(crf: float, parent: Path) -> int:
    with TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.mp4"
        encode_x264(parent, candidate, crf)
        return candidate.stat().st_size
