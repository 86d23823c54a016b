"""Everything a re-encoded file may lose is seen, one thing at a time."""

import pytest

from leanclips.compression.contract import broken, facts

FULL = ["-map", "0", "-map", "1", "-c:v", "libx264", "-crf", 20, "-pix_fmt", "yuv420p", "-c:a",
        "aac", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-color_range", "tv"]
PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=1,setsar=4/3,setparams="
            "colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"]
SOUND = ["-f", "lavfi", "-i", "sine=d=1"]


@pytest.fixture(scope="module")
def full(tmp_path_factory, ffmpeg):
    """A clip with sound, colour tags and oblong pixels."""
    path = tmp_path_factory.mktemp("contract") / "full.mp4"
    ffmpeg(*PICTURES, *SOUND, *FULL, path)
    return path


def test_a_faithful_encode_keeps_it(tmp_path, full, ffmpeg):
    ffmpeg("-i", full, "-c", "copy", "-c:v", "libx264", "-crf", 35, tmp_path / "made.mp4")
    assert broken(facts(full), facts(tmp_path / "made.mp4"), "h264") == []
    assert facts(full).aspect == pytest.approx(4 / 3) and facts(full).tracks[0].codec == "aac"


@pytest.mark.parametrize("options, said", [
    (["-c:v", "mpeg4", "-c:a", "copy"], ["codec mpeg4"]),
    (["-c:a", "copy", "-frames:v", 24], ["24 frames instead of 25"]),
    (["-c:a", "copy", "-vf", "setpts=N*0.041/TB", "-fps_mode", "passthrough"], ["timestamps"]),
    (["-c:a", "copy", "-vf", "scale=64:48,setsar=4/3"],
     ["size (64, 48) instead of (128, 96)"]),
    (["-c:a", "copy", "-pix_fmt", "yuv444p"], ["pixel format yuv444p instead of yuv420p"]),
    (["-c:a", "copy", "-vf", "setsar=1"], ["pixel aspect 1 instead of 1.33333"]),
    (["-c:a", "copy", "-vf", "setparams=colorspace=smpte170m"],
     ["colour tags (1, 1, 1, 6) instead of (1, 1, 1, 1)"]),
    (["-an"], ["audio or subtitles"]),
    (["-c:a", "aac", "-b:a", "32k"], ["audio or subtitles"])])
def test_each_loss_is_named(tmp_path, full, ffmpeg, options, said):
    ffmpeg("-i", full, "-c:v", "libx264", *options, tmp_path / "made.mp4")
    codec = "h264"
    assert broken(facts(full), facts(tmp_path / "made.mp4"), codec)[:1] == said


def test_a_lost_rotation_is_named(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", "rotated")
    ffmpeg("-display_rotation", 0, "-i", clip, "-c", "copy", tmp_path / "made.mp4")
    found = broken(facts(clip), facts(tmp_path / "made.mp4"), "h264")
    assert found == ["rotation 0 instead of 90"]


def test_sound_that_is_shifted_is_named(tmp_path, full, ffmpeg):
    ffmpeg("-i", full, "-itsoffset", 0.2, "-i", full, "-map", "0:v", "-map", "1:a", "-c", "copy",
           tmp_path / "made.mp4")
    found = broken(facts(full), facts(tmp_path / "made.mp4"), "h264")
    assert found == ["times of audio or subtitles"]


def test_milliseconds_of_matroska_are_no_loss(tmp_path, full, ffmpeg):
    ffmpeg("-i", full, "-c", "copy", tmp_path / "made.mkv")
    assert broken(facts(full), facts(tmp_path / "made.mkv"), "h264") == []
