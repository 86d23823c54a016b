"""Studies of your own clips: make one from a folder, and check it before it runs."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from runpy import run_path

import numpy as np
import yaml
from pydantic import ValidationError

from leanclips.clips import (Clip, Role, check_roles, classes, clips_root, has_pretraining,
                             of_role, pretraining_clips, recordings_of, renderer, scan_folders,
                             study_table, tested_clips, verify_file, with_roles, write_table)
from leanclips.compression.crop import square
from leanclips.compression.inspect import Probe, probe
from leanclips.datasets.scenes import joined, outlines, same_scene
from leanclips.errors import StudyError
from leanclips.files import file_sha256, write_text
from leanclips.layout import Layout
from leanclips.report.formats import duration, listing, several
from leanclips.report.statistics import least_margin, recordings_needed
from leanclips.rounds import (LEAKS, divided, group_split, pretraining_leaks, pretraining_split,
                              rounds)
from leanclips.study import (CRNN, LINEAR, SCHEMA, TEMPORAL, CrossValidation, Holdout, Study,
                             load_study, settings_text)
from leanclips.workers import cores, progress

FEW_CLIPS = 20
HELDOUT = 0.24
FEWEST_TO_HOLD_OUT = 3  # recordings of a class: to train on, to validate on and to hold out
LISTED = 5
SETTINGS = Path(__file__).with_name("new-study.yml")


@dataclass(frozen=True)
class Report:
    """What `check_study` found, as sentences. The study can run if there is no problem."""

    summary: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """All of it, to print."""
        verdict = f"{len(self.problems)} problem(s) to solve." if self.problems else "No problem."
        return [*self.summary, *(f"Note: {note}" for note in self.notes),
                *(f"Problem: {problem}" for problem in self.problems), verdict]


def new_study(folder: Path, clips: Path, *, group_pattern: str | None = None,
              heldout: float | None = None, pretrain: Sequence[str] = (),
              group_by_content: bool = False) -> list[str]:
    """Write study.yml and clips.csv for the class folders in `clips`; returns what was written.

    An existing study.yml is kept. `heldout` is the fraction of target clips to hold out: without it
    the study is cross-validated, unless study.yml says holdout (0.24). `group_by_content` makes
    recordings that show the same scene one. Where `folder` has a table.py, as data/paper does, its
    function `table` makes the table of the clips and their roles.
    """
    layout, clips = Layout(folder), clips.resolve()
    if layout.table.exists():
        raise StudyError("is there already", layout.table,
                         "remove it first, or make the study in another folder")
    if heldout is not None and not 0 < heldout < 1:
        raise StudyError("is no fraction to hold out", heldout, "give one between 0 and 1")
    kept = layout.settings.exists()
    if kept and group_pattern:
        raise StudyError("the study has settings of its own", layout.settings,
                         "set group_pattern there, without --group-pattern")
    try:
        study = load_study(folder) if kept else Study(
            title=folder.resolve().name, clips=str(clips), group_pattern=group_pattern,
            protocol=CrossValidation() if heldout is None else Holdout(),
            classifiers=(LINEAR, TEMPORAL, *[CRNN] * bool(pretrain)),
            **yaml.safe_load(SETTINGS.read_text("utf-8")))
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise StudyError(f"the group pattern {problem}", group_pattern,
                         "give one like '(?P<group>.+)_[0-9]+'") from None
    holds_out = isinstance(study.protocol, Holdout)
    if scripted := (folder / "table.py").is_file():
        table = run_path(str(folder / "table.py"))["table"](clips, study)
    else:
        table = scan_folders(clips, study.group_pattern)
        if study.group_pattern is None:
            table = told_apart(table, FEWEST_TO_HOLD_OUT if holds_out else study.protocol.folds)
    if group_by_content:
        groups = joined(outlines([clips / clip.file for clip in table]),
                        [clip.group for clip in table])
        table = [replace(clip, group=group) for clip, group in zip(table, groups, strict=True)]
    if not scripted:
        if unknown := set(pretrain) - {clip.label for clip in table}:
            raise StudyError(f"holds no class '{min(unknown)}' to pretrain on", clips,
                             f"name some of {', '.join(sorted({clip.label for clip in table}))}")
        target = [clip for clip in table if clip.label not in pretrain]
        aside = group_split(target, heldout or HELDOUT, 0) if holds_out and target else set()
        table = with_roles(table, aside, set(pretrain))
    if not kept and heldout is None:  # no more folds than the smallest class has recordings
        told = recordings_of(of_role(table, Role.TARGET)).values()
        folds = max(2, min([study.protocol.folds, *told]))
        study = study.model_copy(update={"protocol": CrossValidation(folds=folds)})
    check_roles(table, study.protocol, clips)
    table = _measured(table, clips)
    if kept:
        write_text(layout.clips_root_note, f"{clips}\n")
    else:
        layout.clips_root_note.unlink(missing_ok=True)
        write_text(layout.settings, settings_text(study))
        write_text(folder / SCHEMA, f"{json.dumps(Study.model_json_schema(), indent=1)}\n")
    write_table(layout.table, table)
    return [f"{layout.settings}: {'kept as it is' if kept else 'written'}.",
            f"{layout.table}: {len(table)} clips written.", *_counts(table),
            *(f"Note: {note}" for note in _alone(table, study))]


def told_apart(scanned: Sequence[Clip], least: int) -> list[Clip]:
    """The clips, each a recording of its own in a class whose names tell fewer than `least`."""
    told = recordings_of(scanned)
    return [clip if told[clip.label] >= least else
            replace(clip, group=str(PurePosixPath(clip.file).with_suffix(""))) for clip in scanned]


def _alone(table: Sequence[Clip], study: Study) -> list[str]:
    """A note where names told no recordings, and there is no pattern by which each clip is one."""
    clips = Counter(clip.label for clip in table)
    alone = [label for label, told in sorted(recordings_of(table).items()) if clips[label] == told]
    if not alone or study.group_pattern or study.synthetic:
        return []
    return [f"Each clip of {listing(alone)} counts as a recording of its own. If some were cut "
            "from one recording, training and test share it, and accuracy comes out TOO HIGH. Tell "
            "recordings apart by --group-pattern or --group-by-content of 'leanclips new', or in "
            "the column group of clips.csv."]


def _measured(table: list[Clip], root: Path) -> list[Clip]:
    """The clips with frames and SHA-256, each decoded once from end to end."""
    probes = _probed(table, root, "reading")
    if bad := sorted(f"{one.where}: {one.what}" for one in probes if isinstance(one, StudyError)):
        raise StudyError(f"{len(bad)} of {len(table)} clips cannot be used ({'; '.join(bad[:10])})",
                         root, "replace these files or move them elsewhere")
    return [replace(clip, frames=found.frames, sha256=file_sha256(root / clip.file))
            for clip, found in zip(table, probes, strict=True)]


def _probed(clips: Sequence[Clip], root: Path, what: str) -> list[Probe | StudyError]:
    """What each clip holds, or why it cannot be used."""
    def probed(clip: Clip) -> Probe | StudyError:
        try:
            path = verify_file(root, clip)
            # A file with the right hash was decoded when the table was made.
            found = probe(path, whole=not clip.sha256)
            square(clip.roi, found.width, found.height, path)
        except StudyError as error:
            return error
        return found if clip.frames in (None, found.frames) else StudyError(
            f"the clip has {found.frames} frames and clips.csv says {clip.frames}", path,
            "get the original file again or correct clips.csv")

    with ThreadPoolExecutor(cores()) as pool:  # decoding and hashing release Python's lock
        return list(progress(pool.map(probed, clips), len(clips), what))


def check_study(folder: Path, clips: Path | None = None) -> Report:
    """Check settings, table and every clip, of a synthetic study those that are rendered already.
    `clips` is the folder of the clips, if they moved.
    """
    layout, study = Layout(folder), load_study(folder)
    table, rendered = study_table(layout, study), study.synthetic is not None
    root = clips or clips_root(layout, study)
    if not rendered and not root.is_dir():
        raise StudyError("the folder of clips is not there", root,
                         "name it with --clips (or CLIPS=…)")
    problems, leaks = [], False
    try:
        if rendered:
            renderer().check_table(layout, study.synthetic, table)
        check_roles(table, study.protocol, layout.table)
        _check_splits(table, study, layout.table)
        leaks = pretraining_leaks(table, study)
    except StudyError as error:
        problems.append(str(error))
    there = [clip for clip in table if not rendered or (root / clip.file).is_file()]
    found = _probed(there, root, "checking")
    problems += _copies(table, layout.table)
    problems += [str(one) for one in found if isinstance(one, StudyError)]
    probes = {clip: one for clip, one in zip(there, found, strict=True) if isinstance(one, Probe)}
    if len(there) < len(table):
        looked = f"{len(table) - len(there)} of {len(table)} clips are still to be rendered."
    else:
        size = sum((root / clip.file).stat().st_size for clip in probes)
        looked = (f"{len(probes)} of {len(there)} clips can be read: "
                  f"{duration(sum(one.seconds for one in probes.values()))}, {size / 1e6:.1f} MB.")
    notes = [*_alone(table, study), *([] if rendered else _scenes(list(probes), root)),
             *_notes(table, study, probes), *[LEAKS] * leaks]
    return Report((*_counts(table), looked), tuple(notes), tuple(problems))


def _check_splits(table: Sequence[Clip], study: Study, where: Path) -> None:
    """StudyError where a split leaves a class without a clip to train or to validate on."""
    for seed in study.finetuning.seeds:
        rounds(table, study.protocol, seed)
    if has_pretraining(study, table):
        pretrain = pretraining_clips(table)
        parts = divided(pretrain, pretraining_split(pretrain, study.pretraining))
        for part, what in zip(parts, ("train", "validate"), strict=True):
            if lacking := {clip.label for clip in pretrain} - {clip.label for clip in part}:
                raise StudyError(f"pretraining has no clip of the class '{min(lacking)}' to {what} "
                                 "on", where, "add recordings of that class, or correct the "
                                 "columns group and fold")


def _copies(table: Sequence[Clip], where: Path) -> list[str]:
    """Equal files, by name or content, of two recordings: training and test may share them."""
    first, copies = {}, {}
    for clip in tested_clips(table):
        for name in filter(None, (clip.file, clip.sha256)):
            other = first.setdefault(name, clip)
            if (other.group, other.role) != (clip.group, clip.role):
                copies[clip.id] = other.id
    return [str(StudyError(f"the clip '{mine}' is the same file as the clip '{other}' of another "
                           "recording", where, "remove one of them"))
            for mine, other in copies.items()]


def _scenes(clips: Sequence[Clip], root: Path) -> list[str]:
    """A note where clips of different recordings show the same scene."""
    count, likest = 0, []
    seen = outlines([root / clip.file for clip in clips])
    for first, second, likeness in same_scene(seen, [clip.group for clip in clips]):
        count += len(first)
        best = np.argsort(-likeness, kind="stable")[:LISTED]
        likest += zip(-likeness[best], first[best], second[best], strict=True)
    pairs = "; ".join(f"{clips[a].file} and {clips[b].file}" for _, a, b in sorted(likest)[:LISTED])
    return [f"{several(count, 'pair')} of clips from different recordings seem to show the same "
            f"scene (the most alike: {pairs}). Where training and test share a scene, accuracy "
            "comes out too high. Give such clips one name in the column group of clips.csv, or let "
            "'leanclips new --group-by-content' do so."] if count else []


def _notes(table: Sequence[Clip], study: Study, probes: dict[Clip, Probe]) -> list[str]:
    notes = []
    for what, form in (("size", "{0.width}×{0.height}"), ("frame rate", "{0.fps:.5g} fps")):
        values = {clip: form.format(found) for clip, found in probes.items()}
        usual = max(values.values(), key=Counter(values.values()).get, default="")
        if others := [clip.file for clip, value in values.items() if value != usual]:
            notes.append(f"{len(others)} clips have another {what} than the usual {usual}, the "
                         f"first is {others[0]}; they can be used.")
    sizes = Counter(clip.label for clip in of_role(table, Role.TARGET)).most_common()
    if sizes and sizes[0][1] >= 2 * sizes[-1][1]:
        (most, many), (least, few) = sizes[0], sizes[-1]
        notes.append(f"The classes are unbalanced: {many} target clips of '{most}', {few} of "
                     f"'{least}'.")
    holdout = isinstance(study.protocol, Holdout)
    tested = of_role(table, Role.HELDOUT) if holdout else tested_clips(table)
    if 0 < len(tested) < FEW_CLIPS:
        notes.append(f"There are only {len(tested)} test clips: one clip is "
                     f"{100 / len(tested):.0f} points of accuracy.")
    recordings = len({clip.group for clip in tested})
    if 0 < recordings < (needed := recordings_needed(study.margin)):
        notes.append(f"{recordings} recordings to test on cannot show equivalence within a margin "
                     f"of less than {100 * least_margin(recordings):.1f} points; the margin of "
                     f"{100 * study.margin:g} takes {needed}.")
    pretrain, used = of_role(table, Role.PRETRAIN), pretraining_clips(table)
    if CRNN in study.classifiers and not pretrain:
        notes.append("No clip has the role pretrain: the network starts without pretraining.")
    if left_out := len(pretrain) - len(used):
        notes.append(f"{left_out} pretraining clips are of target or held-out recordings and are "
                     "left out.")
    return notes


def _counts(table: Sequence[Clip]) -> list[str]:
    return [f"{role}: {len(clips)} clips, {len(classes(table, role))} classes, "
            f"{len({clip.group for clip in clips})} groups."
            for role in Role if (clips := of_role(table, role))]
