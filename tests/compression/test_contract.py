"""Everything a re-encoded file may lose is seen, one thing at a time."""

import pytest

from leanclips.compression.contract import broken, unsupported
from leanclips.compression.ffmpeg import Encoding, encode
from leanclips.compression.inspect import inspect

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
    assert broken(inspect(full), inspect(tmp_path / "made.mp4"), "h264") == []
    assert inspect(full).aspect == pytest.approx(4 / 3) and inspect(full).tracks[0].codec == "aac"


@pytest.mark.parametrize("options, said", [
    (["-c:v", "mpeg4", "-c:a", "copy"], ["codec mpeg4"]),
    (["-c:a", "copy", "-frames:v", 24], ["24 frames instead of 25"]),
    (["-c:a", "copy", "-vf", "setpts=N*0.041/TB", "-fps_mode", "passthrough"], ["timestamps"]),
    (["-c:a", "copy", "-vf", "scale=64:48,setsar=4/3"],
     ["size 64x48 instead of 128x96"]),
    (["-c:a", "copy", "-pix_fmt", "yuv444p"], ["pixel format yuv444p instead of yuv420p"]),
    (["-c:a", "copy", "-vf", "setsar=1"], ["pixel aspect 1 instead of 1.33333"]),
    (["-c:a", "copy", "-vf", "setparams=colorspace=smpte170m"],
     ["colour tags (1, 1, 1, 6) instead of (1, 1, 1, 1)"]),
    (["-an"], ["audio or subtitles"]),
    (["-c:a", "aac", "-b:a", "32k"], ["audio or subtitles"])])
def test_each_loss_is_named(tmp_path, full, ffmpeg, options, said):
    ffmpeg("-i", full, "-c:v", "libx264", *options, tmp_path / "made.mp4")
    codec = "h264"
    assert broken(inspect(full), inspect(tmp_path / "made.mp4"), codec)[:1] == said


def test_a_lost_rotation_is_named(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", "rotated")
    ffmpeg("-display_rotation", 0, "-i", clip, "-c", "copy", tmp_path / "made.mp4")
    found = broken(inspect(clip), inspect(tmp_path / "made.mp4"), "h264")
    assert found == ["rotation 0 instead of 90"]


def test_sound_that_is_shifted_is_named(tmp_path, full, ffmpeg):
    ffmpeg("-i", full, "-itsoffset", 0.2, "-i", full, "-map", "0:v", "-map", "1:a", "-c", "copy",
           tmp_path / "made.mp4")
    found = broken(inspect(full), inspect(tmp_path / "made.mp4"), "h264")
    assert found == ["times of audio or subtitles"]


@pytest.fixture
def told(tmp_path, full, ffmpeg):
    """The clip in chapters."""
    text = ";FFMETADATA1\n"
    for title, start, end in (("One", 0, 333), ("Zwei ü", 333, 900)):
        text += f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
    (tmp_path / "chapters.txt").write_text(text)
    for suffix in (".mp4", ".mkv"):
        ffmpeg("-i", full, "-i", tmp_path / "chapters.txt", "-map", 0, "-map_metadata", 1, "-c",
               "copy", tmp_path / f"told{suffix}")
    return tmp_path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_come_along_and_a_lost_one_is_named(told, suffix, ffmpeg):
    clip = told / f"told{suffix}"
    was = inspect(clip)
    assert unsupported(was, "h264") is None
    assert [title for _, title in was.chapters] == ["One", "Zwei ü"]
    encode(clip, told / f"made{suffix}", Encoding("h264"), 25, (30,))
    assert broken(was, inspect(told / f"made{suffix}"), "h264") == []
    ffmpeg("-i", clip, "-map", "0:v", "-map", "0:a", "-c", "copy", "-map_chapters", -1,
           told / f"none{suffix}")
    assert broken(was, inspect(told / f"none{suffix}"), "h264") == ["chapters"]


def test_an_attachment_is_another_matter(tmp_path, full, ffmpeg):
    (tmp_path / "font.ttf").write_bytes(b"font")
    ffmpeg("-i", full, "-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf", "-c",
           "copy", tmp_path / "made.mkv")
    assert unsupported(inspect(tmp_path / "made.mkv"), "h264") == "an attachment track"


def test_milliseconds_of_matroska_are_no_loss(tmp_path, full, ffmpeg):
    ffmpeg("-i", full, "-c", "copy", tmp_path / "made.mkv")
    assert broken(inspect(full), inspect(tmp_path / "made.mkv"), "h264") == []
