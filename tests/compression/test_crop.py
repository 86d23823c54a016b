"""The crop shows its square of the clip: the same frames at the same times."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import Roi
from leanclips.compression.crop import crop, square
from leanclips.compression.inspect import inspect, probe
from leanclips.errors import StudyError
from leanclips.files import file_sha256

KINDS = [("h264", ".mp4"), ("mpeg4", ".avi"), ("vfr", ".mp4"), ("odd", ".avi"), ("audio", ".mp4")]


def shown(path, ffmpeg):
    """The frames as FFmpeg shows them, upright: (frames, height, width, 3)."""
    upright = path.with_name(f"upright-{path.stem}.mkv")
    ffmpeg("-i", path, "-c:v", "ffv1", "-pix_fmt", "bgr0", "-fps_mode", "passthrough", upright)
    with av.open(str(upright)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def problem(check):
    """What `check` complains of, if it does."""
    try:
        check()
    except StudyError as error:
        return str(error)
    return ""


def difference(a, b):
    """Mean absolute difference of two clips, in levels of 0-255."""
    return np.abs(a.astype(int) - b.astype(int)).mean()


@given(st.integers(16, 5000), st.integers(16, 5000))
def test_without_a_roi_it_is_the_largest_square_in_the_middle(width, height):
    roi = square(None, width, height, "clip")
    assert roi.side % 2 == 0 and min(width, height) - roi.side in (0, 1)
    for start, length in ((roi.x, width), (roi.y, height)):
        assert start >= 0 and abs(start - (length - roi.side - start)) <= 2


@given(st.integers(0, 300), st.integers(0, 300), st.integers(16, 300))
def test_a_roi_fits_the_frame_or_is_an_error(x, y, side):
    if x + side > 320 or y + side > 240:
        with pytest.raises(StudyError, match="clip: the ROI .* lies outside its 320×240 pixels"):
            square(Roi(x, y, side), 320, 240, "clip")
    else:
        assert square(Roi(x, y, side), 320, 240, "clip") == Roi(x, y, side - side % 2)


@pytest.mark.parametrize("kind, suffix", KINDS)
def test_frames_rate_and_times_stay(tmp_path, make_clip, kind, suffix):
    clip = make_clip(tmp_path / f"clip{suffix}", kind, frames=30, size=(96, 64))
    crop(clip, None, tmp_path / "crop.mp4")
    was, made = probe(clip), probe(tmp_path / "crop.mp4", whole=True)
    assert (made.width, made.height, made.frames) == (64, 64, 30)
    assert made.fps == pytest.approx(was.fps) and made.seconds == pytest.approx(was.seconds)
    assert inspect(tmp_path / "crop.mp4").times == pytest.approx(inspect(clip).times, abs=1e-4)


def test_a_name_like_an_address_is_a_file(tmp_path, make_clip, monkeypatch):
    make_clip(tmp_path / "clip.mp4", "vfr", size=(96, 64)).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    crop(Path("12:30.mp4"), None, Path("a:b.mp4"))
    made, was = inspect(Path("a:b.mp4")), inspect(Path("12:30.mp4"))
    assert made.times == pytest.approx(was.times, abs=1e-3)


def test_a_high_odd_rate_over_many_frames_stays(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4", frames=300, size=(32, 32), fps="60000/1001")
    crop(clip, None, tmp_path / "crop.mp4")
    assert inspect(tmp_path / "crop.mp4").times == pytest.approx(inspect(clip).times, abs=1e-3)


def test_the_gaps_of_real_clips_stay(tmp_path, jhmdb_clips):
    clip = min(jhmdb_clips.glob("brush_hair/*.avi"))
    crop(clip, None, tmp_path / "crop.mp4")
    made = probe(tmp_path / "crop.mp4", whole=True)
    assert (made.width, made.height, made.frames) == (240, 240, 40)
    assert made.seconds == pytest.approx(probe(clip).seconds)
    assert inspect(tmp_path / "crop.mp4").times == pytest.approx(inspect(clip).times, abs=1e-4)


def test_it_shows_the_square_that_was_asked_for(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", frames=5, size=(96, 64))
    crop(clip, Roi(20, 10, 41), tmp_path / "crop.mp4")
    made, frames = shown(tmp_path / "crop.mp4", ffmpeg), shown(clip, ffmpeg)
    wanted = frames[:, 10:50, 20:60]
    assert made.shape == wanted.shape
    assert difference(made, wanted) < 12 < difference(made, frames[:, :40, :40])


def test_a_rotated_clip_is_cropped_as_it_is_shown(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", "rotated", frames=5, size=(96, 64))
    crop(clip, Roi(0, 30, 64), tmp_path / "crop.mp4")
    assert probe(tmp_path / "crop.mp4").rotation == 0
    made, frames = shown(tmp_path / "crop.mp4", ffmpeg), shown(clip, ffmpeg)
    assert difference(made, frames[:, 30:94, :64]) < 12


def test_the_bytes_are_the_same_each_time(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4", "vfr", frames=20)
    for name in ("first", "second"):
        crop(clip, None, tmp_path / f"{name}.mp4")
    assert file_sha256(tmp_path / "first.mp4") == file_sha256(tmp_path / "second.mp4")


@pytest.mark.parametrize("kind", ["flipped", "truncated", "text", "empty", "one_frame"])
def test_a_clip_that_cannot_be_used_whole_leaves_nothing(tmp_path, make_clip, kind, capfd):
    clip = make_clip(tmp_path / "bad.mp4", kind, frames=30, size=(160, 120))
    with pytest.raises(StudyError, match="bad.mp4: "):
        crop(clip, None, tmp_path / "out" / "crop.mp4")
    assert not list(tmp_path.glob("out/**/*"))
    assert capfd.readouterr() == ("", "")


def test_damage_that_a_decoder_paints_over_is_refused(tmp_path, make_clip):
    """Every frame is there, and some are wrong: OpenCV would crop them without a word."""
    clip = make_clip(tmp_path / "clip.mp4", frames=30, size=(160, 120))
    good = clip.read_bytes()
    for place in range(len(good) // 3, len(good), 997):
        clip.write_bytes(good[:place] + bytes(40) + good[place + 40:])
        if not problem(lambda: probe(clip)) and problem(lambda: probe(clip, whole=True)):
            break
    with pytest.raises(StudyError, match="clip.mp4: the clip (is cut short|cannot be read)"):
        crop(clip, None, tmp_path / "crop.mp4")


def test_a_roi_outside_the_frame_leaves_nothing(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(StudyError, match="clip.mp4: the ROI '40 0 32' lies outside its 64×48"):
        crop(clip, Roi(40, 0, 32), tmp_path / "out" / "crop.mp4")
    assert not list(tmp_path.glob("out/**/*"))
