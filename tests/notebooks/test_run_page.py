"""What the notebook of one run shows, from records made up here, and its page in the book."""

from dataclasses import replace

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from leanclips.errors import StudyError
from leanclips.records import (HISTORY, PREDICTIONS, EpochScore, Origin, RoundClips, RoundResult,
                               RunResult, Stated)
from leanclips.report import run_page
from leanclips.report.display import SYNTHETIC
from leanclips.training.crnn import Epoch
from leanclips.training.pretrain import Run

CAPTIONED = (run_page.scores, run_page.curves, run_page.confusion, run_page.mistakes)


def round_of(last: float | None, best: float | None = None) -> RoundResult:
    def score(epoch: int, training: float, accuracy: float | None) -> EpochScore:
        return EpochScore(epoch=epoch, train_accuracy=training, validation_accuracy=accuracy)

    return RoundResult(trainable_parameters=10, last=score(3 if best is not None else 0, 1.0, last),
                       best=None if best is None else score(2, 0.5, best))


def result(rounds: int, classifiers: dict) -> RunResult:
    origin = Origin(recipe=1, settings={"epochs": 3, "network": {"decoder": [512, 256]}},
                    inputs={"the features of source": "b" * 64}, machine={"device": "cpu"})
    return RunResult(
        study="tiny", variant="optimized", seed=3, key=origin.key, origin=origin, synthetic=False,
        stated=Stated(margin=0.05, classifier="linear", variant="optimized", tested_on="own"),
        classes=("run", "walk"), rounds=(RoundClips(
            training=1234, validation=2 if rounds == 1 else 0, test=2, sha256="a" * 64),) * rounds,
        versions={"python": "3.11"}, command="papermill …", classifiers=classifiers)


def answers(said: dict) -> pd.DataFrame:
    """By (part, round, classifier, epoch): what was said of a clip `run` and a clip `walk`."""
    rows = [(part, number, name, epoch, "in-order", "optimized", f"{part}-{number}-{label}", label,
             guess, 0.5, 0.5) for (part, number, name, epoch), guesses in said.items()
            for label, guess in zip(("run", "walk"), guesses, strict=True)]
    return pd.DataFrame(rows, columns=[*PREDICTIONS, "p: run", "p: walk"])


@pytest.fixture
def run() -> Run:
    """Holdout. CRNN: one of two right at last, both at epoch 2; linear: none of two."""
    history = pd.DataFrame([(1, "in-order", epoch, 1.0, 0.5, 1.0, accuracy)
                            for epoch, accuracy in enumerate((0, 1, 0.5), 1)], columns=HISTORY)
    said = {("crnn", "last"): ("run", "run"), ("crnn", "best"): ("run", "walk"),
            ("linear", "last"): ("walk", "run")}
    predictions = answers({(part, 1, *of): guesses for of, guesses in said.items()
                           for part in ("validation", "test")})
    other = predictions.assign(tested_on="source", predicted="run")
    return Run(result(1, {"crnn": (round_of(0.5, 1.0),), "linear": (round_of(0.0),)}), history,
               pd.concat([predictions, other[other["part"] == "test"]]))


@pytest.fixture
def folds() -> Run:
    """Cross-validation in two rounds, without a CRNN."""
    predictions = answers({("test", 1, "temporal", "last"): ("run", "walk"),
                           ("test", 2, "temporal", "last"): ("run", "run")})
    return Run(result(2, {"temporal": (round_of(None),) * 2}), pd.DataFrame(columns=HISTORY),
               predictions)


def test_scores_give_every_classifier_at_the_epochs_that_it_has(run):
    table = run_page.scores(run)
    assert table.rows == (
        ("CRNN", "last (3)", "100.0%", "50.0% (1 of 2)", "50.0% (1 of 2)"),
        ("CRNN", "best on validation (2)", "50.0%", "100.0% (2 of 2)", "100.0% (2 of 2)"),
        ("Linear classifier", "–", "100.0%", "0.0% (0 of 2)", "0.0% (0 of 2)"))
    assert "optimized, seed 3, in 1 round." in table.caption and "1,234 clips" in table.caption


def test_scores_of_several_rounds_count_each_test_clip_once(folds):
    assert run_page.scores(folds).rows == (
        ("Temporal classifier", "–", "100.0%", "–", "75.0% (3 of 4)"),)


def test_confusion_counts_validation_clips_or_where_there_are_none_test_clips(run, folds):
    assert run_page.confusion(run).rows == (
        ("CRNN", "run", "1", "0"), ("CRNN", "walk", "1", "0"),
        ("Linear classifier", "run", "0", "1"), ("Linear classifier", "walk", "1", "0"))
    assert run_page.confusion(run).caption.startswith("Validation clips of each class")
    assert run_page.confusion(folds).rows == (
        ("Temporal classifier", "run", "2", "0"), ("Temporal classifier", "walk", "1", "1"))
    assert run_page.confusion(folds).caption.startswith("Test clips of each class")


def test_mistakes_list_what_was_said_instead(run, folds):
    assert run_page.mistakes(run).rows == (
        ("validation-1-run", "run", "right", "walk"), ("validation-1-walk", "walk", "run", "run"))
    assert run_page.mistakes(folds).rows == (("test-2-walk", "walk", "run"),)


def test_a_run_without_mistakes_says_so(run):
    right = replace(run, predictions=run.predictions.assign(predicted=run.predictions["label"]))
    table = run_page.mistakes(right)
    assert table.rows == () and "0 of 2" in table._repr_html_()


def test_curves_tell_the_last_and_the_best_epoch(run, folds):
    figure = run_page.curves(run)
    assert figure.alt == ("Learning curves. At the last epoch: training 50.0%; validation 50.0%, "
                          "validation 100.0% at epoch 2.")
    assert "Ring" in figure.caption and "<svg" in figure._repr_html_()
    assert run_page.curves(folds) is None


def test_a_run_shows_how_it_learns_until_its_last_epoch(monkeypatch):
    cell, now = [], [100.0]
    monkeypatch.setattr(run_page, "display", cell.append)
    monkeypatch.setattr(run_page, "clear_output", lambda wait=False: cell.clear())
    monkeypatch.setattr(run_page.time, "monotonic", lambda: now[0])
    live, epochs = run_page.Live(), []

    def learn(accuracy: float) -> None:
        epochs.append(Epoch(len(epochs) + 1, 0.5, accuracy, None, None))
        live(epochs, 4)

    learn(0.5)
    assert "after 1 of 4 epochs" in cell[0].caption
    learn(0.75)
    assert list(cell[0].data["accuracy"]) == [0.5, 0.75]
    assert set(cell[0].data["part"]) == {"training"} and "<svg" in cell[0]._repr_html_()
    live.due = now[0] + 1  # too soon to draw again
    learn(0.8)
    assert "after 2 of 4 epochs" in cell[0].caption
    learn(0.9)
    assert cell == []


def test_synthetic_clips_are_labelled_wherever_numbers_show(run):
    rendered = replace(run, result=run.result.model_copy(update={"synthetic": True}))
    for make in CAPTIONED:
        assert SYNTHETIC in make(rendered).caption
        assert SYNTHETIC not in make(run).caption


def test_a_pretraining_that_leaks_recordings_is_told_wherever_numbers_show(run):
    for make in CAPTIONED:
        assert "leaks recordings" in make(replace(run, leaks=True)).caption
        assert "leaks" not in make(run).caption


def test_provenance_names_the_command_and_every_setting(run):
    rows = run_page.provenance(run.result).rows
    for row in (("Made by", "papermill …"), ("Setting epochs", "3"),
                ("Setting network.decoder", "512, 256"), ("Computed with: device", "cpu"),
                ("the features of source, SHA-256", "b" * 64), ("python, version", "3.11")):
        assert row in rows
    assert any("1234 training, 2 validation, 2 test clips" in value for _, value in rows)


def test_hidden_cells_go_and_headings_stay_in_step(tmp_path):
    hidden = new_markdown_cell("# Title", metadata={"tags": ["remove-cell"]})
    notebook = new_notebook(cells=[hidden, new_markdown_cell("## Result\n\n```bash\n# no\n```")])
    nbformat.write(notebook, tmp_path / "run.ipynb")
    page = nbformat.reads(run_page.page(tmp_path / "run.ipynb", "t", "i", "p"), as_version=4)
    assert [cell.source.split("\n")[0] for cell in page.cells] == ["# t", "## Result",
                                                                   "## Provenance"]


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_broken_notebook_is_named(tmp_path, text):
    (tmp_path / "run.ipynb").write_text(text)
    with pytest.raises(StudyError, match="not a notebook"):
        run_page.page(tmp_path / "run.ipynb", "t", "i", "p")
