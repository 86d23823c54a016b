"""What is delivered holds the target, is never larger, and shows the same frames."""

import av
import pytest

from leanclips.compression.crop import crop
from leanclips.compression.optimize import LEAST_SAVING, Reason, constant, deliver, optimize
from leanclips.compression.probe import probe, timestamps
from leanclips.compression.quality import measure
from leanclips.compression.search import MOST_TRIALS
from leanclips.errors import StudyError


@pytest.fixture(scope="module")
def source(tmp_path_factory, make_clip):
    """A crop as a study has it: OpenH264 at one bit per pixel."""
    folder = tmp_path_factory.mktemp("source")
    crop(make_clip(folder / "clip.mp4", frames=30, size=(160, 120), fps=15), None,
         folder / "crop.mp4")
    return folder / "crop.mp4"


@pytest.mark.parametrize("target", [60, 80, 93])
def test_the_delivered_file_measured_again_holds_the_target(tmp_path, source, target):
    outcome = optimize(source, target, tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED and outcome.path == tmp_path / "out.mp4"
    assert measure(outcome.path, source, probe(source).fps) == outcome.quality
    assert outcome.quality.worst >= target


def test_the_record_of_trials_is_true(tmp_path, source):
    outcome = optimize(source, 80, tmp_path / "out.mp4")
    assert outcome.bytes_in == source.stat().st_size
    assert outcome.bytes_out == outcome.path.stat().st_size <= (1 - LEAST_SAVING) * outcome.bytes_in
    held = [trial for trial in outcome.trials if trial.quality >= 80]
    assert outcome.bytes_out == min(trial.bytes for trial in held)
    assert (outcome.crf, outcome.bytes_out) in {(trial.crf, trial.bytes) for trial in held}
    assert len(outcome.trials) <= MOST_TRIALS


def test_a_lower_target_never_takes_more_bytes(tmp_path, source):
    sizes = [optimize(source, target, tmp_path / f"{target}.mp4").bytes_out
             for target in (60, 80, 93, 99.9)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kind, suffix", [
    ("h264", ".mp4"), ("mpeg4", ".avi"), ("vfr", ".mp4"), ("rotated", ".mp4"), ("audio", ".mp4")])
def test_every_kind_of_clip_keeps_frames_size_pixels_and_times(tmp_path, make_clip, kind, suffix):
    clip = make_clip(tmp_path / f"clip{suffix}", kind, frames=20, size=(128, 96))
    outcome = optimize(clip, 50, tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED
    was, made = probe(clip), probe(outcome.path, whole=True)
    for what in ("frames", "width", "height", "pixels"):
        assert getattr(made, what) == getattr(was, what)
    assert made.fps == pytest.approx(was.fps) and made.codec == "h264"
    assert timestamps(outcome.path) == pytest.approx(timestamps(clip), abs=1e-3)


def test_the_times_of_real_clips_stay(tmp_path, jhmdb_clips):
    clip = min(jhmdb_clips.glob("brush_hair/*.avi"))
    outcome = optimize(clip, 90, tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED
    assert timestamps(outcome.path) == pytest.approx(timestamps(clip), abs=1e-3)


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p10le"])
def test_an_uncommon_pixel_format_stays(tmp_path, ffmpeg, pixels):
    clip = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 20, "-c:v",
           "libx264", "-crf", 4, "-pix_fmt", pixels, clip)
    outcome = optimize(clip, 60, tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED
    assert probe(outcome.path).pixels == pixels


def kept(outcome, source, reason):
    """Whether the outcome is the bytes of `source`, for this reason."""
    return (outcome.reason is reason and outcome.path.read_bytes() == source.read_bytes()
            and outcome.path.suffix == source.suffix and outcome.crf is None
            and outcome.bytes_out == outcome.bytes_in == source.stat().st_size
            and outcome.quality.worst == 100)


def test_a_clip_that_is_tiny_already_is_kept(tmp_path, source, ffmpeg):
    ffmpeg("-i", source, "-c:v", "libx264", "-crf", 45, tmp_path / "tiny.mp4")
    outcome = optimize(tmp_path / "tiny.mp4", 93, tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "tiny.mp4", Reason.NO_GAIN) and outcome.trials


def test_a_clip_that_no_crf_makes_good_enough_is_kept(tmp_path, source, ffmpeg):
    ffmpeg("-i", source, "-c:v", "ffv1", tmp_path / "lossless.mkv")
    outcome = optimize(tmp_path / "lossless.mkv", 99.99, tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "lossless.mkv", Reason.UNREACHABLE)
    assert all(trial.quality < 99.99 for trial in outcome.trials)


def test_an_odd_size_is_kept_without_a_try(tmp_path, make_clip):
    clip = make_clip(tmp_path / "odd.avi", "odd")
    outcome = optimize(clip, 80, tmp_path / "out.mp4")
    assert kept(outcome, clip, Reason.UNSUPPORTED) and not outcome.trials


@pytest.mark.parametrize("pixels", ["bgr0", "gray"])
def test_pixels_that_x264_would_change_are_kept_without_a_try(tmp_path, ffmpeg, pixels):
    clip = tmp_path / "clip.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", 5, "-c:v", "ffv1", "-pix_fmt",
           pixels, clip)
    assert kept(optimize(clip, 80, tmp_path / "out.mp4"), clip, Reason.UNSUPPORTED)


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "one_frame"])
def test_a_clip_that_cannot_be_used_leaves_nothing(tmp_path, make_clip, kind):
    clip = make_clip(tmp_path / "bad.mp4", kind)
    with pytest.raises(StudyError, match="bad.mp4: "):
        optimize(clip, 80, tmp_path / "out" / "out.mp4")
    assert not list(tmp_path.glob("out/**/*"))


def test_optimizing_twice_gives_the_same_bytes(tmp_path, source):
    made = [optimize(source, 80, tmp_path / f"{n}.mp4") for n in range(2)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].trials == made[1].trials


def test_the_control_adapts_nothing(tmp_path, source):
    outcome = constant(source, 31.4, tmp_path / "out.mp4")
    assert (outcome.reason, outcome.crf, len(outcome.trials)) == (Reason.CONSTANT, 31.4, 1)
    assert outcome.bytes_out == outcome.path.stat().st_size
    assert measure(outcome.path, source, 15) == outcome.quality


def test_a_file_with_other_frames_is_never_delivered(tmp_path, source, make_clip):
    other = make_clip(tmp_path / "other.mp4", frames=29, size=(120, 120))
    with pytest.raises(StudyError, match=r"another number of frames \(29, not 30\)"):
        deliver(other, probe(source), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_audio_comes_along(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4", "audio", frames=20, size=(128, 96))
    outcome = optimize(clip, 50, tmp_path / "out.mp4")
    with av.open(str(clip)) as before, av.open(str(outcome.path)) as after:
        assert (after.streams.audio[0].codec_context.name
                == before.streams.audio[0].codec_context.name)
