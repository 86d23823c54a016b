"""Every file of a study lies inside the study's folder."""

from pathlib import Path

import pytest

from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout, check_variant, short_name

LAYOUT = Layout(Path("data/mine"))


def test_a_clip_that_a_stage_should_have_made_is_told(tmp_path):
    layout = Layout(tmp_path)
    with pytest.raises(StudyError, match="a.mp4: the clip is missing; delete report.csv beside"):
        layout.made_clip("source", "a")
    layout.clip("source", "a").parent.mkdir(parents=True)
    layout.clip("source", "a").touch()
    assert layout.made_clip("source", "a") == layout.clip("source", "a")


def test_a_clip_of_another_tool_may_have_any_suffix(tmp_path):
    layout = Layout(tmp_path)
    folder = layout.clip("vendor", "a").parent
    folder.mkdir(parents=True)
    for name in ("a.json", "a.mkv", "ab.mp4"):
        (folder / name).touch()
    assert layout.made_clip("vendor", "a") == folder / "a.mkv"


def test_all_that_a_run_makes_lies_in_work():
    made = [LAYOUT.clip("source", "a"), LAYOUT.clip_record("source", "a"),
            LAYOUT.report("source"), LAYOUT.control("constant"), LAYOUT.rendered,
            LAYOUT.feature_index("lite", "source"), LAYOUT.feature("lite", "abc"),
            LAYOUT.report_record("source"), LAYOUT.feature_record("lite", "source"),
            LAYOUT.pretrain, LAYOUT.run("source", 1), LAYOUT.done("crop"),
            LAYOUT.stage_times, LAYOUT.clips_root_note]
    assert all(path.is_relative_to(LAYOUT.work) for path in made)
    assert len(set(made)) == len(made)


def test_runs_sort_by_their_seeds():
    names = [LAYOUT.run("source", seed).name for seed in range(1, 12)]
    assert names == sorted(names)


def test_the_record_of_a_table_stands_beside_it():
    for record, table in ((LAYOUT.report_record("source"), LAYOUT.report("source")),
                          (LAYOUT.feature_record("lite", "source"),
                           LAYOUT.feature_index("lite", "source"))):
        assert (record.parent, record.name) == (table.parent, f"{table.stem}.json")


def test_published_records_lie_as_those_in_work_do():
    published = Layout(Path("data/mine"), "published")
    assert published.is_published and not LAYOUT.is_published
    assert published.run("source", 1) == LAYOUT.published / "runs" / "source" / "seed-01"


def test_published_records_come_with_the_settings_and_the_table_that_they_were_made_with():
    published = Layout(Path("data/mine"), "published")
    assert (LAYOUT.settings, LAYOUT.table) == (Path("data/mine/study.yml"),
                                               Path("data/mine/clips.csv"))
    assert (published.settings, published.table) == (Path("data/mine/published/study.yml"),
                                                     Path("data/mine/published/clips.csv"))


def test_an_unknown_variant_is_told_with_the_known_ones():
    check_variant(LAYOUT, ("source", "optimized"), "source")
    with pytest.raises(StudyError, match="there is no variant 'vendor'; use one of source, opt"):
        check_variant(LAYOUT, ("source", "optimized"), "vendor")


def test_a_study_is_called_by_the_name_a_person_would_type(tmp_path):
    assert short_name(Layout(ROOT / "data" / "demo")) == "data/demo"
    assert short_name(Layout(tmp_path)) == str(tmp_path)
