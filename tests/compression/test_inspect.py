"""What a file holds is read as it is; what cannot be used is said in one sentence."""

import errno
from pathlib import Path

import av
import pytest

from leanclips.compression.inspect import inspect, probe
from leanclips.compression.optimize import optimize
from leanclips.compression.quality import Goal
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
    found = inspect(make_clip(tmp_path / "steady.mp4", frames=6, fps=25))
    assert found.times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.20])


def test_times_of_a_variable_rate_show_the_gaps(tmp_path, make_clip):
    path = make_clip(tmp_path / "gaps.mp4", "vfr", frames=6, fps=25)
    assert inspect(path).times == pytest.approx([0, 0.04, 0.12, 0.16, 0.24, 0.28])
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
    found, times = probe(path), inspect(path).times
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


# What the pictures look like.

@pytest.mark.parametrize("crf", [20, 30, 40])
def test_the_quantizer_of_h264_is_read_from_its_bitstream(tmp_path, ffmpeg, crf):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 10, "-c:v",
           "libx264", "-qp", crf, "-x264-params", "ipratio=1:pbratio=1:bframes=0", "-pix_fmt",
           "yuv420p", tmp_path / "clip.mp4")
    assert inspect(tmp_path / "clip.mp4").looks.qp == pytest.approx(crf, abs=0.5)


def test_a_long_clip_looks_the_same_each_time(tmp_path, ffmpeg):
    # FFmpeg's frame threads export a frame's quantizers before all of them are read.
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:d=21", "-c:v", "libx264", "-preset", "veryfast",
           "-crf", 12, path)
    first, *others = (inspect(path).looks for _ in range(4))
    assert all(other == first for other in others)


def test_that_of_mpeg4_is_put_on_the_same_scale(tmp_path, ffmpeg):
    found = []
    for quantizer in (2, 4, 8):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 10, "-c:v",
               "mpeg4", "-q:v", quantizer, tmp_path / "clip.avi")
        found.append(inspect(tmp_path / "clip.avi").looks.qp)
    assert found == pytest.approx([16, 22, 28], abs=0.5)  # 4 + 6 log2(2 q)


def test_a_decoder_that_tells_no_quantizer_leaves_it_open(tmp_path, ffmpeg):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", 5, "-c:v", "ffv1",
           tmp_path / "clip.mkv")
    assert inspect(tmp_path / "clip.mkv").looks.qp is None


def test_scene_cuts_are_found_where_they_are(tmp_path, ffmpeg):
    parts = []
    for n, source in enumerate(("testsrc2", "mandelbrot", "smptebars")):
        ffmpeg("-f", "lavfi", "-i", f"{source}=s=128x96:r=25", "-frames:v", 20, "-c:v", "ffv1",
               "-pix_fmt", "yuv420p", tmp_path / f"{n}.mkv")
        parts.append(f"file '{n}.mkv'\n")
    (tmp_path / "list").write_text("".join(parts))
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c:v", "libx264", tmp_path / "clip.mp4")
    assert inspect(tmp_path / "clip.mp4").cuts == (20, 40)


@pytest.mark.parametrize("kind, suffix", [("h264", "mp4"), ("vfr", "mp4"), ("mpeg4", "avi")])
def test_times_and_bits_are_those_of_the_file(tmp_path, make_clip, kind, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", kind, frames=20, size=(128, 96))
    found = inspect(clip)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        times = sorted(packet.pts * stream.time_base for packet in container.demux(stream)
                       if packet.size and packet.pts is not None)
    if kind != "mpeg4":  # AVI has no times of its own
        assert found.times == pytest.approx([float(time - times[0]) for time in times], abs=1e-6)
    assert len(found.times) == 20 and not found.interlaced and not found.cuts
    assert 0.5 * clip.stat().st_size < found.looks.bits * 20 * 128 * 96 / 8 <= clip.stat().st_size


def test_damage_in_the_middle_shows(tmp_path, make_clip):
    with pytest.raises(ClipError, match="cannot be read"):
        inspect(make_clip(tmp_path / "clip.mp4", "flipped"))


def test_what_is_no_video_is_told(tmp_path, make_clip):
    with pytest.raises(ClipError, match="text.mp4: the clip cannot be read"):
        inspect(make_clip(tmp_path / "text.mp4", "text"))


# Matroska files that were cut.

@pytest.fixture(params=[".mkv", ".webm"])
def whole(request, tmp_path, ffmpeg):
    path = tmp_path / f"whole{request.param}"
    codec = ["libx264", "-g", 10] if request.param == ".mkv" else ["libvpx", "-g", 10]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48,noise=alls=8", "-frames:v", 60, "-pix_fmt",
           "yuv420p", "-c:v", *codec, path)
    return path


def test_a_whole_file_is_not_taken_for_a_cut_one(whole):
    assert probe(whole).frames == inspect(whole).frames == 60


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_is_told_wherever_the_cut_is(whole, share):
    cut = whole.with_stem("cut")
    cut.write_bytes(whole.read_bytes()[:int(whole.stat().st_size * share)])
    for read in (probe, inspect, lambda path: optimize(path, Goal(60), path.with_name("out.mkv"))):
        with pytest.raises(ClipError, match="cut short or damaged"):
            read(cut)


def test_a_live_recording_states_no_size(whole, ffmpeg):
    live = whole.with_stem("live")
    ffmpeg("-i", whole, "-c", "copy", "-live", 1, live)
    assert probe(live, whole=True).frames == 60
