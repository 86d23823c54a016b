"""UCF-101 and the case study's layout, on a small tree of the same shape."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

from leanclips.clips import Role, Roi, check_roles, classes, of_role
from leanclips.errors import StudyError
from leanclips.layout import ROOT
from leanclips.study import Holdout, Study

made = SimpleNamespace(**run_path(str(ROOT / "data" / "paper" / "table.py")))
PAPER = Study(title="Paper")
CLASSES = ("ApplyEyeMakeup", "HandstandPushups")


def official(root: Path) -> Path:
    """Two classes of three recordings of two clips; the first recording is the test list."""
    lists = {"train": [], "test": []}
    for number, label in enumerate(CLASSES, 1):
        for group in (1, 2, 3):
            for clip in (1, 2):
                # UCF-101 writes HandstandPushups/v_HandStandPushups_…
                name = label.replace("stand", "Stand")
                file = f"{label}/v_{name}_g{group:02d}_c{clip:02d}.avi"
                lists["test" if group == 1 else "train"].append(
                    file if group == 1 else f"{file} {number}")
                write(root / "UCF-101" / file)
    write(root / "ucfTrainTestlist/classInd.txt",
          "\r\n".join(f"{number} {label}" for number, label in enumerate(CLASSES, 1)))
    for part, files in lists.items():
        write(root / f"ucfTrainTestlist/{part}list01.txt", "\r\n".join(files) + "\r\n")
    return root


def paper(root: Path) -> Path:
    official(root)
    for label in ("running", "rope jumping"):
        for recording in ("street", "park", "gym"):
            write(root / "target" / label / f"{recording}_1.mp4")
        write(root / "heldout" / label / "field_1.mp4")
    return root


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def table(root: Path):
    return made.official(root / "UCF-101", root / "ucfTrainTestlist")


def marked(root: Path):
    return made.table(root, PAPER)


def test_official_lists_give_folds_and_names_give_recordings(tmp_path):
    clips = table(official(tmp_path))
    assert len(clips) == 12
    assert {clip.role for clip in clips} == {Role.PRETRAIN}
    assert {clip.group for clip in clips if clip.fold == "validation"} == {
        "ApplyEyeMakeup/g01", "HandstandPushups/g01"}
    assert clips[-1].id == "v_HandStandPushups_g03_c02"
    assert (clips[-1].label, clips[-1].fold) == ("HandstandPushups", "train")


@pytest.mark.parametrize("name", ["classInd.txt", "trainlist01.txt", "testlist01.txt"])
def test_a_missing_list_is_reported(tmp_path, name):
    (official(tmp_path) / "ucfTrainTestlist" / name).unlink()
    with pytest.raises(StudyError, match=f"{name}: the official list is missing; unpack"):
        table(tmp_path)


def test_a_listed_clip_that_is_missing_is_reported(tmp_path):
    (official(tmp_path) / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi").unlink()
    with pytest.raises(StudyError, match="1 clips of the official lists are missing, the first "
                                         "is ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi"):
        table(tmp_path)


def test_a_clip_in_no_list_is_reported(tmp_path):
    write(official(tmp_path) / "UCF-101/ApplyEyeMakeup/mine.avi")
    with pytest.raises(StudyError, match="1 clips are in no official list, the first is "
                                         "ApplyEyeMakeup/mine.avi"):
        table(tmp_path)


def test_a_class_unknown_to_the_index_is_reported(tmp_path):
    write(official(tmp_path) / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup")
    with pytest.raises(StudyError, match="whose class is not in classInd.txt"):
        table(tmp_path)


def test_the_case_study_s_folders_give_the_roles(tmp_path):
    clips = made.table(paper(tmp_path), PAPER)
    check_roles(clips, Holdout(), tmp_path)
    assert len({clip.id for clip in clips}) == len(clips)
    assert all((tmp_path / clip.file).is_file() for clip in clips)
    assert [len(of_role(clips, role)) for role in Role] == [12, 6, 2]
    assert classes(clips, Role.TARGET) == classes(clips, Role.HELDOUT) == ["rope jumping",
                                                                          "running"]


def test_a_recording_in_both_folders_is_reported(tmp_path):
    write(paper(tmp_path) / "heldout/running/street_2.mp4")
    with pytest.raises(StudyError, match="the group 'running/street' has clips in two roles"):
        check_roles(made.table(tmp_path, PAPER), Holdout(), tmp_path)


def test_rois_come_from_their_table(tmp_path):
    write(paper(tmp_path) / "rois.csv", "file,x,y,side\ntarget/running/gym_1.mp4,280,0,720\n")
    rois = {clip.file: clip.roi for clip in marked(tmp_path) if clip.roi}
    assert rois == {"target/running/gym_1.mp4": Roi(280, 0, 720)}


@pytest.mark.parametrize("text, problem", [
    ("name,x,y\n", "is not a table of ROIs; its first line is file,x,y,side"),
    ("file,x,y,side\ntarget/running/gym_1.mp4,a,0,720\n", "line 2: cannot be read"),
    ("file,x,y,side\ntarget/running/gym_1.mp4,0,0,4\n", "line 2: cannot be read"),
    ("file,x,y,side\ntarget/running/gym_1.mp4,0\n", "line 2: cannot be read"),
    ("file,x,y,side\ngym_1.mp4,0,0,720\n", "names 'gym_1.mp4', which is no clip"),
])
def test_a_bad_table_of_rois_is_reported(tmp_path, text, problem):
    write(paper(tmp_path) / "rois.csv", text)
    with pytest.raises(StudyError, match=problem):
        marked(tmp_path)
