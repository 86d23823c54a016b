"""What is published is numbers and plots: no clip, no weights, no time of day."""

import os

import nbformat
import pytest

from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.publish import publish


@pytest.fixture
def published(finished_study):
    publish(finished_study)
    return finished_study.published


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_every_record_is_there_as_it_was(finished_study, published):
    names = {name for name in files(published) if not name.startswith("answer")}
    assert {"runs/crosstest.csv", "runs/views/seed-01.csv",
            "runs/pretrain/result.json", "clips/source/report.csv",
            "clips/constant.control.json", "runs/optimized/seed-02/predictions.csv",
            "runs/optimized/seed-02/run.ipynb", "machine.json", "study.yml", "clips.csv"} <= names
    for name in names:
        if not name.endswith(".ipynb"):
            folder = finished_study.study if name == "clips.csv" else finished_study.work
            assert (published / name).read_bytes() == (folder / name).read_bytes().replace(
                str(finished_study.study).encode(), b"data/tiny")
    assert publish(finished_study) == len(names)


def test_later_edits_of_a_study_are_not_of_its_published_records(finished_study, published):
    from leanclips.analysis.results import load

    before = load(Layout(finished_study.study, "published"))
    settings = finished_study.settings.read_text()
    finished_study.settings.write_text(settings.replace("target: 80", "target: 60"))
    finished_study.table.write_text("id\n")
    after = load(Layout(finished_study.study, "published"))
    assert after.study == before.study and after.clips == before.clips


def test_no_clip_no_weights_and_no_path_of_this_machine_is_there(finished_study, published):
    found = files(published)
    assert {name.rsplit(".", 1)[1] for name in found} <= {"csv", "json", "ipynb", "tsv",
                                                           "svg", "yml"}
    assert "clips-root.txt" not in found
    found.pop("study.yml")  # what its author wrote
    for name, content in found.items():
        assert str(finished_study.study.parent).encode() not in content, name


def test_notebooks_come_without_times(published):
    for path in published.rglob("run.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert "papermill" not in notebook.metadata
        assert all(not {"papermill", "execution"} & cell.metadata.keys()
                   for cell in notebook.cells)


def test_publishing_again_takes_the_place_of_what_was_there(finished_study, published):
    (published / "old.csv").write_text("old")
    publish(finished_study)
    assert "old.csv" not in files(published)
    assert not list(finished_study.study.glob(".aside-*"))


def test_records_that_cannot_be_replaced_stay(finished_study, published, monkeypatch):
    before = files(published)

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError):
        publish(finished_study)
    assert files(published) == before


def test_a_study_that_has_not_ended_is_not_published(tiny_study):
    with pytest.raises(StudyError, match="has not run to its end"):
        publish(tiny_study)
    assert not tiny_study.published.exists()


def test_published_records_read_as_those_of_work(finished_study, published):
    from leanclips.records import read_result

    copy = Layout(finished_study.study, "published")
    theirs, ours = (read_result(each.run("source", 1) / "result.json")
                    for each in (copy, finished_study))
    assert theirs == ours.model_copy(update={"command": theirs.command})
    assert "-p study data/tiny " in theirs.command
