"""A plan writes nothing, and foretells what the run does."""

import json
import shutil
from pathlib import Path

import pytest

from leanclips.compression.ffmpeg import Encoding
from leanclips.compression.inspect import inspect
from leanclips.compression.quality import Goal
from leanclips.compression.tree import SAMPLE_SECONDS, optimize_tree, plan
from leanclips.errors import StudyError

GOAL = Goal(80)


@pytest.fixture
def tree(tmp_path, make_clip):
    """Two clips, one of them in a class folder; one that stays; and a note."""
    make_clip(tmp_path / "in" / "walk" / "a.mp4", frames=24, size=(128, 96))
    make_clip(tmp_path / "in" / "b.avi", "mpeg4", frames=24, size=(128, 96), seed=1)
    make_clip(tmp_path / "in" / "odd.avi", "odd")
    (tmp_path / "in" / "notes.txt").write_text("a" * 1000)
    return tmp_path / "in"


def test_short_clips_are_foretold_to_the_byte_and_nothing_is_written(tree, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    planned = plan(tree, tmp_path / "out", GOAL, 1)
    assert sorted(tmp_path.rglob("*")) == before
    assert [clip.file for clip in planned.clips] == ["b.avi", "odd.avi", "walk/a.mp4"]
    assert planned.videos == 3 and planned.seconds > 0
    kept = planned.clips[1]
    assert (kept.reason, kept.crf, kept.bytes_out) == ("unsupported", None, kept.bytes_in)
    done = optimize_tree(tree, tmp_path / "out", GOAL, 1)
    assert (planned.bytes_in, planned.bytes_out) == (done.bytes_in, done.bytes_out)


@pytest.mark.slow
def test_a_long_clip_is_foretold_from_a_sample(tmp_path, ffmpeg):
    """A minute of 10 frames a second."""
    clip = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=10,noise=alls=8", "-t", 60, "-c:v", "libx264",
           "-preset", "ultrafast", "-crf", 10, "-g", 20, "-pix_fmt", "yuv420p", clip)
    forecast = plan(clip, tmp_path / "out.mp4", GOAL, 1).clips[0]
    done = optimize_tree(clip, tmp_path / "out.mp4", GOAL, 1)
    assert forecast.bytes_out == pytest.approx(done.bytes_out, rel=0.25)
    assert forecast.bytes_out != done.bytes_out  # of a part only
    assert forecast.crf and 1.5 * SAMPLE_SECONDS < inspect(clip).seconds
    assert list(tmp_path.glob("*.mp4")) == [clip, tmp_path / "out.mp4"]


def test_a_large_tree_is_foretold_from_a_few_clips_spread_over_it(tree, tmp_path):
    for n in range(10):
        shutil.copyfile(tree / "walk" / "a.mp4", tree / "walk" / f"c{n}.mp4")
    (tree / "b.avi").unlink()
    (tree / "odd.avi").unlink()
    planned, one = plan(tree, tmp_path / "out", GOAL, 2), (tree / "walk" / "a.mp4").stat().st_size
    assert [clip.file for clip in planned.clips] == [f"walk/{name}.mp4" for name in
                                                     ("a", "c2", "c5", "c8")]
    assert planned.videos == 11
    assert planned.bytes_in == 11 * one + 1000
    assert planned.bytes_out == 11 * planned.clips[0].bytes_out + 1000
    seconds = sum(clip.seconds for clip in planned.clips)
    assert planned.seconds == pytest.approx(seconds * 11 / 4 / 2)


@pytest.mark.parametrize("out, codec, said", [
    ("in", None, "among their sources"), ("out", "vp9", "there is no 'vp9'")])
def test_what_the_run_would_refuse_the_plan_refuses(tree, tmp_path, out, codec, said):
    with pytest.raises(StudyError, match=said):
        plan(tree, tmp_path / out, GOAL, 1, Encoding(codec))


def test_a_folder_without_videos_has_a_plan_too(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("a")
    planned = plan(tmp_path / "in", tmp_path / "out", GOAL, 1)
    assert (planned.clips, planned.bytes_in, planned.bytes_out, planned.seconds) == ((), 1, 1, 0)


def test_the_command_prints_a_table_and_says_that_it_is_a_prediction(tree, tmp_path, monkeypatch,
                                                                    capfd):
    from leanclips import cli

    monkeypatch.setattr("sys.argv", ["leanclips", "optimize", str(tree), str(tmp_path / "out"),
                                     "--plan", "--json", "--target", "80", "--jobs", "1"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capfd.readouterr()
    assert not end.value.code and not (tmp_path / "out").exists()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["plan"] * 3 + ["summary"]
    table = [line.split() for line in err.splitlines() if not line.startswith("plan:")]
    assert [row[3:] for row in table[1:4]] == [
        [str(event["crf"] or event["reason"]), event["file"]] for event in events[:3]]
    assert table[2][3:] == ["unsupported", "odd.avi"]
    assert "A prediction from 3 of 3 videos" in err and "with --jobs 1. Nothing was written." in err
    assert Path(tree.parent, ".out.leanclips").exists() is False
