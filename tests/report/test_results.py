"""Loading a study's records: whole or a sentence that says what is missing."""

import dataclasses
import shutil

import pytest

from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.records import BEST, IN_ORDER, LAST, read_csv, write_csv
from leanclips.report import measures
from leanclips.report.results import load

FOLDS = {"kind": "cross-validation", "folds": 2}


def test_a_finished_study_loads_with_everything_in_the_order_of_its_table(results):
    assert not results.layout.is_published and not results.leaks
    assert results.study.all_variants == ("source", "optimized", "constant")
    assert len(results.tested) == 8 and len(results.compared) == 16
    assert list(results.report("optimized")["clip"]) == [clip.id for clip in results.compared]
    assert {answers.shape for answers in results.answers.values()} == {(2, 8)}
    assert results.seconds == {"finetune": (12.5,)}
    assert results.source_encoder == "libopenh264 (FFmpeg)"


def test_under_cross_validation_every_clip_is_tested_and_there_is_no_best_epoch(make_records):
    results = load(make_records(protocol=FOLDS))
    assert results.tested == results.compared and not results.validates
    assert {answers.shape for answers in results.answers.values()} == {(2, 16)}
    assert {place[3] for place in results.answers} == {LAST}


def test_only_the_crnn_has_a_best_epoch_and_only_with_validation_clips(results):
    assert {place[0] for place in results.answers if place[3] == BEST} == {"crnn"}


def test_the_scores_agree_with_the_table_of_predictions(make_records):
    results = load(make_records(right=lambda variant, seed, classifier, tested, place:
                                (len(variant) * seed + len(tested) * place) % 3 > 0))
    for variant, tested, seed in (("optimized", "source", 1), ("constant", "constant", 2)):
        table = read_csv(results.layout.run(variant, seed) / "predictions.csv.gz")
        chosen = table[(table.part == "test") & (table.tested_on == tested)
                       & (table.classifier == "crnn") & (table.epoch == "best")]
        right = (chosen.label == chosen.predicted).mean()
        scores = measures.scores(results, "crnn", variant, tested, "best")
        assert scores[results.study.finetuning.seeds.index(seed)].mean() == right


def test_the_probability_of_each_class_can_be_read(results):
    table = read_csv(results.layout.run("source", 1) / "predictions.csv.gz")
    shares = table[[f"p: {name}" for name in results.classes]]
    assert (shares.sum(axis=1) == 1).all()


@pytest.mark.parametrize("settings, inputs", [
    ({}, ("shuffled", "middle", "mean")), ({"inputs": ["middle"]}, ("middle",)),
    ({"inputs": []}, ()), ({"classifiers": ["linear"]}, ("middle",))])
def test_other_inputs_are_read_as_far_as_the_study_has_them(make_records, settings, inputs):
    assert load(make_records(**settings)).inputs == inputs


@pytest.mark.parametrize("classifiers", [["linear"], ["crnn", "temporal"]])
def test_a_study_may_choose_its_classifiers(make_records, classifiers):
    results = load(make_records(classifiers=classifiers))
    assert {name for name, *_ in results.answers} == set(classifiers)
    assert (results.pretrain is None) == ("crnn" not in classifiers)


def test_published_records_load_like_ones_own(make_records):
    assert load(make_records(kind="published")).layout.is_published


def test_a_study_without_pretraining_needs_no_pretraining_records(make_records):
    assert load(make_records(pretrain=False)).pretrain is None


@pytest.mark.parametrize("missing", [
    "runs/optimized/seed-02/result.json", "runs/source/seed-01/history.csv",
    "runs/constant/seed-01/predictions.csv.gz", "clips/originals/report.csv",
    "runs/pretrain/result.json"])
def test_a_missing_record_is_named_with_its_remedy(make_records, missing):
    layout = make_records()
    (layout.work / missing).unlink()
    with pytest.raises(StudyError) as error:
        load(layout)
    assert error.value.where.endswith(missing) and "run the study" in error.value.remedy


@pytest.mark.parametrize("optional", ["times", "runs/source/seed-01/run.ipynb"])
def test_times_and_notebooks_may_be_missing(make_records, optional):
    layout = make_records()
    path = layout.work / optional
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    load(layout)


def test_records_of_something_else_than_the_study_is_now_are_refused(make_records, monkeypatch):
    layout, asked = make_records(), []

    def refuse(layout, study, clips):
        asked.append((layout, study.title, len(clips)))
        raise StudyError("was made from something else", "x", "run the study again")

    monkeypatch.setattr("leanclips.training.origins.check_records", refuse)
    with pytest.raises(StudyError, match="something else"):
        load(layout)
    assert asked == [(layout, "A tiny study", 24)]


@pytest.mark.parametrize("part", ["in-order", "middle"])
def test_a_prediction_that_is_missing_or_doubled_is_an_error(make_records, part):
    layout = make_records()
    path = layout.run("source", 2) / "predictions.csv.gz"
    table = read_csv(path)
    last = table[(table["part"] == "test") & (table["input"] == part)].index[-1:]
    write_csv(path, table.drop(last))
    with pytest.raises(StudyError, match="lacks 1 predictions"):
        load(layout)
    write_csv(path, table.loc[table.index.append(last)])
    with pytest.raises(StudyError, match="twice"):
        load(layout)


def test_a_report_must_cover_every_clip_and_hold_its_bytes(make_records):
    layout = make_records()
    path = layout.report("optimized")
    table = read_csv(path)
    for broken in (table.drop(0), table.loc[[0, *table.index]],
                   table.assign(bytes_out=table["bytes_out"].where(table.index > 0))):
        write_csv(path, broken)
        with pytest.raises(StudyError, match="not one whole row for each clip"):
            load(layout)


def test_a_study_that_never_ran_says_so(make_records):
    layout = make_records()
    with pytest.raises(StudyError, match="no records"):
        load(Layout(layout.study, "published"))


def test_a_pretraining_that_leaks_recordings_marks_the_study(make_records):
    assert load(make_records(leaks=True)).leaks


def test_results_are_frozen(results):
    with pytest.raises(dataclasses.FrozenInstanceError):
        results.study = None


def test_answers_in_order_come_for_every_pair_of_variants(results):
    pairs = {place[1:3] for place in results.answers if place[4] == IN_ORDER}
    assert pairs == {(a, b) for a in results.study.all_variants for b in results.study.all_variants}
