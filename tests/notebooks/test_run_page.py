"""What the notebook of one run shows, from records made up here."""

import pandas as pd
import pytest

from leanclips.analysis import clip_tables, run_page
from leanclips.analysis.display import SYNTHETIC, introduce, show
from leanclips.analysis.tables import Table
from leanclips.clips import Clip, Role
from leanclips.recognition.runs import Run
from leanclips.records import HISTORY, PREDICTIONS, ClassifierResult, EpochScore, RunResult
from leanclips.study import Study


def classifier(last: float, best: float) -> ClassifierResult:
    return ClassifierResult(
        trainable_parameters=10, last=EpochScore(epoch=3, train_accuracy=1.0,
                                                 validation_accuracy=last),
        best=EpochScore(epoch=2, train_accuracy=0.5, validation_accuracy=best))


@pytest.fixture
def run() -> Run:
    """CRNN: one of two right at last, both at epoch 2; linear: both wrong, then one right."""
    result = RunResult(
        study="tiny", variant="optimized", seed=3, synthetic=False, classes=("run", "walk"),
        train_clips=1234, validation_clips=2, split_sha256="a" * 64, features_sha256="b" * 64,
        backbone="net", backbone_sha256="c" * 64, versions={"python": "3.11"},
        command="papermill …", classifiers={"crnn": classifier(0.5, 1.0),
                                            "linear": classifier(0.0, 0.5)})
    history = pd.DataFrame([(name, epoch, 1.0, 0.5, 1.0, accuracy)
                            for name, values in (("crnn", (0, 1, 0.5)), ("linear", (0, 0.5, 0)))
                            for epoch, accuracy in enumerate(values, 1)], columns=HISTORY)
    said = {("crnn", "last"): ("run", "run"), ("crnn", "best"): ("run", "walk"),
            ("linear", "last"): ("walk", "run"), ("linear", "best"): ("run", "run")}
    predictions = pd.DataFrame([(name, epoch, clip, label, guess)
                                for (name, epoch), guesses in said.items() for clip, label, guess
                                in zip(("c1", "c2"), ("run", "walk"), guesses, strict=True)],
                               columns=PREDICTIONS)
    return Run(result, history, predictions)


def test_scores_give_both_classifiers_at_both_epochs(run):
    assert run_page.scores(run).rows == (
        ("CRNN", "last (3)", "100.0%", "50.0%", "1 of 2"),
        ("CRNN", "best on validation (2)", "50.0%", "100.0%", "2 of 2"),
        ("Linear classifier", "last (3)", "100.0%", "0.0%", "0 of 2"),
        ("Linear classifier", "best on validation (2)", "50.0%", "50.0%", "1 of 2"))
    assert "optimized, seed 3: 1,234 training clips" in run_page.scores(run).caption


def test_confusion_counts_each_clip_once(run):
    assert run_page.confusion(run).rows == (
        ("CRNN", "run", "1", "0"), ("CRNN", "walk", "1", "0"),
        ("Linear classifier", "run", "0", "1"), ("Linear classifier", "walk", "1", "0"))


def test_mistakes_list_what_was_said_instead(run):
    assert run_page.mistakes(run).rows == (
        ("c1", "run", "right", "walk"), ("c2", "walk", "run", "run"))


def test_a_run_without_mistakes_says_so(run):
    right = run.predictions.assign(predicted=run.predictions["label"])
    table = run_page.mistakes(Run(run.result, run.history, right))
    assert table.rows == () and "0 of 2" in table.caption
    assert "0 of 2" in show(table)._repr_html_()


def test_synthetic_clips_are_labelled_wherever_numbers_show(run):
    rendered = Run(run.result.model_copy(update={"synthetic": True}), run.history,
                   run.predictions)
    for make in (run_page.scores, run_page.curves, run_page.confusion, run_page.mistakes):
        assert SYNTHETIC in make(rendered).caption
        assert SYNTHETIC not in make(run).caption


def test_a_pretraining_that_leaks_recordings_is_told_wherever_numbers_show(run):
    warm = Run(run.result, run.history, run.predictions, leaks=True)
    for make in (run_page.scores, run_page.curves, run_page.confusion, run_page.mistakes):
        assert "leaks recordings" in make(warm).caption
        assert "leaks" not in make(run).caption


def test_the_figure_is_small_equal_every_time_and_takes_the_colour_of_its_page(run):
    html, again = (show(run_page.curves(run))._repr_html_() for _ in range(2))
    assert html == again
    assert len(html) < 30_000
    assert "currentColor" in html and "#0102" not in html
    assert "<style" not in html  # its rules would reach the whole page
    assert 'aria-label="Learning curves. CRNN: 50.0% of the validation clips' in html


def test_provenance_names_the_command_and_how_was_computed(run):
    rows = run_page.provenance(run).rows
    assert ("Made by", "papermill …") in rows
    assert ("Precision of training", "fp32, on cpu") in rows  # what older records mean as well


def test_text_in_a_table_is_never_markup():
    table = Table("t", "a < b", ("Name",), (("<script>",),), pd.DataFrame())
    html = show(table)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &lt; b" in html
    assert "a < b" in repr(show(table))


def test_a_long_table_scrolls_by_keyboard_too():
    rows = tuple((str(n),) for n in range(100))
    assert 'tabindex="0"' in show(Table("t", "", ("N",), rows, pd.DataFrame()))._repr_html_()
    assert "tabindex" not in show(Table("t", "", ("N",), rows[:5], pd.DataFrame()))._repr_html_()


def test_a_synthetic_study_is_introduced_as_one():
    assert SYNTHETIC in introduce(Study(title="Demo", synthetic={}), [])._repr_html_()
    assert SYNTHETIC not in introduce(Study(title="Mine"), [])._repr_html_()


def test_a_study_that_leaks_recordings_is_introduced_as_one():
    clips = [Clip(f"p{n}", f"p{n}", "box", "tape", Role.PRETRAIN) for n in range(8)]
    leaking = Study(title="Mine", pretraining={"split": "random"})
    assert "leaks recordings" in introduce(leaking, clips)._repr_html_()
    assert "leaks" not in introduce(leaking, [])._repr_html_()  # no pretraining, no leak
    assert "leaks" not in introduce(Study(title="Mine"), [])._repr_html_()


def test_counts_give_clips_and_recordings_of_each_class():
    clips = [Clip("a1", "a", "run", "g1", Role.TARGET), Clip("a2", "b", "run", "g1", Role.TARGET),
             Clip("a3", "c", "run", "g2", Role.HELDOUT), Clip("b1", "d", "box", "g3",
                                                             Role.PRETRAIN)]
    table = clip_tables.counts(clips)
    assert table.header == ("Class", "target", "heldout", "pretrain")
    assert table.rows == (("box", "–", "–", "1 (1)"), ("run", "2 (1)", "1 (1)", "–"))


def test_clips_of_a_variant_are_listed_by_saving(finished_study):
    from leanclips import notebook

    layout, study, clips = notebook.open_study(str(finished_study.study))
    table = clip_tables.per_clip(clip_tables.encoded(layout, study, clips), "optimized")
    assert table.data["saving"].is_monotonic_decreasing
    assert len(table.rows) == sum(clip.role is not Role.PRETRAIN for clip in clips)
