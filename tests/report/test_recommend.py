"""The recommendation follows from the records, and names what to run next."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from leanclips import cli
from leanclips.report import recommend
from leanclips.report.results import load
from leanclips.report.statistics import Estimate, Verdict

VARIANTS = {"t85": {"target": 85}, "t95": {"target": 95}, "t70": {"target": 70},
            "t93": {"target": 93}, "c93": {"bytes_of": "t93"},
            "hevc85": {"target": 85, "codec": "hevc"}}


@pytest.fixture
def study(make_records):
    """Its Layout, given the variants at which every answer is wrong."""

    def make(*failing, margin=0.6, **settings):
        return make_records(margin=margin, variants=VARIANTS, classifiers=["linear"], inputs=[],
                            right=lambda variant, *_: variant not in failing, **settings)

    return make


def tested(layout, **how):
    found = recommend.recommend(load(layout), 0.6, **how)
    return [one and one.variant for one in found]


def test_the_sequence_goes_from_large_to_small_and_ends_where_one_fails(study):
    """t70 passes as well, but is not asked any more."""
    assert tested(study("t85")) == ["t93", "t85"]


def test_other_codecs_and_controls_do_not_count(study):
    layout = study("c93", "hevc85")
    assert tested(layout) == ["t70", None]
    assert tested(layout, codec="hevc") == [None, "hevc85"]
    assert tested(layout, codec="av1") == [None, None]


def test_variants_that_the_primary_classifier_was_not_trained_on_are_left_out(study):
    results = load(study("t70"))
    fewer = {place: said for place, said in results.answers.items() if place[1] != "t85"}
    answer, stop = recommend.recommend(replace(results, answers=fewer), 0.6)
    assert (answer.variant, stop.variant) == ("t93", "t70")


@pytest.mark.parametrize("failing, parts", [
    ((), ["Recommended: target 70, h264 (t70): 1", "0.0 points (90% interval 0.0 to 0.0).",
          "Run next: a target below 70. All that were tested hold."]),
    (("t85",), ["Recommended: target 93", "Not shown to be equivalent (worse): target 85",
                "−100.0 points", "Run next: a target between 93 and 85."]),
    (("t95",), ["Recommended: none yet; no setting", "Run next: a target above 95."])])
def test_the_sentences_say_what_was_found_and_what_to_run_next(study, failing, parts):
    said = "\n".join(recommend.sentences(load(study(*failing))))
    assert all(part in said for part in parts), said
    assert "within ±60 points, by the linear classifier tested on its own kind" in said


def test_a_margin_that_is_not_the_studys_own_is_said(study):
    said = recommend.sentences(load(study()), 0.7)
    assert "Equivalent: within ±70 points (not the study's own margin, ±60)" in said[1]
    assert "own margin" not in " ".join(recommend.sentences(load(study("t85", name="own"))))


def test_a_study_that_cannot_tell_says_how_many_clips_would(study):
    """Eight recordings show no equivalence within 5 points; 59 do."""
    said = recommend.sentences(load(study(margin=0.05)))
    assert said[0] == "Recommended: none yet; no setting is shown to be equivalent."
    assert said[2].startswith("Not shown to be equivalent (too few recordings): target 95")
    assert "about 59 recordings (59 clips) would show in 8 of 10 cases" in said[3]
    assert said[3].endswith("here are 8 (8).")


@pytest.mark.parametrize("change, part", [
    ({"seeds": 1, "verdict": Verdict.ONE_SEED}, "more seeds"),
    ({"recordings": 2, "verdict": Verdict.FEW}, "clips of 6 recordings at least"),
    ({"value": -0.3, "verdict": Verdict.UNDECIDED}, "that it differs from the source"),
    ({"verdict": Verdict.UNDECIDED}, "more clips. If target 95")])
def test_what_to_run_next_follows_from_why_it_cannot_tell(study, change, part):
    results = load(study(margin=0.2))
    _, stop = recommend.recommend(results, 0.05)
    numbers = Estimate(0.0, -0.2, 0.2, -0.25, 0.25, 10, 100, error=0.12, freedom=99)
    said = change.pop("verdict")
    stop = replace(stop, difference=replace(numbers, **change), verdict=said)
    assert part in recommend.what_next(results, 0.2, None, stop)


def test_as_many_clips_as_are_said_to_be_needed_do_tell_in_eight_of_ten_cases(study):
    results = load(study(margin=0.05))
    _, stop = recommend.recommend(results, 0.02)
    one = Estimate(-0.005, -0.03, 0.02, -0.035, 0.025, 10, 100, error=0.015, freedom=99)
    said = recommend.what_next(results, 0.02, None, replace(
        stop, difference=one, verdict=Verdict.UNDECIDED))
    needed = int(said.split("about ")[1].split()[0])
    error = one.error * np.sqrt(one.recordings / needed)
    assert norm.sf(norm.ppf(0.975) - (0.02 - 0.005) / error) == pytest.approx(0.8, abs=0.03)


def test_no_variant_costs_the_margin_and_is_recommended_more_often_than_one_test_allows(study):
    """Every variant truly loses the margin: the sequence is wrong only where its first test is."""
    results, chance = load(study(margin=0.6)), np.random.default_rng(1)
    wrong = first = 0
    for _ in range(60):
        answers = {place: np.where(chance.random(said.shape) < (0.6 if place[1] != "source" else 0),
                                   1 - said, said) for place, said in results.answers.items()}
        answer, stop = recommend.recommend(replace(results, answers=answers), 0.6)
        wrong += answer is not None
        first += stop is None or stop.variant != "t95"
    assert wrong == first <= 9


def test_the_verb_prints_own_records_or_else_the_published_ones(study, capsys, monkeypatch):
    for kind in ("published", "work"):
        layout = study(*(["t85"] if kind == "work" else []), kind=kind)
        monkeypatch.setattr("sys.argv", ["leanclips", "recommend", str(layout.study), "--margin",
                                         "60"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
        expected = "target 93" if kind == "work" else "target 70"
        assert f"Recommended: {expected}" in capsys.readouterr().out
