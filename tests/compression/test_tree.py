"""A whole folder: nothing lost, nothing half-written, each file with its reason."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import av
import cv2
import pandas as pd
import pytest

from leanclips import cli
from leanclips.compression import batch
from leanclips.compression import tree as module
from leanclips.compression.contract import broken
from leanclips.compression.ffmpeg import Encoding
from leanclips.compression.inspect import inspect
from leanclips.compression.optimize import optimize
from leanclips.compression.quality import Goal
from leanclips.compression.tree import optimize_tree
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.records import TREE_REPORT

GOAL = Goal(80)
BUSY = "testsrc2=s=128x96:r={},noise=alls=8"


def report(folder):
    """The rows of report.csv by file."""
    return pd.read_csv(folder / "report.csv", keep_default_na=False, na_values=[""]).set_index(
        "file")


def contents(folder, but=()):
    """Hash of every file below a folder, records left out."""
    return {path.relative_to(folder).as_posix(): file_sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in but and ".out.leanclips" not in path.parts}


@pytest.fixture(scope="session")
def torture(tmp_path_factory, make_clip, ffmpeg):
    """A tree of everything that may come along."""
    root = tmp_path_factory.mktemp("torture")
    make_clip(root / "plain.mp4", frames=30, size=(128, 96))
    make_clip(root / "deep" / "er" / "plain.mp4", frames=30, size=(128, 96), seed=1)
    make_clip(root / "vfr.mp4", "vfr", frames=24, size=(128, 96))
    make_clip(root / "odd.avi", "odd", frames=12)
    make_clip(root / "rotated.mp4", "rotated", frames=24, size=(128, 96))
    make_clip(root / "old.avi", "mpeg4", frames=24, size=(128, 96))
    make_clip(root / "old.mp4", frames=24, size=(128, 96), seed=2)  # beside old.avi
    make_clip(root / "one.mp4", "one_frame", size=(128, 96))
    make_clip(root / "two.mp4", frames=2, size=(128, 96))
    make_clip(root / "cut.mp4", "truncated", frames=30, size=(128, 96))
    make_clip(root / "empty.mp4", "empty")
    make_clip(root / "text.mp4", "text")
    make_clip(root / "with space & ünïcode '‘“.mp4", frames=24, size=(128, 96), seed=3)
    (root / "labels.csv").write_text("clip,label\n")
    pictures = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast"]
    ffmpeg("-f", "lavfi", "-i", BUSY.format(25), "-frames:v", 60, *pictures, "-bf", 3, "-g", 20,
           "-x264-params", "open-gop=1", "-crf", 15, root / "open-gop.mp4")
    (root / "words.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    ffmpeg("-f", "lavfi", "-i", BUSY.format(25), "-f", "lavfi", "-i", "sine", "-i",
           root / "words.srt", "-t", 1.2, *pictures, "-crf", 15, "-c:a", "aac", "-c:s", "srt",
           root / "subtitled.mkv")
    for name, source in (("black", "color=black:s=128x96:r=25"), ("still", "smptebars=s=128x96"),
                         ("noise", "color=gray:s=128x96:r=25,noise=alls=100:allf=t")):
        ffmpeg("-f", "lavfi", "-i", source, "-frames:v", 24, *pictures, "-crf", 10,
               root / f"{name}.mp4")
    for name, rate in (("film", "24000/1001"), ("ntsc", "30000/1001")):
        ffmpeg("-f", "lavfi", "-i", BUSY.format(rate), "-frames:v", 24, *pictures, "-crf", 15,
               root / f"{name}.mp4")
    return root


@pytest.fixture(scope="session")
def optimized(torture, tmp_path_factory):
    """The tree, optimized."""
    out = tmp_path_factory.mktemp("optimized") / "out"
    return out, optimize_tree(torture, out, GOAL, 2)


def test_every_file_comes_out_and_is_reported(torture, optimized):
    out, summary = optimized
    table = report(out)
    assert ("file", *table.columns) == TREE_REPORT
    assert set(table.index) == set(contents(torture))
    made = contents(out, ("report.csv", "report.json"))
    assert set(table["delivered"]) == set(made)
    assert summary.files == len(table) == sum(summary.reasons.values())
    for name, row in table.iterrows():
        assert file_sha256(torture / name) == row["sha256_in"]
        assert made[row["delivered"]] == row["sha256"]
        assert (out / row["delivered"]).stat().st_size == row["bytes_out"] <= row["bytes_in"]


@pytest.mark.parametrize("name, reason, detail", [
    ("odd.avi", "unsupported", "odd size 65x49"),
    ("cut.mp4", "unreadable", "the clip cannot be read"),
    ("empty.mp4", "unreadable", "the clip is empty"),
    ("text.mp4", "unreadable", "the clip cannot be read"),
    ("labels.csv", "not-video", ""),
    ("words.srt", "not-video", "")])
def test_what_cannot_be_optimized_is_kept_and_says_why(torture, optimized, name, reason, detail):
    row = report(optimized[0]).loc[name]
    assert row["reason"] == reason and str(row["detail"]).startswith(detail or "nan")
    assert row["sha256"] == row["sha256_in"] and row["delivered"] == name


@pytest.mark.parametrize("name, reason", [
    ("one.mp4", "optimized"), ("two.mp4", "optimized"), ("noise.mp4", "optimized"),
    ("black.mp4", "no-gain"), ("still.mp4", "above-tolerance")])
def test_clips_of_next_to_nothing_and_of_noise_have_their_reasons(optimized, name, reason):
    row = report(optimized[0]).loc[name]
    assert row["reason"] == reason
    assert reason != "above-tolerance" or row["detail"] == "no CRF nearer to the target was found"


def test_what_is_re_encoded_keeps_the_contract_and_its_target(torture, optimized):
    table = report(optimized[0])
    done = table[table["reason"].isin(["optimized", "above-tolerance"])]
    assert {"plain.mp4", "deep/er/plain.mp4", "vfr.mp4", "rotated.mp4", "old.avi", "old.mp4",
            "open-gop.mp4", "subtitled.mkv", "film.mp4", "ntsc.mp4",
            "with space & ünïcode '‘“.mp4"} <= set(done.index)
    for name, row in done.iterrows():
        made = inspect(optimized[0] / row["delivered"])
        assert broken(inspect(torture / name), made, "h264") == []
        assert row["quality"] >= 80 and row["bytes_out"] <= 0.95 * row["bytes_in"]
    assert not set(table["reason"]) & {"contract-broken"}


def test_two_files_of_one_stem_do_not_meet(optimized):
    table = report(optimized[0])
    assert table.loc["old.avi", "delivered"] == "old.avi.mp4"
    assert table.loc["old.mp4", "delivered"] == "old.mp4"
    assert table.loc["old.avi", "detail"].startswith("mpeg4 to h264")


@pytest.mark.slow
def test_files_of_like_names_are_all_delivered(tmp_path, make_clip):
    names = ["a.avi", "a.mp4", "a.avi.avi", "b.avi", "b.mp4/c.avi", "d.m4v", "d.mp4"]
    for seed, name in enumerate(names):
        make_clip(tmp_path / "in" / name, "mpeg4" if name.endswith("avi") else "h264", frames=24,
                  size=(128, 96), seed=seed)
    optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1, Encoding("hevc"))
    table = report(tmp_path / "out")
    assert table["delivered"].nunique() == len(table) == len(names)
    for _, row in table.iterrows():
        assert file_sha256(tmp_path / "out" / row["delivered"]) == row["sha256"]


def test_a_file_or_folder_may_have_any_name_of_any_length(tmp_path):
    long = "ü" * 125 + "n.txt"
    for name in ("lock/a.txt", "claimed/a.txt", "files/a.txt", long, f"{long[1:]}/a.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    for _ in range(2):
        optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1)
        assert (contents(tmp_path / "out", ("report.csv", "report.json"))
                == contents(tmp_path / "in"))


def test_links_and_empty_folders_come_out_and_what_is_no_file_is_told(tmp_path, small):
    (small / "val").mkdir()
    shutil.move(small / "0.mp4", small / "val")
    (small / "test").symlink_to("val")
    (small / "empty" / "er").mkdir(parents=True)
    (small / "gone").symlink_to("nowhere")
    done = subprocess.run(command(small, tmp_path / "out", "--target", 80), capture_output=True,
                          text=True)
    assert set(contents(tmp_path / "out", ("report.csv", "report.json"))) == {
        "1.mp4", "2.mp4", "test/0.mp4", "val/0.mp4"}
    assert (tmp_path / "out" / "empty" / "er").is_dir()
    assert done.stderr.splitlines()[-1] == (
        f"Left out: 1 link or special file, the first of them {small / 'gone'}")


def test_the_json_report_has_every_window_and_every_encode(torture, optimized):
    found = json.loads((optimized[0] / "report.json").read_text())
    assert found["goal"]["target"] == 80 and "ffmpeg" in found["versions"]
    files = {row["file"]: row for row in found["files"]}
    assert set(files) == set(contents(torture))
    clip = files["open-gop.mp4"]
    assert [zone["first_frame"] for zone in clip["zones"]] == [0, 25]
    assert min(zone["quality"] for zone in clip["zones"]) >= 80
    assert clip["encodes"] and all(len(sample["crfs"]) == 2 for sample in clip["encodes"])


def test_a_second_time_does_nothing_and_says_the_same(torture, optimized, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(optimized[0], out)
    state = optimized[0].with_name(f".{optimized[0].name}.leanclips")
    shutil.copytree(state, tmp_path / ".out.leanclips")
    before = {path: path.stat().st_ctime_ns for path in out.rglob("*.mp4")}
    report_before = (out / "report.json").read_bytes()
    optimize_tree(torture, out, GOAL, 1)
    assert before == {path: path.stat().st_ctime_ns for path in out.rglob("*.mp4")}
    assert (out / "report.json").read_bytes() == report_before


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(torture, optimized, tmp_path):
    optimize_tree(torture, tmp_path / "out", GOAL, 1)
    assert contents(tmp_path / "out") == contents(optimized[0])


@pytest.fixture
def small(tmp_path, make_clip):
    """A tree of three clips."""
    for n in range(3):
        make_clip(tmp_path / "in" / f"{n}.mp4", frames=24, size=(128, 96), seed=n)
    return tmp_path / "in"


def test_only_what_changed_is_done_again(small, tmp_path):
    out = tmp_path / "out"
    optimize_tree(small, out, GOAL, 1)
    before = {path.name: path.stat().st_ctime_ns for path in out.glob("*.mp4")}
    os.utime(small / "0.mp4")  # a new date is no new content
    shutil.copyfile(small / "2.mp4", small / "1.mp4")
    optimize_tree(small, out, GOAL, 1)
    after = {path.name: path.stat().st_ctime_ns for path in out.glob("*.mp4")}
    assert {name for name in before if before[name] != after[name]} == {"1.mp4"}
    optimize_tree(small, out, Goal(60), 1)
    assert all(path.stat().st_ctime_ns != after[path.name] for path in out.glob("*.mp4"))
    assert json.loads((out / "report.json").read_text())["goal"]["target"] == 60


def test_a_result_of_another_suffix_does_not_stay_behind(tmp_path, make_clip):
    make_clip(tmp_path / "in" / "old.avi", "mpeg4", frames=24, size=(128, 96))
    make_clip(tmp_path / "in" / "old.mp4", frames=24, size=(128, 96))
    optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1)
    assert set(contents(tmp_path / "out")) >= {"old.avi.mp4", "old.mp4"}
    optimize_tree(tmp_path / "in", tmp_path / "out", Goal(99.9), 1)
    assert report(tmp_path / "out").loc["old.avi", "reason"] in ("no-gain", "target-unreachable")
    assert set(contents(tmp_path / "out", ("report.csv", "report.json"))) == {"old.avi", "old.mp4"}


def test_a_clip_that_is_added_later_takes_nothing_from_its_namesake(tmp_path, make_clip):
    make_clip(tmp_path / "in" / "clip.avi", "mpeg4", frames=24, size=(128, 96))
    optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1)
    assert (tmp_path / "out" / "clip.mp4").is_file()
    make_clip(tmp_path / "in" / "clip.mp4", frames=24, size=(128, 96), seed=1)
    optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1)
    table = report(tmp_path / "out")
    assert set(table["delivered"]) == {"clip.avi.mp4", "clip.mp4"}
    for name, row in table.iterrows():
        assert file_sha256(tmp_path / "out" / row["delivered"]) == row["sha256"]


def test_what_is_no_video_is_copied_whatever_a_decoder_makes_of_it(small, tmp_path):
    (small / "plot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (small / "0.txt").write_text("walk\n" * 100)  # labels beside 0.mp4
    (small / ".hidden").write_bytes(b"")
    optimize_tree(small, tmp_path / "out", GOAL, 1)
    table = report(tmp_path / "out")
    assert (table.loc[["plot.svg", "0.txt", ".hidden"], "reason"] == "not-video").all()
    assert table.loc[["plot.svg", "0.txt"], "frames"].isna().all()
    assert table.loc["0.mp4", "delivered"] == "0.mp4"


def test_an_earlier_result_may_be_a_source(small, tmp_path):
    optimize_tree(small, tmp_path / "first", GOAL, 1)
    for name in ("report.csv", "report.json"):
        with pytest.raises(StudyError, match=f"{name}: has the name of a report"):
            optimize_tree(tmp_path / "first", tmp_path / "second", GOAL, 1)
        (tmp_path / "first" / name).rename(tmp_path / "first" / f"old-{name}")
    optimize_tree(tmp_path / "first", tmp_path / "second", GOAL, 1)
    assert set(report(tmp_path / "second").index) == {
        "0.mp4", "1.mp4", "2.mp4", "old-report.csv", "old-report.json"}


def test_two_runs_at_once_do_not_meet(small, tmp_path):
    from leanclips.files import only_one

    with only_one(tmp_path / ".out.leanclips" / "lock", "out"):
        with pytest.raises(StudyError, match="another run is under way here"):
            optimize_tree(small, tmp_path / "out", GOAL, 1)


def test_no_source_is_replaced_by_what_is_delivered(small, tmp_path):
    """videos/videos/0.mp4 would be delivered as videos/0.mp4, which is a source itself."""
    shutil.copytree(small, small / small.name)
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    with pytest.raises(StudyError, match="would be delivered in place of a source"):
        optimize_tree(small, small.parent, GOAL, 1)
    assert {path: path.read_bytes() for path in small.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("theirs", ["1.mp4", "notes.txt", "report.csv", "old.mp4"])
def test_no_file_that_was_there_before_is_replaced(small, tmp_path, make_clip, theirs):
    (small / "notes.txt").write_text("new")
    make_clip(small / "old.avi", "mpeg4")
    out = tmp_path / "out"
    out.mkdir()
    (out / theirs).write_text("theirs")
    for _ in range(2):
        with pytest.raises(StudyError, match=f"{theirs}: is there already"):
            optimize_tree(small, out, GOAL, 1)
    assert list(contents(out)) == [theirs] and (out / theirs).read_text() == "theirs"
    (out / theirs).rename(out / "moved away")
    optimize_tree(small, out, GOAL, 1)
    assert (out / "moved away").read_text() == "theirs"


def test_a_single_file_is_a_tree_too(small, tmp_path):
    summary = optimize_tree(small / "1.mp4", tmp_path / "out", GOAL, 1)
    assert summary.files == 1 and (tmp_path / "out" / "1.mp4").is_file()


@pytest.mark.parametrize("source, destination, said", [
    ("none", "out", "there is no such file or folder"), ("in", "in", "among their sources"),
    ("in", "in/out", "among their sources"), ("in/0.mp4", "in", "among their sources"),
    ("in", "in/0.mp4", "is a file"), ("bare", "out", "holds no file")])
def test_folders_that_will_not_do_are_told(small, tmp_path, source, destination, said):
    (tmp_path / "bare").mkdir()
    before = contents(tmp_path)
    with pytest.raises(StudyError, match=said):
        optimize_tree(tmp_path / source, tmp_path / destination, GOAL, 1)
    assert contents(tmp_path) == before


def test_a_destination_behind_a_link_is_among_the_sources_too(small, tmp_path):
    (tmp_path / "other").mkdir()
    (small / "link").symlink_to(tmp_path / "other")
    with pytest.raises(StudyError, match="among their sources"):
        optimize_tree(small, tmp_path / "other" / "out", GOAL, 1)


def container(path):
    """The names of the container that a file is, whatever it is called."""
    with av.open(str(path)) as file:
        return file.format.name


@pytest.mark.parametrize("kind, name, out", [
    ("h264", "clip.mp4", "small.mp4"), ("h264", "clip.mp4", "small.MOV"),
    ("mpeg4", "clip.avi", "small.mkv"), ("h264", "clip.mkv", "clip.mp4")])
def test_a_single_clip_becomes_just_the_file_that_is_named(tmp_path, make_clip, kind, name, out):
    clip = make_clip(tmp_path / name, kind, frames=24, size=(128, 96))
    (tmp_path / ".aside-of-a-run-beside").mkdir()
    before, out = clip.read_bytes(), tmp_path / out
    for _ in range(2):
        done = optimize_tree(clip, out, GOAL, 1)
        made = out.stat().st_mtime_ns
        assert done.reasons.keys() <= {"optimized", "above-tolerance"} and inspect(out)
        assert container(out).startswith("matroska" if out.suffix == ".mkv" else "mov,mp4")
        assert clip.read_bytes() == before and {path.name for path in tmp_path.iterdir()} == {
            clip.name, out.name, f".{out.name}.leanclips", ".aside-of-a-run-beside"}
    assert optimize_tree(clip, out, GOAL, 1).bytes_out == done.bytes_out == out.stat().st_size
    assert out.stat().st_mtime_ns == made
    table = pd.read_csv(done.report)
    assert done.report.parent == tmp_path / f".{out.name}.leanclips"
    assert list(table["file"]) == [clip.name] and list(table["delivered"]) == [out.name]


@pytest.mark.parametrize("name, out, codec, said", [
    ("0.mp4", "out.avi", None, "out.avi: a re-encoded clip cannot be a .avi file; end its name in "
                               ".mp4, .mkv, .m4v, .mov, or add --keep-names"),
    ("0.mp4", "out.m4v", "hevc", "end its name in .mp4, .mkv, .mov, or add"),
    ("0.mp4", "0.mp4", None, "would be delivered in place of a source; name another place"),
    ("0.mp4", "1.mp4", None, "is there already, and leanclips did not make it"),
    ("a.txt", "out.mp4", None, "stays as it is (not-video), and so cannot become a .mp4 file; "
                               "name a folder for it"),
    ("a.avi", "out.mp4", None, "stays as it is (unreadable, the clip cannot be read")])
def test_a_file_that_cannot_be_is_told_and_not_made(small, name, out, codec, said):
    (small / "a.txt").write_text("a")
    (small / "a.avi").write_text("a")
    before = contents(small)
    with pytest.raises(StudyError, match=re.escape(said)):
        optimize_tree(small / name, small / out, GOAL, 1, Encoding(codec))
    assert {name: made for name, made in contents(small).items()
            if ".leanclips/" not in name} == before


def test_a_single_file_has_one_source(small, tmp_path):
    optimize_tree(small / "0.mp4", tmp_path / "out.mp4", GOAL, 1)
    before = file_sha256(tmp_path / "out.mp4")
    with pytest.raises(StudyError, match=f"holds the optimized clips of {small / '0.mp4'}"):
        optimize_tree(small / "1.mp4", tmp_path / "out.mp4", GOAL, 1)
    assert file_sha256(tmp_path / "out.mp4") == before
    (tmp_path / "folder.mp4").mkdir()  # is a folder, whatever its name
    optimize_tree(small / "1.mp4", tmp_path / "folder.mp4", GOAL, 1)
    assert (tmp_path / "folder.mp4" / "1.mp4").is_file()


def test_a_single_file_is_never_half_written(small, tmp_path):
    out = tmp_path / "new" / "out.mp4"
    process = subprocess.Popen(command(small / "0.mp4", out, "--target", 80),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state, deadline = out.with_name(".out.mp4.leanclips"), time.monotonic() + 60
    while not list(state.glob(".aside-*/**/try-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.5)
    assert list(state.glob(".aside-*")) and not out.exists()
    done = optimize_tree(small / "0.mp4", out, GOAL, 1)
    assert out.stat().st_size == done.bytes_out and not list(state.glob(".aside-*"))


@pytest.fixture(scope="module")
def named(tmp_path_factory, make_clip):
    """A set of two classes, optimized under its old names: source and result."""
    root = tmp_path_factory.mktemp("named")
    for seed, name in enumerate(("walk/a.avi", "walk/b.avi", "run/a.avi", "run/a.mp4")):
        make_clip(root / "in" / name, "mpeg4" if name.endswith("avi") else "h264", frames=24,
                  size=(128, 96), seed=seed)
    make_clip(root / "in" / "run" / "c.avi", "odd", frames=24)
    (root / "in" / "run" / "a.txt").write_text("a")
    optimize_tree(root / "in", root / "out", GOAL, 1)
    assert (root / "out" / "walk" / "b.mp4").is_file()
    optimize_tree(root / "in", root / "out", GOAL, 2, keep_names=True)
    return root / "in", root / "out"


def test_kept_names_are_those_of_the_source(named):
    source, out = named
    table = report(out)
    assert set(contents(out, ("report.csv", "report.json"))) == set(contents(source))
    assert list(table["delivered"]) == list(table.index)
    assert container(source / "walk" / "b.avi") == "avi"
    assert container(out / "walk" / "b.avi").startswith("mov,mp4")
    assert container(out / "run" / "c.avi") == "avi"  # an odd size: the original
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.avi")}
    optimize_tree(source, out, GOAL, 1, keep_names=True)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.avi")}


def test_every_reader_reads_clips_under_their_old_names(named):
    for file, row in report(named[1]).drop("run/a.txt").iterrows():
        path = named[1] / file
        assert inspect(path).frames == 24
        video, frames = cv2.VideoCapture(str(path)), 0
        while video.read()[0]:
            frames += 1
        assert frames == 24, file


def test_torchcodec_reads_clips_under_their_old_names(named):
    try:  # no test extra: it needs an FFmpeg of its own, and says so by a RuntimeError
        decoders = import_module("torchcodec.decoders")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no TorchCodec: {str(error).splitlines()[0]}")
    for path in named[1].rglob("*.avi"):
        assert len(list(decoders.VideoDecoder(path))) == 24


def test_torchvision_finds_a_set_by_its_annotation_list(named, tmp_path):
    """UCF101 knows no suffix but .avi. It reads frames only where torchvision has a reader."""
    import torch
    from torchvision.datasets import UCF101
    from torchvision.datasets.folder import find_classes, make_dataset

    (tmp_path / "trainlist01.txt").write_text("walk/a.avi 1\nrun/a.avi 2\nrun/c.avi 2\n")
    samples = make_dataset(str(named[1]), find_classes(named[1])[1], ("avi",))
    paths = [path for path, _ in samples]
    assert [label for _, label in samples] == [0, 0, 1, 1]
    found = UCF101(str(named[1]), str(tmp_path), frames_per_clip=8, step_between_clips=8,
                   _precomputed_metadata={
                       "video_paths": paths, "video_fps": [25.0] * len(paths),
                       "video_pts": [torch.arange(inspect(Path(path)).frames) for path in paths]})
    assert found.classes == ["run", "walk"] and len(found) == 3 * 3


def command(*arguments):
    return [sys.executable, "-m", "leanclips.cli", "optimize", *map(str, arguments)]


def test_a_file_where_a_folder_has_to_be_is_one_sentence(small, tmp_path):
    out = tmp_path / "out"
    (tmp_path / ".out.leanclips").write_text("")
    done = subprocess.run(command(small, out, "--target", 80), capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("leanclips: ")
    assert done.stderr.count("\n") == 1


def test_a_read_only_folder_is_one_sentence(small, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", out]  # root may write anywhere else
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a read-only file system cannot be mounted here")
    try:
        done = subprocess.run(command(small, out, "--target", 80), capture_output=True, text=True)
    finally:
        subprocess.run(["umount", out], check=True)
    assert done.returncode == 2 and done.stderr.startswith("leanclips: ")
    assert done.stderr.count("\n") == 1 and "Read-only file system" in done.stderr


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_rest_goes_on_later(small, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    size = sum(path.stat().st_size for path in small.iterdir()) // 2
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", out],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        done = subprocess.run(command(small, out, "--target", 90), capture_output=True, text=True)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert "disk is full" in last or "No space left" in last
        for path in out.rglob("*.mp4"):
            if ".aside" not in str(path.parent):
                assert inspect(path).codec == "h264"  # whole, or not there
        assert not list(out.rglob(".aside-*"))
        subprocess.run(["mount", "-o", "remount,size=100M", out], check=True)
        assert optimize_tree(small, out, Goal(90), 1).files == 3
    finally:
        subprocess.run(["umount", out], check=True)
    optimize_tree(small, tmp_path / "other", Goal(90), 1)


def test_a_stopped_run_leaves_no_report_of_the_one_before(small, tmp_path, monkeypatch):
    optimize_tree(small, tmp_path / "out", GOAL, 1)
    monkeypatch.setattr(module, "make_all", lambda *told: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        optimize_tree(small, tmp_path / "out", Goal(60), 1)
    assert set(contents(tmp_path / "out")) == {"0.mp4", "1.mp4", "2.mp4"}


def test_only_its_own_leavings_go(small, tmp_path):
    """A run into out/other is another run's business."""
    out = tmp_path / "out"
    (small / "gone").mkdir()
    (small / "gone" / "a.txt").write_text("a")
    optimize_tree(small, out, GOAL, 1)
    shutil.rmtree(small / "gone")
    folders = [out, tmp_path / ".out.leanclips" / "files", out / "gone", out / "other"]
    for folder in folders:
        (folder / ".aside-dead").mkdir(parents=True)
    optimize_tree(small, out, GOAL, 1)
    assert [(folder / ".aside-dead").exists() for folder in folders] == [False] * 3 + [True]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(small, tmp_path, how):
    optimize_tree(small, tmp_path / "whole", GOAL, 1)
    out = tmp_path / "out"
    process = subprocess.Popen(command(small, out, "--target", 80, "--jobs", 1),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    (os.killpg if how is signal.SIGINT else os.kill)(process.pid, how)
    error = process.communicate()[1].decode()
    assert how is signal.SIGKILL or ("what is finished is kept" in error
                                     and "Traceback" not in error)
    time.sleep(0.5)  # its worker ends with it
    for path in out.glob("*.mp4"):
        assert file_sha256(path) == file_sha256(tmp_path / "whole" / path.name)
    optimize_tree(small, out, GOAL, 2)
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob(".aside-*"))


class Shrinkage:
    """A stand-in for the drift of a network's features, which grows with the CRF too."""

    fingerprint = "share of the bytes that are gone"

    def __call__(self, source, made):
        return 1 - made.stat().st_size / source.stat().st_size


def test_drift_is_a_column_and_a_gate(small, tmp_path):
    optimize_tree(small, tmp_path / "free", GOAL, 1, drift=Shrinkage())
    free = report(tmp_path / "free")["drift"]
    assert (free > 0).all()
    gate = float(free.max()) * 0.9
    optimize_tree(small, tmp_path / "gated", Goal(80, drift=gate), 1, drift=Shrinkage())
    gated = report(tmp_path / "gated")["drift"].dropna()
    assert (gated <= gate).all() and len(gated)
    written = json.loads((tmp_path / "free" / "report.json").read_text())
    assert written["features"] == Shrinkage.fingerprint and "torch" in written["versions"]


def test_real_clips_of_another_codec_become_h264_with_their_times(tmp_path, jhmdb_clips):
    for clip in sorted(jhmdb_clips.glob("walk/*.avi"))[:3]:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copyfile(clip, tmp_path / "in" / clip.name)
    optimize_tree(tmp_path / "in", tmp_path / "out", Goal(90), 2)
    for name, row in report(tmp_path / "out").iterrows():
        made = inspect(tmp_path / "out" / row["delivered"])
        assert row["reason"] in ("optimized", "no-gain")
        if row["reason"] == "optimized":
            assert row["detail"] == "mpeg4 to h264" and row["delivered"].endswith(".mp4")
            assert broken(inspect(tmp_path / "in" / name), made, "h264") == []


# FFmpegs that lack something.

@pytest.mark.parametrize("missing, options, said", [
    ("libsvtav1", ["--codec", "av1"], "no libsvtav1; use another --codec, or set"),
    ("libx265", ["--codec", "hevc"], "no libx265; use another --codec, or set"),
    ("libx264", [], "no libx264; set IMAGEIO_FFMPEG_EXE"),
    ("libvmaf", [], "no libvmaf; use --metric ssim"),
    ("xpsnr", ["--metric", "xpsnr"], "no xpsnr; set IMAGEIO_FFMPEG_EXE")])
def test_a_missing_encoder_or_filter_is_one_sentence_before_any_work(
        small, tmp_path, ffmpeg_without, monkeypatch, capsys, missing, options, said):
    exe = ffmpeg_without(missing)
    monkeypatch.setattr(sys, "argv", command(small, tmp_path / "out", *options)[2:])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    assert end.value.code == 2 and shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith(f"leanclips: {exe}: this FFmpeg has {said}")
    assert not (tmp_path / "out").exists()


def test_an_ffmpeg_that_cannot_run_is_one_sentence(small, tmp_path, stand_in):
    exe = stand_in("exit 1")
    with pytest.raises(StudyError, match=f"{exe}: FFmpeg cannot run .*; reinstall imageio-ffmpeg"):
        optimize_tree(small, tmp_path / "out", GOAL, 1)
    assert not (tmp_path / "out").exists()


def test_what_is_not_needed_is_not_asked_for(small, tmp_path, ffmpeg_without):
    clip, others = small / "1.mp4", ("libopenh264", "libx265", "libsvtav1", "xpsnr")
    usual = optimize_tree(clip, tmp_path / "usual", GOAL, 1)
    ffmpeg_without(*others, "ssim")
    assert optimize_tree(clip, tmp_path / "out", GOAL, 1).bytes_out == usual.bytes_out
    ffmpeg_without(*others, "libvmaf")
    summary = optimize_tree(clip, tmp_path / "ssim", Goal(0.8, "ssim"), 1)
    assert summary.reasons.keys() <= {"optimized", "above-tolerance"}
    written = json.loads((tmp_path / "ssim" / "report.json").read_text())
    assert written["versions"]["filters"] == "ssim, psnr"


def test_a_clip_of_a_format_whose_encoder_is_missing_is_kept(small, tmp_path, ffmpeg,
                                                             ffmpeg_without):
    ffmpeg("-i", small / "1.mp4", "-c:v", "libx265", "-crf", 10, "-x265-params", "log-level=none",
           small / "new.mp4")
    ffmpeg_without("libx265")
    optimize_tree(small, tmp_path / "out", GOAL, 1)
    rows = report(tmp_path / "out")
    assert rows.loc["new.mp4", "reason"] == "unsupported"
    assert rows.loc["new.mp4", "detail"] == "this FFmpeg has no libx265"
    assert set(rows.drop("new.mp4")["reason"]) <= {"optimized", "above-tolerance"}


def test_the_ssim_of_another_filter_is_another_result(small, tmp_path, ffmpeg_without):
    made, goal = tmp_path / "out" / "1.mp4", Goal(0.8, "ssim")
    optimize_tree(small / "1.mp4", tmp_path / "out", goal, 1)
    before = made.stat().st_ctime_ns
    ffmpeg_without("libvmaf")
    optimize_tree(small / "1.mp4", tmp_path / "out", goal, 1)
    assert made.stat().st_ctime_ns != before


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "IPython", "jupyter_client", "papermill", "snakemake",
             "seaborn", "matplotlib", "sklearn", "scipy", "safetensors", "ipywidgets"):
    sys.modules[name] = None
from leanclips import cli
sys.argv[1:] = ["optimize", *sys.argv[1:]]
cli.main()
"""


def test_it_works_without_torch_jupyter_or_snakemake(small, tmp_path):
    run = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run([*run, small / "1.mp4", tmp_path / "out", "--target", "80"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "1 file (" in done.stdout, done.stderr
    done = subprocess.run([*run, small, tmp_path / "out", "--drift"], capture_output=True,
                          text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--drift: needs torch" in done.stderr


def test_a_clip_that_leanclips_itself_fails_on_ends_no_folder(tmp_path, make_clip, monkeypatch):
    made = [make_clip(tmp_path / "in" / name, frames=12, size=(128, 96)) for name in
            ("a.mp4", "b.mp4")]

    def fails(source, *of, **named):
        if source.name == "a.mp4":
            raise IndexError("list index out of range")
        return optimize(source, *of, **named)

    monkeypatch.setattr(batch, "optimize", fails)
    outcomes = [batch.make(batch.ClipJob(
        clip, tmp_path / "out" / clip.name, tmp_path / f"{clip.stem}.json",
        ("optimize", Goal(60), Encoding()), lenient=True)).outcome for clip in made]
    assert outcomes[0].reason == "unreadable" and outcomes[1].tries
    assert outcomes[0].detail == "leanclips fails on it (IndexError: list index out of range)"
    assert outcomes[0].path.read_bytes() == made[0].read_bytes()


@pytest.mark.parametrize("again", [False, True])
def test_clips_that_leanclips_made_are_encoded_again_on_request(small, monkeypatch, again):
    told = []

    def in_this_process(make, clip_jobs, jobs, what, learn, note):
        return map(make, clip_jobs)

    monkeypatch.setattr(batch, "optimize", lambda *of, **named: told.append(named) or optimize(
        *of, **named))
    monkeypatch.setattr(batch, "run_learning", in_this_process)
    optimize_tree(small, small.parent / "out", GOAL, 1, again=again)
    assert [named["again"] for named in told] == 3 * [again]
    told.clear()
    optimize_tree(small, small.parent / "out", GOAL, 1, again=again)
    assert told == []  # what is done is done


def test_most_videos_unreadable_is_told_and_exit_status_one(tmp_path, make_clip):
    for name in ("a.mp4", "b.mp4"):
        make_clip(tmp_path / "in" / name, "text")
    make_clip(tmp_path / "in" / "c.mp4", frames=12)
    command = [sys.executable, "-m", "leanclips.cli", "optimize", tmp_path / "in",
               tmp_path / "out", "--target", "60"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Most videos cannot be read: 2 of 3, see the report." in done.stderr
    assert len(report(tmp_path / "out")) == 3


def test_a_folder_takes_one_source_and_tells_what_is_left_of_old_files(small, tmp_path):
    out = tmp_path / "out"
    other = shutil.copytree(small, tmp_path / "other")
    optimize_tree(small, out, GOAL, 1)
    before = contents(out)
    with pytest.raises(StudyError, match=f"out: holds the optimized clips of {small}; name anoth"):
        optimize_tree(other, out, GOAL, 1)
    assert contents(out) == before
    (small / "0.mp4").rename(small / "new.mp4")
    done = optimize_tree(small, out, GOAL, 1)
    assert done.stale == (out / "0.mp4",)
    assert json.loads(done.report.with_suffix(".json").read_text())["not_of_this_source"] == [
        "0.mp4"]
    small.rename(tmp_path / "renamed")  # the source is the same one
    assert optimize_tree(tmp_path / "renamed", out, GOAL, 1).stale == (out / "0.mp4",)


def test_a_loader_of_class_folders_finds_the_classes_and_no_other(small, tmp_path):
    from torchvision.datasets import DatasetFolder

    for name in ("walk", "run"):
        shutil.copytree(small, tmp_path / "classes" / name)
    optimize_tree(tmp_path / "classes", tmp_path / "out", GOAL, 2)
    found = DatasetFolder(str(tmp_path / "out"), loader=Path, extensions=(".mp4",))
    assert found.classes == ["run", "walk"] and len(found) == 6
    assert inspect(found[0][0]).frames == 24


def test_what_a_playlist_names_stays_as_it_is(tmp_path, small, ffmpeg):
    """Segments came out as MP4, and the playlist that names them could not be played."""
    stream = tmp_path / "in" / "stream"
    stream.mkdir(parents=True)
    parts = ["-i", small / "0.mp4", "-c", "copy"]
    ffmpeg(*parts, "-f", "hls", "-hls_time", 1, "-hls_segment_filename",
           stream / "part %d.ts", stream / "list.m3u8")
    ffmpeg(*parts, "-f", "dash", "-seg_duration", 1, "-media_seg_name", "s-$Number$.mp4",
           "-init_seg_name", "init.mp4", stream / "list.mpd")
    shutil.copy(small / "1.mp4", stream)
    optimize_tree(tmp_path / "in", tmp_path / "out", GOAL, 1)
    assert contents(tmp_path / "in" / "stream").items() - {("1.mp4", file_sha256(
        small / "1.mp4"))} <= contents(tmp_path / "out" / "stream").items()
    reasons = report(tmp_path / "out")["reason"]
    assert reasons["stream/part 0.ts"] == reasons["stream/s-1.mp4"] == "in-playlist"
    assert reasons["stream/init.mp4"] == "in-playlist" != reasons["stream/1.mp4"]


def test_a_real_playlist_plays_afterwards(tmp_path, shared_cases):
    done = optimize_tree(shared_cases / "hls", tmp_path / "out", GOAL, 1)
    assert set(done.reasons) == {"in-playlist", "not-video"}
    assert contents(tmp_path / "out", ("report.csv", "report.json")) == contents(
        shared_cases / "hls")


@pytest.mark.parametrize("name, detail", [
    ("loop.gif", "a picture, which may be animated"),
    ("walk.webp", "a picture, which may be animated"),
    ("walk.H264", "a raw H.264 stream without a container"),
    ("walk.265", "a raw HEVC stream without a container"),
    ("walk.obu", "a raw AV1 stream without a container"),
    ("walk.m2v", "a raw MPEG stream without a container")])
def test_moving_pictures_that_are_copied_say_what_they_are(tmp_path, name, detail):
    source = tmp_path / "in" / name
    source.parent.mkdir()
    source.write_bytes(b"pictures")
    optimize_tree(source.parent, tmp_path / "out", GOAL, 1)
    row = report(tmp_path / "out").loc[name]
    assert (row["reason"], row["detail"]) == ("not-video", detail)
    assert (tmp_path / "out" / name).read_bytes() == b"pictures"
