"""The arithmetic, against other people's code and against what must hold for any input."""

import doctest

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from leanclips.report import statistics
from leanclips.report.statistics import (Estimate, Verdict, clips_per_arm, estimate,
                                         least_margin, recordings_needed, verdict)

FEW = 500


def test_the_examples_in_the_docstrings_print_what_they_say():
    assert doctest.testmod(statistics).failed == 0


def grids():
    """Right or wrong for two variants: (seeds, clips), and the clips' recordings."""
    def fill(shape):
        bits = st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
        groups = st.lists(st.sampled_from("abc"), min_size=shape[1], max_size=shape[1])
        grid = bits.map(lambda b: np.array(b, dtype=float).reshape(shape))
        return st.tuples(grid, grid, groups)
    return st.tuples(st.integers(1, 4), st.integers(1, 8)).flatmap(fill)


@settings(max_examples=60, deadline=None)
@given(grids())
def test_swapping_the_two_sides_mirrors_the_difference_and_the_verdict(case):
    ours, theirs, groups = case
    one, other = (estimate(d, groups, FEW) for d in (ours - theirs, theirs - ours))
    assert one.value == pytest.approx(-other.value)
    assert one.low90 == pytest.approx(-other.high90)
    assert one.high95 == pytest.approx(-other.low95)
    mirror = {Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE}
    theirs = verdict(other, 0.0321)
    assert verdict(one, 0.0321) == mirror.get(theirs, theirs)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_identical_predictions_differ_by_nothing_and_few_recordings_show_no_more(case):
    ours, _, groups = case
    same = estimate(ours - ours, groups, FEW)
    assert same == Estimate(0.0, 0.0, 0.0, 0.0, 0.0, len(ours), len(set(groups)))
    assert verdict(same, 0.01) is (Verdict.ONE_SEED if len(ours) == 1 else Verdict.FEW)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_a_loss_of_the_margin_is_called_equivalent_one_time_in_twenty_at_most(margin, rng):
    """The hardest case: the loss falls on whole recordings, in every seed alike."""
    for recordings in (8, 20, 40, recordings_needed(margin), 2 * recordings_needed(margin)):
        lost = (rng.random((1000, recordings)) < margin).any(axis=1)
        same = estimate(np.zeros((3, recordings)), range(recordings), 2)
        if verdict(same, margin) is Verdict.EQUIVALENT:  # said wherever none was lost
            assert 1 - lost.mean() <= 0.05 + 0.02
        else:
            assert (1 - margin) ** recordings > 0.05


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.2])
def test_the_bound_on_an_unseen_loss_is_the_exact_one_of_no_event(margin):
    recordings = recordings_needed(margin)
    for number in (recordings - 1, recordings):
        exact = scipy.stats.binomtest(0, number).proportion_ci(confidence_level=0.9).high
        assert least_margin(number) == pytest.approx(exact)
    assert least_margin(recordings) <= margin < least_margin(recordings - 1)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_the_intervals_are_nested_and_stay_within_the_data(case):
    ours, theirs, groups = case
    found = estimate(ours - theirs, groups, FEW)
    assert (-1 <= found.low95 <= found.low90 <= found.high90
            <= found.high95 <= 1)


def test_the_same_input_gives_the_same_numbers(rng):
    scores = rng.integers(0, 2, (4, 9)).astype(float)
    assert estimate(scores, range(9), FEW) == estimate(scores, range(9), FEW)


def test_one_seed_and_single_clip_recordings_agree_with_scipys_bootstrap(rng):
    scores = rng.integers(0, 2, (1, 60)).astype(float)
    ours = estimate(scores, range(60))
    theirs = scipy.stats.bootstrap((scores[0],), np.mean, n_resamples=10_000,
                                   confidence_level=0.9, method="percentile", rng=rng)
    assert ours.low90 == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high90 == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_resampling_agrees_with_a_plain_loop_over_seeds_and_recordings(rng):
    scores = rng.random((5, 12)) + np.linspace(0, 1, 12)
    groups = np.repeat(np.arange(4), 3)
    means = []
    for _ in range(4000):
        seeds = rng.integers(0, 5, 5)
        clips = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 4, 4)])
        means.append(scores[np.ix_(seeds, clips)].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    found = estimate(scores, list(groups))
    assert found.low95 == pytest.approx(low, abs=0.02)
    assert found.high95 == pytest.approx(high, abs=0.02)


def test_clips_of_one_recording_widen_the_interval(rng):
    scores = np.repeat(rng.integers(0, 2, (1, 8)), 4, axis=1).astype(float)
    alone = estimate(scores, range(32))
    together = estimate(scores, np.repeat(range(8), 4))
    assert together.high90 - together.low90 > 1.5 * (alone.high90 - alone.low90)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(rng):
    covered = 0
    for _ in range(200):
        hard, lucky = rng.normal(0, 0.2, 30), rng.normal(0, 0.05, 8)[:, None]
        found = estimate(0.1 + hard + lucky + rng.normal(0, 0.1, (8, 30)), range(30), FEW)
        covered += found.low90 <= 0.1 <= found.high90
    assert 0.84 <= covered / 200 <= 0.97


@pytest.mark.parametrize("low90, high90, low95, high95, expected", [
    (-0.01, 0.02, -0.02, 0.03, Verdict.EQUIVALENT),
    (-0.04, -0.01, -0.045, -0.005, Verdict.EQUIVALENT),
    (-0.09, -0.02, -0.1, -0.01, Verdict.WORSE),
    (0.02, 0.09, 0.01, 0.1, Verdict.BETTER),
    (-0.09, -0.001, -0.1, 0.01, Verdict.UNDECIDED),
    (-0.05, 0.02, -0.06, 0.03, Verdict.UNDECIDED),
])
def test_the_verdict_follows_the_intervals(low90, high90, low95, high95, expected):
    few = Verdict.FEW if expected is Verdict.EQUIVALENT else expected
    for seeds, recordings, said in ((2, 59, expected), (2, 58, few), (1, 59, Verdict.ONE_SEED)):
        assert verdict(Estimate(0.0, low90, high90, low95, high95, seeds, recordings), 0.05) is said


def test_a_difference_takes_as_many_recordings_as_the_sign_test():
    """Where even all of them on one side happen by chance, none is told."""
    for recordings in range(1, 12):
        found = Estimate(-0.2, -0.3, -0.1, -0.35, -0.05, 3, recordings)
        could_be = scipy.stats.binomtest(recordings, recordings).pvalue <= 0.05
        assert verdict(found, 0.05) is (Verdict.WORSE if could_be else Verdict.UNDECIDED)


def test_two_points_unpaired_need_about_nine_thousand_clips_an_arm():
    assert clips_per_arm(0.65, 0.02) == pytest.approx(9000, rel=0.05)
