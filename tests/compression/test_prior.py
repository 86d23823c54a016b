"""What is learnt from clips that are done brings the first encode of the next one closer."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.compression.content import Content
from leanclips.compression.prior import BELOW_SOURCE, QP_ABOVE_CRF, Solved, guess, looks, solved
from leanclips.compression.search import GAINS, Trial

FIRST, TOLERANCE = 25.0, 0.6


def content(qp=12.0, bits=0.5, motion=5.0):
    """What a clip looks like."""
    return Content((0.0, 0.04), qp, bits, motion, 6.0, 2.0, 50.0, (), False, False)


def clips(count, seed=0):
    """Clips whose CRF follows their bits per pixel and quantizer, with noise of half a CRF."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        clip = content(rng.uniform(10, 14), 2 ** rng.uniform(-3, 1), rng.uniform(1, 9))
        crf = 20 + 0.4 * (clip.qp - 12) - 2 * np.log2(clip.bits) + rng.normal(0, 0.5)
        begun = crf + rng.normal(0, 3)
        found.append((clip, Solved(looks(clip), crf, -1.5 + rng.normal(0, 0.1),
                                   (begun, 1.5 * (crf - begun) + TOLERANCE / 2))))
    return found


def done(count):
    return [clip for _, clip in clips(count)]


def test_nothing_known_begins_at_the_first_crf():
    found = guess(content(), [], FIRST, TOLERANCE)
    assert found.crf == FIRST and found.gains == GAINS


@pytest.mark.parametrize("count, beyond", [(0, False), (7, False), (8, True), (30, True)])
def test_few_clips_teach_no_forecast_beyond_the_sources_own_quantizer(count, beyond):
    for qp in (14.0, 31.5):
        found = guess(content(qp), done(count), FIRST, TOLERANCE)
        assert found.relied_to == (inf if beyond else qp - QP_ABOVE_CRF)
    assert guess(replace(content(), qp=None), done(count), FIRST, TOLERANCE).relied_to == (
        inf if beyond else -inf)


@pytest.mark.parametrize("count, most", [(20, 1.2), (100, 0.7)])
def test_it_learns_level_looks_slope_and_steps(count, most):
    errors = [guess(clip, done(count), FIRST, TOLERANCE).crf - true.crf
              for clip, true in clips(50, seed=1)]
    assert np.sqrt(np.mean(np.square(errors))) < most
    found = guess(content(), done(count), FIRST, TOLERANCE)
    assert found.slope == pytest.approx(-1.5, abs=0.15)
    for room in (-4, 2, 5):
        assert found.step(20, room, TOLERANCE) - 20 == pytest.approx(
            (room - TOLERANCE / 2) / 1.5, abs=0.5)


@given(st.floats(1, 51), st.floats(0.001, 10), st.integers(0, 40))
def test_the_guess_is_never_far_below_the_sources_own_quantizer(qp, bits, count):
    assert guess(content(qp, bits), done(count), FIRST, TOLERANCE).crf >= qp - BELOW_SOURCE


def test_one_odd_clip_moves_it_little():
    before = guess(content(), done(30), FIRST, TOLERANCE).crf
    odd = Solved(looks(content()), 45, -1, (20.0, 3.0))
    assert abs(guess(content(), [*done(30), odd], FIRST, TOLERANCE).crf - before) < 3


def test_the_uniform_crf_of_zones_is_that_of_the_neediest_window():
    trials = [Trial((25.0, 25.0), 100, (2.0, -4.0)), Trial((27.0, 21.0), 90, (0.3, 0.3))]
    found = solved(content(), trials, TOLERANCE)
    assert found.crf == pytest.approx(21) and found.slope == pytest.approx(-0.96, abs=0.13)
    assert found.first == (25.0, -4.0) and solved(content(), [], TOLERANCE) is None


def test_a_clip_that_never_came_near_its_target_teaches_nothing():
    assert solved(content(), [Trial((51.0,), 100, (20.0,))], TOLERANCE) is None


@given(st.floats(0, 60), st.floats(1e-4, 50), st.integers(1, 40))
def test_the_guess_stays_among_what_was_seen(qp, bits, count):
    seen = [clip.crf for clip in done(count)] + [FIRST]
    found = guess(content(qp, bits), done(count), FIRST, TOLERANCE).crf
    assert min(seen) <= found <= max(*seen, qp - BELOW_SOURCE)


def test_a_source_without_quantizers_is_a_source_too():
    assert guess(content(None), done(10), FIRST, TOLERANCE).crf < 40
