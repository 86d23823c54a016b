"""The search ends in few encodes, as near to the target as the grid allows, and never below."""

from dataclasses import replace
from math import exp, inf
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.compression.ffmpeg import CODECS
from leanclips.compression.inspect import Looks
from leanclips.compression.search import (BELOW_SOURCE, GAINS, HALVING, HIGHEST, LOWEST,
                                          MOST_TRIALS, QP_ABOVE_CRF, SPREAD, USUAL_CRF, Guess,
                                          Solved, Trial, best, features, guess, next_crf,
                                          next_crf_for_bytes, search, solved)

GRID = [n / 10 for n in range(round(LOWEST * 10), round(HIGHEST * 10) + 1)]
TOLERANCE = 0.6  # half a point of VMAF at 93
NEVER = 1e12  # no encode is too large to go on

guesses = st.floats(10, 40)


def found(headroom, guess=25.0, slope=-1.0, most=NEVER, tolerance=TOLERANCE, gains=GAINS):
    """The trials of a search on one window's curve, at sizes that halve every 6 CRF."""
    return search(lambda crfs: Trial(crfs, round(1e6 * 2 ** (-crfs[0] / 6)),
                                     (headroom(crfs[0]),)),
                  1, Guess(guess, tolerance, slope=slope, gains=gains), most)


@st.composite
def clip_curves(draw):
    """Headroom over CRF, falling all the way. Either its slope changes as it likes, between 0.85
    and 1.2 times the expected one, or the whole curve is up to twice as flat or steep.
    """
    target = draw(st.floats(8, 45))
    whole, least, steepest = draw(st.sampled_from([(0.5, 0.9, 1.15), (1, 0.85, 1.2),
                                                   (2, 0.9, 1.15)]))
    pieces = [whole * piece for piece in draw(
        st.lists(st.floats(least, steepest), min_size=11, max_size=11))]

    def headroom(crf):
        """The integral of the slopes (a piece is 5 CRF) from `crf` to the target."""
        low, high = sorted((crf, target))
        area = sum(slope * max(0.0, min(high, 5 * n + 5) - max(low, 5 * n))
                   for n, slope in enumerate(pieces))
        return area if crf < target else -area

    return headroom


@st.composite
def falling_curves(draw):
    """Any curve that never rises: steps and plateaus anywhere."""
    steps = sorted(draw(st.lists(st.tuples(st.floats(0, 52), st.floats(-30, 30)), min_size=1,
                                 max_size=6)))
    levels = sorted((level for _, level in steps), reverse=True)
    return lambda crf: next((level for (at, _), level in zip(steps, levels, strict=True)
                             if crf < at), -30.0)


@given(clip_curves(), guesses)
def test_ends_within_the_tolerance_in_at_most_six_encodes(headroom, guess):
    trials = found(headroom, guess)
    assert len(trials) <= MOST_TRIALS == 6
    chosen = best(trials)
    nothing_within = not any(0 <= headroom(crf) <= TOLERANCE for crf in GRID)
    assert 0 <= chosen.worst and (chosen.worst <= TOLERANCE or nothing_within)


@given(falling_curves(), guesses)
def test_on_any_falling_curve_it_ends_and_never_delivers_below(headroom, guess):
    trials = found(headroom, guess)
    assert len(trials) <= MOST_TRIALS and all(trial.crfs[0] in GRID for trial in trials)
    chosen = best(trials)
    assert chosen is None or chosen.worst >= 0
    if chosen is None:  # each was shown to miss, the best there is among them or nearly so
        assert all(headroom(trial.crfs[0]) < 0 for trial in trials)
        assert len(trials) == MOST_TRIALS or headroom(LOWEST) < 0


@given(st.floats(-60, -0.1), guesses)
def test_a_target_beyond_reach_is_proved_so(level, guess):
    trials = found(lambda crf: level, guess)
    assert best(trials) is None and min(trial.crfs[0] for trial in trials) == LOWEST


@given(st.lists(st.floats(-30, 30), min_size=MOST_TRIALS, max_size=MOST_TRIALS), guesses)
def test_noise_ends_too_and_what_is_delivered_holds_the_target(levels, guess):
    noise = iter(levels)
    trials = found(lambda crf: next(noise), guess)
    assert len({trial.crfs for trial in trials}) == len(trials) <= MOST_TRIALS
    held = [trial for trial in trials if trial.worst >= 0]
    assert best(trials) == min(held, key=lambda trial: trial.bytes, default=None)


@pytest.mark.parametrize("level, crf", [(30.0, HIGHEST), (-30.0, LOWEST)])
def test_a_flat_curve_is_settled_at_an_end_of_the_scale(level, crf):
    tried = [trial.crfs[0] for trial in found(lambda _: level)]
    assert len(tried) <= 4 and tried[-1] == crf


def test_a_curve_that_saturates_does_not_make_it_creep():
    assert best(found(lambda crf: min(3.0, 43 - crf))).crfs[0] > 40


def test_a_good_guess_and_slope_save_encodes():
    def curve(middle):
        return lambda crf: 1.6 * (middle - crf)

    known = [len(found(curve(middle), middle - 1, -1.6, gains=(1 / 1.6, 0, 0)))
             for middle in range(15, 35)]
    unknown = [len(found(curve(middle), 25)) for middle in range(15, 35)]
    assert sum(known) / len(known) <= 2.0 < sum(unknown) / len(unknown) <= 3.2


@pytest.mark.parametrize("room, size, tries", [(-5, 100, 1), (-0.2, 97, 1), (0.3, 99, 1)])
def test_gives_up_as_soon_as_it_is_hopeless(room, size, tries):
    trials = search(lambda crfs: Trial(crfs, size, (room,)), 1, Guess(25, TOLERANCE), 95)
    assert len(trials) == tries


def test_goes_on_where_there_is_enough_headroom_to_save():
    """At CRF 25 it takes more than it may, but it is 12 CRF above its target: a quarter of it."""
    trials = found(lambda crf: 37 - crf, most=2e4)
    assert len(trials) > 1 and best(trials).bytes <= 2e4


def sized(target_share):
    """Encodes of a clip that holds its target at CRF 20, there at this share of its own bytes."""
    return lambda crfs: Trial(crfs, round(1e5 * target_share * 2 ** ((20 - crfs[0]) / 5.5)),
                              (20 + TOLERANCE / 2 - crfs[0],))


@given(st.floats(0.97, 3), st.floats(15, 30))
def test_a_clip_that_cannot_gain_is_known_after_one_encode(share, guess):
    known = Guess(guess, TOLERANCE, gains=(1, 0, 0), relied_to=20.5)
    trials = search(sized(share), 1, known, 0.95e5)
    # An encode above the target may have more to gain than foreseen.
    above = max(20 - trials[0].crfs[0], 0)
    assert len(trials) == 1 or above > 0 and trials[0].bytes < 0.95e5 * 2 ** (1.5 * above / 5.5)


@given(st.floats(0.1, 0.92), guesses)
def test_a_clip_that_gains_is_not_given_up(share, guess):
    trials = search(sized(share), 1, Guess(guess, TOLERANCE, gains=(1, 0, 0)), 0.95e5)
    assert best(trials).bytes <= 0.95e5


@pytest.mark.parametrize("relied_to, given_up", [(-inf, False), (16, False), (17.5, True),
                                                 (inf, True)])
def test_a_far_forecast_is_relied_on_up_to_a_crf_only(relied_to, given_up):
    """From one encode the target seems to be at CRF 17, at more bytes than the clip has; it is
    at 22.
    """
    trials = search(lambda crfs: Trial(crfs, round(4e4 * 2 ** ((25 - crfs[0]) / 5.5)),
                                       (8 / 3 * (22 - crfs[0]),)),
                    1, Guess(25, TOLERANCE, gains=(1, 0, 0), relied_to=relied_to), 0.95e5)
    assert len(trials) == 1 if given_up else best(trials).bytes <= 0.95e5


def test_a_secant_that_swings_too_low_gives_nothing_up():
    """Down from CRF 18.5 a clip's score may stay where it is before it rises."""
    trials = search(lambda crfs: Trial(crfs, round(7e4 * 2 ** ((18.5 - crfs[0]) / 5.5)),
                                       (-0.5 if crfs[0] > 17.2 else 17.4 - crfs[0],)),
                    1, Guess(18.5, TOLERANCE), 0.95e5)
    assert trials[1].worst == -0.5 and best(trials).bytes <= 0.95e5


def test_between_neighbours_of_the_grid_there_is_nothing_left_to_try():
    known = Guess(30, TOLERANCE)
    assert next_crf([(30.1, -0.1), (30.0, 1.0)], known) == 30.0
    assert next_crf([(HIGHEST, 9.0)], known) == HIGHEST
    assert next_crf([(LOWEST, -9.0)], known) == LOWEST


@given(clip_curves(), st.integers(-4, 4))
def test_a_coarse_scale_ends_at_its_best_step(headroom, guess):
    trials = search(lambda crfs: Trial(crfs, round(1e9 * 2 ** (-crfs[0] / 6)),
                                       (headroom(min(crfs[0], 54)),)), 1,
                    Guess(30 + guess, TOLERANCE, CODECS["av1"]), NEVER)
    assert all(trial.crfs[0] == round(trial.crfs[0]) for trial in trials)
    chosen = best(trials)
    assert headroom(54) >= 0 or chosen.worst <= TOLERANCE or headroom(chosen.crfs[0] + 1) < 0


# Several zones in one encode.

@st.composite
def zones(draw):
    """Curves of 2 to 12 zones: targets within 6 CRF of one another, like slopes."""
    count, middle = draw(st.integers(2, 12)), draw(st.floats(16, 34))
    targets = [middle + draw(st.floats(-3, 3)) for _ in range(count)]
    slopes = [draw(st.floats(0.8, 1.8)) for _ in range(count)]
    return targets, slopes


def zoned(targets, slopes, leak=0.0, guess=25.0, chance=None):
    """The trials of a search over zones, each with a share of the bytes; the neighbours'
    CRFs leak into a window's quality, and `chance()` is added to it.
    """
    count = len(targets)

    def encode(crfs):
        assert len(crfs) == count
        headroom = []
        for n in range(count):
            beside = [crfs[m] - crfs[n] for m in (n - 1, n + 1) if 0 <= m < count]
            felt = crfs[n] + leak * sum(beside) / len(beside)
            headroom.append(slopes[n] * (targets[n] - felt) + (chance() if chance else 0))
        return Trial(crfs, round(sum(1e6 * 2 ** (-crf / 6) for crf in crfs)), tuple(headroom))

    return search(encode, count, Guess(guess, TOLERANCE), NEVER)


@given(zones(), st.floats(18, 32))
def test_zones_hold_the_target_in_every_window_with_fewer_bytes_than_one_crf(drawn, guess):
    targets, slopes = drawn
    trials = zoned(targets, slopes, guess=guess)
    chosen = best(trials)
    uniform = len(targets) * 1e6 * 2 ** (-min(targets) / 6)
    assert chosen.worst >= 0
    assert chosen.worst <= TOLERANCE or len(trials) == MOST_TRIALS
    if max(targets) - min(targets) > 4 and len(targets) > 3:
        assert chosen.bytes < uniform


@given(zones(), st.floats(18, 32), st.floats(0, 0.2))
def test_zones_end_in_six_encodes_though_they_touch_each_other(drawn, guess, leak):
    targets, slopes = drawn
    trials = zoned(targets, slopes, leak, guess)
    assert len(trials) <= MOST_TRIALS
    assert best(trials) is not None and best(trials).worst >= 0


def test_zones_that_miss_by_chance_do_not_use_up_the_encodes():
    random, shares = Random(1), []
    for _ in range(100):
        targets = [random.uniform(22, 28) for _ in range(8)]
        chosen = best(zoned(targets, [1.2] * 8, 0.1, chance=lambda: random.gauss(0, 0.3)))
        shares.append(chosen.bytes / (8e6 * 2 ** (-min(targets) / 6)))
    assert sum(shares) / len(shares) < 0.9


def test_a_window_that_needs_next_to_nothing_stays_near_the_others():
    trials = zoned([24, 24, 24, 50], [1, 1, 1, 1])
    assert max(best(trials).crfs) <= 24 + SPREAD + 1


def test_zones_that_are_alike_keep_one_crf():
    assert all(len(set(trial.crfs)) == 1 for trial in zoned([22] * 5, [1.2] * 5))


# The control's search.

@given(start=st.floats(14, 20), steep=st.floats(0.6, 2), flat=st.floats(0.4, 1),
       wanted_crf=st.floats(2, 50))
def test_the_bytes_of_a_set_are_met_within_a_percent_in_few_sets(start, steep, flat, wanted_crf):
    first, last = HALVING * max(steep, flat), HALVING * min(steep, flat)

    def total(crf):
        """A falling convex curve in log: its slope goes from `first` to `last`."""
        return round(exp(start + first * crf + (last - first) * crf * crf / 2 / HIGHEST))

    wanted, tried = total(wanted_crf), []
    while not tried or abs(tried[-1][1] / wanted - 1) > 0.01:
        crf = next_crf_for_bytes(tried, wanted, USUAL_CRF)
        assert LOWEST <= crf <= HIGHEST
        tried.append((crf, total(crf)))
        assert len(tried) <= 6
    assert tried[0][0] == USUAL_CRF


def test_a_set_that_cannot_be_met_stays_on_the_scale():
    tried = []
    for _ in range(6):
        crf = next_crf_for_bytes(tried, 10**9, USUAL_CRF)
        assert LOWEST <= crf <= HIGHEST
        tried.append((crf, 1000))


# Where to begin.

FIRST = 25.0
CODEC = replace(CODECS["h264"], first=FIRST)


def looks(qp=12.0, bits=0.5, motion=5.0):
    return Looks(qp, bits, motion, 6.0, 2.0, 50.0)


def clips(count, seed=0):
    """Clips whose CRF follows their bits per pixel and quantizer, with noise of half a CRF."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        clip = looks(rng.uniform(10, 14), 2 ** rng.uniform(-3, 1), rng.uniform(1, 9))
        crf = 20 + 0.4 * (clip.qp - 12) - 2 * np.log2(clip.bits) + rng.normal(0, 0.5)
        begun = crf + rng.normal(0, 3)
        found.append((clip, Solved(features(clip), crf, -1.5 + rng.normal(0, 0.1),
                                   (begun, 1.5 * (crf - begun) + TOLERANCE / 2))))
    return found


def done(count):
    return [clip for _, clip in clips(count)]


def test_nothing_known_begins_at_the_first_crf():
    found = guess(looks(), [], CODEC, TOLERANCE)
    assert found.crf == FIRST and found.gains == GAINS


@pytest.mark.parametrize("count, beyond", [(0, False), (7, False), (8, True), (30, True)])
def test_few_clips_teach_no_forecast_beyond_the_sources_own_quantizer(count, beyond):
    for qp in (14.0, 31.5):
        found = guess(looks(qp), done(count), CODEC, TOLERANCE)
        assert found.relied_to == (inf if beyond else qp - QP_ABOVE_CRF)
    assert guess(replace(looks(), qp=None), done(count), CODEC, TOLERANCE).relied_to == (
        inf if beyond else -inf)


@pytest.mark.parametrize("count, most", [(20, 1.2), (100, 0.7)])
def test_it_learns_level_looks_slope_and_steps(count, most):
    errors = [guess(clip, done(count), CODEC, TOLERANCE).crf - true.crf
              for clip, true in clips(50, seed=1)]
    assert np.sqrt(np.mean(np.square(errors))) < most
    found = guess(looks(), done(count), CODEC, TOLERANCE)
    assert found.slope == pytest.approx(-1.5, abs=0.15)
    for room in (-4, 2, 5):
        assert found.step(20, room) - 20 == pytest.approx(
            (room - TOLERANCE / 2) / 1.5, abs=0.5)


@given(st.floats(1, 51), st.floats(0.001, 10), st.integers(0, 40))
def test_the_guess_is_never_far_below_the_sources_own_quantizer(qp, bits, count):
    assert guess(looks(qp, bits), done(count), CODEC, TOLERANCE).crf >= qp - BELOW_SOURCE


def test_one_odd_clip_moves_it_little():
    before = guess(looks(), done(30), CODEC, TOLERANCE).crf
    odd = Solved(features(looks()), 45, -1, (20.0, 3.0))
    assert abs(guess(looks(), [*done(30), odd], CODEC, TOLERANCE).crf - before) < 3


def test_the_uniform_crf_of_zones_is_that_of_the_neediest_window():
    trials = [Trial((25.0, 25.0), 100, (2.0, -4.0)), Trial((27.0, 21.0), 90, (0.3, 0.3))]
    found = solved(looks(), trials, TOLERANCE, "h264")
    assert found.crf == pytest.approx(21) and found.slope == pytest.approx(-0.96, abs=0.13)
    assert found.first == (25.0, -4.0) and solved(looks(), [], TOLERANCE, "h264") is None


def test_a_clip_that_never_came_near_its_target_teaches_nothing():
    assert solved(looks(), [Trial((51.0,), 100, (20.0,))], TOLERANCE, "h264") is None


@given(st.floats(0, 60), st.floats(1e-4, 50), st.integers(1, 40))
def test_the_guess_stays_among_what_was_seen(qp, bits, count):
    seen = [clip.crf for clip in done(count)] + [FIRST]
    found = guess(looks(qp, bits), done(count), CODEC, TOLERANCE).crf
    assert min(seen) <= found <= max(*seen, qp - BELOW_SOURCE)


def test_a_source_without_quantizers_is_a_source_too():
    assert guess(looks(None), done(10), CODEC, TOLERANCE).crf < 40
