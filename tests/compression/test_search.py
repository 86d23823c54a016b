"""The search ends in few encodes, as near to the target as the grid allows, and never below."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.compression.search import (FIRST_CRF, HALVING, HIGHEST_CRF, LOWEST_CRF, MOST_TRIALS,
                                          TOLERANCE, Trial, best, logit, next_crf,
                                          next_crf_for_bytes, search)

GRID = [n / 10 for n in range(round(LOWEST_CRF * 10), round(HIGHEST_CRF * 10) + 1)]
targets = st.floats(50, 97)


def found(quality, target):
    """The trials of a search on the curve `quality`, at sizes that halve every 6 CRF."""
    return search(lambda crf: Trial(crf, round(1e6 * 2 ** (-crf / 6)), quality(crf)), target)


def held(trials, target):
    """The CRFs that a caller may deliver."""
    return [trial.crf for trial in trials if trial.quality >= target]


@st.composite
def clip_curves(draw):
    """Quality over CRF as clips have it: in logit nearly a line, falling all the way."""
    middle, slope = draw(st.floats(25, 55)), draw(st.floats(0.06, 0.3))
    bend = draw(st.floats(-0.2, 0.2)) * slope / 30

    def quality(crf):
        off = crf - middle
        return 100 / (1 + exp(slope * off + bend * off * abs(off)))

    return quality


@st.composite
def falling_curves(draw):
    """Any curve that never rises: steps and plateaus anywhere."""
    steps = sorted(draw(st.lists(st.tuples(st.floats(0, 52), st.floats(0, 100)), min_size=1,
                                 max_size=6)))
    levels = sorted((level for _, level in steps), reverse=True)
    return lambda crf: next((level for (at, _), level in zip(steps, levels, strict=True)
                             if crf < at), 0.0)


@given(clip_curves(), targets)
def test_ends_within_half_a_point_or_shows_that_the_grid_has_nothing_better(quality, target):
    trials = found(quality, target)
    within = [crf for crf in GRID if target <= quality(crf)]
    if not target <= trials[-1].quality <= target + TOLERANCE:
        highest = max(within, default=None)
        assert max(held(trials, target), default=None) == highest


@given(falling_curves(), targets)
def test_on_any_falling_curve_it_finds_a_target_that_can_be_reached(quality, target):
    trials = found(quality, target)
    assert len(trials) <= MOST_TRIALS
    assert (best(trials, target) is not None) == (quality(LOWEST_CRF) >= target)


@given(st.lists(st.floats(0, 100), min_size=MOST_TRIALS, max_size=MOST_TRIALS), targets)
def test_noise_ends_too_and_what_is_delivered_holds_the_target(qualities, target):
    noise = iter(qualities)
    trials = found(lambda crf: next(noise), target)
    assert len(trials) <= MOST_TRIALS
    assert all(trial.crf == round(trial.crf, 1) for trial in trials)
    assert len({trial.crf for trial in trials}) == len(trials)
    chosen = best(trials, target)
    assert chosen is None or chosen.quality >= target
    assert (chosen is None) == (not held(trials, target))


@given(clip_curves(), targets)
def test_delivers_the_smallest_of_what_holds_the_target(quality, target):
    trials = found(quality, target)
    chosen = best(trials, target)
    assert chosen is None or chosen.crf == max(held(trials, target))


@pytest.mark.parametrize("quality, crf", [(100.0, HIGHEST_CRF), (0.0, LOWEST_CRF)])
def test_a_flat_curve_is_settled_at_an_end_of_the_scale(quality, crf):
    trials = found(lambda _: quality, 93)
    assert [trial.crf for trial in trials] == [FIRST_CRF, crf]


def test_a_curve_that_saturates_does_not_make_it_creep():
    trials = found(lambda crf: min(97.4, 100 / (1 + exp(0.4 * (crf - 50)))), 90)
    assert best(trials, 90).crf > 43


def test_takes_about_three_encodes_where_quality_is_as_measured():
    counts = [len(found(lambda crf, m=middle: 100 / (1 + exp(0.128 * (crf - m))), 93))
              for middle in range(30, 60)]
    assert sum(counts) / len(counts) <= 3


def test_gives_up_as_soon_as_it_is_hopeless():
    trials = search(lambda crf: Trial(crf, 100, 50.0), 93, lambda trial: trial.bytes > 95)
    assert len(trials) == 1


def test_the_logit_is_finite_at_the_ends_and_odd_about_the_middle():
    assert logit(50) == pytest.approx(0) and logit(90) == pytest.approx(log(9))
    assert logit(100) == pytest.approx(-logit(0)) and logit(100) < 10


def test_between_neighbours_of_the_grid_there_is_nothing_left_to_try():
    assert next_crf([Trial(30.0, 9, 94.0), Trial(30.1, 8, 92.9)], 93) is None
    assert next_crf([Trial(HIGHEST_CRF, 9, 99.0)], 93) is None
    assert next_crf([Trial(LOWEST_CRF, 9, 80.0)], 93) is None


@given(start=st.floats(14, 20), steep=st.floats(0.6, 2), flat=st.floats(0.4, 1),
       wanted_crf=st.floats(2, 50))
def test_the_bytes_of_a_set_are_met_within_a_percent_in_few_sets(start, steep, flat, wanted_crf):
    first, last = HALVING * max(steep, flat), HALVING * min(steep, flat)

    def total(crf):
        """A falling convex curve in log: its slope goes from `first` to `last`."""
        return round(exp(start + first * crf + (last - first) * crf * crf / 2 / HIGHEST_CRF))

    wanted, tried = total(wanted_crf), []
    while not tried or abs(tried[-1][1] / wanted - 1) > 0.01:
        crf = next_crf_for_bytes(tried, wanted)
        assert LOWEST_CRF <= crf <= HIGHEST_CRF
        tried.append((crf, total(crf)))
        assert len(tried) <= 6


def test_a_set_that_cannot_be_met_stays_on_the_scale():
    tried = []
    for _ in range(6):
        crf = next_crf_for_bytes(tried, 10**9)
        assert LOWEST_CRF <= crf <= HIGHEST_CRF
        tried.append((crf, 1000))
