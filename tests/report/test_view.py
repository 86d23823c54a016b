"""The answer in words follows from the numbers."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanclips.errors import StudyError
from leanclips.report import view
from leanclips.report.formats import MINUS, points, within
from leanclips.report.results import load
from leanclips.report.statistics import (FEWEST_TO_DIFFER, Estimate, recordings_needed, verdict)


def test_the_headline_falls_as_the_numbers_do(make_records):
    def headline(name, **settings):
        return view.View(load(make_records(name, **settings))).headline

    assert "equivalent within ±60 points" in headline("wide", margin=0.6)
    assert "8 recordings are too few to call it equivalent (59 could be enough)" in headline("few")
    assert headline("worse", right=lambda variant, *_: variant != "optimized").endswith("worse.")
    assert headline("one", seeds=(1,)).endswith("no verdict from one seed.")


def test_the_answer_is_the_smallest_equivalent_size_in_40_words(make_records):
    def answer(name, **settings):
        return view.View(load(make_records(name, **settings))).answer

    sizes = {"variants": {"t93": {"target": 93}, "t85": {"target": 85}}, "margin": 0.6}
    assert answer("both", **sizes).startswith("Down to 25% of the source crops' bytes. Trained")
    first = answer("first", **sizes, right=lambda variant, *_: variant != "t85")
    assert first.startswith("Down to 43% ") and first.endswith("equivalent within ±60 points.")
    none = answer("none", **sizes, right=lambda variant, *_: variant == "source")
    assert none.startswith("No size is shown to be equivalent. At 43% of the source crops'")
    assert "changes its accuracy by −100.0 points: worse." in none
    hevc = {"optimized": {"target": 93, "codec": "hevc"}}
    assert answer("hevc", variants=hevc).startswith("Not known: no optimized H.264 variant")
    few = answer("few")
    assert "8 recordings are too few" in few
    assert max(len(said.split()) for said in (first, none, few)) <= 40


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
    assert "undecided, as the 95% interval reaches beyond" in one.headline
    few = tuple(replace(clip, group=f"{clip.label}/{clip.role}") for clip in one.results.clips)
    assert len({clip.group for clip in few}) < FEWEST_TO_DIFFER + 1
    one = view.View(replace(one.results, clips=few))
    assert one.headline.endswith(
        "points: no verdict, because 2 recordings are too few to show a difference.")


ENDS = st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5).map(sorted)


@settings(max_examples=300)
@given(ENDS, st.sampled_from([1, 2, 10]), st.sampled_from([2, 6, 100, 400]),
       st.sampled_from([0.02, 0.05]))
def test_no_sentence_contradicts_its_numbers(ends, seeds, recordings, margin):
    """What may be said, worked out again from the numbers that are printed beside it."""
    low95, low90, value, high90, high95 = ends
    if seeds == 1 or recordings < FEWEST_TO_DIFFER:
        low95 = low90 = high90 = high95 = float("nan")
    found = Estimate(value, low90, high90, low95, high95, seeds, recordings)
    row = SimpleNamespace(difference=value, low90=low90, high90=high90,
                          verdict=verdict(found, margin))
    needed = recordings_needed(margin)
    study = object.__new__(view.View)
    vars(study).update(margin=within(margin), recordings=recordings, recordings_needed=needed)
    numbers, said = study.change(row).split(": ")
    known = seeds > 1 and recordings >= 6
    assert ("interval" in numbers) == known and numbers.startswith(points(value))
    inside = known and max(-low95, high95) < margin
    assert said.startswith("equivalent") == (inside and recordings >= needed)
    assert ("too few to call it equivalent" in said) == (inside and recordings < needed)
    if said in ("worse", "better"):  # the interval and the sign say so too
        shown = [float(text.replace(MINUS, "-")) for text in
                 re.findall(rf"[+{MINUS}]?\d+\.\d", numbers)]
        assert all(sign <= 0 if said == "worse" else sign >= 0 for sign in shown)
    assert said in ("worse", "better") or not known or inside or said.startswith("undecided")
    assert (said.startswith("no verdict")) == (not known)


@pytest.mark.parametrize("seed", range(4))
def test_the_headline_and_every_row_say_what_the_records_hold(make_records, seed):
    chance = np.random.default_rng(seed)
    one = view.View(load(make_records(
        margin=0.5, protocol={"kind": "cross-validation", "folds": 2}, classifiers=["linear"],
        inputs=[], right=lambda variant, *_: chance.random() < {"source": 0.7}.get(
            variant, 0.1 + 0.25 * seed))))
    for row in one.tables["differences"].data.itertuples():
        inside = -0.5 < row.low95 <= row.low90 <= row.high90 <= row.high95 < 0.5
        assert (row.verdict == "equivalent") == inside
        assert (row.verdict == "worse") == (not inside and row.high95 < 0)
        if row.endpoint == "primary":
            assert one.change(row) in one.headline
            assert f"by {points(row.difference)} points (90% interval" in one.headline


def test_synthetic_and_leaking_studies_say_so_in_the_headline(make_records):
    assert "synthetic clips" in view.View(load(make_records("a", synthetic=True))).headline
    assert "leaks recordings" in view.View(load(make_records("b", leaks=True))).headline


def test_what_a_study_lacks_is_not_shown(make_records):
    one = view.View(load(make_records(classifiers=["linear"], inputs=[],
                                      protocol={"kind": "cross-validation", "folds": 2})))
    assert "learning" not in one.figures
    assert not {"time", "accuracy-best", "cross-crnn"} & set(one.tables)


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
