"""Every file of a study lies inside the study's folder."""

from pathlib import Path

import pytest

from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout, inside, short_name

LAYOUT = Layout(Path("data/mine"))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "..", "a\0b"])
def test_a_name_that_leaves_its_folder_is_refused(name):
    with pytest.raises(StudyError, match="leaves its folder.*use a plain relative name"):
        inside(Path("data"), name)
    for path in (LAYOUT.clip, LAYOUT.clip_record):
        with pytest.raises(StudyError):
            path("source", f"{name}/x")


@pytest.mark.parametrize("name", ["a", "a-1.b_c", "class/a.mp4", "a..b"])
def test_a_plain_name_stays_inside(name):
    assert inside(Path("data"), name) == Path("data") / name


def test_a_clip_that_a_stage_should_have_made_is_told(tmp_path):
    layout = Layout(tmp_path)
    with pytest.raises(StudyError, match="a.mp4: the clip is missing; delete report.csv beside"):
        layout.made_clip("source", "a")
    layout.clip("source", "a").parent.mkdir(parents=True)
    layout.clip("source", "a").touch()
    assert layout.made_clip("source", "a") == layout.clip("source", "a")


def test_all_that_a_run_makes_lies_in_work():
    made = [LAYOUT.clip("source", "a"), LAYOUT.clip_record("source", "a"),
            LAYOUT.report("source"), LAYOUT.control("constant"), LAYOUT.rendered,
            LAYOUT.feature_index("lite", "source"), LAYOUT.feature("lite", "abc"),
            LAYOUT.pretrain, LAYOUT.run("source", 1), LAYOUT.crosstest, LAYOUT.views(1),
            LAYOUT.stage_times, LAYOUT.clips_root_note]
    assert all(path.is_relative_to(LAYOUT.work) for path in made)
    assert len(set(made)) == len(made)


def test_runs_sort_by_their_seeds():
    names = [LAYOUT.run("source", seed).name for seed in range(1, 12)]
    assert names == sorted(names)


def test_published_records_lie_as_those_in_work_do():
    published = Layout(Path("data/mine"), "published")
    assert published.crosstest == LAYOUT.published / "runs" / "crosstest.csv"


def test_a_study_is_called_by_the_name_a_person_would_type(tmp_path):
    assert short_name(Layout(ROOT / "data" / "demo")) == "data/demo"
    assert short_name(Layout(tmp_path)) == str(tmp_path)
