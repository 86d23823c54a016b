"""What is delivered holds the target, is never larger, and shows the same frames."""

import shutil
from dataclasses import replace

import av
import numpy as np
import pytest

from leanclips.compression import optimize as module
from leanclips.compression.crop import crop
from leanclips.compression.ffmpeg import CODECS, Encoding, encode
from leanclips.compression.inspect import inspect, probe
from leanclips.compression.optimize import (Reason, constant, external, optimize,
                                            problems, why_kept)
from leanclips.compression.quality import METRICS, Goal, measure, timeline
from leanclips.compression.search import MOST_TRIALS, Trial
from leanclips.errors import ClipError, StudyError
from leanclips.files import file_sha256

DELIVERED = (Reason.OPTIMIZED, Reason.ABOVE)


def remeasured(outcome, source, goal):
    """Quality of the delivered file, measured again."""
    clip = inspect(source)
    return measure(outcome.path, source, timeline(clip.times, clip.cuts), goal)


@pytest.fixture(scope="module")
def source(tmp_path_factory, make_clip):
    """A crop as a study has it: OpenH264 at one bit per pixel."""
    folder = tmp_path_factory.mktemp("source")
    crop(make_clip(folder / "clip.mp4", frames=30, size=(160, 120), fps=15), None,
         folder / "crop.mp4")
    return folder / "crop.mp4"


@pytest.mark.parametrize("target", [60, 80, 93])
def test_the_delivered_file_measured_again_holds_the_target(tmp_path, source, target):
    outcome = optimize(source, Goal(target), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED and outcome.path == tmp_path / "out.mp4"
    assert remeasured(outcome, source, Goal(target)) == outcome.quality
    assert outcome.quality.worst >= target
    assert (outcome.reason is Reason.OPTIMIZED) == (outcome.quality.worst <= target + 0.5)
    assert (outcome.reason is Reason.OPTIMIZED) == (not outcome.detail)


def test_the_record_of_trials_is_true(tmp_path, source):
    outcome = optimize(source, Goal(80), tmp_path / "out.mp4")
    assert outcome.bytes_in == source.stat().st_size
    assert outcome.bytes_out == outcome.path.stat().st_size <= Goal().share * outcome.bytes_in
    held = [sample for sample in outcome.tries if sample.quality >= 80]
    assert (outcome.crfs, outcome.bytes_out) in {(sample.crfs, sample.bytes) for sample in held}
    assert len(outcome.tries) <= MOST_TRIALS


def test_a_lower_target_never_takes_more_bytes(tmp_path, source):
    sizes = [optimize(source, Goal(target), tmp_path / f"{target}.mp4").bytes_out
             for target in (60, 80, 93, 99.9)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kind, suffix", [
    ("h264", ".mp4"), ("mpeg4", ".avi"), ("vfr", ".mp4"), ("rotated", ".mp4"), ("audio", ".mp4")])
def test_every_kind_of_clip_keeps_frames_size_pixels_and_times(tmp_path, make_clip, kind, suffix):
    clip = make_clip(tmp_path / f"clip{suffix}", kind, frames=20, size=(128, 96))
    outcome = optimize(clip, Goal(60), tmp_path / f"out{suffix}")
    assert outcome.reason in DELIVERED and outcome.path.suffix == ".mp4"
    was, made = probe(clip), probe(outcome.path, whole=True)
    for what in ("frames", "width", "height", "pixels", "rotation"):
        assert getattr(made, what) == getattr(was, what)
    assert made.fps == pytest.approx(was.fps) and made.codec == "h264"
    assert outcome.detail.startswith("mpeg4 to h264") == (kind == "mpeg4")
    assert inspect(outcome.path).times == pytest.approx(inspect(clip).times, abs=1e-3)


def test_the_times_of_real_clips_stay(tmp_path, jhmdb_clips):
    clip = min(jhmdb_clips.glob("brush_hair/*.avi"))
    outcome = optimize(clip, Goal(90), tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED
    assert inspect(outcome.path).times == pytest.approx(inspect(clip).times, abs=1e-3)


def test_a_frame_that_is_missing_near_the_end_is_no_loss(tmp_path, jhmdb_clips):
    """Of two frames that MP4 decodes in another order, each has the other's length."""
    clip = jhmdb_clips / "pick" / "SafeInPort_pick_f_nm_np1_fr_med_1.avi"
    crop(clip, None, tmp_path / "crop.mp4")
    outcome = optimize(tmp_path / "crop.mp4", Goal(90), tmp_path / "out.mp4")
    assert outcome.reason is Reason.OPTIMIZED
    assert inspect(outcome.path).times == pytest.approx(inspect(clip).times, abs=1e-3)


def test_an_uncommon_pixel_format_stays(tmp_path, ffmpeg):
    clip = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 20, "-c:v",
           "libx264", "-crf", 4, "-pix_fmt", "yuv444p", clip)
    outcome = optimize(clip, Goal(60), tmp_path / "out.mkv")
    assert outcome.reason in DELIVERED
    assert probe(outcome.path).pixels == "yuv444p"


def kept(outcome, source, reason):
    """Whether the outcome is the bytes of `source`, for this reason."""
    return (outcome.reason is reason and outcome.path.read_bytes() == source.read_bytes()
            and outcome.path.suffix == source.suffix and outcome.crf is None
            and not outcome.crfs
            and outcome.bytes_out == outcome.bytes_in == source.stat().st_size
            and outcome.quality.worst == 100)


def test_a_clip_that_is_tiny_already_is_kept(tmp_path, source, ffmpeg):
    ffmpeg("-i", source, "-c:v", "libx264", "-crf", 45, tmp_path / "tiny.mp4")
    outcome = optimize(tmp_path / "tiny.mp4", Goal(93), tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "tiny.mp4", Reason.NO_GAIN)
    assert len(outcome.tries) == 1


@pytest.mark.parametrize("name", ["walk", "golf", "pour"])
def test_a_real_clip_as_small_as_the_target_allows_is_known_alone(tmp_path, jhmdb_clips, name):
    encode(min(jhmdb_clips.glob(f"{name}/*.avi")), tmp_path / "small.mp4", Encoding("h264"), 25,
           (26,))
    outcome = optimize(tmp_path / "small.mp4", Goal(93), tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "small.mp4", Reason.NO_GAIN)
    assert len(outcome.tries) == 1


def test_a_clip_that_no_crf_makes_good_enough_is_kept(tmp_path, source, ffmpeg, monkeypatch):
    monkeypatch.setitem(METRICS, "vmaf", replace(METRICS["vmaf"], largest=100))
    ffmpeg("-i", source, "-c:v", "ffv1", tmp_path / "lossless.mkv")
    outcome = optimize(tmp_path / "lossless.mkv", Goal(99.99), tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "lossless.mkv", Reason.UNREACHABLE)
    assert min(min(sample.crfs) for sample in outcome.tries) == CODECS["h264"].lowest


@pytest.mark.parametrize("trials, reason, detail", [
    ([((20, 20), 50, (1, -1))] * MOST_TRIALS, Reason.NO_GAIN, "not reached in six encodes"),
    ([((20, 1), 50, (-1, 1))] * MOST_TRIALS, Reason.NO_GAIN, "not reached in six encodes"),
    ([((20, 20), 50, (-9, -9)), ((1, 1), 90, (1, -1))], Reason.UNREACHABLE, ""),
    ([((20,), 50, (-9,)), ((1,), 110, (-1,))], Reason.NO_GAIN, ""),
    ([((20,), 90, (-3,))], Reason.NO_GAIN, "")])
def test_a_target_is_beyond_reach_only_where_the_lowest_crf_missed_it(trials, reason, detail):
    said = why_kept([Trial(*trial) for trial in trials], CODECS["h264"].lowest, 100)
    assert said[0] is reason and said[1].endswith(detail) and bool(said[1]) == bool(detail)


@pytest.mark.parametrize("filters, options, said", [
    ("scale=65:49", ["-c:v", "mpeg4"], "odd size 65x49"),
    ("null", ["-c:v", "ffv1", "-pix_fmt", "bgr0"], "pixel format bgr0"),
    ("null", ["-c:v", "ffv1", "-pix_fmt", "gray"], "pixel format gray"),
    ("null", ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"], "10-bit"),
    ("setparams=color_trc=smpte2084", ["-c:v", "libx264", "-pix_fmt", "yuv420p"], "HDR (PQ)"),
    ("setparams=color_trc=arib-std-b67", ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
     "HDR (HLG)"),
    ("interlace", ["-c:v", "libx264", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p"],
     "interlaced"),
    ("split[a][b];[a]null[x];[b]null", ["-map", "[x]", "-map", "[y]", "-c:v", "libx264"],
     "two video tracks")])
def test_what_would_lose_something_is_kept_without_a_try(tmp_path, ffmpeg, filters, options,
                                                         said):
    clip = tmp_path / "clip.mkv"
    graph = f"testsrc2=s=64x48,format=yuv420p,{filters}"
    graph = (["-filter_complex", f"{graph}[y]"] if "[x]" in graph
             else ["-f", "lavfi", "-i", graph])
    ffmpeg(*graph, *options, "-frames:v", 10, clip)
    outcome = optimize(clip, Goal(60), tmp_path / "out.mkv")
    assert kept(outcome, clip, Reason.UNSUPPORTED) and not outcome.tries
    assert outcome.detail == said


def test_a_cover_picture_or_a_data_track_is_not_lost(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4")
    ffmpeg("-i", clip, "-frames:v", 1, tmp_path / "cover.png")
    ffmpeg("-i", clip, "-i", tmp_path / "cover.png", "-map", 0, "-map", 1, "-c", "copy",
           "-disposition:v:1", "attached_pic", tmp_path / "covered.mp4")
    outcome = optimize(tmp_path / "covered.mp4", Goal(60), tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "covered.mp4", Reason.UNSUPPORTED)
    assert outcome.detail == "a cover picture"


@pytest.mark.parametrize("encoder", ["libvpx", "libvpx-vp9"])
def test_an_alpha_channel_is_not_lost(tmp_path, ffmpeg, encoder):
    clip = tmp_path / "clip.webm"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48,format=yuva420p", "-frames:v", 10, "-c:v",
           encoder, "-auto-alt-ref", 0, clip)
    outcome = optimize(clip, Goal(60), tmp_path / "out.webm")
    assert kept(outcome, clip, Reason.UNSUPPORTED) and outcome.detail == "an alpha channel"


@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
def test_a_clip_that_cannot_be_used_leaves_nothing(tmp_path, make_clip, kind):
    clip = make_clip(tmp_path / "bad.mp4", kind)
    with pytest.raises(StudyError, match="bad.mp4: "):
        optimize(clip, Goal(80), tmp_path / "out" / "out.mp4")
    assert not list(tmp_path.glob("out/**/*"))


def test_optimizing_twice_gives_the_same_bytes(tmp_path, source):
    made = [optimize(source, Goal(80), tmp_path / f"{n}.mp4") for n in range(2)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].tries == made[1].tries


def test_the_control_adapts_nothing(tmp_path, source):
    outcome = constant(source, 31.4, tmp_path / "out.mp4")
    assert (outcome.reason, outcome.crf, len(outcome.tries)) == (Reason.CONSTANT, 31.4, 1)
    assert outcome.bytes_out == outcome.path.stat().st_size
    assert remeasured(outcome, source, Goal()) == outcome.quality


def test_what_breaks_the_contract_is_never_delivered(tmp_path, source, make_clip, monkeypatch):
    other = make_clip(tmp_path / "other.mp4", frames=29, size=(120, 120))
    assert problems(inspect(source), other, "h264")[0] == "29 frames instead of 30"
    monkeypatch.setattr(module, "problems", lambda *arguments: ["29 frames instead of 30"])
    outcome = optimize(source, Goal(80), tmp_path / "out.mp4")
    assert kept(outcome, source, Reason.BROKEN) and outcome.detail == "29 frames instead of 30"
    with pytest.raises(StudyError, match=r"breaks the contract \(29 frames instead of 30\)"):
        constant(source, 30, tmp_path / "constant.mp4")
    assert not (tmp_path / "constant.mp4").exists()


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_another_format_on_request(tmp_path, source, codec):
    outcome = optimize(source, Goal(85), tmp_path / "out.mp4", Encoding(codec))
    assert outcome.reason in DELIVERED and inspect(outcome.path).codec == codec
    assert outcome.quality.worst >= 85
    assert outcome.detail.startswith(f"h264 to {codec}") == (codec != "h264")


def test_a_clip_keeps_its_format_unless_another_is_asked_for(tmp_path, source, ffmpeg):
    ffmpeg("-i", source, "-c:v", "libx265", "-x265-params", "log-level=none", "-crf", 8,
           tmp_path / "clip.mp4")
    outcome = optimize(tmp_path / "clip.mp4", Goal(70), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED and inspect(outcome.path).codec == "hevc"


def test_a_clip_learns_from_those_of_its_codec_alone(tmp_path, source):
    known = [optimize(source, Goal(85), tmp_path / "known.mp4", Encoding(codec)).solved
             for codec in ("h264", "hevc")]
    assert [clip.codec for clip in known] == ["h264", "hevc"]
    for codec, own in zip(("h264", "hevc", "av1"), (known[:1], known[1:], []), strict=True):
        mixed = optimize(source, Goal(85), tmp_path / "mixed.mp4", Encoding(codec), known)
        alone = optimize(source, Goal(85), tmp_path / "own.mp4", Encoding(codec), own)
        assert mixed.tries == alone.tries


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_holds_its_target(tmp_path, source, metric):
    target = {"vmaf": 85, "vmaf1": 88, "ssim": 0.95, "xpsnr": 32}[metric]
    goal = Goal(target, metric, height=240 if metric == "vmaf1" else None)  # as it wants it
    outcome = optimize(source, goal, tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED and outcome.quality.worst >= target
    assert remeasured(outcome, source, goal) == outcome.quality


def test_a_larger_display_is_harder_to_please(tmp_path, source):
    made = [optimize(source, Goal(85, height=height), tmp_path / "out.mp4")
            for height in (None, 240, 480)]
    assert all(outcome.reason in DELIVERED for outcome in made)
    sizes = [outcome.bytes_out for outcome in made]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 2


@pytest.fixture
def scenes(tmp_path, ffmpeg):
    """Three scenes of 4 s: plain, busy, plain."""
    for name, noise in (("a", 3), ("b", 30), ("c", 5)):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x120:r=15,hue=s=0.2:h={noise * 9},"
               f"noise=alls={noise}:all_seed=1", "-frames:v", 60, "-c:v", "ffv1", "-pix_fmt",
               "yuv420p", tmp_path / f"{name}.mkv")
    (tmp_path / "list").write_text("".join(f"file '{name}.mkv'\n" for name in "abc"))
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c:v", "libx264", "-crf", 10, "-pix_fmt",
           "yuv420p", tmp_path / "scenes.mp4")
    return tmp_path / "scenes.mp4"


def test_zones_take_fewer_bytes_than_the_best_single_crf(tmp_path, scenes, monkeypatch):
    goal = Goal(85)
    zoned = optimize(scenes, goal, tmp_path / "zoned.mp4")
    assert zoned.reason in DELIVERED and len(zoned.starts) > 2 and len(set(zoned.crfs)) > 1
    monkeypatch.setitem(CODECS, "h264", replace(CODECS["h264"], zones=False))
    uniform = optimize(scenes, goal, tmp_path / "uniform.mp4")
    assert uniform.crfs and len(uniform.crfs) == 1
    assert uniform.quality.worst >= 85 and zoned.quality.worst >= 85
    assert zoned.bytes_out < 0.95 * uniform.bytes_out


class Count:
    """A stand-in for a network: the further the bytes, the further the features."""

    fingerprint = "count"

    def __call__(self, source, made):
        return 0.2 * (1 - made.stat().st_size / source.stat().st_size)


def test_drift_is_reported_and_may_be_a_gate(tmp_path, source):
    free = optimize(source, Goal(70), tmp_path / "free.mp4", drift=Count())
    assert free.drift == Count()(source, free.path) > 0.06
    held = optimize(source, Goal(70, drift=0.06), tmp_path / "held.mp4", drift=Count())
    assert held.reason is Reason.ABOVE and held.detail == "held up by the features"
    assert held.drift <= 0.06 and held.bytes_out > free.bytes_out


def test_another_tools_file_is_taken_if_it_keeps_what_the_source_is(tmp_path, source, make_clip,
                                                                    ffmpeg):
    ffmpeg("-i", source, "-c:v", "libx264", "-crf", 30, tmp_path / "theirs.mp4")
    outcome = external(source, tmp_path / "theirs.mp4", tmp_path / "out.mp4")
    assert outcome.reason is Reason.EXTERNAL and 0 < outcome.quality.worst < 100
    assert outcome.path.read_bytes() == (tmp_path / "theirs.mp4").read_bytes()
    other = make_clip(tmp_path / "other.mp4", frames=29, size=(120, 120))
    with pytest.raises(ClipError, match="29 frames instead of 30"):
        external(source, other, tmp_path / "none.mp4")
    assert not (tmp_path / "none.mp4").exists()


def test_nothing_is_written_beside_another_tools_files(tmp_path, source, ffmpeg):
    (tmp_path / "theirs").mkdir()
    ffmpeg("-i", source, "-c:v", "libx264", "-crf", 30, tmp_path / "theirs" / "0.mp4")
    before = (tmp_path / "theirs").stat().st_mtime_ns
    external(source, tmp_path / "theirs" / "0.mp4", tmp_path / "out" / "0.mp4")
    assert (tmp_path / "theirs").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.mp4"]


def test_subtitles_of_mp4_come_along(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", frames=30, size=(128, 96))
    (tmp_path / "words.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    ffmpeg("-i", clip, "-i", tmp_path / "words.srt", "-c", "copy", "-c:s", "mov_text",
           tmp_path / "told.mp4")
    outcome = optimize(tmp_path / "told.mp4", Goal(60), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED
    assert [track.kind for track in inspect(outcome.path).tracks] == ["subtitle"]


def test_a_clip_that_was_trimmed_without_encoding_keeps_what_it_shows(tmp_path, make_clip,
                                                                      ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", frames=40, size=(128, 96))
    ffmpeg("-ss", 0.7, "-i", clip, "-c", "copy", tmp_path / "cut.mp4")
    outcome = optimize(tmp_path / "cut.mp4", Goal(60), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED
    assert len(inspect(outcome.path).times) == len(inspect(tmp_path / "cut.mp4").times) < 40


def test_audio_comes_along(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4", "audio", frames=20, size=(128, 96))
    outcome = optimize(clip, Goal(60), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED
    was, made = inspect(clip), inspect(outcome.path)
    assert was.tracks and was.tracks[0].packets == made.tracks[0].packets
    with av.open(str(clip)) as before, av.open(str(outcome.path)) as after:
        assert (after.streams.audio[0].codec_context.name
                == before.streams.audio[0].codec_context.name)


@pytest.mark.parametrize("suffix, codec", [(".mov", "av1"), (".m4v", "av1"), (".m4v", "hevc")])
def test_a_codec_that_a_container_does_not_take_goes_into_mp4(tmp_path, make_clip, suffix, codec):
    clip = make_clip(tmp_path / f"clip{suffix}", frames=20, size=(128, 96))
    outcome = optimize(clip, Goal(60), tmp_path / f"out{suffix}", Encoding(codec))
    assert outcome.reason in DELIVERED and outcome.path == tmp_path / "out.mp4"
    assert inspect(outcome.path).codec == codec


@pytest.mark.parametrize("suffix, audio, delivered", [
    (".avi", "pcm_s16le", ".mkv"), (".avi", "adpcm_ms", ".mkv"), (".avi", "mp3", ".mp4"),
    (".mkv", "libopus", ".mkv"), (".mov", "aac", ".mov"), (".mov", "pcm_s16le", ".mov"),
    (".ts", "aac", ".mp4"), (".MP4", "aac", ".MP4")])
def test_the_container_holds_what_the_source_had(tmp_path, ffmpeg, suffix, audio, delivered):
    clip = tmp_path / f"clip{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-f", "lavfi", "-i",
           "sine=r=48000", "-t", 1, "-c:v", "mpeg4" if suffix == ".avi" else "libx264", "-q:v", 2,
           "-pix_fmt", "yuv420p", "-c:a", audio, clip)
    outcome = optimize(clip, Goal(60), tmp_path / f"out{suffix}")
    assert outcome.reason in DELIVERED and outcome.path.suffix == delivered
    assert inspect(outcome.path).tracks[0].packets == inspect(clip).tracks[0].packets


@pytest.mark.parametrize("second, what", [
    ("setparams=range=pc", "colour range"), ("setparams=colorspace=bt470bg", "colour tags"),
    ("setsar=16/11", "pixel aspect")])
def test_what_changes_inside_a_clip_is_a_reason_to_keep_it(tmp_path, ffmpeg, second, what):
    """FFmpeg scores only the frames after the change: such a clip went out at CRF 51."""
    for name, effect in (("a", "setparams=range=tv:colorspace=bt709"), ("b", second)):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=128x96,noise=alls=8,{effect}", "-frames:v", 15,
               "-c:v", "libx264", "-crf", 5, "-pix_fmt", "yuv420p", tmp_path / f"{name}.mkv")
    (tmp_path / "list.txt").write_text("file a.mkv\nfile b.mkv\n")
    clip = tmp_path / "both.mkv"
    ffmpeg("-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", clip)
    outcome = optimize(clip, Goal(60), tmp_path / "out.mkv")
    assert outcome.reason is Reason.UNSUPPORTED and not outcome.tries
    assert f"another {what} from some frame on" in outcome.detail


@pytest.mark.parametrize("name, what", [
    ("range_short.mkv", "colour range"), ("rangechange.mkv", "colour range"),
    ("concat_copy.mp4", "colour tags"), ("sarchange.mkv", "pixel aspect")])
def test_real_cases_of_a_change_inside_are_kept(tmp_path, shared_cases, name, what):
    outcome = optimize(shared_cases / name, Goal(), tmp_path / name)
    assert (outcome.reason, outcome.detail) == (
        Reason.UNSUPPORTED, f"another {what} from some frame on")
    assert outcome.path.read_bytes() == (shared_cases / name).read_bytes()


def test_a_clip_of_which_some_frames_are_not_compared_is_no_result(source, monkeypatch):
    few = np.full(29, 99.0)
    monkeypatch.setattr("leanclips.compression.quality.compare", lambda *of: (few, few))
    with pytest.raises(ClipError, match="29 of 30 frames could be compared"):
        measure(source, source, timeline(np.arange(30) / 25), Goal())


@pytest.mark.parametrize("goal, codec, said", [
    (Goal(93, "psnr"), None, "there is no 'psnr'; use a metric of vmaf, vmaf1, ssim, xpsnr"),
    (Goal(93), "vp9", "there is no 'vp9'"), (Goal(93, "ssim"), None, "not on the scale of ssim"),
    (Goal(0), None, "the target 0 is not on the scale of vmaf")])
def test_a_goal_that_cannot_be_is_told_before_anything_is_made(source, tmp_path, goal, codec, said):
    with pytest.raises(StudyError, match=said):
        optimize(source, goal, tmp_path / "out.mp4", Encoding(codec))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip"])
def test_a_source_is_not_replaced_by_its_own_encode(source, tmp_path, name):
    clip = shutil.copy(source, tmp_path / "clip.mp4")
    with pytest.raises(StudyError, match="would be delivered in place of its source"):
        optimize(str(clip), Goal(60), str(tmp_path / name))
    assert file_sha256(clip) == file_sha256(source)


@pytest.mark.parametrize("metric, size", [("vmaf", (64, 16)), ("vmaf1", (320, 180))])
def test_a_picture_that_cannot_be_scored_is_kept_in_words(tmp_path, make_clip, metric, size):
    outcome = optimize(make_clip(tmp_path / "tiny.mp4", size=size), Goal(60, metric),
                       tmp_path / "out.mp4")
    assert (outcome.reason, outcome.detail) == (
        Reason.UNSUPPORTED, f"{size[0]}x{size[1]} is too small to be scored by {metric}")


def test_the_real_case_of_a_tiny_picture_is_kept_in_words(tmp_path, shared_cases):
    outcome = optimize(shared_cases / "size_64x16.mp4", Goal(), tmp_path / "out.mp4")
    assert (outcome.reason, outcome.detail) == (
        Reason.UNSUPPORTED, "64x16 is too small to be scored by vmaf")


@pytest.mark.parametrize("metric, perfect", [("vmaf", 100), ("vmaf1", 100), ("ssim", 1),
                                             ("xpsnr", 60)])
def test_a_kept_original_has_the_score_of_equal_clips(tmp_path, ffmpeg, metric, perfect):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96", "-frames:v", 8, "-c:v", "libx264",
           "-pix_fmt", "yuv420p10le", tmp_path / "deep.mp4")
    goal = Goal(METRICS[metric].target, metric)
    outcome = optimize(tmp_path / "deep.mp4", goal, tmp_path / "out.mp4")
    assert outcome.reason is Reason.UNSUPPORTED and outcome.quality.worst == perfect
