"""Loading a study's records: whole or a sentence that says what is missing."""

import dataclasses
import shutil

import pytest

from leanclips.analysis import measures
from leanclips.analysis.results import load
from leanclips.errors import StudyError
from leanclips.layout import Layout


def test_a_finished_study_loads_with_everything_in_the_order_of_its_table(results):
    assert results.name == "tiny" and not results.is_published and not results.leaks
    assert results.variants == ("source", "optimized", "constant")
    assert len(results.heldout) == 8 and len(results.compared) == 16
    assert list(results.report("optimized")["clip"]) == [clip.id for clip in results.compared]
    assert results.correct.shape == (3, 2, 2, 2, 3, 8)
    assert results.seconds == {"finetune": (12.5,)}


def test_the_array_of_scores_agrees_with_the_table_of_predictions(make_records):
    results = load(make_records(right=lambda variant, seed, classifier, tested, place:
                                (len(variant) * seed + len(tested) * place) % 3 > 0))
    table = results.crosstest
    for variant, tested in (("optimized", "source"), ("constant", "constant")):
        chosen = table[(table.variant == variant) & (table.tested_on == tested)
                       & (table.classifier == "linear") & (table.epoch == "best")]
        right = (chosen.label == chosen.predicted).mean()
        assert measures.scores(results, "linear", variant, tested, "best").mean() == right


def test_published_records_load_like_ones_own(make_records):
    results = load(make_records(kind="published"))
    assert results.is_published


def test_a_study_without_pretraining_needs_no_pretraining_records(make_records):
    assert load(make_records(pretrain=False)).pretrain is None


@pytest.mark.parametrize("missing", [
    "runs/optimized/seed-02/result.json", "runs/source/seed-01/history.csv", "runs/crosstest.csv",
    "clips/originals/report.csv", "runs/pretrain/result.json", "runs/pretrain/history.csv"])
def test_a_missing_record_is_named_with_its_remedy(make_records, missing):
    layout = make_records()
    (layout.work / missing).unlink()
    with pytest.raises(StudyError) as error:
        load(layout)
    assert error.value.where.endswith(missing) and "run the study" in error.value.remedy


@pytest.mark.parametrize("optional", ["times", "runs/source/seed-01/run.ipynb", "runs/views"])
def test_times_notebooks_and_views_may_be_missing(make_records, optional):
    layout = make_records()
    path = layout.work / optional
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    load(layout)


def test_a_prediction_that_is_missing_or_doubled_is_an_error(make_records):
    layout = make_records()
    lines = layout.crosstest.read_text().splitlines(keepends=True)
    layout.crosstest.write_text("".join(lines[:-1]))
    with pytest.raises(StudyError, match="lacks 1 predictions"):
        load(layout)
    layout.crosstest.write_text("".join([*lines, lines[-1]]))
    with pytest.raises(StudyError, match="twice"):
        load(layout)


def test_a_report_must_cover_every_clip_and_hold_its_bytes(make_records):
    layout = make_records()
    path = layout.report("optimized")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    with pytest.raises(StudyError, match="no row for 1 clips"):
        load(layout)
    path.write_text("".join(lines).replace(",25250,", ",,", 1))
    with pytest.raises(StudyError, match="bytes"):
        load(layout)


def test_rows_of_seeds_and_variants_no_longer_in_the_study_are_left_out(make_records):
    layout = make_records(seeds=(1, 2, 3))
    layout.settings.write_text(layout.settings.read_text().replace("  - 3\n", ""))
    assert load(layout).seeds == (1, 2)


def test_settings_that_changed_since_the_run_are_no_settings_of_its_records(make_records):
    layout = make_records(margin=0.05, variants={"optimized": {"target": 93}})
    text = layout.settings.read_text()
    layout.ran_with.write_text(text)
    layout.settings.write_text(text.replace("margin: 0.05", "margin: 0.1"))
    assert load(layout).study.margin == 0.1  # the book alone shows it
    layout.settings.write_text(text.replace("target: 93", "target: 80"))
    with pytest.raises(StudyError, match="the setting 'variants' has changed since the study ran"):
        load(layout)


def test_a_study_that_never_ran_says_so(make_records):
    layout = make_records()
    with pytest.raises(StudyError, match="no records"):
        load(Layout(layout.study, "published"))


def test_a_run_that_leaks_recordings_marks_the_study(make_records):
    assert load(make_records(leaks=True)).leaks


def test_results_are_frozen(results):
    with pytest.raises(dataclasses.FrozenInstanceError):
        results.study = None
