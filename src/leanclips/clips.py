"""The clip table of a study: read, check, write, make from a folder."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import ModuleType

from leanclips.errors import StudyError
from leanclips.files import file_sha256, write_text
from leanclips.layout import ROOT, Layout
from leanclips.study import CRNN, SOURCE, Protocol, Study

CLIP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VIDEO_SUFFIXES = {".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"}


class Role(StrEnum):
    """What a clip is for."""

    PRETRAIN = "pretrain"
    TARGET = "target"
    HELDOUT = "heldout"


@dataclass(frozen=True)
class Roi:
    """A square region of interest, in pixels of the displayed frame."""

    x: int
    y: int
    side: int

    @classmethod
    def parse(cls, text: str) -> "Roi | None":
        """Read `x y side`; an empty text is no ROI (the largest centred square)."""
        if not text.strip():
            return None
        x, y, side = (int(part) for part in text.split())
        if x < 0 or y < 0 or side < 16:
            raise ValueError("x and y must not be negative, the side at least 16")
        return cls(x, y, side)

    def __str__(self) -> str:
        return f"{self.x} {self.y} {self.side}"


@dataclass(frozen=True)
class Clip:
    """One row of clips.csv. `file` is relative to the clips folder, with forward slashes.

    `frames` and `sha256` are checked where they are given. `fold` holds an official split
    (`train` or `validation`) where a data set has one.
    """

    id: str
    file: str
    label: str
    group: str
    role: Role
    frames: int | None = None
    sha256: str = ""
    roi: Roi | None = None
    fold: str = ""


COLUMNS = [field.name for field in fields(Clip)]
REQUIRED = COLUMNS[:5]
FOLDS = ("", "train", "validation")


def read_table(path: Path) -> list[Clip]:
    """Read and validate clips.csv; StudyError names the file and the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise StudyError("is missing", path, "make it with 'leanclips new'") from None
    except UnicodeDecodeError:
        raise StudyError("is not UTF-8 text", path, "save it as CSV in UTF-8") from None
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(row, f"{path} line {rows.line_num}") for row in rows]
    except csv.Error as problem:
        raise StudyError(f"is not readable CSV ({problem})", f"{path} line {rows.line_num + 1}",
                         "close each quotation mark, and double those within a cell") from None
    header = rows.fieldnames or []
    if missing := [name for name in REQUIRED if name not in header]:
        raise StudyError(f"has no column {', '.join(missing)}", path,
                         f"its first line must name {', '.join(REQUIRED)}")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise StudyError(f"has an unknown column '{unknown[0]}'", path,
                         f"use only {', '.join(COLUMNS)}")
    if doubled := [name for name, count in Counter(header).items() if count > 1]:
        raise StudyError(f"has the column '{doubled[0]}' twice", path, "remove one of them")
    clips = [_clip(row, where) for row, where in lines]
    if not clips:
        raise StudyError("lists no clip", path, "add at least one row per clip")
    for clip_id, count in Counter(clip.id for clip in clips).items():
        if count > 1:
            raise StudyError(f"names the id '{clip_id}' {count} times", path, "make ids unique")
    return clips


def _clip(row: dict[str | None, str | None], where: str) -> Clip:
    if None in row:
        raise StudyError("has more cells than the first line", where,
                         "put a text that holds a comma in quotation marks")
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    for name in REQUIRED:
        if not cells[name]:
            raise StudyError(f"{name} is empty", where, "fill it in")
    if not CLIP_ID.fullmatch(cells["id"]):
        raise StudyError(f"the id '{cells['id']}' is not a plain name", where,
                         "use letters, digits, dots, dashes and underscores")
    file = PurePosixPath(cells["file"])
    if file.is_absolute() or ".." in file.parts or "\\" in cells["file"]:
        raise StudyError(f"the file '{cells['file']}' leaves the clips folder", where,
                         "give a path inside it, with forward slashes")
    if cells["fold"] not in FOLDS:
        raise StudyError(f"the fold '{cells['fold']}' is neither train nor validation", where,
                         "correct it, or leave it empty")
    try:
        return Clip(
            id=cells["id"], file=cells["file"], label=cells["label"], group=cells["group"],
            role=Role(cells["role"]), frames=int(cells["frames"]) if cells["frames"] else None,
            sha256=cells["sha256"].lower(), roi=Roi.parse(cells["roi"]), fold=cells["fold"],
        )
    except ValueError as problem:
        raise StudyError(f"cannot be read ({problem})", where,
                         "role is pretrain, target or heldout; frames a number; roi 'x y side'"
                         ) from None


def write_table(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips.csv, whole or not at all."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(clip, name) for name in COLUMNS] for clip in clips)
    write_text(path, out.getvalue())


def clips_root(layout: Layout, study: Study) -> Path:
    """The folder that `Clip.file` is relative to: as last told, else as study.yml says."""
    if study.synthetic is not None:
        return layout.rendered
    if layout.clips_root_note.is_file():
        return Path(layout.clips_root_note.read_text(encoding="utf-8").strip())
    return layout.study / Path(study.clips).expanduser()


def verify_file(root: Path, clip: Clip) -> Path:
    """The clip's file, checked to exist, to hold bytes and to be the one that clips.csv means."""
    path = root / clip.file
    if not path.is_file():
        raise StudyError("the clip is missing", path,
                         "name the folder that holds the clips with CLIPS=… (or --clips), or "
                         f"remove '{clip.id}' from clips.csv")
    if path.stat().st_size == 0:
        raise StudyError("the clip is empty (0 bytes)", path, "replace it by a good copy")
    if clip.sha256 and file_sha256(path) != clip.sha256:
        raise StudyError("the clip is not the one that clips.csv lists (its SHA-256 differs)",
                         path, "get the original file again")
    return path


def tested_clips(clips: Iterable[Clip]) -> list[Clip]:
    """The clips that every variant encodes and every run trains or tests on."""
    return of_role(clips, Role.TARGET, Role.HELDOUT)


def variant_clips(clips: Sequence[Clip], variant: str) -> list[Clip]:
    """The clips that a variant holds: the source all, any other those that are tested on."""
    return list(clips) if variant == SOURCE else tested_clips(clips)


def of_role(clips: Iterable[Clip], *roles: Role) -> list[Clip]:
    """The clips of these roles, in the order of the table."""
    return [clip for clip in clips if clip.role in roles]


def pretraining_clips(clips: Sequence[Clip]) -> list[Clip]:
    """The clips to pretrain on: those of role pretrain, less the recordings of the other roles.

    A feature film can hold clips of many classes, so a pretraining class may show a recording
    that a network is tested on (some of J-HMDB's 768 clips do).
    """
    tested = {clip.group for clip in tested_clips(clips)}
    return [clip for clip in of_role(clips, Role.PRETRAIN) if clip.group not in tested]


def has_pretraining(study: Study, clips: Sequence[Clip], variant: str = SOURCE) -> bool:
    """Whether there are clips to pretrain on and a network that starts from it, in the runs of
    `variant`: of the source, if of any.
    """
    return CRNN in study.classifiers_of(variant) and bool(pretraining_clips(clips))


def leaks_recordings(clips: Sequence[Clip], aside: Collection[str]) -> bool:
    """Whether a recording has clips among those set aside (ids) and among the others."""
    inside = {clip.group for clip in clips if clip.id in aside}
    return any(clip.group in inside for clip in clips if clip.id not in aside)


def classes(clips: Iterable[Clip], *roles: Role) -> list[str]:
    """Sorted class names of the clips of these roles; a label's index is its place here."""
    return sorted({clip.label for clip in of_role(clips, *roles)})


def recordings_of(clips: Iterable[Clip]) -> Counter[str]:
    """How many recordings each class has."""
    return Counter(label for label, _ in {(clip.label, clip.group) for clip in clips})


def check_roles(clips: Sequence[Clip], protocol: Protocol, where: Path) -> None:
    """StudyError unless classes, recordings and counts fit the protocol."""
    heldout = protocol.kind == "holdout"
    _check_tested(clips, heldout, where)
    dealt = of_role(clips, Role.TARGET, *([] if heldout else [Role.HELDOUT]))
    if not heldout and (found := len({clip.group for clip in dealt})) < protocol.folds:
        raise StudyError(f"has {found} recordings for {protocol.folds} folds", where,
                         "set fewer protocol.folds in study.yml, or add recordings")
    if not heldout and (most := max(Counter(clip.label for clip in dealt).values())
                        ) < protocol.folds:
        raise StudyError(f"has no class of more than {most} clips for {protocol.folds} folds",
                         where, "set fewer protocol.folds in study.yml, or add clips")
    for role, chosen in (("target", dealt), ("pretrain", pretraining_clips(clips))):
        for label, count in sorted(recordings_of(chosen).items()):
            if count < 2:
                group = next(clip.group for clip in chosen if clip.label == label)
                raise StudyError(f"the {role} class '{label}' has one group only ({group})", where,
                                 "it needs at least two recordings, one to train on and one to "
                                 "test on")


def _check_tested(clips: Sequence[Clip], holdout: bool, where: Path) -> None:
    target, heldout = of_role(clips, Role.TARGET), of_role(clips, Role.HELDOUT)
    needed = {"target": target} | ({"heldout": heldout} if holdout else {})
    for role, chosen in needed.items():
        if not chosen:
            raise StudyError(f"no clip has the role {role}", where, "give some clips that role, "
                             "or set another protocol in study.yml")
    names = classes(clips, Role.TARGET)
    if len(names) < 2:
        raise StudyError(f"the target clips have only one class ({names[0]})", where,
                         "a study needs at least two classes")
    tested = classes(clips, Role.HELDOUT)
    if strange := sorted(set(tested) ^ set(names) if holdout else set(tested) - set(names)):
        raise StudyError(f"the class '{strange[0]}' has clips in only one of target and heldout",
                         where, "give each class clips in both roles")
    both = {clip.group for clip in target} & {clip.group for clip in heldout}
    if holdout and both:
        raise StudyError(f"the group '{min(both)}' has clips in two roles (target and heldout)",
                         where, "keep all clips of a recording in one role")


@cache
def renderer() -> ModuleType:
    """What renders the clips of a synthetic study: data/demo/synthetic.py."""
    sys.path.insert(0, str(ROOT / "data" / "demo"))
    return import_module("synthetic")


def write_it_with(layout: Layout) -> str:
    """How the table of a synthetic study is made."""
    return f"write it with 'python data/demo/synthetic.py {layout.study}'"


def study_table(layout: Layout, study: Study) -> list[Clip]:
    """The rows of the study's clips.csv; where that is missing, StudyError names what makes it."""
    if not layout.table.exists() and study.synthetic is not None:
        raise StudyError("is missing", layout.table, write_it_with(layout))
    return read_table(layout.table)


def load_clips(layout: Layout, study: Study) -> list[Clip]:
    """The study's table, validated."""
    clips = study_table(layout, study)
    check_roles(clips, study.protocol, layout.table)
    return clips


def scan_folders(root: Path, group_pattern: str | None) -> list[Clip]:
    """Clips of a class-per-folder tree, all of role target, without frames or hashes.

    The group is the part `(?P<group>…)` of `group_pattern` in the file's name, whatever the
    class: a film may hold clips of several. Without a pattern it is the file's name less a
    trailing number, within the class (`run/street_03.mp4` belongs to `run/street`).
    Raises StudyError when there are no class folders or a name does not match.
    """
    if not root.is_dir():
        raise StudyError("there is no such folder", root, "name the folder that holds the clips")
    found = sorted(path for path in root.glob("*/**/*")
                   if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
                   and not any(part.startswith(".") for part in path.relative_to(root).parts))
    if not found:
        raise StudyError("holds no class folders with clips", root,
                         "put the clips of each class into a folder named after the class")
    counters: Counter[str] = Counter()
    clips = []
    for path in found:
        file = path.relative_to(root)
        label = file.parts[0]
        name = slug(label)  # Two classes may share it: "Rope Jump" and "rope_jump".
        counters[name] += 1
        group = group_of(file.stem, group_pattern, path)
        group = group if group_pattern else f"{label}/{group}"
        clip_id = f"{name}-{counters[name]:03d}"
        clips.append(Clip(clip_id, file.as_posix(), label, group, Role.TARGET))
    return clips


def group_of(stem: str, pattern: str | None, where: Path) -> str:
    """The recording that a file name speaks of."""
    if pattern is None:
        return re.sub(r"[\s._-]*\(?\d+\)?$", "", stem) or stem
    match = re.search(pattern, stem)
    if match is None or not match["group"]:
        raise StudyError(f"the name does not match the group pattern {pattern}", where,
                         "correct the pattern, or rename the clip")
    return match["group"]


def slug(text: str) -> str:
    """`text` as a plain name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:80] or "class"


def with_roles(clips: Sequence[Clip], heldout: set[str], pretrain_labels: set[str]) -> list[Clip]:
    """The clips with ids in `heldout` held out, classes in `pretrain_labels` for pretraining."""
    def role(clip: Clip) -> Role:
        if clip.label in pretrain_labels:
            return Role.PRETRAIN
        return Role.HELDOUT if clip.id in heldout else Role.TARGET

    return [replace(clip, role=role(clip)) for clip in clips]
