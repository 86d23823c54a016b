"""The answer in words follows from the numbers."""

from dataclasses import replace

import pytest

from leanclips.errors import StudyError
from leanclips.report import view
from leanclips.report.results import load
from leanclips.report.statistics import FEWEST_TO_DIFFER, recordings_needed


def test_the_headline_falls_as_the_numbers_do(make_records):
    def headline(name, **settings):
        return view.View(load(make_records(name, **settings))).headline

    assert "equivalent within ±60 points" in headline("wide", margin=0.6)
    assert "8 recordings are too few to call it equivalent (59 could be enough)" in headline("few")
    assert headline("worse", right=lambda variant, *_: variant != "optimized").endswith("worse.")
    assert headline("one", seeds=(1,)).endswith("no verdict from one seed.")


def test_the_headline_is_about_the_primary_endpoint(make_records):
    results = load(make_records(
        margin=0.6, primary={"classifier": "crnn", "variant": "constant", "tested_on": "source"},
        right=lambda variant, seed, classifier, *_: classifier != "crnn" or variant == "source"))
    said = view.View(results).headline
    assert "the constant crops hold 26%" in said
    assert "the CRNN changes its accuracy on 8 source test clips over 2 seeds by −100.0" in said
    assert said.endswith("worse.")


def test_too_few_recordings_for_any_difference_are_told(make_records):
    one = view.View(load(make_records(right=lambda variant, seed, c, t, place:
                                      variant != "optimized" or place > 0)))
    assert "undecided, because the interval reaches beyond" in one.headline
    few = tuple(replace(clip, group=f"{clip.label}/{clip.role}") for clip in one.results.clips)
    assert len({clip.group for clip in few}) < FEWEST_TO_DIFFER + 1
    one = view.View(replace(one.results, clips=few))
    assert "undecided, because 2 recordings are too few to show a difference" in one.headline


def test_synthetic_and_leaking_studies_say_so_in_the_headline(make_records):
    assert "synthetic clips" in view.View(load(make_records("a", synthetic=True))).headline
    assert "leaks recordings" in view.View(load(make_records("b", leaks=True))).headline


def test_what_a_study_lacks_is_not_shown(make_records):
    one = view.View(load(make_records(classifiers=["linear"], inputs=[],
                                      protocol={"kind": "cross-validation", "folds": 2})))
    assert not {"learning", "time"} & set(one.figures)
    assert not {"time", "accuracy-best", "cross-crnn"} & set(one.tables)
    assert one.picking is None


def test_the_view_counts_recordings_and_says_how_many_it_takes(of_protocol):
    one = view.View(of_protocol)
    assert one.recordings == (8 if of_protocol.validates else 12)
    assert one.recordings_needed == recordings_needed(of_protocol.study.margin) == 59


def test_the_middle_frame_is_held_against_the_majority_class(make_records):
    one = view.View(load(make_records(right=lambda variant, *_: variant != "middle")))
    assert one.majority == 0.5
    assert {name: found.value for name, found in one.single_frame.items()} == {
        "linear": 0, "temporal": 0, "crnn": 0}
    assert {row.input for row in one.time} == {"shuffled", "middle", "mean"}


def test_a_published_study_and_a_run_of_it_have_folders_of_their_own(make_records):
    slugs = {view.View(load(make_records(kind=kind))).slug for kind in ("work", "published")}
    assert slugs == {"tiny", "tiny-published"}


def test_a_study_with_nothing_to_compare_says_so(make_records):
    with pytest.raises(StudyError, match="at least one with a target"):
        load(make_records(variants={}))
