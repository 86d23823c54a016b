"""A probe tells what a clip shows, and says in a sentence why it cannot be used."""

import errno
from pathlib import Path

import av
import pytest

from leanclips.compression.probe import probe, timestamps
from leanclips.errors import ClipError, StudyError


@pytest.mark.parametrize("kind, suffix, codec", [
    ("h264", ".mp4", "h264"), ("mpeg4", ".avi", "mpeg4"), ("audio", ".mp4", "h264")])
@pytest.mark.parametrize("whole", [False, True])
def test_size_frames_and_rate_are_those_of_the_clip(tmp_path, make_clip, kind, suffix, codec,
                                                    whole):
    found = probe(make_clip(tmp_path / f"clip ü 1{suffix}", kind, frames=15, fps=30), whole)
    assert (found.width, found.height, found.frames, found.codec) == (64, 48, 15, codec)
    assert found.fps == pytest.approx(30) and found.seconds == pytest.approx(0.5)


def test_an_odd_size_is_told_exactly(tmp_path, make_clip):
    found = probe(make_clip(tmp_path / "odd.avi", "odd"))
    assert (found.width, found.height) == (65, 49)


def test_a_rotated_clip_has_the_size_that_is_shown(tmp_path, make_clip):
    found = probe(make_clip(tmp_path / "rotated.mp4", "rotated"))
    assert (found.width, found.height, found.rotation) == (48, 64, 90)


def test_times_of_a_steady_clip_are_steady(tmp_path, make_clip):
    times = timestamps(make_clip(tmp_path / "steady.mp4", frames=6, fps=25))
    assert times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.20])


def test_times_of_a_variable_rate_show_the_gaps(tmp_path, make_clip):
    path = make_clip(tmp_path / "gaps.mp4", "vfr", frames=6, fps=25)
    assert timestamps(path) == pytest.approx([0, 0.04, 0.12, 0.16, 0.24, 0.28])
    assert probe(path).frames == 6


@pytest.mark.parametrize("kind, problem", [
    ("one_frame", "has one frame only and needs at least 2; replace it or take it out of the set"),
    ("empty", r"is empty \(0 bytes\)"),
    ("text", "cannot be read"),
    ("truncated", "is cut short or damaged"),
])
def test_a_clip_that_cannot_be_used_is_named_with_a_remedy(tmp_path, make_clip, kind, problem):
    path = make_clip(tmp_path / "bad.mp4", kind)
    with pytest.raises(StudyError, match=problem) as error:
        probe(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_name_like_an_address_and_a_title_in_latin_1_are_read(tmp_path, make_clip, ffmpeg,
                                                                monkeypatch):
    clip = make_clip(tmp_path / "clip.avi", "mpeg4")
    ffmpeg("-i", clip, "-c", "copy", "-metadata", b"title=Caf\xe9", tmp_path / "named.avi")
    (tmp_path / "named.avi").rename(tmp_path / "12:30.avi")
    monkeypatch.chdir(tmp_path)
    assert probe(Path("12:30.avi"), whole=True).frames == 12


def test_damage_inside_a_clip_shows_when_all_of_it_is_decoded(tmp_path, make_clip):
    path = make_clip(tmp_path / "flipped.mp4", "flipped")
    with pytest.raises(StudyError, match="damaged|cannot be read"):
        probe(path, whole=True)


def test_a_file_with_sound_alone_is_told(tmp_path, make_clip, ffmpeg):
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", 1, tmp_path / "sound.m4a")
    with pytest.raises(StudyError, match="holds no video"):
        probe(tmp_path / "sound.m4a")


def test_a_missing_clip_is_told(tmp_path):
    with pytest.raises(StudyError, match="the clip is missing"):
        probe(tmp_path / "none.mp4")


def test_nothing_is_said_behind_the_back(tmp_path, make_clip, capfd):
    for kind in ("truncated", "flipped", "text"):
        with pytest.raises(StudyError):
            probe(make_clip(tmp_path / f"{kind}.mp4", kind), whole=True)
    assert capfd.readouterr() == ("", "")


def test_the_real_clips_state_30_and_leave_out_frames(jhmdb_clips):
    path = min(jhmdb_clips.glob("brush_hair/*.avi"))
    found, times = probe(path), timestamps(path)
    assert (found.width, found.height, found.frames, found.fps) == (320, 240, 40, 30)
    assert len(times) == 40 and times[-1] > 45 / 30
    assert found.seconds == pytest.approx(1.6)


def test_a_machine_short_of_open_files_does_not_blame_the_clip(tmp_path, make_clip, monkeypatch):
    def too_many(*arguments, **options):
        raise av.error.OSError(errno.EMFILE, "Too many open files", "clip.mp4")

    path = make_clip(tmp_path / "clip.mp4")
    monkeypatch.setattr(av, "open", too_many)
    with pytest.raises(StudyError, match="cannot be read now .Too many open files") as raised:
        probe(path)
    assert not isinstance(raised.value, ClipError)
