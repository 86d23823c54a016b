"""Source and variant side by side."""

import cv2
import numpy as np
import pytest

from leanclips import notebook
from leanclips.errors import StudyError
from leanclips.report.results import read_encoded
from leanclips.widgets.compare import WIDTH, Compare, Frames, part


@pytest.fixture
def compare(finished_study) -> Compare:
    layout, study, clips = notebook.open_study(str(finished_study.study))
    return Compare(read_encoded(layout, study, clips), "optimized")


def picture(compare: Compare, name: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(compare.pictures[name].value, np.uint8), cv2.IMREAD_COLOR)


def test_shows_the_same_frame_of_both(compare):
    assert picture(compare, "source").shape == (WIDTH, WIDTH, 3)
    assert picture(compare, "optimized").shape == (WIDTH, WIDTH, 3)
    before = {name: image.value for name, image in compare.pictures.items()}
    compare.frame.value = compare.frame.max
    assert all(image.value != before[name] for name, image in compare.pictures.items())


def test_captions_give_bytes_and_quality(compare):
    assert compare.captions["source"].value.startswith("source: ")
    assert "of the source crop, VMAF NEG" in compare.captions["optimized"].value


def test_another_clip_starts_at_its_first_frame(compare):
    compare.frame.value = 2
    compare.clip.value = compare.clip.options[1][1]
    assert compare.frame.value == 0


def test_another_tools_file_keeps_its_suffix(compare):
    other = compare.clip.options[1][1]
    path = compare.results.layout.clip("optimized", other)
    path.rename(path.with_suffix(".mkv"))
    compare.clip.value = other
    assert compare.status.value == "" and picture(compare, "optimized").shape == (WIDTH, WIDTH, 3)


def test_a_missing_file_is_a_sentence(compare):
    other = compare.clip.options[1][1]
    compare.results.layout.clip("optimized", other).unlink()
    compare.clip.value = other
    assert "the clip is missing" in compare.status.value
    assert compare.pictures["source"].value == b""


def test_zoom_shows_the_corner_that_is_asked_for():
    frame = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    assert np.array_equal(part(frame, 1, 50, 50), frame)
    assert np.array_equal(part(frame, 2, 0, 0), frame[:4, :3])
    assert np.array_equal(part(frame, 2, 100, 100), frame[4:, 3:])
    assert part(frame, 100, 50, 50).shape == (1, 1, 3)


def test_frames_come_in_any_order(make_clip, tmp_path):
    frames = Frames(make_clip(tmp_path / "clip.mp4", frames=6))
    in_order = [frames[place].copy() for place in range(6)]
    for place in (5, 0, 3, 3, 2):
        assert np.array_equal(frames[place], in_order[place])


def test_a_frame_beyond_the_end_names_the_file(make_clip, tmp_path):
    frames = Frames(make_clip(tmp_path / "clip.mp4", frames=6))
    with pytest.raises(StudyError, match="frame 8 cannot be decoded"):
        frames[7]
