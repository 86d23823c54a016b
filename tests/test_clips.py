"""The clip table says in one sentence what is wrong with it, and where."""

from dataclasses import replace
from pathlib import Path

import pytest

from leanclips import clips as clip_table
from leanclips.clips import (Clip, Role, Roi, check_roles, classes, clips_root, leaks_recordings,
                             load_clips, of_role, pretraining_clips, read_table, scan_folders, slug,
                             study_table, verify_file, with_roles, write_table)
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.layout import Layout
from leanclips.study import CrossValidation, Holdout, Study, Synthetic

HEADER = "id,file,label,group,role,frames,sha256,roi,fold"


def table(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "clips.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def good_clips() -> list[Clip]:
    """Two classes, three recordings each, one held out; one pretraining class of two."""
    clips = [Clip(f"{label}-{number}", f"{label}/{number}.mp4", label, f"{label}/{number}",
                  Role.HELDOUT if number == 0 else Role.TARGET)
             for label in ("jump", "run") for number in range(3)]
    return clips + [Clip(f"sit-{number}", f"sit/{number}.mp4", "sit", f"sit/{number}",
                         Role.PRETRAIN) for number in range(3)]


def test_a_written_table_reads_back_the_same(tmp_path):
    clips = [Clip("a-1", "a/ü 1.mp4", "a, b", "g", Role.TARGET, 12, "0" * 64, Roi(1, 2, 16),
                  "train"),
             Clip("a-2", "a/2.mp4", "a, b", "g", Role.HELDOUT)]
    write_table(tmp_path / "clips.csv", clips)
    assert read_table(tmp_path / "clips.csv") == clips


def test_a_table_saved_by_a_spreadsheet_reads_well(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\na-1,a/1.mp4,a,g,target,,,,\r\n".encode())
    assert read_table(path) == [Clip("a-1", "a/1.mp4", "a", "g", Role.TARGET)]


@pytest.mark.parametrize("row, problem", [
    ("a 1,a/1.mp4,a,g,target,,,,", "the id 'a 1' is not a plain name"),
    ("../a,a/1.mp4,a,g,target,,,,", "the id '../a' is not a plain name"),
    ("..,a/1.mp4,a,g,target,,,,", "the id '..' is not a plain name"),
    ("a-1,a/../../1.mp4,a,g,target,,,,", "leaves the clips folder"),
    ("a-1,../1.mp4,a,g,target,,,,", "leaves the clips folder"),
    ("a-1,/etc/1.mp4,a,g,target,,,,", "leaves the clips folder"),
    ("a-1,a\\1.mp4,a,g,target,,,,", "leaves the clips folder"),
    ("a-1,a/1.mp4,,g,target,,,,", "label is empty"),
    ("a-1,a/1.mp4,a,g,test,,,,", "role is pretrain, target or heldout"),
    ("a-1,a/1.mp4,a,g,target,many,,,", "frames a number"),
    ("a-1,a/1.mp4,a,g,target,,,1 2,", "roi 'x y side'"),
    ("a-1,a/1.mp4,a,g,target,,,-1 2 32,", "must not be negative"),
    ("a-1,a/1.mp4,a,g,target,,,0 0 8,", "the side at least 16"),
    ("a-1,a/1.mp4,a,g,target,,,,validaton", "the fold 'validaton' is neither train nor"),
    ("a-1,a/1, 2.mp4,a,g,target,,,,", "has more cells than the first line"),
    ('a-1,"a/1.mp4,a,g,target,,,,', "is not readable CSV"),
])
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, problem):
    path = table(tmp_path, row)
    with pytest.raises(StudyError) as error:
        read_table(path)
    assert f"{path} line 2: " in str(error.value) and problem in str(error.value)


@pytest.mark.parametrize("header, rows, problem", [
    ("id,file,label,group", [], "has no column role"),
    (HEADER + ",size", [], "unknown column 'size'"),
    (HEADER + ",label", [], "has the column 'label' twice"),
    (HEADER, [], "lists no clip"),
    (HEADER, ["a-1,a/1.mp4,a,g,target,,,,", "a-1,a/2.mp4,a,g,target,,,,"],
     "names the id 'a-1' 2 times"),
])
def test_a_bad_table_is_told_in_a_sentence(tmp_path, header, rows, problem):
    with pytest.raises(StudyError, match=problem):
        read_table(table(tmp_path, *rows, header=header))


def test_a_table_that_is_missing_or_no_text_is_told(tmp_path):
    with pytest.raises(StudyError, match="is missing; make it with 'leanclips new'"):
        read_table(tmp_path / "clips.csv")
    (tmp_path / "clips.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(StudyError, match="is not UTF-8 text"):
        read_table(tmp_path / "clips.csv")


HOLDOUT, FOLDS = Holdout(), CrossValidation(folds=3)


@pytest.mark.parametrize("protocol", [HOLDOUT, FOLDS])
def test_good_roles_pass(protocol):
    check_roles(good_clips(), protocol, Path("clips.csv"))


BAD_IN_BOTH = [
    (lambda clip: replace(clip, role=Role.PRETRAIN), "no clip has the role target"),
    (lambda clip: replace(clip, label="run"), "only one class"),
    (lambda clip: replace(clip, label="hop") if clip.id == "run-0" else clip,
     "the class 'hop' has clips in only one of target and heldout"),
    (lambda clip: replace(clip, group="film") if clip.label == "sit" else clip,
     "the pretrain class 'sit' has one group only"),
]


@pytest.mark.parametrize("protocol, change, problem", [
    *((protocol, *case) for case in BAD_IN_BOTH for protocol in (HOLDOUT, FOLDS)),
    (HOLDOUT, lambda clip: replace(clip, role=Role.TARGET), "no clip has the role heldout"),
    (HOLDOUT, lambda clip: replace(clip, group="run/0") if clip.label == "run" else clip,
     "the group 'run/0' has clips in two roles"),
    (HOLDOUT, lambda clip: replace(clip, group="run/1") if clip.id == "run-2" else clip,
     "the target class 'run' has one group only"),
    (FOLDS, lambda clip: replace(clip, group="film") if clip.label == "run" else clip,
     "the target class 'run' has one group only"),
    (FOLDS, lambda clip: replace(clip, group=f"film{clip.id[-1] > '0'}")
     if clip.label != "sit" else clip,
     "has 2 recordings for 3 folds; set fewer protocol.folds in study.yml"),
    (CrossValidation(folds=4), lambda clip: clip,
     "has no class of more than 3 clips for 4 folds; set fewer protocol.folds"),
])
def test_roles_that_make_no_study_are_told(protocol, change, problem):
    with pytest.raises(StudyError, match=problem):
        check_roles([change(clip) for clip in good_clips()], protocol, Path("clips.csv"))


def test_cross_validation_needs_no_clip_held_out_and_may_have_some_of_few_classes():
    dealt = [replace(clip, role=Role.TARGET) if clip.role == Role.HELDOUT else clip
             for clip in good_clips()]
    check_roles(dealt, FOLDS, Path("clips.csv"))
    some = [replace(clip, role=Role.HELDOUT) if clip.id == "run-0" else clip for clip in dealt]
    check_roles(some, FOLDS, Path("clips.csv"))
    with pytest.raises(StudyError, match="the class 'jump' has clips in only one of target and"):
        check_roles(some, HOLDOUT, Path("clips.csv"))


def test_a_recording_in_both_roles_is_one_recording_to_cross_validation():
    clips = [replace(clip, group="run/0") if clip.id == "run-1" else clip for clip in good_clips()]
    check_roles(clips, FOLDS, Path("clips.csv"))
    with pytest.raises(StudyError, match="the group 'run/0' has clips in two roles"):
        check_roles(clips, HOLDOUT, Path("clips.csv"))


@pytest.mark.parametrize("group", ["run/0", "run/1"])
def test_nothing_of_a_held_out_or_target_recording_serves_pretraining(group):
    clips = [replace(clip, group=group) if clip.id == "sit-0" else clip for clip in good_clips()]
    check_roles(clips, HOLDOUT, Path("clips.csv"))
    assert [clip.id for clip in pretraining_clips(clips)] == ["sit-1", "sit-2"]
    assert len(of_role(clips, Role.PRETRAIN)) == 3


def test_the_clips_to_test_on_are_those_of_role_target_and_heldout():
    assert [clip.id for clip in clip_table.tested_clips(good_clips())] == [
        "jump-0", "jump-1", "jump-2", "run-0", "run-1", "run-2"]


def test_a_recording_on_both_sides_is_a_leak():
    clips = [Clip(f"a-{n}", "x", "a", f"tape{n // 2}", Role.TARGET) for n in range(4)]
    assert not leaks_recordings(clips, {"a-0", "a-1"}) and not leaks_recordings(clips, set())
    assert leaks_recordings(clips, {"a-0"}) and leaks_recordings(clips, {"a-0", "a-1", "a-2"})


def test_classes_are_sorted_and_of_the_roles_asked_for():
    assert classes(good_clips(), Role.TARGET) == ["jump", "run"]
    assert classes(good_clips(), Role.TARGET, Role.PRETRAIN) == ["jump", "run", "sit"]


def test_a_clip_that_is_missing_empty_or_another_one_is_told(tmp_path, make_clip):
    clip = Clip("a-1", "a/1.mp4", "a", "g", Role.TARGET)
    with pytest.raises(StudyError, match="1.mp4: the clip is missing"):
        verify_file(tmp_path, clip)
    path = make_clip(tmp_path / "a/1.mp4", "empty")
    with pytest.raises(StudyError, match=r"the clip is empty \(0 bytes\)"):
        verify_file(tmp_path, clip)
    make_clip(path)
    assert verify_file(tmp_path, replace(clip, sha256=file_sha256(path))) == path
    with pytest.raises(StudyError, match="its SHA-256 differs"):
        verify_file(tmp_path, replace(clip, sha256="0" * 64))


def test_scanning_tells_class_and_recording_from_the_names(tmp_path):
    for name in ("run/street_01.mp4", "run/street (2).MP4", "run/b/park-3.avi",
                 "Rope Jumping/7.mov", "run/notes.txt", "run/.hidden.mp4", "top.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {clip.file: clip for clip in scan_folders(tmp_path, None)}
    assert {file: (clip.label, clip.group) for file, clip in found.items()} == {
        "Rope Jumping/7.mov": ("Rope Jumping", "Rope Jumping/7"),
        "run/b/park-3.avi": ("run", "run/park"),
        "run/street (2).MP4": ("run", "run/street"),
        "run/street_01.mp4": ("run", "run/street"),
    }
    assert found["Rope Jumping/7.mov"].id == "rope_jumping-001"
    assert slug("…") == "class"


def test_classes_whose_plain_names_are_equal_get_ids_of_their_own(tmp_path):
    for label in ("Rope Jump", "rope_jump", "跑步", "跳绳"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").write_bytes(b"")
    clips = scan_folders(tmp_path, None)
    write_table(tmp_path / "clips.csv", clips)
    assert read_table(tmp_path / "clips.csv") == clips
    assert len({clip.label for clip in clips}) == 4


def test_scanning_uses_the_group_pattern_and_names_what_does_not_match(tmp_path):
    for name in ("film_a_run_1.mp4", "other.mp4"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(b"")
    with pytest.raises(StudyError, match="other.mp4: the name does not match the group pattern"):
        scan_folders(tmp_path, r"(?P<group>.+)_run_")
    with pytest.raises(StudyError, match="other.mp4: the name does not match the group pattern"):
        scan_folders(tmp_path, r"((?P<group>.+)_run)?")
    (tmp_path / "run/other.mp4").unlink()
    assert scan_folders(tmp_path, r"(?P<group>.+)_run_")[0].group == "film_a"


def test_a_film_with_clips_of_two_classes_is_one_recording_if_the_pattern_says_so(tmp_path):
    for name in ("run/film_a_1.mp4", "sit/film_a_2.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    first, second = scan_folders(tmp_path, r"(?P<group>.+)_\d")
    assert first.group == second.group == "film_a"
    first, second = scan_folders(tmp_path, None)
    assert (first.group, second.group) == ("run/film_a", "sit/film_a")


def test_scanning_a_folder_without_clips_is_told(tmp_path):
    with pytest.raises(StudyError, match="holds no class folders"):
        scan_folders(tmp_path, None)
    with pytest.raises(StudyError, match="there is no such folder"):
        scan_folders(tmp_path / "none", None)


def test_roles_come_from_the_held_out_ids_and_the_pretraining_classes():
    clips = with_roles(good_clips(), {"run-2"}, {"sit"})
    assert [clip.id for clip in of_role(clips, Role.HELDOUT)] == ["run-2"]
    assert classes(clips, Role.PRETRAIN) == ["sit"]


def test_the_clips_folder_is_as_last_told_else_as_study_yml_says(tmp_path):
    layout = Layout(tmp_path)
    assert clips_root(layout, Study(title="a", clips="there")) == tmp_path / "there"
    assert clips_root(layout, Study(title="a", synthetic=Synthetic())) == layout.rendered
    layout.work.mkdir()
    layout.clips_root_note.write_text("/elsewhere\n")
    assert clips_root(layout, Study(title="a")) == Path("/elsewhere")


def test_loading_checks_the_roles_by_the_protocol(tmp_path):
    write_table(tmp_path / "clips.csv", [clip for clip in good_clips() if clip.role != "heldout"])
    study = Study(title="a", protocol=HOLDOUT)
    with pytest.raises(StudyError, match="clips.csv: no clip has the role heldout"):
        load_clips(Layout(tmp_path), study)
    in_folds = study.model_copy(update={"protocol": CrossValidation(folds=2)})
    assert len(load_clips(Layout(tmp_path), in_folds)) == 7


def test_the_table_of_a_synthetic_study_that_is_missing_is_told_with_what_writes_it(tmp_path):
    with pytest.raises(StudyError, match=r"clips.csv: is missing; write it with 'python .*"
                                         f"{tmp_path}'"):
        study_table(Layout(tmp_path), Study(title="a", synthetic=Synthetic()))
    with pytest.raises(StudyError, match="is missing; make it with 'leanclips new'"):
        study_table(Layout(tmp_path), Study(title="a"))
