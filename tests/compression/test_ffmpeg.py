"""FFmpeg does what is asked of it, the same each time, or says in a sentence why not."""

import signal
import sys
import threading
import time

import av
import numpy as np
import psutil
import pytest
from av.video.frame import PictureType

from leanclips.compression.ffmpeg import (CODECS, KEYFRAME_INTERVAL, OPENH264, X264_FALLBACK,
                                          Encoding, crop_encoder, encode, ffmpeg_version,
                                          filters_of, has, require, write_crop)
from leanclips.compression.inspect import inspect, probe
from leanclips.errors import ClipError, StudyError
from leanclips.files import file_sha256


@pytest.fixture
def grain():
    """Grey frames with a grain that takes about a bit a pixel to keep: (60, 96, 96, 3), BGR."""
    coarse = np.random.default_rng(0).integers(112, 145, (60, 48, 48, 3), np.uint8)
    return coarse.repeat(2, axis=1).repeat(2, axis=2)


# What FFmpeg can do.

def test_the_bundled_ffmpeg_has_an_encoder_for_every_codec_and_a_version():
    require(*[codec.encoder for codec in CODECS.values()], *filters_of("xpsnr"))
    assert ffmpeg_version().startswith("ffmpeg version ")


@pytest.mark.parametrize("exe", ["/bin/false", "/nowhere/ffmpeg"])
def test_an_ffmpeg_that_cannot_run_is_named_with_a_remedy(monkeypatch, exe):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", exe)
    for ask in (ffmpeg_version, lambda: require("libx264"), crop_encoder):
        with pytest.raises(StudyError, match=f"{exe}: FFmpeg cannot run .*reinstall imageio"):
            ask()


@pytest.mark.parametrize("missing, names, remedy", [
    ("libx264", ["libx264"], "set IMAGEIO_FFMPEG_EXE"),
    ("libx265", ["libx265"], "use another --codec, or set IMAGEIO_FFMPEG_EXE"),
    ("libsvtav1", ["libx264", "libsvtav1"], "use another --codec, or set IMAGEIO_FFMPEG_EXE"),
    ("libvmaf", ["libvmaf"], "use --metric ssim with 'leanclips optimize', or set"),
    ("xpsnr", ["psnr", "xpsnr"], "set IMAGEIO_FFMPEG_EXE")])
def test_what_is_missing_is_named_and_only_what_is_needed_is_asked_for(
        ffmpeg_without, missing, names, remedy):
    exe = ffmpeg_without(missing)
    with pytest.raises(StudyError, match=f"^{exe}: this FFmpeg has no {missing}; {remedy}"):
        require(*names)
    others = {"libx264", "libx265", "libsvtav1", "libvmaf", "ssim", "psnr", "xpsnr"} - {missing}
    require(*others)
    assert not has(missing) and all(map(has, others))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_an_encode_asks_for_its_own_encoder_alone(tmp_path, make_clip, ffmpeg_without, codec):
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    others = [other.encoder for name, other in CODECS.items() if name != codec]
    ffmpeg_without(*others, "libopenh264", "libvmaf")
    encode(clip, tmp_path / "made.mp4", Encoding(codec), 25, (30,))
    ffmpeg_without(CODECS[codec].encoder)
    with pytest.raises(StudyError, match=f"this FFmpeg has no {CODECS[codec].encoder}"):
        encode(clip, tmp_path / "made.mp4", Encoding(codec), 25, (30,))


# The encoders of the source crops.

CROP_ENCODERS = [OPENH264, X264_FALLBACK]


def test_without_openh264_the_crops_are_by_x264_if_that_is_there(ffmpeg_without):
    assert crop_encoder() == OPENH264
    ffmpeg_without("libopenh264")
    assert crop_encoder() == X264_FALLBACK
    ffmpeg_without("libopenh264", "libx264")
    with pytest.raises(StudyError, match="this FFmpeg has no libx264"):
        crop_encoder()


@pytest.mark.parametrize("encoder", CROP_ENCODERS)
@pytest.mark.parametrize("fps", [10, 30, 60])
def test_a_crop_takes_one_bit_for_each_pixel(tmp_path, grain, fps, encoder):
    assert write_crop(grain, 96, fps, tmp_path / "grain.mp4", encoder) == 60
    with av.open(str(tmp_path / "grain.mp4")) as made:
        bits = 8 * sum(packet.size for packet in made.demux(video=0))
        assert made.streams.video[0].codec_context.name == "h264"
    assert bits / (60 * 96 * 96) == pytest.approx(1, rel=0.03 if encoder == OPENH264 else 0.15)


@pytest.mark.parametrize("encoder", CROP_ENCODERS)
def test_a_crop_has_a_keyframe_every_twelve_frames_and_no_b_frames(tmp_path, grain, encoder):
    grain[30:] = 255 - grain[30:]  # a scene cut
    write_crop(grain, 96, 30, tmp_path / "grain.mp4", encoder)
    with av.open(str(tmp_path / "grain.mp4")) as made:
        kinds = [(frame.key_frame, frame.pict_type) for frame in made.decode(video=0)]
    assert [n for n, (key, _) in enumerate(kinds) if key] == list(range(0, 60, KEYFRAME_INTERVAL))
    assert {kind for _, kind in kinds} == {PictureType.I, PictureType.P}


@pytest.mark.parametrize("encoder", CROP_ENCODERS)
@pytest.mark.parametrize("fps", [6, 24000 / 1001, 25, 30, 59.94])
def test_a_crop_keeps_count_size_and_rate(tmp_path, grain, fps, encoder):
    for name in ("nine.mp4", "again.mp4"):
        write_crop(grain[:9], 96, fps, tmp_path / name, encoder)
    made = probe(tmp_path / "nine.mp4")
    assert (made.frames, made.width, made.height) == (9, 96, 96)
    assert made.fps == pytest.approx(fps, rel=1e-3)
    assert file_sha256(tmp_path / "nine.mp4") == file_sha256(tmp_path / "again.mp4")


def test_an_encoder_that_dies_says_why(tmp_path, grain):
    with pytest.raises(StudyError, match="FFmpeg failed"):
        write_crop(grain, 96, 30, tmp_path / "no such folder" / "grain.mp4", OPENH264)


@pytest.mark.parametrize("encoder", CROP_ENCODERS)
def test_frames_that_stop_with_an_error_leave_no_encoder_behind(tmp_path, grain, encoder):
    def frames():
        yield from grain[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_crop(frames(), 96, 30, tmp_path / "grain.mp4", encoder)
    assert not [one for one in psutil.Process().children() if "ffmpeg" in one.name()]


# Encodes.

@pytest.mark.parametrize("kind, suffix", [
    ("h264", ".mp4"), ("mpeg4", ".avi"), ("vfr", ".mp4"), ("audio", ".mp4"), ("rotated", ".mp4")])
def test_x264_keeps_what_is_shown(tmp_path, make_clip, kind, suffix):
    source = make_clip(tmp_path / f"a clip{suffix}", kind, frames=20)
    encode(source, tmp_path / "made.mp4", Encoding("h264"), 25, (30,))
    was, made = inspect(source), inspect(tmp_path / "made.mp4")
    assert (made.frames, made.width, made.height) == (was.frames, was.width, was.height)
    assert made.times == pytest.approx(was.times, abs=1e-3)
    assert len(made.tracks) == len(was.tracks)


def test_x264_gives_the_same_bytes_each_time_and_fewer_at_a_higher_crf(tmp_path, make_clip):
    source = make_clip(tmp_path / "clip.mp4", frames=20)
    for name, crf in (("a", 27.3), ("b", 27.3), ("c", 35)):
        encode(source, tmp_path / f"{name}.mp4", Encoding("h264"), 25, (crf,))
    assert file_sha256(tmp_path / "a.mp4") == file_sha256(tmp_path / "b.mp4")
    assert (tmp_path / "c.mp4").stat().st_size < (tmp_path / "a.mp4").stat().st_size


# Failures.

@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_a_clip_that_cannot_be_read_is_named_with_a_remedy(tmp_path, make_clip, kind):
    source = make_clip(tmp_path / f"{kind}.avi", kind)
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(StudyError, match=f"{kind}.avi: FFmpeg failed .* replace it or take it out"):
        encode(source, tmp_path / "made.mp4", Encoding("h264"), 25, (30,))


@pytest.fixture
def failing(tmp_path, stand_in):
    """The error of an encode by an FFmpeg that fails like this, and lists what is needed."""
    def error(script):
        stand_in(f'case "$*" in *-encoders) exec "$FFMPEG" "$@" ;; esac\n{script}')
        with pytest.raises(StudyError) as raised:
            encode(tmp_path / "clip.mp4", tmp_path / "made.mp4", Encoding("h264"), 25, (30,))
        return raised.value

    return error


def test_a_full_disk_is_called_by_its_name(failing, tmp_path):
    error = failing("echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1")
    assert str(error) == f"{tmp_path}/clip.mp4: the disk is full; free some space and start again."


@pytest.mark.parametrize("said", [
    "Cannot allocate memory", "Too many open files", "Resource temporarily unavailable",
    "Input/output error", "No such file or directory", "Read-only file system"])
def test_a_fault_of_the_machine_does_not_blame_the_clip(failing, said):
    error = failing(f"echo '[out#0] a line before' >&2; echo 'Error opening output: {said}' >&2; "
                    "exit 1")
    assert not isinstance(error, ClipError)
    assert f"FFmpeg failed (Error opening output: {said}); this may pass" in str(error)


@pytest.mark.parametrize("end, blames_the_clip", [
    ("kill -KILL $$", False), ("kill -INT $$", False), ("kill -TERM $$", False),
    ("exit 255", False), ("kill -SEGV $$", True), ("kill -ABRT $$", True), ("kill -ILL $$", True),
    ("exit 1", True), ("exit 234", True)])
def test_an_ffmpeg_that_was_stopped_does_not_blame_the_clip(failing, end, blames_the_clip):
    if "INT" in end:  # it is blocked; a person may still end FFmpeg in another way
        end = f"exec {sys.executable} -c 'import os, signal; signal.pthread_sigmask(" \
              "signal.SIG_SETMASK, []); signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)'"
    error = failing(end)
    assert isinstance(error, ClipError) == blames_the_clip
    assert ("stopped" in str(error)) != blames_the_clip
    assert ("FFmpeg crashed on it (segmentation fault)" in str(error)) == ("SEGV" in end)


def test_who_speaks_inside_ffmpeg_is_no_part_of_the_reason(failing):
    error = failing("echo '[vost#0:0/libx264 @ 0x55d0] [enc @ 0x7f1c] no such frames' >&2; exit 1")
    assert error.what == "FFmpeg failed (no such frames)"


def test_what_an_encoder_tells_of_itself_is_no_reason(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(StudyError) as raised:
        encode(clip, tmp_path / "made.mov", Encoding("av1"), 25, (30,))
    assert "Svt" not in str(raised.value) and "av1" in str(raised.value)


def test_sigint_does_not_reach_an_encode(tmp_path, make_clip, stand_in):
    """An FFmpeg that receives it while it opens a file would call that file broken."""
    clip, made = make_clip(tmp_path / "clip.mp4", frames=25), tmp_path / "made.mp4"
    stand_in('case "$*" in *-encoders) exec "$FFMPEG" "$@" ;; *) exec "$FFMPEG" -re "$@" ;; esac')
    require("libx264")
    encoding = threading.Thread(target=encode, args=(clip, made, Encoding("h264"), 25, (30,)))
    encoding.start()
    while encoding.is_alive():
        for child in psutil.Process().children():
            child.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert probe(made).frames == 25
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
