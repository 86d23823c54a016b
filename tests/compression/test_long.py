"""A long file is encoded in parts side by side, and the result is that of a short one."""

import subprocess
import sys
from itertools import pairwise

import av
import numpy as np
import pytest

from leanclips.compression import ffmpeg as ffmpeg_module
from leanclips.compression import long
from leanclips.compression import optimize as module
from leanclips.compression.ffmpeg import Encoding, Span, compare, encode
from leanclips.compression.inspect import inspect
from leanclips.compression.optimize import Reason, optimize, problems
from leanclips.compression.quality import Goal, measure, timeline
from leanclips.compression.tree import optimize_tree

GOAL = Goal(80)
DELIVERED = (Reason.OPTIMIZED, Reason.ABOVE)


@pytest.fixture
def short_limits(monkeypatch):
    """What makes a clip of a few seconds a long one of several parts."""
    monkeypatch.setattr(long, "LONG_SECONDS", 3.0)
    monkeypatch.setattr(long, "PART_SECONDS", 3.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, ffmpeg):
    """Four scenes of 3 s: some plain, some busy; with sound that begins before the pictures."""
    folder = tmp_path_factory.mktemp("clip")
    for name, noise in (("a", 5), ("b", 30), ("c", 12), ("d", 20)):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x120:r=10,hue=s=0.3:h={noise * 9},"
               f"noise=alls={noise}:all_seed=1", "-frames:v", 30, "-c:v", "ffv1", "-pix_fmt",
               "yuv420p", folder / f"{name}.mkv")
    (folder / "list").write_text("".join(f"file '{name}.mkv'\n" for name in "abcd"))
    ffmpeg("-itsoffset", 0.3, "-f", "concat", "-i", folder / "list", "-f", "lavfi", "-t", 12, "-i",
           "sine", "-c:v", "libx264", "-crf", 8, "-g", 77, "-metadata:s:v", "language=deu",
           folder / "clip.mp4")
    return folder / "clip.mp4"


def in_parts(monkeypatch):
    """A list of the parts that are encoded from now on."""
    made, real = [], long.encode_span
    monkeypatch.setattr(long, "encode_span", lambda *given, **named: (made.append(given[-1]),
                                                                      real(*given, **named)))
    return made


def check(source, outcome, goal=GOAL, codec="h264"):
    """Whether every second holds the goal in the file as it is, and nothing is lost."""
    was = inspect(source)
    assert outcome.reason in DELIVERED and outcome.quality.worst >= goal.target
    assert measure(outcome.path, source, timeline(was.times, was.cuts), goal) == outcome.quality
    assert problems(was, outcome.path, codec) == []
    assert outcome.bytes_out == outcome.path.stat().st_size < outcome.bytes_in
    assert not list(outcome.path.parent.glob(".*"))


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, clip, short_limits,
                                                         monkeypatch):
    made = in_parts(monkeypatch)
    one, two = (optimize(clip, GOAL, tmp_path / f"{jobs}.mp4", jobs=jobs) for jobs in (1, 2))
    check(clip, one)
    assert one.path.read_bytes() == two.path.read_bytes() and one.tries == two.tries
    with av.open(str(one.path)) as container:
        assert container.streams.video[0].language == "deu"
    assert len(made) > 10 and max(span.frames for span in made) < 40


def test_keyframes_are_as_near_as_asked_for(tmp_path, clip, short_limits):
    outcome = optimize(clip, GOAL, tmp_path / "out.mp4", Encoding(keyframes=1.5))
    with av.open(str(outcome.path)) as container:
        video = container.streams.video[0]
        keys = sorted(float(packet.pts * video.time_base) for packet in container.demux(video)
                      if packet.is_keyframe)
    assert max(after - key for key, after in pairwise([*keys, 12.3])) <= 1.5 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_other_codecs_can_be_joined_too(tmp_path, clip, short_limits, monkeypatch, codec):
    monkeypatch.setattr(module, "encode", None)  # of the whole file
    outcome = optimize(clip, GOAL, tmp_path / "out.mp4", Encoding(codec))
    check(clip, outcome, codec=codec)
    with av.open(str(outcome.path)) as container:
        assert container.streams.video[0].codec_tag == {"hevc": "hvc1", "av1": "av01"}[codec]


@pytest.mark.slow
@pytest.mark.parametrize("suffix, arguments", [
    (".mkv", ["-vf", "select=mod(n\\,3)", "-fps_mode", "vfr", "-c:a", "copy"]),
    (".mp4", ["-vf", "select=not(between(n\\,31\\,47))", "-fps_mode", "vfr", "-an"]),
    (".avi", ["-c:v", "mpeg4", "-q:v", 2, "-c:a", "mp3"])])
def test_odd_times_and_containers_stay(tmp_path, clip, ffmpeg, short_limits, suffix, arguments):
    ffmpeg("-i", clip, "-c:v", "libx264", "-crf", 8, *arguments, tmp_path / f"odd{suffix}")
    check(tmp_path / f"odd{suffix}", optimize(tmp_path / f"odd{suffix}", GOAL,
                                              tmp_path / "out" / f"out{suffix}"))


def test_a_rotated_clip_on_a_larger_display(tmp_path, clip, ffmpeg, short_limits, monkeypatch):
    made, goal = in_parts(monkeypatch), Goal(75, height=200)
    ffmpeg("-display_rotation", 90, "-i", clip, "-c", "copy", tmp_path / "rotated.mp4")
    check(tmp_path / "rotated.mp4", optimize(tmp_path / "rotated.mp4", goal,
                                             tmp_path / "out" / "out.mp4"), goal)
    assert made


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path, clip, short_limits, monkeypatch):
    script = f"""if True:
        import os, signal
        from pathlib import Path
        from leanclips.compression import long
        from leanclips.compression.optimize import optimize
        from leanclips.compression.quality import Goal
        long.LONG_SECONDS = long.PART_SECONDS = 3.0

        def progress(items, total, what, unit):
            yield from items
            if what.endswith("scenes"):
                os.kill(os.getpid(), signal.SIGKILL)

        long.progress = progress
        optimize(Path({str(clip)!r}), Goal(80), Path({str(tmp_path / "a" / "out.mp4")!r}))"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -9 and not (tmp_path / "a" / "out.mp4").exists()
    finished = len(list(tmp_path.rglob("*.json")))
    made = in_parts(monkeypatch)
    again = optimize(clip, GOAL, tmp_path / "a" / "out.mp4")
    left = len(made)
    anew = optimize(clip, GOAL, tmp_path / "b" / "out.mp4")
    assert finished > 0 and left == len(made) - left - finished
    assert again.path.read_bytes() == anew.path.read_bytes()
    assert not list((tmp_path / "a").glob(".out*"))


def test_a_short_clip_is_encoded_whole(tmp_path, clip, monkeypatch):
    made = in_parts(monkeypatch)
    optimize(clip, GOAL, tmp_path / "out.mp4")
    assert not made


@pytest.mark.slow
def test_where_seeking_leads_elsewhere_the_file_is_encoded_whole(tmp_path, clip, short_limits,
                                                                 monkeypatch):
    real = ffmpeg_module._seek
    monkeypatch.setattr(ffmpeg_module, "_seek", lambda span: [
        f"{float(part) + 0.1:.6f}" if "." in str(part) else part for part in real(span)])
    made = in_parts(monkeypatch)
    outcome = optimize(clip, GOAL, tmp_path / "out.mp4")
    assert made and outcome.quality.worst >= 80 and problems(inspect(clip), outcome.path,
                                                             "h264") == []


def test_a_file_without_gain_is_encoded_once_at_most(tmp_path, clip, short_limits, monkeypatch):
    encode(clip, tmp_path / "small.mp4", Encoding("h264"), 10, (40,))
    made = in_parts(monkeypatch)
    outcome = optimize(tmp_path / "small.mp4", Goal(93), tmp_path / "out.mp4")
    assert outcome.reason is Reason.NO_GAIN and outcome.path.read_bytes() == (
        tmp_path / "small.mp4").read_bytes()
    assert sum(span.frames for span in made) <= 120 + 4 * 6  # and excerpts of half a second


def test_a_file_whose_target_cannot_be_reached_is_kept(tmp_path, ffmpeg, short_limits,
                                                        monkeypatch):
    made = in_parts(monkeypatch)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x80:r=10,noise=alls=40:all_seed=1", "-t", 4, "-c:v",
           "ffv1", "-pix_fmt", "yuv420p", tmp_path / "lossless.mkv")
    outcome = optimize(tmp_path / "lossless.mkv", Goal(99.9), tmp_path / "out" / "out.mkv")
    assert made and outcome.reason is Reason.UNREACHABLE
    assert outcome.path.read_bytes() == (tmp_path / "lossless.mkv").read_bytes()


@pytest.mark.parametrize("metric", ["vmaf", "ssim"])
@pytest.mark.parametrize("height", [None, 200])
def test_the_scores_of_a_part_are_those_in_the_whole(tmp_path, clip, ffmpeg, metric, height):
    encode(clip, tmp_path / "whole.mp4", Encoding("h264"), 10, (30,))
    ffmpeg("-i", tmp_path / "whole.mp4", "-vf", "trim=start_frame=20:end_frame=50", "-c:v",
           "ffv1", "-an", tmp_path / "part.mkv")
    whole = compare(tmp_path / "whole.mp4", clip, metric, height)
    part = compare(tmp_path / "part.mkv", clip, metric, height, Span(30, 0.3 + 1.75, 2, 1))
    for values, some in zip(whole[:2], part[:2], strict=True):
        assert np.array_equal(values[20:50], some)


@pytest.mark.slow
def test_a_folder_leaves_its_long_files_to_the_end(tmp_path, make_clip, capfd):
    make_clip(tmp_path / "in" / "long.mp4", "audio", frames=110, fps=5, size=(128, 96))
    make_clip(tmp_path / "in" / "short.mp4", frames=20, fps=5, size=(128, 96))
    summary = optimize_tree(tmp_path / "in", tmp_path / "out", Goal(60), 2)
    assert summary.reasons == {"optimized": 2} or summary.reasons.get("above-tolerance")
    assert "long.mp4: first look: " in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.parts"))


def test_vmaf_v1_scores_a_long_clip_in_parts(tmp_path, ffmpeg, short_limits, monkeypatch):
    made, goal = in_parts(monkeypatch), Goal(85, "vmaf1")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=240x224:r=10,noise=alls=12:all_seed=1", "-t", 6, "-c:v",
           "libx264", "-crf", 8, "-pix_fmt", "yuv420p", tmp_path / "large.mp4")
    check(tmp_path / "large.mp4", optimize(tmp_path / "large.mp4", goal,
                                           tmp_path / "out" / "out.mp4"), goal)
    assert made
