"""A study of one's own clips: made from a folder, and checked before it runs."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from leanclips.clips import (Clip, Role, Roi, group_of, load_clips, of_role, read_table, renderer,
                             write_table)
from leanclips.datasets.own import check_study, new_study, told_apart
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.layout import ROOT, Layout
from leanclips.study import Study, load_study

LABELS = ("hop", "run")
RENDERED = "title: Rendered\nprotocol: {kind: holdout}\n"


@pytest.fixture(scope="module")
def folder_of_clips(tmp_path_factory, make_clip):
    """Two classes of four recordings, the first of two clips; a third class of three."""
    root = tmp_path_factory.mktemp("my clips ü")
    for number, label in enumerate((*LABELS, "sit")):
        for place, name in enumerate(("park_1", "park_2", "gym_1", "street_1", "field_1")):
            if (label, name) != ("sit", "field_1"):
                make_clip(root / label / f"{name}.mp4", seed=10 * number + place, frames=4)
    return root


@pytest.fixture
def clips(folder_of_clips, tmp_path):
    """A copy of the clips to spoil."""
    return Path(shutil.copytree(folder_of_clips, tmp_path / "clips"))


@pytest.fixture
def study(folder_of_clips, clips, tmp_path):
    """A good study of these clips."""
    new_study(tmp_path / "mine", clips, pretrain=["sit"], heldout=0.24)
    return tmp_path / "mine"


def rewrite(study: Path, change) -> None:
    """Change rows of clips.csv."""
    path = Layout(study).table
    write_table(path, [change(clip) for clip in read_table(path)])


def loaded(study: Path) -> list[Clip]:
    return load_clips(Layout(study), load_study(study))


def only(study: Path) -> str:
    """The one problem of the study."""
    problems = check_study(study).problems
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


def test_a_folder_of_class_folders_becomes_a_study(study, clips):
    table = loaded(study)
    assert Counter((clip.role, clip.label) for clip in table) == {
        ("target", "hop"): 4, ("target", "run"): 4, ("heldout", "hop"): 1, ("heldout", "run"): 1,
        ("pretrain", "sit"): 4}
    assert all(clip.frames == 4 and clip.sha256 == file_sha256(clips / clip.file)
               for clip in table)
    settings = load_study(study)
    assert (settings.title, settings.clips) == ("mine", str(clips))
    assert settings.finetuning.seeds == tuple(range(1, 6))
    assert settings.classifiers == ("linear", "temporal", "crnn")  # there is something to pretrain
    first = Layout(study).settings.read_text().splitlines()[0]
    beside = study / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(beside.read_text()) == Study.model_json_schema()


def test_a_good_study_has_no_problem_and_is_summed_up(study):
    report = check_study(study)
    assert report.problems == ()
    assert report.summary == (
        "pretrain: 4 clips, 1 classes, 3 groups.", "target: 8 clips, 2 classes, 6 groups.",
        "heldout: 2 clips, 2 classes, 2 groups.", report.summary[-1])
    assert report.summary[-1].startswith("14 of 14 clips can be read: 2.2 s, 0.")
    assert any("only 2 test clips" in note for note in report.notes)
    assert report.lines()[-1] == "No problem."


def test_the_same_folder_gives_the_same_table(study, clips, tmp_path):
    new_study(tmp_path / "again", clips, pretrain=["sit"], heldout=0.24)
    assert Layout(study).table.read_bytes() == Layout(tmp_path / "again").table.read_bytes()


def test_title_and_pattern_survive_yaml(clips, tmp_path):
    pattern = r"(?P<group>[a-z]+)_\d(: '\")?"
    new_study(tmp_path / "Mine: a 'study' # 1 ü", clips, group_pattern=pattern)
    settings = load_study(tmp_path / "Mine: a 'study' # 1 ü")
    assert (settings.title, settings.group_pattern) == ("Mine: a 'study' # 1 ü", pattern)


def test_a_recording_is_held_out_for_all_its_classes(tmp_path, make_clip):
    for number, label in enumerate(LABELS):
        for group in range(4):
            make_clip(tmp_path / "clips" / label / f"film{group}_1.mp4", seed=10 * number + group)
    new_study(tmp_path / "mine", tmp_path / "clips", group_pattern=r"(?P<group>.+)_\d",
              heldout=0.24)
    table = loaded(tmp_path / "mine")
    heldout = {clip.group for clip in of_role(table, Role.HELDOUT)}
    assert len(heldout) == 1 and len(of_role(table, Role.HELDOUT)) == 2
    assert check_study(tmp_path / "mine").problems == ()


def test_a_class_that_keeps_one_recording_to_train_on_is_told(tmp_path, make_clip):
    for name in ("a/x_1", "a/y_1", "b/v_1", "b/w_1", "b/z_1"):
        make_clip(tmp_path / "clips" / f"{name}.mp4")
    with pytest.raises(StudyError, match="the target class 'a' has one group only"):
        new_study(tmp_path / "mine", tmp_path / "clips", group_pattern=r"(?P<group>.+)_\d",
                  heldout=0.24)


def named(label: str, *names: str) -> list[Clip]:
    """The clips that a scan of these files gives."""
    return [Clip(f"{label}-{n}", f"{label}/{name}.mp4", label,
                 f"{label}/{group_of(name, None, Path())}", Role.TARGET)
            for n, name in enumerate(names)]


@pytest.mark.parametrize("names, told", [
    ([f"fi{n:03d}" for n in range(150)], 150),  # counted by class, not by recording
    ([f"GOPR{n:04d}" for n in range(3, 40)], 37), ([f"{n}" for n in range(9)], 9),
    ([f"day/{n}" for n in range(9)], 9),
    ([f"clip ({n})" for n in range(20)], 20),
    (["9f2ab1c0", "7be0d411", "c0ffee22", "0a1b2c3d", "deadbeef", "5eed5eed"], 6),
    ([f"2024-05-{day:02d}_{n:02d}" for day in range(1, 8) for n in range(4)], 7),
    ([f"v_Fight_g{group:02d}_c{n:02d}" for group in range(1, 7) for n in range(3)], 6),
    ([f"street{place}_{n}" for place in "ab" for n in range(5)], 10),  # two are too few to test on
])
def test_names_tell_recordings_or_each_clip_is_one(names, told):
    other = named("other", *(f"film{n}_{k}" for n in range(5) for k in range(2)))
    table = told_apart([*named("fight", *names), *other], 5)
    assert len({clip.group for clip in table if clip.label == "fight"}) == told
    assert [clip for clip in table if clip.label == "other"] == other
    assert all(clip.group.startswith("fight/") for clip in table if clip.label == "fight")


def test_the_commonest_folder_becomes_a_study_and_says_what_it_took_for_granted(
        clips, tmp_path, make_clip):
    shutil.rmtree(clips / "run")
    for n in range(6):
        make_clip(clips / "class_1_Basketball" / f"fi{n:03d}.mp4", seed=90 + n, frames=4)
    told = new_study(tmp_path / "mine", clips)
    table, study = loaded(tmp_path / "mine"), load_study(tmp_path / "mine")
    assert {clip.group for clip in table if clip.label == "class_1_Basketball"} == {
        f"class_1_Basketball/fi{n:03d}" for n in range(6)}
    assert study.protocol.kind == "cross-validation" and study.protocol.folds == 4  # sit has four
    said = [line for line in told if "counts as a recording of its own" in line]
    assert said == ["Note: " + note for note in check_study(tmp_path / "mine").notes[:1]]
    assert "Each clip of class_1_Basketball, hop and sit counts" in said[0]
    assert check_study(tmp_path / "mine").problems == ()
    assert list(study.variants) == ["t93", "t85", "t70", "c93", "c85", "c70"]
    assert study.margin == 0.02 and study.classifiers == ("linear", "temporal")


def test_a_pattern_decides_without_a_word(clips, tmp_path):
    told = new_study(tmp_path / "mine", clips, group_pattern="(?P<group>.+)_")
    assert {clip.group for clip in loaded(tmp_path / "mine")} == {"park", "gym", "street", "field"}
    assert load_study(tmp_path / "mine").protocol.folds == 3  # 'sit' was not in the field
    assert not [line for line in told if "Note" in line]


def test_clips_of_one_scene_are_listed_and_can_become_one_recording(tmp_path, ffmpeg):
    scenes = ("mandelbrot=s=96x96", "testsrc=s=96x96", "life=s=96x96:mold=9:ratio=.2,boxblur=4",
              "smptebars=s=96x96", "rgbtestsrc=s=96x96")
    for label in LABELS:
        for n, scene in enumerate(scenes):
            for take in range(2):  # the second one is noisier and darker
                path = tmp_path / "clips" / label / f"{'abcde'[n]}-{label}-{'xy'[take]}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                filters = f"eq=brightness=-{take / 20},noise=alls={4 * take}"
                ffmpeg("-f", "lavfi", "-i", scene, "-vf", "hflip," * (label == "run") + filters,
                       "-frames:v", 4, "-pix_fmt", "yuv420p", path)
    new_study(tmp_path / "mine", tmp_path / "clips")
    note, = (note for note in check_study(tmp_path / "mine").notes if "same scene" in note)
    assert "hop/b-hop-x.mp4 and hop/b-hop-y.mp4" in note
    new_study(tmp_path / "seen", tmp_path / "clips", group_by_content=True)
    groups = {clip.file: clip.group for clip in loaded(tmp_path / "seen")}
    assert groups["hop/b-hop-x.mp4"] == groups["hop/b-hop-y.mp4"] == "hop/b-hop-x"
    assert not any("same scene" in note for note in check_study(tmp_path / "seen").notes)
    assert len(set(groups.values())) >= 6


def test_nothing_is_overwritten(study, clips):
    before = Layout(study).table.read_bytes()
    with pytest.raises(StudyError, match="clips.csv: is there already; remove it first"):
        new_study(study, clips)
    assert Layout(study).table.read_bytes() == before


def test_a_study_yml_that_is_there_stays(clips, tmp_path):
    (tmp_path / "study.yml").write_text("title: Kept\n")
    with pytest.raises(StudyError, match="set group_pattern there"):
        new_study(tmp_path, clips, group_pattern="(?P<group>.)")
    assert "kept as it is" in new_study(tmp_path, clips)[0]
    assert (tmp_path / "study.yml").read_text() == "title: Kept\n"
    assert check_study(tmp_path).problems == ()


def test_cross_validation_in_study_yml_holds_nothing_out(clips, tmp_path):
    (tmp_path / "study.yml").write_text("title: Mine\nprotocol: {folds: 4, kind: "
                                        "cross-validation}\n")
    new_study(tmp_path, clips, pretrain=["sit"])
    assert Counter(clip.role for clip in loaded(tmp_path)) == {"target": 10, "pretrain": 4}
    assert check_study(tmp_path).problems == ()


def test_a_table_py_of_the_study_makes_its_table(clips, tmp_path, make_clip):
    root = tmp_path / "paper"
    for group in (1, 2):
        make_clip(root / f"UCF-101/Surfing/v_Surfing_g0{group}_c01.avi", "mpeg4", seed=group)
    lists = {"classInd": "1 Surfing", "trainlist01": "Surfing/v_Surfing_g02_c01.avi 1",
             "testlist01": "Surfing/v_Surfing_g01_c01.avi"}
    (root / "ucfTrainTestlist").mkdir()
    for name, text in lists.items():
        (root / "ucfTrainTestlist" / f"{name}.txt").write_text(f"{text}\n")
    for label in LABELS:
        shutil.copytree(clips / label, root / "target" / label)
        make_clip(root / "heldout" / label / "lake_1.mp4", seed=ord(label[0]))
    study = tmp_path / "study"
    study.mkdir()
    shutil.copy(ROOT / "data" / "paper" / "table.py", study)
    (study / "study.yml").write_text(
        "title: Paper\nprotocol: {kind: holdout}\npretraining: {split: official}\n")
    new_study(study, root)
    assert [len(of_role(loaded(study), role)) for role in Role] == [2, 10, 2]
    assert check_study(study).problems == ()


@pytest.mark.parametrize("arguments, problem", [
    ({"group_pattern": "(.+)_"}, "the group pattern must contain"),
    ({"group_pattern": "(?P<group>"}, "the group pattern is not a regular expression"),
    ({"group_pattern": "(?P<group>[a-z]).*k"}, "does not match the group pattern"),
    ({"group_pattern": "(?P<group>_)", "heldout": 0.24},
     "the class 'hop' cannot be both trained on and validated on; it has one recording"),
    ({"heldout": 1.0}, "is no fraction to hold out"),
    ({"pretrain": ["fly"]}, "holds no class 'fly' to pretrain on; name some of hop, run, sit"),
    ({"pretrain": ["hop", "sit"]}, "the target clips have only one class"),
])
def test_options_that_do_not_fit_are_reported_and_write_nothing(
        clips, tmp_path, arguments, problem):
    with pytest.raises(StudyError, match=problem):
        new_study(tmp_path / "mine", clips, **arguments)
    assert not (tmp_path / "mine").exists()


def test_clips_that_cannot_be_used_are_all_named(clips, tmp_path, make_clip):
    make_clip(clips / "run/gym_1.mp4", "text")
    make_clip(clips / "hop/gym_1.mp4", "one_frame")
    with pytest.raises(StudyError, match="2 of 14 clips cannot be used .*hop/gym_1.mp4: the clip "
                                         "has one frame only.*run/gym_1.mp4: the clip cannot be"):
        new_study(tmp_path / "mine", clips)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("kind, problem", [
    ("one_frame", "has one frame only"), ("text", "cannot be read"),
    ("truncated", "damaged|cannot be read"), ("flipped", "damaged|cannot be read"),
    ("empty", "is empty")])
def test_a_bad_clip_without_a_hash_is_named(study, clips, make_clip, kind, problem):
    make_clip(clips / "run/gym_1.mp4", kind)
    rewrite(study, lambda clip: replace(clip, sha256="", frames=None))
    found = only(study)
    assert found.startswith(f"{clips / 'run/gym_1.mp4'}: ")
    assert any(part in found for part in problem.split("|"))


def test_a_missing_and_a_changed_clip_are_named(study, clips, make_clip):
    (clips / "run/gym_1.mp4").unlink()
    make_clip(clips / "hop/gym_1.mp4", seed=99)
    first, second = check_study(study).problems
    assert "hop/gym_1.mp4: the clip is not the one that clips.csv lists" in first
    assert "run/gym_1.mp4: the clip is missing" in second
    assert check_study(study).lines()[-1] == "2 problem(s) to solve."


def test_a_wrong_number_of_frames_is_reported(study):
    rewrite(study, lambda clip: replace(clip, frames=5) if clip.id == "run-001" else clip)
    assert "has 4 frames and clips.csv says 5" in only(study)


def test_a_roi_outside_the_frame_is_reported(study):
    rewrite(study, lambda clip: replace(clip, roi=Roi(17, 0, 48)) if clip.id == "run-001" else clip)
    assert "the ROI '17 0 48' lies outside its 64×48 pixels" in only(study)


def test_a_roi_counts_in_pixels_of_the_frame_as_it_is_shown(study, clips, make_clip):
    make_clip(clips / "run/gym_1.mp4", "rotated", frames=4)
    rewrite(study, lambda clip: replace(clip, sha256="", roi=Roi(0, 16, 48))
            if clip.file == "run/gym_1.mp4" else clip)
    assert check_study(study).problems == ()


def test_another_size_or_frame_rate_is_a_note(study, clips, make_clip):
    make_clip(clips / "run/gym_1.mp4", size=(80, 48), fps=30, frames=4)
    rewrite(study, lambda clip: replace(clip, sha256=""))
    report = check_study(study)
    assert report.problems == ()
    assert ("1 clips have another size than the usual 64×48, the first is run/gym_1.mp4; they can "
            "be used.") in report.notes
    assert any("another frame rate than the usual 25 fps" in note for note in report.notes)


def test_unbalanced_classes_are_a_note(study):
    path, table = Layout(study).table, read_table(Layout(study).table)
    hops = [clip for clip in of_role(table, Role.TARGET) if clip.label == "hop"]
    few = {clip.group: clip for clip in hops}
    gone = set(hops) - set(list(few.values())[:2])
    write_table(path, [clip for clip in table if clip not in gone])
    assert ("The classes are unbalanced: 4 target clips of 'run', 2 of 'hop'."
            in check_study(study).notes)


def test_roles_that_make_no_study_are_reported(study):
    rewrite(study, lambda clip: replace(clip, group="run/same") if clip.label == "run" else clip)
    assert "the group 'run/same' has clips in two roles" in only(study)


def test_an_official_split_without_folds_is_reported(study):
    with Layout(study).settings.open("a") as settings:
        settings.write("pretraining: {split: official}\n")
    assert "the pretraining clips have no official split" in only(study)


def test_the_same_file_in_target_and_held_out_is_reported(study, clips):
    table = read_table(Layout(study).table)
    heldout = of_role(table, Role.HELDOUT)[0]
    target = next(clip for clip in of_role(table, Role.TARGET) if clip.label == heldout.label)
    shutil.copy(clips / target.file, clips / heldout.file)
    rewrite(study, lambda clip: replace(clip, sha256=target.sha256) if clip == heldout else clip)
    problem, = check_study(study).problems
    assert f"'{heldout.id}' is the same file as the clip '{target.id}'" in problem


def test_clips_that_moved_are_found_where_told(study, clips, tmp_path):
    moved = clips.rename(tmp_path / "moved")
    with pytest.raises(StudyError, match="the folder of clips is not there; name it with"):
        check_study(study)
    assert check_study(study, moved).problems == ()


def test_a_bad_study_or_table_is_reported_at_once(study):
    Layout(study).table.unlink()
    with pytest.raises(StudyError, match="clips.csv: is missing"):
        check_study(study)
    Layout(study).settings.unlink()
    with pytest.raises(StudyError, match="there is no such study"):
        check_study(study)


@pytest.fixture
def rendered(tmp_path):
    """A synthetic study with its table, nothing rendered yet."""
    (tmp_path / "study.yml").write_text(RENDERED + "synthetic: {target: 4, heldout: 2}\n")
    write_table(tmp_path / "clips.csv", renderer().table(load_study(tmp_path).synthetic))
    return tmp_path


def test_a_synthetic_study_needs_no_clips(rendered):
    report = check_study(rendered)
    assert report.problems == ()
    assert report.summary[-1] == "24 of 24 clips are still to be rendered."


def test_a_rendered_clip_is_checked_like_any(rendered):
    clip = Layout(rendered).rendered / "running-000.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_text("no video")
    assert only(rendered).startswith(f"{clip}: the clip cannot be read")


def test_a_synthetic_study_without_its_table_names_the_command_that_makes_it(rendered):
    Layout(rendered).table.unlink()
    for ask in (check_study, loaded):
        with pytest.raises(StudyError, match="clips.csv: is missing; write it with 'python "
                                             f"data/demo/synthetic.py {rendered}'"):
            ask(rendered)


@pytest.mark.parametrize("other", ["target: 6, heldout: 2", "target: 4, heldout: 2, seed: 1"])
def test_a_table_of_other_settings_is_reported_by_check_and_by_the_renderer(rendered, other):
    (rendered / "study.yml").write_text(RENDERED + f"synthetic: {{{other}}}\n")
    assert "is not the table that the setting 'synthetic' of study.yml makes; write it" in only(
        rendered)
    with pytest.raises(StudyError, match="is not the table that the setting 'synthetic'"):
        renderer().render_all(Layout(rendered), load_study(rendered), loaded(rendered), 1)


def test_a_region_marked_anew_leaves_a_synthetic_study_good(rendered):
    rewrite(rendered, lambda clip: replace(clip, roi=Roi(0, 0, 64)) if clip.id == "running-000"
            else clip)
    assert check_study(rendered).problems == ()


def test_the_real_study_has_no_problem(jhmdb_clips):
    report = check_study(Path(__file__).parents[2] / "data" / "jhmdb", jhmdb_clips)
    assert report.problems == ()
    assert report.notes[-1] == ("72 pretraining clips are of target or held-out recordings and are "
                                "left out.")


def test_few_recordings_to_test_on_are_a_note(study):
    assert any(note.startswith("2 recordings to test on cannot show equivalence within a margin of "
                               "less than 77.6 points; the margin of 2 takes 149.")
               for note in check_study(study).notes)
