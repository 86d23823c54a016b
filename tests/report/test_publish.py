"""What is published is numbers and notebooks: no clip, no weights, no time of day."""

import gzip
import os
import subprocess
import sys
from runpy import run_path

import nbformat
import numpy as np
import pandas as pd
import pytest

from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout
from leanclips.records import RunResult, read_csv, read_record, read_runs, write_record
from leanclips.report.display import Figure
from leanclips.report.results import load

SCRIPT = ROOT / "data" / "publish.py"
publish = run_path(str(SCRIPT))["publish"]
NOT_FOR_OTHERS = ("clips/source/a.mp4", "clips/source/a.json", "clips-root.txt", "run.lock",
                  "runs/pretrain/model.safetensors", "runs/source/seed-01/model.safetensors",
                  "features/efficientnet-lite2/cache/ab/ab.npy", "done/crop",
                  "features/another-backbone/optimized.csv",
                  "runs/source/seed-09/result.json", "runs/left-over/seed-01/result.json")
SELDOM = ("clips/constant.control.json", "features/efficientnet-lite2/source.csv",
          "features/efficientnet-lite2/source.json", "machine.json")


@pytest.fixture
def study(make_records) -> Layout:
    """A finished study on this machine, with all that lies around in `work`."""
    layout = make_records()
    for path in layout.work.glob("runs/*/seed-*/result.json"):
        run = read_record(path, RunResult)
        write_record(path, run.model_copy(update={
            "command": f"papermill finetune.ipynb -p study {layout.study} -p seed {run.seed}"}))
        notebook = nbformat.read(path.with_name("run.ipynb"), as_version=4)
        notebook.metadata["papermill"] = {"start_time": "2026-11-25T13:50:19", "output_path": "/x"}
        notebook.cells[1].metadata["papermill"] = {"duration": 3.2}
        notebook.cells[1].metadata["execution"] = {"iopub.execute_input": "2026-11-25T13:50:19"}
        notebook.cells[1].source = f'study = "{layout.study}"'
        nbformat.write(notebook, path.with_name("run.ipynb"))
    for name in (*NOT_FOR_OTHERS, *SELDOM):
        (layout.work / name).parent.mkdir(parents=True, exist_ok=True)
        (layout.work / name).write_text("{}" if name.endswith(".json") else "clip,drift\n")
    (layout.work / "clips-root.txt").write_text(f"{layout.study.parent}/clips\n")
    return layout


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take seconds."""
    monkeypatch.setattr(Figure, "write", lambda figure, folder: None)


@pytest.fixture
def published(study, undrawn):
    publish(study)
    return study.published


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_every_record_is_there_as_it_was(study, published):
    names = set(files(published))
    runs = ["runs/records.jsonl.gz", "runs/histories.csv.gz", "runs/answers.npz",
            *(f"runs/{variant}.ipynb.gz" for variant in ("source", "optimized", "constant"))]
    reports = [f"clips/{variant}/report.{suffix}" for suffix in ("csv.gz", "json")
               for variant in ("source", "optimized", "constant", "originals")]
    seldom = [f"{name}.gz" if name.endswith(".csv") else name for name in SELDOM]
    assert names == {*runs, *reports, *seldom, "study.yml", "clips.csv",
                     "runs/pretrain/result.json", "runs/pretrain/history.csv",
                     "times/finetune/source-1.tsv"}
    for name in names - set(runs):
        folder = study.study if name in ("study.yml", "clips.csv") else study.work
        content = (published / name).read_bytes()
        shown = gzip.decompress(content) if name.endswith(".gz") else content
        assert shown == (folder / name.removesuffix(".gz")).read_bytes().replace(
            str(study.study).encode(), b"data/tiny")
    assert publish(study) == len(names)


def test_numpy_alone_reads_the_answers(study, published):
    """As the docstring of `write_runs` describes them."""
    with np.load(published / "runs" / "answers.npz") as file:
        answers, places, clips, seeds, classes = (file[name] for name in (
            "answers", "places", "clips", "seeds", "classes"))
    assert answers.shape == (len(clips), len(places), len(seeds))
    for number, place in enumerate(places):
        classifier, trained, tested, epoch, seen = place
        for column, seed in enumerate(seeds):
            table = read_csv(study.run(trained, seed) / "predictions.csv.gz").query(
                "part == 'test' and classifier == @classifier and tested_on == @tested "
                "and epoch == @epoch and input == @seen").set_index("clip")
            assert list(table["predicted"][clips]) == list(classes[answers[:, number, column]])


@pytest.mark.parametrize("name, content, said", [
    ("answers.npz", b"PK", "is not a readable table of answers"),
    ("records.jsonl.gz", b"{}", "holds no records of this version"),
    ("histories.csv.gz", b"", "is not a readable table")])
def test_a_broken_published_file_is_named(study, published, name, content, said):
    (published / "runs" / name).write_bytes(content)
    with pytest.raises(StudyError, match=f"{name}: {said}"):
        load(Layout(study.study, "published"))


def test_answers_of_another_study_are_refused(study, published):
    settings = published / "study.yml"
    settings.write_text(settings.read_text().replace("  - 2\n", ""))
    with pytest.raises(StudyError, match="answers.npz: holds other answers than the study has"):
        load(Layout(study.study, "published"))


def test_the_readmes_figure_is_there_in_both_themes(study):
    publish(study)
    assert {"frontier-light.svg", "frontier-dark.svg", "frontier.csv"} <= set(files(study.published))


def test_later_edits_of_a_study_do_not_change_what_was_published(study, published):
    before = load(Layout(study.study, "published"))
    study.settings.write_text("title: Another\nvariants: {small: {target: 60}}\n")
    study.table.write_text("id\n")
    after = load(Layout(study.study, "published"))
    assert after.study == before.study and after.clips == before.clips


def test_no_path_of_this_machine_is_there(study, published):
    for name, content in files(published).items():
        assert str(study.study.parent).encode() not in content, name
        if name.endswith(".gz"):
            assert str(study.study.parent).encode() not in gzip.decompress(content), name
    for run in read_runs(published / "runs" / "records.jsonl.gz").values():
        assert "-p study data/tiny " in run.command


def test_notebooks_come_without_times_and_progress(published):
    for path in published.rglob("*.ipynb.gz"):
        text = gzip.decompress(path.read_bytes()).decode()
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert "2026" not in text
        assert "papermill" not in notebook.metadata
        assert notebook.cells[1].source == 'study = "data/tiny"'
        assert all(not cell.metadata for cell in notebook.cells)
        assert [output.get("name") for output in notebook.cells[1].outputs] == ["stdout",
                                                                               None]


def test_publishing_again_takes_the_place_of_what_was_there(study, published):
    (published / "old.csv").write_text("old")
    publish(study)
    assert "old.csv" not in files(published)
    assert not list(study.study.glob(".aside-*"))


def test_records_that_cannot_be_replaced_stay(study, published, monkeypatch):
    before = files(published)

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError):
        publish(study)
    assert files(published) == before


def test_an_unfinished_study_is_not_published(study):
    (study.run("optimized", 2) / "predictions.csv.gz").unlink()
    with pytest.raises(StudyError, match="is not there yet"):
        publish(study)
    assert not study.published.exists()


def test_the_script_tells_what_is_missing_in_one_sentence(tiny_study):
    done = subprocess.run([sys.executable, SCRIPT, tiny_study.study], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("publish.py: ") and "run the study first" in done.stderr


def test_a_mixture_is_not_published(study, monkeypatch):
    def refuse(layout, *_):
        raise StudyError("was made from something else than the study is now: epochs was 25 and "
                         "is 2", layout.run("source", 1) / "result.json", "run the study again")

    monkeypatch.setattr("leanclips.training.origins.check_records", refuse)
    with pytest.raises(StudyError, match="epochs was 25 and is 2"):
        publish(study)
    assert not study.published.exists()


def test_published_records_read_as_those_of_work(study, published):
    theirs, ours = load(Layout(study.study, "published")), load(study)
    assert theirs.runs.keys() == ours.runs.keys()
    assert list(theirs.answers) == list(ours.answers)
    pd.testing.assert_frame_equal(theirs.reports, ours.reports)
    pd.testing.assert_frame_equal(theirs.history, ours.history.reset_index(drop=True))
    assert all((theirs.answers[place] == ours.answers[place]).all() for place in ours.answers)
