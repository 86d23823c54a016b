"""A study that is stopped, changed or run twice ends in the numbers of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import nbformat
import psutil
import pytest
import yaml

from leanclips import notebook, pipeline
from leanclips.clips import load_clips
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.pipeline import remember_clips
from leanclips.records import RunResult, read_record
from leanclips.report import results
from leanclips.study import load_study
from leanclips.training.backbone import weights_file, weights_sha256
from leanclips.training.features import load_features
from leanclips.training.finetune import finetune
from leanclips.training.pretrain import MODEL

NUMBERS = ("clips/*/*.mp4", "clips/*/report.*", "clips/*.control.json", "features/**/*.csv",
           "features/**/*.json", "features/**/*.npy", "runs/**/*.json", "runs/**/*.csv",
           "runs/**/*.gz", "runs/**/*.safetensors")


def command(layout, *options):
    return [sys.executable, "-m", "leanclips.cli", "run", str(layout.study), *map(str, options)]


def run(layout, *options):
    """Run the study to its end, or up to `--until`."""
    return subprocess.run(command(layout, *options), capture_output=True, text=True)


@contextmanager
def started(layout, *options):
    """A run under way, in a process group of its own, ended in any case."""
    process = subprocess.Popen(command(layout, *options), start_new_session=True, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(condition, seconds=120):
    """Wait for `condition`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def numbers(layout):
    """The bytes of every clip, table and record, wherever the study lies."""
    place = str(layout.study.resolve()).encode()  # in the command of each run
    return {path.relative_to(layout.work).as_posix(): path.read_bytes().replace(place, b"STUDY")
            for pattern in NUMBERS for path in layout.work.glob(pattern)}


def differing(layout, reference):
    """Names of the files of `layout` that are not there, or not the same, in `reference`."""
    theirs = numbers(Layout(reference))
    return [name for name, content in numbers(layout).items() if theirs.get(name) != content]


def changes(layout):
    """When each record of the study last changed."""
    return {path.relative_to(layout.work).as_posix(): path.stat().st_mtime_ns
            for path in layout.work.rglob("*")
            if path.is_file() and not {".snakemake", "done", "run.lock"} & set(path.parts)}


def redone(before, after):
    """Top folders and names of what is new or changed: `runs/source`, `clips/optimized`."""
    return {"/".join(name.split("/")[:2]) for name in after if after[name] != before.get(name)}


def change(layout, **settings):
    """Edit study.yml; its keys are sorted, which must not matter."""
    text = yaml.safe_load(layout.settings.read_text())
    for name, value in settings.items():
        text[name].update(value)
    layout.settings.write_text(yaml.safe_dump(text))


def begun_crop(layout):
    return list(layout.clip("source", "x").parent.glob("*.json"))


def begun_optimize(layout):
    return list(layout.clip("optimized", "x").parent.glob("*.json"))


def begun_finetune(layout):
    return list(layout.run("optimized", 1).glob(".aside-*"))


STAGES = {"crop": begun_crop, "optimize": begun_optimize, "finetune": begun_finetune}


@pytest.fixture
def stage(request, finished_study):
    """A study without a stage: (layout, the stage, what it makes, whether it has begun)."""
    goal, made, redo = {
        "crop": ("crop", finished_study.report("source"), finished_study.work),
        "optimize": ("encode-optimized", finished_study.report("optimized"),
                     finished_study.report("optimized").parent),
        "finetune": ("finetune-optimized-1", finished_study.run("optimized", 1) / "result.json",
                     finished_study.run("optimized", 1)),
    }[request.param]
    note = finished_study.clips_root_note.read_text()
    shutil.rmtree(redo)
    finished_study.work.mkdir(exist_ok=True)
    finished_study.clips_root_note.write_text(note)
    return finished_study, goal, made, STAGES[request.param]


@pytest.mark.slow
@pytest.mark.parametrize("stage, blow", [
    ("crop", signal.SIGKILL), ("optimize", signal.SIGINT), ("finetune", signal.SIGKILL),
    ("finetune", signal.SIGINT)], indirect=["stage"])
def test_a_run_that_is_stopped_and_started_again_ends_in_the_same_numbers(
        stage, finished, blow):
    layout, goal, made, begun = stage
    with started(layout, "--until", goal) as process:
        until(lambda: begun(layout))
        os.killpg(process.pid, blow)
        _, err = process.communicate(timeout=60)
        assert not made.exists()
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert "leanclips: stopped; what is finished is kept." in err
        assert "Traceback" not in err
    done = run(layout, "--until", goal)
    assert done.returncode == 0, done.stderr
    assert made.exists() and not differing(layout, finished)


@pytest.mark.slow
def test_a_run_whose_children_live_on_when_it_is_killed_can_be_started_again(
        finished_study, finished):
    layout, goal = finished_study, "encode-optimized"
    shutil.rmtree(layout.report("optimized").parent)
    with started(layout, "--until", goal) as process:
        until(lambda: begun_optimize(layout))
        process.kill()
        process.wait()
        done = run(layout, "--until", goal)
        assert done.returncode == 0, done.stderr
    assert layout.report("optimized").exists() and not differing(layout, finished)
    assert not list(layout.work.glob("clips/**/.aside-*"))


@pytest.mark.slow
def test_a_run_that_is_ended_ends_what_it_started(tiny_study):
    with started(tiny_study, "--until", "crop") as process:
        until(lambda: begun_crop(tiny_study))
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
        gone, alive = psutil.wait_procs(children, timeout=20)
        assert len(gone) >= 2 and not alive
    assert run(tiny_study, "--until", "crop").returncode == 0


def test_a_stage_that_is_not_there_is_told(tiny_study):
    done = run(tiny_study, "--until", "crob")
    assert done.returncode == 2
    assert done.stderr.startswith("leanclips: --until: there is no stage 'crob'; use one of crop, ")


@pytest.mark.slow
def test_of_two_runs_at_once_the_second_gives_way(tiny_study):
    with started(tiny_study, "--until", "crop") as first:
        until(lambda: begun_crop(tiny_study))
        os.killpg(first.pid, signal.SIGSTOP)  # else it may be through before the second begins
        second = run(tiny_study)
        os.killpg(first.pid, signal.SIGCONT)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == (
            f"leanclips: {tiny_study.study}: another run is under way here (process "
            f"{first.pid}); wait for it, or stop it.\n")
        assert first.wait() == 0
    assert tiny_study.report("source").exists()


@pytest.fixture(scope="module")
def alone(tmp_path_factory, finished):
    """A study run to its end by two workers; tests change it and bring it up to date.

    They are one group (pytest's --dist loadgroup), so that one process of tests makes it.
    """
    study = tmp_path_factory.mktemp("alone") / "tiny"
    study.mkdir()
    for name in ("study.yml", "clips.csv"):
        shutil.copy(finished / name, study)
    layout = Layout(study)
    layout.settings.write_text(layout.settings.read_text().replace("seeds: [1, 2]", "seeds: [1]"))
    clips = Layout(finished).clips_root_note.read_text().strip()
    done = run(layout, "--jobs", 2, "--clips", clips)
    assert done.returncode == 0, done.stderr
    return layout


@pytest.mark.xdist_group("alone")
@pytest.mark.slow
def test_one_worker_and_two_give_the_same_numbers(alone, finished):
    theirs = [name for name in numbers(Layout(finished)) if "seed-02" not in name]
    assert sorted(numbers(alone)) == sorted(theirs) and not differing(alone, finished)


@pytest.mark.xdist_group("alone")
@pytest.mark.slow
def test_a_second_run_does_nothing(alone):
    before = changes(alone)
    assert run(alone).returncode == 0
    assert changes(alone) == before


@pytest.mark.xdist_group("alone")
@pytest.mark.slow
def test_a_new_seed_trains_its_own_runs_alone(alone):
    before = changes(alone)
    change(alone, finetuning={"seeds": [1, 7]})
    assert run(alone).returncode == 0
    after = changes(alone)
    new = {name for name in after if after[name] != before.get(name)}
    assert {name for name in new if "seed-07" not in name and not name.startswith("times/")} == (
        set())
    assert all((alone.run(variant, 7) / "result.json").exists()
               for variant in ("source", "optimized", "constant"))


@pytest.mark.slow
def test_a_copied_study_with_other_settings_is_done_again_where_they_count(
        finished_study, finished, tmp_path):
    """A finished study was copied, its target and epochs changed, and the run redid nothing."""
    layout = Layout(shutil.copytree(finished_study.study, tmp_path / "copied",
                                    copy_function=shutil.copyfile))  # without times
    before = changes(layout)
    change(layout, variants={"optimized": {"target": 70}}, finetuning={"epochs": 1, "seeds": [1]})
    with pytest.raises(StudyError, match="report.json: was made from something else than the study "
                                         "is now: target was 80.0 and is 70.0; run the study"):
        results.load(layout)
    done = run(layout)
    assert done.returncode == 0, done.stderr
    after = redone(before, changes(layout))
    assert {name for name in after if not name.startswith(("times/", "features/"))} == {
        "clips/optimized", "clips/constant", "clips/constant.control.json", "clips/originals",
        "runs/source", "runs/optimized", "runs/constant"}
    index = "features/efficientnet-lite0/source.csv"
    assert changes(layout)[index] == before[index]
    results.load(layout)
    for variant in ("source", "optimized", "constant"):
        made = read_record(layout.run(variant, 1) / "result.json", RunResult)
        assert made.origin.settings["epochs"] == 1 and made.classifiers["crnn"][0].last.epoch == 1


@pytest.mark.slow
def test_a_moved_study_has_nothing_to_do(finished_study, tmp_path):
    layout = Layout(finished_study.study.rename(tmp_path / "moved"))
    before = changes(layout)
    assert run(layout).returncode == 0
    assert changes(layout) == before


STALE = {  # what was changed: the stages that do not match any more
    "title: Other": set(),
    "about: Other": set(),
    "margin: 0.4": set(),
    "primary: {classifier: crnn}": set(),
    "finetuning.epochs: 3": {"finetune"},
    "finetuning.learning_rate: 0.01": {"finetune"},
    "finetuning.batch_size: 2": {"finetune"},
    "classifiers: [linear]": {"finetune"},
    "inputs: []": {"finetune-source"},
    "protocol: {kind: cross-validation, folds: 3}": {"finetune"},
    "network.decoder: [4]": {"pretrain", "finetune"},
    "pretraining.epochs: 3": {"pretrain"},
    "sampling.frames: 5": {"features", "pretrain", "finetune"},
    "backbone.precision: fp32": {"features", "pretrain", "finetune"},
    "variants.optimized: {target: 70}": {"encode-optimized", "encode-originals"},
}


def stale(current):
    """The names of the stages that are not up to date."""
    return {name for name, done in current.items() if not done}


@pytest.mark.parametrize("setting", STALE)
def test_a_changed_setting_makes_stale_what_uses_it(finished_study, setting):
    """Later stages that use another content follow when that has been made."""
    layout = finished_study
    path, value = setting.split(": ", 1)
    text = yaml.safe_load(layout.settings.read_text())
    *folders, name = path.split(".")
    place = text
    for folder in folders:
        place = place[folder]
    place[name] = yaml.safe_load(value)
    layout.settings.write_text(yaml.safe_dump(text))
    study = load_study(layout.study)
    current = pipeline.mark_done(layout, study, load_clips(layout, study))
    assert stale(current) == {name for name in current if name.startswith(tuple(STALE[setting]))}
    assert {path.name for path in layout.done("").iterdir()} == set(current) - stale(current)


def test_weights_replaced_under_the_same_name_make_the_features_stale(finished_study):
    layout = finished_study
    study = load_study(layout.study)
    weights = layout.study / "weights.pth"
    shutil.copy(weights_file(study.backbone), weights)
    change(layout, backbone={"weights": "weights.pth"})
    study = load_study(layout.study)
    clips = load_clips(layout, study)
    assert not stale(pipeline.mark_done(layout, study, clips))  # the content counts, not the name
    weights.write_bytes(weights.read_bytes() + b"other")
    weights_sha256.cache_clear()  # as in another process
    assert stale(pipeline.mark_done(layout, study, clips)) == {
        "features-source", "features-optimized", "features-constant"}


def test_a_replaced_clip_is_noticed(finished_study):
    study = load_study(finished_study.study)
    clips = load_clips(finished_study, study)
    first, second = [clip.id for clip in clips if clip.role == "target"][:2]
    shutil.copy(finished_study.clip("optimized", first), finished_study.clip("optimized", second))
    assert stale(pipeline.mark_done(finished_study, study, clips)) == {"encode-optimized"}


@pytest.mark.xdist_group("alone")
@pytest.mark.slow
def test_a_notebook_never_trains_on_what_was_made_with_other_settings(alone):
    change(alone, finetuning={"seeds": [1]})
    layout, study, clips = notebook.open_study(str(alone.study))
    index, pretrained = layout.feature_index(study.backbone.name, "source"), layout.pretrain / MODEL
    before = changes(alone)
    notebook.prepare_run(layout, study, clips, "source", 1)
    assert changes(alone) == before
    keys, weights = index.read_bytes(), pretrained.read_bytes()
    change(alone, sampling={"frames": 5})
    layout, study, clips = notebook.open_study(str(alone.study))
    with pytest.raises(StudyError, match="sampling.frames was 4 and is 5"):
        finetune(layout, study, clips, "source", 1)
    notebook.prepare_run(layout, study, clips, "source", 1)
    assert index.read_bytes() != keys and pretrained.read_bytes() != weights
    assert load_features(layout, study, clips, "source", clips).values.shape[1] == 5


@pytest.mark.slow
def test_a_notebook_that_fails_stays_to_be_read_and_is_redone_alone(finished_study, finished):
    """Its features are damaged: the run stops, and goes on once they are mended."""
    layout, folder = finished_study, finished_study.run("optimized", 1)
    index = layout.feature_index("efficientnet-lite0", "optimized")
    good = index.read_text()
    key = good.split("a-001,")[1].split(",")[0]
    damaged = layout.feature("efficientnet-lite0", key)
    kept = damaged.read_bytes()
    damaged.write_bytes(kept[:50])
    shutil.rmtree(folder)
    done = run(layout, "--until", "finetune-optimized-1")
    failed = folder / "run.failed.ipynb"
    assert done.returncode == 2 and str(failed) in done.stderr
    assert "some features are missing or damaged" in done.stderr
    page = nbformat.read(failed, as_version=4)
    assert any(output.output_type == "error" for cell in page.cells
               for output in cell.get("outputs", []))
    assert not (folder / "result.json").exists() and not list(folder.glob(".aside-*"))
    damaged.write_bytes(kept)
    before = changes(layout)
    assert run(layout, "--until", "finetune-optimized-1").returncode == 0
    assert redone(before, changes(layout)) - {"times/finetune"} == {"runs/optimized"}
    assert not failed.exists() and not differing(layout, finished)


@pytest.mark.slow
def test_a_bad_clip_is_named_and_the_run_goes_on_once_it_is_mended(tiny_study, finished):
    clip = tiny_study.study.parent / "clips" / "b" / "tape2_1.mp4"
    good = clip.read_bytes()
    clip.write_bytes(b"")
    done = run(tiny_study, "--until", "crop")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"leanclips: {clip}: the clip is empty (0 bytes); replace it" in done.stderr
    clip.write_bytes(good)
    assert run(tiny_study, "--until", "crop").returncode == 0
    assert not differing(tiny_study, finished)


@pytest.mark.slow
def test_a_variant_s_name_may_begin_like_that_of_another_stage(tiny_study):
    settings = yaml.safe_load(tiny_study.settings.read_text())
    settings["variants"]["source-x"] = {"target": 70}
    tiny_study.settings.write_text(yaml.safe_dump(settings))
    done = run(tiny_study, "--until", "encode-source-x")
    assert done.returncode == 0, done.stderr
    assert tiny_study.report("source-x").exists()


@pytest.mark.slow
def test_a_study_may_lie_in_a_folder_of_any_name(tiny_study):
    layout = Layout(tiny_study.study.rename(tiny_study.study.with_name("my #4: study")))
    done = run(layout, "--until", "crop")
    assert done.returncode == 0, done.stderr
    assert layout.report("source").exists()


def test_a_folder_that_snakemake_would_take_for_a_pattern_is_refused(tiny_study):
    layout = Layout(tiny_study.study.rename(tiny_study.study.with_name("my {study}")))
    with pytest.raises(StudyError, match="my {study}: the path holds a brace"):
        pipeline.run(layout)


def test_where_the_clips_lie_is_remembered(tmp_path):
    layout = Layout(tmp_path / "study")
    remember_clips(layout, tmp_path)
    remember_clips(layout, None)
    assert layout.clips_root_note.read_text().strip() == str(tmp_path)
    with pytest.raises(StudyError, match="nowhere: there is no such folder"):
        remember_clips(layout, tmp_path / "nowhere")
