"""The gate is the worst second of a clip, counted in whole frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.mstats import mquantiles

from leanclips.compression.codec import encode_x264
from leanclips.compression.quality import measure, windows, worst_window
from leanclips.errors import StudyError

rates = st.floats(0.3, 120)


@given(st.integers(1, 3000), rates)
def test_windows_cover_every_frame_once_and_last_about_a_second(frames, fps):
    parts = windows(frames, fps)
    covered = [n for part in parts for n in range(frames)[part]]
    assert covered == list(range(frames))
    second = max(1, round(fps))
    lengths = [part.stop - part.start for part in parts]
    assert all(length == second for length in lengths[:-1])
    assert lengths[-1] == frames or second / 2 <= lengths[-1] < 1.5 * second


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), rates, st.data())
def test_a_worse_frame_never_makes_the_worst_second_better(scores, fps, data):
    scores = np.array(scores)
    worst = worst_window(scores, fps)
    assert scores.min() <= worst <= scores.max()
    scores[data.draw(st.integers(0, len(scores) - 1))] *= 0.5
    assert worst_window(scores, fps) <= worst


def test_one_bad_second_in_a_good_clip_shows():
    scores = np.full(100, 95.0)
    scores[50:75] = np.linspace(40, 64, 25)
    tenth = mquantiles(scores[50:75], 0.1, alphap=1, betap=1)[0]
    assert worst_window(scores, 25) == pytest.approx(tenth) == pytest.approx(42.4)
    assert np.percentile(scores, 10) > 49


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_clip):
    return make_clip(tmp_path_factory.mktemp("quality") / "clip.mp4", frames=30, size=(160, 120),
                     fps=10)


def test_a_copy_scores_near_the_top_and_a_coarse_encode_far_below(tmp_path, clip):
    encode_x264(clip, tmp_path / "coarse.mp4", 45)
    same, coarse = measure(clip, clip, 10), measure(tmp_path / "coarse.mp4", clip, 10)
    assert same.worst > 95 and coarse.worst < 50
    assert coarse.worst <= coarse.mean


def test_measuring_twice_gives_the_same(tmp_path, clip):
    encode_x264(clip, tmp_path / "encoded.mp4", 33.3)
    assert len({measure(tmp_path / "encoded.mp4", clip, 10) for _ in range(2)}) == 1


def test_a_better_encode_never_scores_worse(tmp_path, clip):
    worst = []
    for crf in (18, 26, 34, 42):
        encode_x264(clip, tmp_path / f"{crf}.mp4", crf)
        worst.append(measure(tmp_path / f"{crf}.mp4", clip, 10).worst)
    assert worst == sorted(worst, reverse=True)


def test_frames_pair_up_by_number_whatever_their_times(tmp_path, clip, ffmpeg):
    """The same pictures at another rate are the same pictures."""
    ffmpeg("-r", 25, "-i", clip, "-c:v", "copy", tmp_path / "faster.mp4")
    assert measure(tmp_path / "faster.mp4", clip, 10) == measure(clip, clip, 10)


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path, clip, make_clip):
    with pytest.raises(StudyError, match="text.mp4: FFmpeg failed"):
        measure(make_clip(tmp_path / "text.mp4", "text"), clip, 10)
