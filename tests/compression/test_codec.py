"""FFmpeg does what is asked of it, the same each time, or says in a sentence why not."""

import signal
import time

import av
import imageio_ffmpeg
import numpy as np
import pytest

from leanclips.compression import codec
from leanclips.compression.codec import encode_x264, ffmpeg, ffmpeg_version, write_openh264
from leanclips.compression.probe import probe, timestamps
from leanclips.errors import ClipError, StudyError
from leanclips.files import file_sha256


@pytest.fixture
def grain():
    """Grey frames with a grain that takes about a bit a pixel to keep: (60, 96, 96, 3), BGR."""
    coarse = np.random.default_rng(0).integers(112, 145, (60, 48, 48, 3), np.uint8)
    return coarse.repeat(2, axis=1).repeat(2, axis=2)


def test_the_bundled_ffmpeg_has_what_is_needed():
    assert ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe()
    assert ffmpeg_version().startswith("ffmpeg version ")


@pytest.mark.parametrize("exe, problem", [
    ("/bin/echo", "this FFmpeg has no libx264"), ("/bin/false", "FFmpeg cannot run"),
    ("/nowhere/ffmpeg", "FFmpeg cannot run")])
def test_an_ffmpeg_that_will_not_do_is_named_with_a_remedy(monkeypatch, exe, problem):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", exe)
    with pytest.raises(StudyError, match=f"{problem}.*reinstall imageio-ffmpeg"):
        codec.ffmpeg.__wrapped__()


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_openh264_takes_one_bit_for_each_pixel(tmp_path, grain, fps):
    assert write_openh264(grain, 96, fps, tmp_path / "grain.mp4") == 60
    with av.open(str(tmp_path / "grain.mp4")) as made:
        bits = 8 * sum(packet.size for packet in made.demux(video=0))
        assert made.streams.video[0].codec_context.name == "h264"
    assert bits / (60 * 96 * 96) == pytest.approx(1, rel=0.03)


def test_openh264_has_a_keyframe_every_twelve_frames(tmp_path, grain):
    write_openh264(grain, 96, 30, tmp_path / "grain.mp4")
    with av.open(str(tmp_path / "grain.mp4")) as made:
        keys = [n for n, frame in enumerate(made.decode(video=0)) if frame.key_frame]
    assert keys == list(range(0, 60, 12))


@pytest.mark.parametrize("fps", [6, 24000 / 1001, 25, 30, 59.94])
def test_openh264_keeps_count_size_and_rate(tmp_path, grain, fps):
    write_openh264(grain[:9], 96, fps, tmp_path / "nine.mp4")
    made = probe(tmp_path / "nine.mp4")
    assert (made.frames, made.width, made.height) == (9, 96, 96)
    assert made.fps == pytest.approx(fps, rel=1e-3)


def test_an_encoder_that_dies_says_why(tmp_path, grain):
    with pytest.raises(StudyError, match="FFmpeg failed"):
        write_openh264(grain, 96, 30, tmp_path / "no such folder" / "grain.mp4")


def test_frames_that_stop_with_an_error_leave_no_encoder_behind(tmp_path, grain):
    def frames():
        yield from grain[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_openh264(frames(), 96, 30, tmp_path / "grain.mp4")


@pytest.mark.parametrize("kind, suffix", [
    ("h264", ".mp4"), ("mpeg4", ".avi"), ("vfr", ".mp4"), ("audio", ".mp4"), ("rotated", ".mp4")])
def test_x264_keeps_what_is_shown(tmp_path, make_clip, kind, suffix):
    source = make_clip(tmp_path / f"a clip{suffix}", kind, frames=20)
    encode_x264(source, tmp_path / "made.mp4", 30)
    was, made = probe(source), probe(tmp_path / "made.mp4", whole=True)
    assert (made.frames, made.width, made.height) == (was.frames, was.width, was.height)
    assert timestamps(tmp_path / "made.mp4") == pytest.approx(timestamps(source), abs=1e-3)
    with av.open(str(source)) as before, av.open(str(tmp_path / "made.mp4")) as after:
        assert len(after.streams.audio) == len(before.streams.audio)


def test_x264_gives_the_same_bytes_each_time_and_fewer_at_a_higher_crf(tmp_path, make_clip):
    source = make_clip(tmp_path / "clip.mp4", frames=20)
    for name, crf in (("a", 27.3), ("b", 27.3), ("c", 35)):
        encode_x264(source, tmp_path / f"{name}.mp4", crf)
    assert file_sha256(tmp_path / "a.mp4") == file_sha256(tmp_path / "b.mp4")
    assert (tmp_path / "c.mp4").stat().st_size < (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_a_clip_that_cannot_be_read_is_named_with_a_remedy(tmp_path, make_clip, kind):
    source = make_clip(tmp_path / f"{kind}.avi", kind)
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(StudyError, match=f"{kind}.avi: FFmpeg failed .* replace it or take it out"):
        encode_x264(source, tmp_path / "made.mp4", 30)


def test_a_full_disk_is_called_by_its_name():
    message = "av_interleaved_write_frame(): No space left on device\nConversion failed!\n"
    assert str(codec._failure(1, message, "clip.mp4")) == (
        "clip.mp4: the disk is full; free some space and start again.")


@pytest.mark.parametrize("said", [
    "Cannot allocate memory", "Too many open files", "Resource temporarily unavailable",
    "Input/output error", "No such file or directory", "Read-only file system"])
def test_what_ails_the_machine_is_not_kept_as_the_clips_fault(said):
    error = codec._failure(1, f"[out#0] a line before\nError opening output: {said}\n", "clip.mp4")
    assert not isinstance(error, ClipError)
    assert f"FFmpeg failed (Error opening output: {said}); this may pass" in str(error)


def test_an_encode_is_deaf_to_ctrl_c(tmp_path, make_clip):
    """Heard while a file is being opened, FFmpeg would call that file broken."""
    clip, made = make_clip(tmp_path / "clip.mp4", frames=50), tmp_path / "made.mp4"
    process = codec._started([ffmpeg(), "-nostdin", "-y", "-v", "error", "-re", "-i", str(clip),
                              str(made)])
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"") and probe(made).frames == 50
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("code, blames_the_clip", [
    (-signal.SIGKILL, False), (-signal.SIGINT, False), (-signal.SIGTERM, False), (255, False),
    (-signal.SIGSEGV, True), (-signal.SIGABRT, True), (-signal.SIGILL, True), (1, True),
    (234, True)])
def test_an_ffmpeg_that_was_stopped_does_not_blame_the_clip(code, blames_the_clip):
    error = codec._failure(code, "", "clip.mp4")
    assert isinstance(error, ClipError) == blames_the_clip
    assert ("stopped" in str(error)) != blames_the_clip


def test_a_clip_that_crashes_ffmpeg_is_the_one_to_blame(tmp_path, make_clip, monkeypatch):
    monkeypatch.setattr(codec, "ffmpeg", lambda: tmp_path / "crashes")
    (tmp_path / "crashes").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "crashes").chmod(0o755)
    with pytest.raises(ClipError, match=r"clip.mp4: FFmpeg failed \(Segmentation fault\)"):
        encode_x264(make_clip(tmp_path / "clip.mp4"), tmp_path / "made.mp4", 30)


def test_what_an_encoder_tells_of_itself_is_no_reason(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(StudyError) as raised:
        codec.encode(clip, tmp_path / "made.mov", codec.Setting("av1", (30,)))
    assert "Svt" not in str(raised.value) and "av1" in str(raised.value)
