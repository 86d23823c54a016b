"""Studies of your own clips: make one from a folder, and tell what is wrong before it runs."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import yaml
from pydantic import ValidationError

from leanclips.analysis.formats import duration
from leanclips.analysis.statistics import least_margin, recordings_needed
from leanclips.clips import (Clip, Role, check_roles, classes, clips_root, of_role,
                             pretraining_clips, scan_folders, study_table, verify_file, write_table)
from leanclips.compression.probe import Probe, probe
from leanclips.datasets import ucf101
from leanclips.datasets.holdout import hold_out
from leanclips.datasets.rendering import check_table
from leanclips.errors import StudyError
from leanclips.files import file_sha256, write_text
from leanclips.layout import Layout
from leanclips.leaks import LEAKS, pretraining_leaks
from leanclips.progress import progress
from leanclips.splits import group_split, pretraining_split
from leanclips.study import Study, load_study
from leanclips.workers import cores

FEW_CLIPS = 20
SETTINGS = """\
title: {title}
# The folder with one folder of clips per class.
clips: {clips}
# The part of a file's name that tells its recording, as a regular expression.
# Clips of one recording are never split over training and test.
group_pattern: {pattern}
# Encodings to compare with the source. target: the VMAF NEG (0-100) to hold;
# constant: one CRF for all clips, with the same total bytes.
variants:
  optimized: {{target: 93}}
  constant: {{bytes_of: optimized}}
# Each variant is trained once per seed.
finetuning:
  seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
# The loss of accuracy that you would call no loss.
margin: 0.05
# All other settings and their defaults: src/leanclips/study.py
"""


@dataclass(frozen=True)
class Report:
    """What `check_study` found, as sentences; with no problem the study can run."""

    summary: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """All of it, to print."""
        verdict = f"{len(self.problems)} problem(s) to mend." if self.problems else "No problem."
        return [*self.summary, *(f"Note: {note}" for note in self.notes),
                *(f"Problem: {problem}" for problem in self.problems), verdict]


def new_study(folder: Path, clips: Path, *, group_pattern: str | None = None,
              heldout: float = 0.24, pretrain: Sequence[str] = (),
              title: str | None = None) -> list[str]:
    """Write study.yml and clips.csv for the class folders in `clips`; returns what was made.

    A study.yml that is there stays. `heldout` is the fraction of target clips to hold out.
    Clips in the case study's layout (a folder UCF-101) keep the roles of their folders.
    """
    layout, clips = Layout(folder), clips.resolve()
    if layout.table.exists():
        raise StudyError("is there already", layout.table,
                         "remove it first, or make the study in another folder")
    if not 0 < heldout < 1:
        raise StudyError("is no fraction to hold out", heldout, "give one between 0 and 1")
    kept = layout.settings.exists()
    settings = load_study(folder) if kept else _settings(folder, title, group_pattern)
    if kept and group_pattern:
        raise StudyError("the study has settings of its own", layout.settings,
                         "set group_pattern there, without --group-pattern")
    pattern = settings.group_pattern
    if (clips / ucf101.CLIPS).is_dir():
        table = ucf101.paper_table(clips, pattern)
    else:
        scanned = scan_folders(clips, pattern)
        table = ucf101.with_rois(hold_out(scanned, clips, heldout, set(pretrain)),
                                 clips / "rois.csv")
    check_roles(table, clips)
    table = _measured(table, clips)
    if kept:
        write_text(layout.clips_root_note, f"{clips}\n")
    else:
        layout.clips_root_note.unlink(missing_ok=True)
        quoted = {"title": settings.title, "clips": str(clips), "pattern": pattern}
        write_text(layout.settings, SETTINGS.format(
            **{name: _yaml(value) for name, value in quoted.items()}))
    write_table(layout.table, table)
    return [f"{layout.settings}: {'kept as it is' if kept else 'written'}.",
            f"{layout.table}: {len(table)} clips written.", *_counts(table)]


def check_study(folder: Path, clips: Path | None = None) -> Report:
    """Check settings, table and every clip; `clips` says where the clips lie, if moved.

    The clips of a synthetic study are checked as far as they are rendered.
    """
    layout, study = Layout(folder), load_study(folder)
    table, rendered = study_table(layout), study.synthetic is not None
    root = clips or clips_root(layout, study)
    if not rendered and not root.is_dir():
        raise StudyError("the folder of clips is not there", root,
                         "name it with --clips (or CLIPS=…)")
    there = [clip for clip in table if not rendered or (root / clip.file).is_file()]
    problems = _told(lambda: check_roles(table, layout.table))
    if rendered:
        problems += _told(lambda: check_table(layout, study.synthetic, table))
    if not problems:
        problems += _split_problems(table, study, layout.table)
    leaks = not problems and pretraining_leaks(table, study)
    problems += _copies(table, layout.table)
    probes: dict[str, Probe] = {}

    def look(clip: Clip) -> list[str]:
        return _told(lambda: probes.update({clip.id: _checked(clip, root)}))

    for found in _each(look, there, "checking"):
        problems += found
    seconds = sum(found.seconds for found in probes.values())
    size = sum((root / clip.file).stat().st_size for clip in table if clip.id in probes)
    looked = (f"{len(probes)} of {len(there)} clips can be read: {duration(seconds)}, "
              f"{size / 1e6:.1f} MB.")
    if len(there) < len(table):
        looked = f"{len(table) - len(there)} of {len(table)} clips are still to be rendered."
    notes = _notes(table, study, probes) + [LEAKS] * leaks
    return Report((*_counts(table), looked), tuple(notes), tuple(problems))


def _settings(folder: Path, title: str | None, group_pattern: str | None) -> Study:
    try:
        return Study(title=title or folder.resolve().name, group_pattern=group_pattern)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise StudyError(f"the group pattern {problem}", group_pattern,
                         "give one like '(?P<group>.+)_[0-9]+'") from None


def _measured(table: list[Clip], root: Path) -> list[Clip]:
    """The clips with frames and SHA-256, each decoded once from end to end."""
    problems: list[StudyError] = []

    def measure(clip: Clip) -> Clip:
        try:
            path = verify_file(root, clip)
            return replace(clip, frames=probe(path, whole=True).frames, sha256=file_sha256(path))
        except StudyError as error:
            problems.append(error)
            return clip

    measured = _each(measure, table, "reading")
    if problems:
        named = "; ".join(sorted(f"{error.where}: {error.what}" for error in problems)[:10])
        raise StudyError(f"{len(problems)} of {len(table)} clips cannot be used ({named})", root,
                         "replace these files or move them elsewhere")
    return measured


def _checked(clip: Clip, root: Path) -> Probe:
    path = verify_file(root, clip)
    # A file with the right hash was decoded when the table was made.
    found = probe(path, whole=not clip.sha256)
    if clip.frames not in (None, found.frames):
        raise StudyError(f"the clip has {found.frames} frames and clips.csv says {clip.frames}",
                         path, "get the original file again or correct clips.csv")
    roi = clip.roi
    if roi and (roi.x + roi.side > found.width or roi.y + roi.side > found.height):
        raise StudyError(f"the ROI {roi} lies outside the frame of {found.width}×{found.height}",
                         path, "correct the column roi (x y side) in clips.csv")
    return found


def _split_problems(table: Sequence[Clip], study: Study, where: Path) -> list[str]:
    """Classes that a split leaves without a clip to train on, or to validate on."""
    target, pretrain = of_role(table, Role.TARGET), pretraining_clips(table)
    splits = [(f"finetuning with seed {seed}", target,
               partial(group_split, target, study.finetuning.validation, seed))
              for seed in study.finetuning.seeds]
    if pretrain:
        splits.append(("pretraining", pretrain,
                       partial(pretraining_split, pretrain, study.pretraining)))
    for stage, clips, split in splits:
        try:
            aside = split()
        except StudyError as error:
            return [str(error)]
        for part, wanted in (("validate", True), ("train", False)):
            there = {clip.label for clip in clips if (clip.id in aside) == wanted}
            if lacking := sorted({clip.label for clip in clips} - there):
                return [str(StudyError(f"{stage} has no clip of the class '{lacking[0]}' to "
                                       f"{part} on", where, "add recordings of that class, or "
                                       "correct the columns group and fold"))]
    return []


def _copies(table: Sequence[Clip], where: Path) -> list[str]:
    """Equal files, by name or content, in target and held-out: a leak."""
    target = {name: clip.id for clip in of_role(table, Role.TARGET)
              for name in (clip.file, clip.sha256) if name}
    copies = [(clip.id, target[name]) for clip in of_role(table, Role.HELDOUT)
              for name in (clip.file, clip.sha256) if name in target]
    return [str(StudyError(f"the held-out clip '{mine}' is the same file as the target clip "
                           f"'{other}'", where, "remove one of them"))
            for mine, other in dict(copies).items()]


def _notes(table: Sequence[Clip], study: Study, probes: dict[str, Probe]) -> list[str]:
    notes = []
    for what, of in (("size", lambda found: f"{found.width}×{found.height}"),
                     ("frame rate", lambda found: f"{found.fps:.5g} fps")):
        values = {clip_id: of(found) for clip_id, found in probes.items()}
        usual = Counter(values.values()).most_common(1)[0][0] if values else ""
        others = [clip.file for clip in table if values.get(clip.id, usual) != usual]
        if others:
            notes.append(f"{len(others)} clips have another {what} than the usual {usual}, the "
                         f"first is {others[0]}; they can be used.")
    sizes = Counter(clip.label for clip in of_role(table, Role.TARGET))
    if sizes and max(sizes.values()) >= 2 * min(sizes.values()):
        (most, many), (least, few) = sizes.most_common()[0], sizes.most_common()[-1]
        notes.append(f"The classes are unbalanced: {many} target clips of '{most}', {few} of "
                     f"'{least}'.")
    validation = round(study.finetuning.validation * sizes.total())
    for name, count in (("validation", validation),
                        ("held-out", len(of_role(table, Role.HELDOUT)))):
        if 0 < count < FEW_CLIPS:
            notes.append(f"There are only {count} {name} clips: one clip is "
                         f"{100 / count:.0f} points of accuracy.")
    recordings = len({clip.group for clip in of_role(table, Role.HELDOUT)})
    if 0 < recordings < (needed := recordings_needed(study.margin)):
        notes.append(f"{recordings} held-out recordings cannot show equivalence within a margin of "
                     f"less than {100 * least_margin(recordings):.1f} points; the margin of "
                     f"{100 * study.margin:g} takes {needed}.")
    pretrain, used = of_role(table, Role.PRETRAIN), pretraining_clips(table)
    if not pretrain:
        notes.append("No clip has the role pretrain: the network starts without pretraining.")
    if left_out := len(pretrain) - len(used):
        notes.append(f"{left_out} pretraining clips are of held-out recordings and are left out.")
    return notes


def _counts(table: Sequence[Clip]) -> list[str]:
    sentences = []
    for role in Role:
        if clips := of_role(table, role):
            groups = len({clip.group for clip in clips})
            sentences.append(f"{role}: {len(clips)} clips, {len(classes(table, role))} classes, "
                             f"{groups} groups.")
    return sentences


def _each(function: Callable, items: Sequence, what: str) -> list:
    """Threads will do: decoding and hashing let other threads run."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(progress(pool.map(function, items), len(items), what))


def _told(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except StudyError as error:
        return [str(error)]
    return []


def _yaml(value: str | None) -> str:
    """`value` as one line of YAML."""
    return yaml.safe_dump(value, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
