"""The gate is the worst second of a clip, its colours counted in."""

import shutil
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.mstats import mquantiles

from leanclips.compression.ffmpeg import Encoding, encode, filters_of
from leanclips.compression.quality import (METRICS, WINDOW_FRAMES, Goal, judge, logit, measure,
                                           timeline)
from leanclips.errors import StudyError

gaps = st.lists(st.floats(0.005, 0.5), min_size=0, max_size=400)


@given(gaps, st.lists(st.integers(1, 399), max_size=6))
def test_zones_cover_every_frame_once_and_last_a_second_or_more(steps, cuts):
    times = [0.0, *accumulate(steps)]
    cuts = sorted({cut for cut in cuts if cut < len(times)})
    parts = timeline(times, cuts).zones
    covered = [n for part in parts for n in range(len(times))[part]]
    assert covered == list(range(len(times)))
    if len(parts) > 1:
        for part, after in zip(parts, parts[1:], strict=False):
            assert times[after.start] - times[part.start] >= 1 - 1e-5
        assert all(part.stop - part.start >= WINDOW_FRAMES for part in parts)


@given(st.lists(st.integers(30, 200), min_size=2, max_size=6))
def test_zones_follow_scene_cuts(lengths):
    cuts = list(accumulate(lengths))
    starts = [zone.start for zone in timeline(np.arange(cuts[-1]) / 25, cuts[:-1]).zones]
    assert set(cuts[:-1]) <= set(starts)


@pytest.mark.parametrize("frames, count", [(1, 1), (25, 1), (49, 1), (50, 2), (74, 2), (75, 3)])
def test_a_clip_shorter_than_two_zones_has_one(frames, count):
    assert len(timeline(np.arange(frames) / 25).zones) == count


def judged(scores, times, chroma=50.0, goal=Goal()):
    return judge(np.array(scores), np.full(len(scores), chroma), times, goal)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), st.data())
def test_a_worse_frame_never_makes_the_worst_second_better(scores, data):
    times = timeline(np.arange(len(scores)) / 20)
    worst = judged(scores, times).worst
    assert min(scores) - 1e-4 <= worst <= max(scores) + 1e-4
    scores[data.draw(st.integers(0, len(scores) - 1))] *= 0.5
    assert judged(scores, times).worst <= worst + 1e-4


def test_one_bad_second_in_a_good_clip_shows():
    scores = np.full(100, 95.0)
    scores[50:75] = np.linspace(40, 64, 25)
    tenth = mquantiles(scores[50:75], 0.1, alphap=1, betap=1)[0]
    found = judged(scores, timeline(np.arange(100) / 25))
    assert found.worst == pytest.approx(tenth) == pytest.approx(42.4)
    assert found.zones[2] == found.worst and found.zones[0] == 95 and found.mean > 80


@given(gaps, st.lists(st.integers(1, 399), max_size=6))
def test_every_second_is_gated_wherever_it_begins(steps, cuts):
    """Each frame begins a second, of the fewest frames that last one and are eight."""
    times = [0.0, *accumulate(steps)]
    made = timeline(times, sorted({cut for cut in cuts if cut < len(times)}))
    ends = [*times, times[-1] + times[-1] / max(len(times) - 1, 1)]
    wanted = []
    for first in range(len(times)):
        end = next((n for n in range(first + WINDOW_FRAMES, len(ends))
                    if ends[n] - times[first] >= 1 - 1e-6), None)
        wanted += [(first, end)] if end is not None else []
    assert made.seconds.tolist() == [list(one) for one in wanted or [(0, len(times))]]


@pytest.mark.parametrize("first", range(0, 76, 5))
def test_a_bad_second_shows_in_full_wherever_it_begins(first):
    """Windows that lie side by side halve a bad second that begins in the middle of one."""
    scores = np.full(100, 95.0)
    scores[first:first + 25] = np.linspace(40, 64, 25)
    assert judged(scores, timeline(np.arange(100) / 25)).worst == pytest.approx(42.4)


@given(st.floats(1, 99), st.sampled_from(sorted(METRICS)))
def test_headroom_is_zero_at_the_target_and_grows_with_the_score(share, name):
    metric = METRICS[name]
    target = metric.highest * (0.5 + share / 200) * 0.99
    goal = Goal(target, name)
    assert metric.headroom(target, target) == 0 < goal.tolerance
    assert metric.headroom(target * 0.99, target) < 0 < metric.headroom(
        target + metric.tolerance, target) == pytest.approx(goal.tolerance)


def test_lost_colours_miss_the_target_however_good_the_luma():
    times = timeline(np.arange(10) / 10)
    assert judged([99.0] * 10, times, chroma=50).headroom[0] > 10
    grey = judged([99.0] * 10, times, chroma=20)
    assert grey.headroom[0] < -10 and grey.chroma == 20 and grey.worst == 99
    assert Goal(80).chroma < Goal(93).chroma == 34 < Goal(97).chroma


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_score_above_the_largest_target_is_told_from_it(name):
    metric = METRICS[name]
    assert metric.headroom(metric.highest, metric.largest) > 1


def test_the_logit_is_finite_at_the_ends_and_odd_about_the_middle():
    assert logit(50) == pytest.approx(0) and logit(90) == pytest.approx(np.log(9))
    assert logit(100) == pytest.approx(-logit(0)) and logit(100) < 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_clip):
    return make_clip(tmp_path_factory.mktemp("quality") / "clip.mp4", frames=30, size=(160, 120),
                     fps=10)


@pytest.fixture(scope="module")
def large(tmp_path_factory, make_clip):
    """As large as VMAF v1 wants it."""
    return make_clip(tmp_path_factory.mktemp("quality") / "large.mp4", frames=30, size=(224, 216),
                     fps=10)


WHOLE = timeline(np.arange(30) / 10)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_copy_scores_near_the_top_and_a_coarse_encode_far_below(tmp_path, large, metric):
    goal = Goal(METRICS[metric].target, metric)
    encode(large, tmp_path / "coarse.mp4", Encoding("h264"), 25, (45,))
    same = measure(large, large, WHOLE, goal)
    coarse = measure(tmp_path / "coarse.mp4", large, WHOLE, goal)
    assert min(same.headroom) > 0 > max(coarse.headroom)
    assert coarse.worst == min(coarse.zones) <= coarse.mean < same.mean
    assert coarse.chroma < 40 < same.chroma == 60


def test_measuring_twice_gives_the_same(tmp_path, clip):
    encode(clip, tmp_path / "encoded.mp4", Encoding("h264"), 25, (33.3,))
    assert len({measure(tmp_path / "encoded.mp4", clip, WHOLE, Goal()) for _ in range(2)}) == 1


def test_a_better_encode_never_scores_worse(tmp_path, clip):
    worst = []
    for crf in (18, 26, 34, 42):
        encode(clip, tmp_path / f"{crf}.mp4", Encoding("h264"), 25, (crf,))
        worst.append(measure(tmp_path / f"{crf}.mp4", clip, WHOLE, Goal()).worst)
    assert worst == sorted(worst, reverse=True)


def test_frames_pair_up_by_number_whatever_their_times(tmp_path, clip, ffmpeg):
    """The same pictures at another rate are the same pictures."""
    ffmpeg("-r", 25, "-i", clip, "-c:v", "copy", tmp_path / "faster.mp4")
    assert (measure(tmp_path / "faster.mp4", clip, WHOLE, Goal())
            == measure(clip, clip, WHOLE, Goal()))


@pytest.mark.parametrize("metric", ["vmaf", "vmaf1"])
def test_a_clip_without_its_colours_misses_the_target_whatever_the_score(
        tmp_path, large, ffmpeg, metric):
    ffmpeg("-i", large, "-vf", "hue=s=0", "-c:v", "libx264", "-crf", 5, tmp_path / "grey.mp4")
    found = measure(tmp_path / "grey.mp4", large, WHOLE, Goal(METRICS[metric].target, metric))
    assert found.worst > METRICS[metric].target and min(found.headroom) < 0


def test_a_rotated_clip_is_scored_as_high_as_it_is_shown(tmp_path, make_clip, ffmpeg):
    """The same as its upright copy: at 256 lines, not at the 192 of 256 pixels in its width."""
    make_clip(tmp_path / "clip.mp4", "rotated", frames=10, size=(128, 96))
    encode(tmp_path / "clip.mp4", tmp_path / "coarse.mp4", Encoding("h264"), 25, (40,))
    for name in ("clip", "coarse"):
        ffmpeg("-i", tmp_path / f"{name}.mp4", "-c:v", "ffv1", tmp_path / f"{name}.mkv")
    rotated, upright = (measure(tmp_path / f"coarse{suffix}", tmp_path / f"clip{suffix}",
                                timeline(np.arange(10) / 10), Goal(height=256))
                        for suffix in (".mp4", ".mkv"))
    assert rotated == upright


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path, clip, make_clip):
    with pytest.raises(StudyError, match="text.mp4: FFmpeg failed"):
        measure(make_clip(tmp_path / "text.mp4", "text"), clip, WHOLE, Goal())


@pytest.mark.parametrize("metric, name", [("vmaf", "scores.json"), ("xpsnr", "scores.log"),
                                          ("xpsnr", "psnr.log")])
@pytest.mark.parametrize("harm", ["truncate -s 200", "rm"])
def test_scores_that_found_no_room_are_told(tmp_path, clip, stand_in, metric, name, harm):
    stand_in(f'"$FFMPEG" "$@" || exit; if [ -f {name} ]; then {harm} {name}; fi')
    (tmp_path / "new").mkdir()
    copy = shutil.copy(clip, tmp_path / "new" / "copy.mp4")
    with pytest.raises(StudyError, match="scores cannot be read .maybe the disk is full") as raised:
        measure(copy, clip, WHOLE, Goal(METRICS[metric].target, metric))
    assert str(tmp_path / "new") in str(raised.value)
    assert list((tmp_path / "new").iterdir()) == [copy]


def test_notes_lie_beside_the_clip_and_go(tmp_path, clip, stand_in):
    stand_in(f'pwd >> {tmp_path / "seen"}; exec "$FFMPEG" "$@"')
    measure(clip, clip, WHOLE, Goal())
    seen = [Path(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert clip.parent in {folder.parent for folder in seen}
    assert not any(folder.exists() for folder in seen if ".aside-" in folder.name)


@pytest.mark.parametrize("size", [(160, 120), (1280, 720)])
def test_ssim_without_libvmaf_is_nearly_the_same(tmp_path, make_clip, ffmpeg_without, size):
    clip = make_clip(tmp_path / "clip.mp4", frames=6, size=size)
    times, goal = timeline(np.arange(6) / 10), Goal(METRICS["ssim"].target, "ssim")
    for crf in (20, 40):
        encode(clip, tmp_path / f"{crf}.mp4", Encoding("h264"), 25, (crf,))
    usual = [measure(tmp_path / f"{crf}.mp4", clip, times, goal) for crf in (20, 40)]
    ffmpeg_without("libvmaf")
    for crf, was in zip((20, 40), usual, strict=True):
        now = measure(tmp_path / f"{crf}.mp4", clip, times, goal)
        assert now.worst == pytest.approx(was.worst, abs=0.015) and now.chroma == was.chroma
    assert filters_of("ssim") == ("ssim", "psnr")


def test_xpsnr_needs_no_libvmaf_and_vmaf_does(tmp_path, clip, ffmpeg_without):
    encode(clip, tmp_path / "made.mp4", Encoding("h264"), 25, (30,))
    goal = Goal(METRICS["xpsnr"].target, "xpsnr")
    usual = measure(tmp_path / "made.mp4", clip, WHOLE, goal)
    ffmpeg_without("libvmaf")
    assert measure(tmp_path / "made.mp4", clip, WHOLE, goal) == usual
    with pytest.raises(StudyError, match="this FFmpeg has no libvmaf; use --metric ssim"):
        measure(tmp_path / "made.mp4", clip, WHOLE, Goal())
