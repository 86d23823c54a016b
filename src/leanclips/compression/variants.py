"""The stages crop, optimize, constant and external: all clips of a variant."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from leanclips.clips import Clip, Role, clips_root, of_role, verify_file
from leanclips.compression.batch import RECIPE, Made, Task, make_all
from leanclips.compression.codec import encode_x264, ffmpeg_version
from leanclips.compression.names import is_video
from leanclips.compression.optimize import Reason
from leanclips.compression.quality import Goal
from leanclips.compression.search import next_crf_for_bytes
from leanclips.errors import StudyError
from leanclips.files import key, write_text
from leanclips.layout import Layout
from leanclips.records import REPORT, read_csv, write_csv
from leanclips.study import ORIGINALS, SOURCE, Constant, External, Optimized, Study
from leanclips.workers import run_all

SAME_BYTES = 0.01
MOST_SETS = 12


def make_source(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Stage crop: the source variant of every clip."""
    root = clips_root(layout, study)
    _make(layout, SOURCE, clips, [(verify_file(root, clip), ("crop", clip.roi, clip.frames))
                                  for clip in clips], jobs)


def make_originals(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Optimize the uncropped originals to the first optimized variant's target, as H.264.

    Nothing is trained on them: the case study reports this saving beside that on the crops.
    """
    root = clips_root(layout, study)
    target = next(v.target for v in study.variants.values() if isinstance(v, Optimized))
    chosen = of_role(clips, Role.TARGET, Role.HELDOUT)
    how = ("optimize", Goal(target), "h264")
    _make(layout, ORIGINALS, chosen, [(verify_file(root, clip), how) for clip in chosen], jobs)


def make_variant(layout: Layout, study: Study, clips: Sequence[Clip], name: str,
                 jobs: int) -> None:
    """Stage optimize, constant or external: one variant of the target and held-out clips."""
    variant = study.variants[name]
    chosen = of_role(clips, Role.TARGET, Role.HELDOUT)
    if isinstance(variant, Constant):
        crf = find_constant_crf(layout, chosen, name, variant.bytes_of, jobs)
        hows = [("constant", crf)] * len(chosen)
    elif isinstance(variant, External):
        hows = [("external", path) for path in paired(layout, variant, chosen)]
    else:
        hows = [("optimize", Goal(variant.target), "h264")] * len(chosen)
    parents = [layout.made_clip(SOURCE, clip.id) for clip in chosen]
    _make(layout, name, chosen, list(zip(parents, hows, strict=True)), jobs)


def _make(layout: Layout, variant: str, clips: Sequence[Clip],
          work: Sequence[tuple[Path, tuple]], jobs: int) -> None:
    """Make clips from their parents, each in its way, and report them."""
    tasks = [Task(parent, layout.clip(variant, clip.id), layout.clip_record(variant, clip.id), how,
                  lenient=how[0] == "external")
             for clip, (parent, how) in zip(clips, work, strict=True)]
    made = make_all(tasks, jobs, variant)
    table = pd.DataFrame([_row(clip, one) for clip, one in zip(clips, made, strict=True)],
                         columns=list(REPORT))
    broken = table[table["reason"] == str(Reason.UNREADABLE)]
    if len(broken):
        where = layout.report(variant).with_name("broken.csv")
        write_csv(where, broken)
        first = broken.iloc[0]
        raise StudyError(f"{len(broken)} of {len(table)} files of '{variant}' cannot stand for "
                         f"their source ({first['clip']}: {first['detail']})", where,
                         "it lists them all: replace those files")
    write_csv(layout.report(variant), table)


def _row(clip: Clip, made: Made) -> tuple:
    outcome, facts = made.outcome, made.facts
    quality = outcome.quality
    scores = ((None,) * 3 if outcome.reason is Reason.CROP
              else (quality.worst, quality.mean, quality.chroma))
    return (clip.id, str(clip.role), clip.label, round(facts.seconds, 4), facts.frames,
            facts.width, facts.height, round(facts.fps, 4), outcome.bytes_in, outcome.bytes_out,
            outcome.crf, *scores, len(outcome.tries), str(outcome.reason), outcome.detail,
            made.sha256, "; ".join(map(str, outcome.tries)))


def paired(layout: Layout, variant: External, clips: Sequence[Clip]) -> list[Path]:
    """The video of each clip in another tool's folder: of the clip's id, with any suffix of one.

    StudyError that lists what is missing, or for two of one clip.
    """
    folder = layout.study / variant.folder
    wanted, files = {clip.id for clip in clips}, {}
    for path in sorted(folder.rglob("*")):
        if is_video(path) and path.is_file() and files.setdefault(path.stem, path) != path:
            if path.stem in wanted:
                raise StudyError(f"stands for the same clip as {files[path.stem]}", path,
                                 "leave one of them in the folder")
    if missing := [clip.id for clip in clips if clip.id not in files]:
        listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise StudyError(f"{len(missing)} of {len(clips)} clips have no file ({listed})", folder,
                         "name each video after its clip's id in clips.csv, with any suffix")
    return [files[clip.id] for clip in clips]


def find_constant_crf(layout: Layout, clips: Sequence[Clip], name: str, bytes_of: str,
                      jobs: int) -> float:
    """The one CRF at which the whole set takes the bytes of variant `bytes_of`, within 1 %.

    Every set tried is noted (layout.control), so a stopped search goes on where it was.
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
