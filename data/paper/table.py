"""The table of this study: `leanclips new data/paper --clips CLIPS` calls `table`.

UCF-101 in its official layout is for pretraining; `target/<class>` and `heldout/<class>` hold the
case study's own clips, or others in their place.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leanclips.clips import VIDEO_SUFFIXES, Clip, Role, Roi, scan_folders
from leanclips.errors import StudyError
from leanclips.study import Study

CLIPS, LISTS = "UCF-101", "ucfTrainTestlist"
NAME = re.compile(r"v_\w+_(?P<group>g\d+)_c\d+")
GET_LISTS = "unpack UCF101TrainTestSplits-RecognitionTask.zip there"


def table(root: Path, study: Study) -> list[Clip]:
    """All clips below `root`, their roles by their folders."""
    clips = [replace(clip, file=f"{CLIPS}/{clip.file}")
             for clip in official(root / CLIPS, root / LISTS)]
    for role in (Role.TARGET, Role.HELDOUT):
        clips += [replace(clip, id=f"{role}-{clip.id}", file=f"{role}/{clip.file}", role=role)
                  for clip in scan_folders(root / role, study.group_pattern)]
    return with_rois(clips, root / "rois.csv")


def with_rois(clips: Sequence[Clip], path: Path) -> list[Clip]:
    """The clips with the ROIs of the table `file,x,y,side`, if it exists."""
    if not path.exists():
        return list(clips)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != ["file", "x", "y", "side"]:
            raise StudyError("is not a table of ROIs", path, "its first line is file,x,y,side")
        rois = {}
        for row in rows:
            try:
                rois[row["file"]] = Roi.parse(f"{row['x']} {row['y']} {row['side']}")
            except ValueError:
                raise StudyError("cannot be read", f"{path} line {rows.line_num}",
                                 "x and y are pixels, the side at least 16") from None
    if unknown := sorted(rois.keys() - {clip.file for clip in clips}):
        raise StudyError(f"names '{unknown[0]}', which is no clip", path,
                         "give files relative to the clips folder, as target/running/a.mp4")
    return [replace(clip, roi=rois.get(clip.file)) for clip in clips]


def official(root: Path, splits_folder: Path) -> list[Clip]:
    """The 13,320 clips below `root`, for pretraining, with the first official split.

    `Clip.file` is relative to `root`; a group is a recording, `ApplyEyeMakeup/g01`.
    """
    names = {line.split()[-1] for line in _lines(splits_folder / "classInd.txt")}
    folds = {}
    for part, fold in (("train", "train"), ("test", "validation")):
        path = splits_folder / f"{part}list01.txt"
        folds |= {line.split()[0]: fold for line in _lines(path)}
        if strange := [file for file in folds if file.split("/")[0] not in names]:
            raise StudyError(f"lists '{strange[0]}', whose class is not in classInd.txt", path,
                             GET_LISTS)
    there = {path.relative_to(root).as_posix() for path in root.glob("*/*")
             if path.suffix.lower() in VIDEO_SUFFIXES}
    if missing := sorted(folds.keys() - there):
        raise StudyError(f"{len(missing)} clips of the official lists are missing, the first is "
                         f"{missing[0]}", root, "unpack UCF101.rar there once more")
    if unknown := sorted(there - folds.keys()):
        raise StudyError(f"{len(unknown)} clips are in no official list, the first is "
                         f"{unknown[0]}", root, "move them elsewhere")
    clips = []
    for file, fold in sorted(folds.items()):
        label, stem = file.split("/")[0], Path(file).stem
        if (match := NAME.fullmatch(stem)) is None:
            raise StudyError("the name is not v_<Class>_g<recording>_c<clip>", file,
                             "use the official file names")
        clips.append(Clip(stem, file, label, f"{label}/{match['group']}", Role.PRETRAIN, fold=fold))
    return clips


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise StudyError("the official list is missing", path, GET_LISTS)
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
