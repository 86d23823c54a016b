"""The arithmetic, against other people's code and against what must hold for any input."""

import doctest

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.datasets import grunfeld
from statsmodels.regression.linear_model import OLS

from leanclips.report import statistics
from leanclips.report.statistics import (FEWEST_TO_DIFFER, Estimate, Verdict, estimate,
                                         intervals, least_margin, recordings_needed, verdict)

FEW = 500


def test_the_examples_in_the_docstrings_print_what_they_say():
    assert doctest.testmod(statistics).failed == 0


def grids():
    """Right or wrong for two variants: (seeds, clips), and the clips' recordings, six or more."""
    def fill(shape):
        bits = st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
        groups = st.lists(st.sampled_from("abcdefg"), min_size=shape[1] - 6, max_size=shape[1] - 6)
        grid = bits.map(lambda b: np.array(b, dtype=float).reshape(shape))
        return st.tuples(grid, grid, groups.map(lambda more: [*"abcdef", *more]))
    return st.tuples(st.integers(2, 4), st.integers(6, 14)).flatmap(fill)


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
    assert (same.value, same.low90, same.high90, same.low95, same.high95, same.error) == (0,) * 6
    assert (same.seeds, same.recordings) == (len(ours), len(set(groups)))
    assert verdict(same, 0.01) is Verdict.FEW


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


@pytest.mark.parametrize("seeds, recordings", [(1, 40), (3, 2), (3, FEWEST_TO_DIFFER - 1)])
def test_one_seed_or_few_recordings_have_no_interval_and_no_verdict(seeds, recordings, rng):
    found = estimate(rng.integers(0, 2, (seeds, recordings)) - 0.9, range(recordings), FEW)
    for name in ("low90", "high90", "low95", "high95", "error", "detectable", "design"):
        assert np.isnan(getattr(found, name))
    assert verdict(found, 0.99) is (Verdict.ONE_SEED if seeds == 1 else Verdict.FEW)


def test_the_bootstrap_agrees_with_a_plain_loop_over_recordings(rng):
    """Studentized: the mean of a resample, off by so many of the resample's own errors."""
    scores = (rng.random((5, 30)) + np.linspace(0, 1, 30)) / 4
    groups, clips = np.repeat(np.arange(10), 3), scores.mean(axis=0)

    def off():
        drawn = rng.integers(0, 10, 10)
        again = np.concatenate([clips[groups == g] for g in drawn])
        sums = again.reshape(10, 3).sum(axis=1) - 3 * again.mean()
        spread = np.sqrt((sums**2).sum() * 10 / 9) / 30
        return (again.mean() - clips.mean()) / spread

    low, high = np.quantile([off() for _ in range(4000)], [0.05, 0.95])
    error, _, ends, _ = intervals(scores.reshape(5, 10, 3).sum(axis=2), np.full(10, 3))
    assert ends[0] == pytest.approx(clips.mean() - high * error, abs=0.005)
    assert ends[1] == pytest.approx(clips.mean() - low * error, abs=0.005)


def clustered_by_statsmodels(y, x, *groups):
    return OLS(y, x).fit(cov_type="cluster", cov_kwds={
        "groups": np.column_stack(groups), "use_correction": True}, use_t=True)


def test_the_two_way_error_is_that_of_statsmodels(rng):
    """OLS on a constant, clustered by recording and seed; each its own G / (G - 1)."""
    groups = np.sort(rng.integers(0, 12, 40))
    scores = (rng.normal(0, 1, 40) + rng.normal(0, 1, 12)[groups] + rng.normal(0, 0.5, (6, 40))
              + rng.normal(0, 0.7, (6, 1)))
    seeds, clips = np.indices(scores.shape)
    theirs = clustered_by_statsmodels(scores.ravel(), np.ones(scores.size),
                                      groups[clips.ravel()], seeds.ravel())
    assert estimate(scores, groups, FEW).error == pytest.approx(theirs.bse[0], rel=1e-9)


def test_the_two_way_error_is_the_published_one():
    """Grunfeld's investments of ten firms in twenty years, clustered by firm and year: Stata's
    `ivreg2 invest mvalue kstock, cluster(company time)`, in statsmodels'
    regression/tests/results/results_grunfeld_ols_robust_cluster.py. It has no factor G / (G - 1).
    """
    data = grunfeld.load_pandas().data[:200]  # firm by firm, year by year
    x = np.column_stack([data["value"], data["capital"], np.ones(200)])
    fit = OLS(data["invest"].to_numpy(), x).fit()
    parts = (x @ np.linalg.inv(x.T @ x)) * fit.resid[:, None]
    for part, published in zip(parts.T, (0.01543448599542, 0.07407184066336, 18.411420987265),
                               strict=True):
        firms, years, cells = statistics.variances(part.reshape(10, 20).T)
        squared = firms * 9 / 10 + years * 19 / 20 - cells * 199 / 200
        assert np.sqrt(squared) == pytest.approx(published, rel=1e-6)


def test_an_error_is_never_below_that_of_either_source_of_chance(rng):
    """Seeds that make up for each other: the sum of the three terms is negative."""
    scores = np.tile([[1.0, -1.0], [-1.0, 1.0]], (2, 10)) + rng.normal(0, 1e-3, (4, 20))
    sums = scores / scores.size - scores.mean() / scores.size
    rows, columns, both = statistics.variances(sums)
    assert rows + columns - both < 0
    assert estimate(scores, range(20), FEW).error == pytest.approx(np.sqrt(max(rows, columns)))


def test_seeds_that_differ_count_and_take_degrees_of_freedom(rng):
    hard = rng.normal(0, 0.2, 60)
    alike = estimate(np.tile(hard, (5, 1)), range(60), FEW)
    differ = estimate(hard + rng.normal(0, 0.3, (5, 1)), range(60), FEW)
    assert alike.freedom == pytest.approx(59) and alike.design == pytest.approx(1)
    assert differ.error > 2 * alike.error and 4 <= differ.freedom < 6


def test_effective_recordings_and_design_effect_are_those_of_the_textbook(rng):
    """Kish: equal recordings count in full, clips that are copies of each other do not."""
    clips = rng.normal(0, 1, (1, 30)) + np.zeros((3, 1))
    copies = estimate(np.repeat(clips, 4, axis=1), np.repeat(range(30), 4), FEW)
    assert copies.effective == 30 and copies.design == pytest.approx(4, rel=0.05)
    uneven = estimate(np.repeat(clips, 2, axis=1), [*"abcdef", *"a" * 54], FEW)
    assert uneven.effective == pytest.approx(60**2 / (55**2 + 5))


def test_the_detectable_difference_is_seen_in_eight_of_ten_cases(rng):
    scores = rng.normal(0, 0.2, 200) + rng.normal(0, 0.02, (4, 200))
    found = estimate(scores, range(200), FEW)
    effect = found.detectable
    seen = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, found.freedom), found.freedom,
                              effect / found.error)
    assert seen == pytest.approx(0.8, abs=0.01)


def test_clips_of_one_recording_widen_the_interval(rng):
    scores = np.repeat(rng.integers(0, 2, (1, 8)), 4, axis=1) + rng.normal(0, 0.01, (4, 1))
    alone = estimate(scores, range(32))
    together = estimate(scores, np.repeat(range(8), 4))
    assert together.high90 - together.low90 > 1.5 * (alone.high90 - alone.low90)


@pytest.mark.parametrize("low90, high90, low95, high95, expected", [
    (-0.01, 0.02, -0.02, 0.03, Verdict.EQUIVALENT),
    (-0.04, -0.01, -0.045, -0.005, Verdict.EQUIVALENT),
    (-0.04, 0.01, -0.055, 0.02, Verdict.UNDECIDED),
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
        assert verdict(found, 0.05) is (Verdict.WORSE if could_be else Verdict.FEW)
