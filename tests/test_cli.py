"""Each mistake of a user is reported in one sentence with what to do; the exit status is 2."""

import errno
import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from leanclips import cli
from leanclips.clips import load_clips
from leanclips.records import read_csv
from leanclips.study import load_study

VERBS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]


@pytest.fixture
def leanclips(monkeypatch, capfd):
    """Run a verb in this process: (exit status, stdout, stderr)."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["leanclips", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capfd.readouterr()

    return run


def is_one_sentence(err, *parts):
    """Whether stderr, without progress, is one sentence of ours with these parts in it."""
    lines = [line for line in err.splitlines() if not re.match(r".*: \d+/\d+ ", line)]
    return (len(lines) == 1 and lines[0].startswith("leanclips: ") and lines[0].endswith(".")
            and all(part in lines[0] for part in parts))


def unlisted(study):
    """The study's table without frames and hashes: what a person writes by hand."""
    rows = study.table.read_text().splitlines()
    study.table.write_text("\n".join(
        [rows[0], *(re.sub(r",6,[0-9a-f]{64},", ",,,", row) for row in rows[1:])]) + "\n")


@pytest.mark.parametrize("kind, problem", [
    ("empty", "the clip is empty (0 bytes)"), ("one_frame", "has one frame only"),
    ("text", "cannot be read"), ("truncated", "the clip "), (None, "is missing")])
@pytest.mark.parametrize("verb", ["crop", "check"])
def test_a_clip_that_cannot_be_used_is_named(tiny_study, make_clip, leanclips, verb, kind,
                                             problem):
    unlisted(tiny_study)
    path = tiny_study.study.parent / "clips" / "a" / "tape1_0.mp4"
    path.unlink()
    if kind:
        make_clip(path, kind, size=(96, 80))
    code, out, err = leanclips(verb, tiny_study.study)
    assert code == 2
    if verb == "check":
        assert f"Problem: {path}: " in out and problem in out and "1 problem(s)" in out
    else:
        assert is_one_sentence(err, str(path), problem, "; ")
    assert not tiny_study.report("source").exists()


def test_a_clip_that_changed_is_named(tiny_study, make_clip, leanclips):
    path = tiny_study.study.parent / "clips" / "a" / "tape1_0.mp4"
    make_clip(path, "flipped", frames=6, size=(96, 80))
    code, _, err = leanclips("crop", tiny_study.study)
    assert code == 2 and is_one_sentence(err, str(path), "SHA-256 differs", "get the original")


@pytest.mark.slow
def test_clips_of_another_size_and_rate_work_side_by_side(tiny_study, make_clip, leanclips):
    unlisted(tiny_study)
    folder = tiny_study.study.parent / "clips" / "a"
    make_clip(folder / "tape0_0.mp4", frames=9, size=(64, 100), fps=12)
    make_clip(folder / "tape0_1.mp4", "vfr", frames=8, size=(70, 50), fps=30)
    assert leanclips("crop", tiny_study.study)[0] == 0
    assert leanclips("encode", tiny_study.study, "optimized")[0] == 0
    report = read_csv(tiny_study.report("optimized")).set_index("clip")
    assert list(report.loc[["a-001", "a-002", "a-003"], "width"]) == [64, 50, 80]
    assert list(report.loc[["a-001", "a-002", "a-003"], "frames"]) == [9, 8, 6]
    code, out, _ = leanclips("check", tiny_study.study)
    assert code == 0 and "another size" in out and "another frame rate" in out


def test_a_class_with_too_few_groups_is_named(tiny_study, leanclips):
    text = tiny_study.table.read_text()
    tiny_study.table.write_text(re.sub(r"a/tape[0-9](?=,(target|heldout))",
                                       lambda m: f"a/{m[1]}", text))
    for verb in (["crop"], ["run"], ["features", "source"]):
        code, _, err = leanclips(verb[0], tiny_study.study, *verb[1:])
        assert code == 2 and is_one_sentence(err, "clips.csv", "the target class 'a' has one "
                                             "group only", "at least two recordings")


@pytest.mark.parametrize("text, parts", [
    ("title: A\nvarients: {}\n", ["varients", "there is no such setting"]),
    ("title: A\nfinetuning: {seeds: [1, 1]}\n", ["finetuning.seeds", "each one once"]),
    ("title: A\nvariants: {small: {target: 101}}\n",
     ["variants.small", "less than or equal to 99.9"]),
    ("title: A\nvariants: {../x: {target: 90}}\n", ["variant name '../x'"]),
    ("title: A\nvariants: {c: {bytes_of: none}}\n", ["must name an optimized variant"]),
    ("title: [\n", ["is not readable YAML"]),
    ("title: !!python/object/apply:os.system ['touch ran']\n", ["is not readable YAML"]),
    ("title: A\nvariants: {}\n", ["variants must hold at least one with a target"]),
    ("", ["study"]), ("just text", ["study"]), (None, ["there is no such study"]),
])
@pytest.mark.parametrize("verb", ["run", "check", "crop"])
def test_a_bad_study_yml_is_named_with_the_setting(tmp_path, leanclips, verb, text, parts):
    settings = tmp_path / "study.yml"
    if text is not None:
        settings.write_text(text)
    code, out, err = leanclips(verb, tmp_path)
    assert code == 2 and out == ""
    assert is_one_sentence(err, str(settings), *parts, "; ")


@pytest.mark.parametrize("old, new, problem", [
    ("a-001,a/tape0_0.mp4", "a-001,../x.mp4", "leaves the clips folder"),
    ("a-001,a/tape0_0.mp4", "a-001,/etc/x.mp4", "leaves the clips folder"),
    ("a-001,", "../../a,", "is not a plain name"), ("a-001,", "/tmp/a,", "is not a plain name"),
    ("a-001,", "a-002,", "names the id 'a-002' 2 times")])
def test_a_table_that_points_elsewhere_is_refused(tiny_study, leanclips, old, new, problem):
    tiny_study.table.write_text(tiny_study.table.read_text().replace(old, new, 1))
    before = sorted(tiny_study.study.parent.rglob("*"))
    for verb in ("run", "crop"):
        code, _, err = leanclips(verb, tiny_study.study)
        assert code == 2 and is_one_sentence(err, "clips.csv", problem)
    assert sorted(tiny_study.study.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", [["encode", "vendor"], ["features", "vendor"],
                                  ["finetune", "--variant", "vendor", "--seed", "1"]])
def test_an_unknown_variant_is_reported_with_the_known_ones(tiny_study, leanclips, verb):
    code, _, err = leanclips(verb[0], tiny_study.study, *verb[1:])
    assert code == 2 and is_one_sentence(err, "there is no variant 'vendor'", "study.yml",
                                         "use one of", "optimized, constant")


@pytest.mark.parametrize("arguments, parts", [
    (["render"], ["the study is not synthetic", "--clips"]),
    (["features", "source"], ["report.csv", "is not there yet", "run the study first"]),
    (["pretrain"], ["source.csv", "is not there yet", "run the study first"]),
    (["encode", "constant"], ["a-001.mp4", "is missing", "run the study again"]),
    (["encode", "optimized"], ["a-001.mp4", "is missing", "run the study again"]),
])
def test_a_stage_whose_input_is_missing_says_so(tiny_study, leanclips, arguments, parts):
    code, _, err = leanclips(arguments[0], tiny_study.study, *arguments[1:])
    assert code == 2 and is_one_sentence(err, *parts)


def test_a_pretraining_that_leaks_is_told_before_it_runs(tiny_study, leanclips):
    text = tiny_study.settings.read_text()
    for split, leaks in (("random", True), ("group", False)):
        tiny_study.settings.write_text(text.replace("pretraining: {",
                                                    f"pretraining: {{split: {split}, "))
        assert ("leaks recordings" in leanclips("check", tiny_study.study)[1]) == leaks


def test_a_clips_folder_that_is_not_there_is_named(tiny_study, leanclips):
    for verb in ("run", "check"):
        code, _, err = leanclips(verb, tiny_study.study, "--clips", "/nowhere")
        assert code == 2 and is_one_sentence(err, "/nowhere", "folder")


def test_a_file_that_may_not_be_read_is_named(tiny_study, leanclips):
    tiny_study.table.unlink()
    tiny_study.table.mkdir()
    code, _, err = leanclips("crop", tiny_study.study)
    assert code == 2 and is_one_sentence(err, str(tiny_study.table))


@pytest.mark.parametrize("arguments", [["run", "nowhere"], ["crop", "nowhere"]])
def test_the_installed_command_ends_with_status_two_and_one_sentence(tmp_path, arguments):
    done = subprocess.run([sys.executable, "-m", "leanclips.cli", *arguments], cwd=tmp_path,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("leanclips: nowhere/study.yml: there is no such study; name a folder "
                           "with a study.yml, or make one with 'leanclips new'.\n")


def test_ctrl_c_is_no_traceback(tmp_path, leanclips, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("leanclips.study.load_study", interrupted)
    code, out, err = leanclips("crop", tmp_path)
    assert (code, out) == (130, "")
    assert err == "leanclips: stopped; what is finished is kept.\n"


def test_the_help_lists_every_verb():
    out = CliRunner().invoke(cli.app, ["--help"]).output
    assert len(VERBS) >= 13 and all(re.search(rf"\b{verb}\b", out) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example(verb):
    done = CliRunner().invoke(cli.app, [verb, "--help"])
    assert done.exit_code == 0
    assert re.search(rf"Example: leanclips {verb}\b", done.output)


def test_a_study_can_be_opened_by_a_relative_path(tiny_study, leanclips, monkeypatch):
    monkeypatch.chdir(tiny_study.study.parent)
    assert leanclips("crop", "tiny", "--jobs", 2)[0] == 0
    assert len(read_csv(tiny_study.report("source"))) == len(
        load_clips(tiny_study, load_study(tiny_study.study)))


@pytest.fixture
def optimized(tmp_path, ffmpeg, leanclips):
    """Optimize one small clip with these options: its row of the report, and report.json."""
    (tmp_path / "in").mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 20, "-c:v",
           "libx264", "-crf", 3, "-pix_fmt", "yuv420p", tmp_path / "in" / "clip.mp4")

    def run(*options):
        code, out, _ = leanclips("optimize", tmp_path / "in", tmp_path / "out", "--jobs", 1,
                                 *options)
        assert code == 0 and "1 file (1 " in out
        return (read_csv(tmp_path / "out" / "report.csv").iloc[0],
                json.loads((tmp_path / "out" / "report.json").read_text()))

    return run


@pytest.mark.parametrize("metric, target", [("ssim", 0.98), ("xpsnr", 40)])
def test_another_metric_has_a_target_of_its_own(optimized, metric, target):
    row, whole = optimized("--metric", metric)
    assert (whole["goal"]["metric"], whole["goal"]["target"]) == (metric, target)
    assert row["quality"] >= target


def test_a_display_height_makes_the_goal_another_one(optimized):
    own, _ = optimized("--target", 60)
    shown, whole = optimized("--target", 60, "--display-height", 240)
    assert whole["goal"]["height"] == 240 and shown["bytes_out"] > own["bytes_out"]


def test_the_largest_drift_is_a_gate(optimized):
    row, whole = optimized("--target", 60, "--max-drift", 0.05)
    assert whole["goal"]["drift"] == 0.05 and row["drift"] <= 0.05
    assert "efficientnet-lite2" in whole["features"]


def test_json_is_a_line_for_each_event_and_all_text_is_elsewhere(tmp_path, make_clip, leanclips):
    make_clip(tmp_path / "in" / "walk" / "clip.mp4", frames=24, size=(128, 96))
    (tmp_path / "in" / "notes.txt").write_text("a")
    for _ in range(2):  # what is known from before has its events too
        code, out, err = leanclips("optimize", tmp_path / "in", tmp_path / "out", "--target", 80,
                                   "--json")
        events = [json.loads(line) for line in out.splitlines()]
        kinds = [event["event"] for event in events]
        assert code == 0 and "2 files (" in err and "saved" in err
        assert kinds[:2] == ["file", "file"] and kinds[-1] == "summary"
        assert {event["file"]: event["bytes"] for event in events[:2]} == {
            name: (tmp_path / "in" / name).stat().st_size for name in ("notes.txt",
                                                                       "walk/clip.mp4")}
        results = {event["file"]: event for event in events if event["event"] == "result"}
        clip, probes = results["walk/clip.mp4"], [event for event in events
                                                  if event["event"] == "probe"]
        assert clip["encodes"] == len(probes) == kinds.count("probe") > 0
        assert clip["bytes_out"] in [probe["bytes"] for probe in probes]
        assert all(set(probe) == {"event", "file", "crfs", "bytes", "quality"} and
                   probe["file"] == "walk/clip.mp4" for probe in probes)
        assert results["notes.txt"]["reason"] == "not-video"
        assert events[-1]["files"] == 2 and events[-1]["report"] == str(
            tmp_path / "out" / "report.csv")
        assert events[-1]["bytes_out"] == sum(row["bytes_out"] for row in results.values())


@pytest.mark.parametrize("options, said", [
    (["--metric", "psnr"], "there is no 'psnr'"), (["--codec", "vp9"], "there is no 'vp9'"),
    (["--target", 101], "not on the scale of vmaf"),
    (["--target", 99.95], "use a value above 0, at most 99.9"),
    (["--metric", "xpsnr", "--target", 60], "not on the scale of xpsnr"),
    (["--metric", "ssim", "--target", 93], "not on the scale of ssim")])
def test_an_option_out_of_range_is_named(tmp_path, make_clip, leanclips, options, said):
    make_clip(tmp_path / "in" / "clip.mp4")
    code, _, err = leanclips("optimize", tmp_path / "in", tmp_path / "out", *options)
    assert code == 2 and is_one_sentence(err, said) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("error, said", [
    (ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
     "the package 'torch' is not installed; install leanclips[study]."),
    (ImportError("libGL.so.1: cannot open shared object file"),
     "a package cannot be loaded (libGL.so.1: cannot open shared object file); install "
     "opencv-python-headless instead of opencv-python."),
    (OSError(errno.ENOSPC, "No space left on device", "/a"),
     "/a: No space left on device; free some space there."),
    (PermissionError(errno.EACCES, "Permission denied", "/a"),
     "/a: Permission denied; check the permissions there."),
    (OSError(errno.EIO, "Input/output error", "/a"), "/a: Input/output error."),
    (OSError("cannot seek"), "the system: cannot seek."),
    (BrokenPipeError(), "the system: BrokenPipeError.")])
def test_an_error_of_the_system_is_one_sentence(leanclips, monkeypatch, error, said):
    def refuse():
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    assert leanclips("render") == (2, "", f"leanclips: {said}\n")
