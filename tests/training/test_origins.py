"""After a change exactly the stages that depend on it are made anew, and no mixture is read."""

import gzip
import json
import shutil
from dataclasses import replace
from runpy import run_path

import pytest

from leanclips.clips import Roi, clips_root
from leanclips.errors import StudyError
from leanclips.layout import ROOT
from leanclips.records import Origin, read_runs
from leanclips.report.results import load
from leanclips.study import CrossValidation, Holdout, Optimized, Primary, Together
from leanclips.training import backbone, finetune
from leanclips.training.origins import check_records, stages

ENCODES = ["crop", "encode-optimized", "encode-constant", "encode-originals"]
FEATURES = ["features-source", "features-optimized", "features-constant"]
RUNS = [f"finetune-{variant}-{seed}" for variant in ("source", "optimized", "constant")
        for seed in (1, 2)]
SOURCE_RUNS = RUNS[:2]
ALL = [*ENCODES, *FEATURES, "pretrain", *RUNS]


def stale(layout, study, clips):
    """The names of the stages that would be made anew."""
    return [stage.name for stage in stages(layout, study, clips) if not stage.is_current]


def with_(study, part, **settings):
    """The study with other settings in one of its parts."""
    return study.model_copy(update={part: getattr(study, part).model_copy(update=settings)})


def test_of_a_finished_study_nothing_is_to_be_done(done, done_in_folds):
    assert [stage.name for stage in stages(*done)] == ALL
    for opened in (done, done_in_folds):
        assert stale(*opened) == []
        check_records(*opened)


OTHER = {
    "sampling.frames": (lambda s: with_(s, "sampling", frames=5), [*FEATURES, "pretrain", *RUNS]),
    "sampling.take": (lambda s: with_(s, "sampling", take="first"), [*FEATURES, "pretrain", *RUNS]),
    "backbone.size": (lambda s: with_(s, "backbone", size=40), [*FEATURES, "pretrain", *RUNS]),
    "backbone.target_size": (lambda s: with_(s, "backbone", target_size=40),
                             [*FEATURES, "pretrain", *RUNS]),
    "backbone.name": (lambda s: with_(s, "backbone", name="efficientnet-lite2"),
                      [*FEATURES, "pretrain", *RUNS]),
    "target": (lambda s: s.model_copy(update={"variants": s.variants | {
        "optimized": Optimized(target=60)}}), ["encode-optimized", "encode-originals"]),
    "finetuning.epochs": (lambda s: with_(s, "finetuning", epochs=3), RUNS),
    "finetuning.learning_rate": (lambda s: with_(s, "finetuning", learning_rate=0.1), RUNS),
    "finetuning.batch_size": (lambda s: with_(s, "finetuning", batch_size=3), RUNS),
    "finetuning.keep_weights": (lambda s: with_(s, "finetuning", keep_weights=True), RUNS),
    "network": (lambda s: with_(s, "network", decoder=(8, 4)), ["pretrain", *RUNS]),
    "pretraining.epochs": (lambda s: with_(s, "pretraining", epochs=3), ["pretrain"]),
    "pretraining.split": (lambda s: with_(s, "pretraining", split="random"), ["pretrain"]),
    "protocol.validation": (lambda s: s.model_copy(update={"protocol": Holdout(validation=0.4)}),
                            RUNS),
    "protocol.kind": (lambda s: s.model_copy(update={"protocol": CrossValidation(folds=3)}), RUNS),
    "classifiers": (lambda s: s.model_copy(update={"classifiers": ("linear", "crnn")}), RUNS),
    "inputs": (lambda s: s.model_copy(update={"inputs": ("mean",)}), SOURCE_RUNS),
    "seeds": (lambda s: with_(s, "finetuning", seeds=(1, 2, 3)),
              [f"finetune-{variant}-3" for variant in ("source", "optimized", "constant")]),
    "margin": (lambda s: s.model_copy(update={"margin": 0.4}), []),
    "title": (lambda s: s.model_copy(update={"title": "Other", "about": "Said otherwise."}), []),
    "primary": (lambda s: s.model_copy(update={"primary": Primary(classifier="crnn",
                                                                  tested_on="source")}), []),
    "group_pattern": (lambda s: s.model_copy(update={"group_pattern": "(?P<group>.+)"}), []),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_redoes_exactly_what_depends_on_it(done, name):
    layout, study, clips = done
    change, redone = OTHER[name]
    assert stale(layout, change(study), clips) == redone


def test_another_precision_redoes_the_features_and_what_is_trained_on_them(done):
    layout, study, clips = done
    made = next(stage for stage in stages(*done) if stage.name == "pretrain").origin(False)
    other = {"fp32": "bf16", "bf16": "fp32"}[made.machine["precision"]]
    assert stale(layout, with_(study, "backbone", precision=other), clips) == [
        *FEATURES, "pretrain", *RUNS]


def test_no_setting_of_a_linear_study_s_crnn_counts(done):
    layout, study, clips = done
    linear = study.model_copy(update={"classifiers": ("linear",)})
    origins = [[stage.origin(False).key for stage in stages(layout, one, clips)] for one in (
        linear, with_(linear, "finetuning", epochs=9), with_(linear, "network", lstm_units=9))]
    assert origins[0] == origins[1] == origins[2]
    assert "pretrain" not in [stage.name for stage in stages(layout, linear, clips)]


def relabelled(clips, clip_id, **fields):
    return [replace(clip, **fields) if clip.id == clip_id else clip for clip in clips]


def test_a_label_redoes_the_tables_that_hold_it_and_the_runs(done):
    layout, study, clips = done
    assert stale(layout, study, relabelled(clips, "a-001", label="b")) == [*ENCODES, *RUNS]


def test_a_recording_s_name_redoes_the_runs_alone(done):
    layout, study, clips = done
    assert stale(layout, study, relabelled(clips, "a-001", group="b/tape1")) == RUNS
    assert stale(layout, study, relabelled(clips, "c-001", group="c/other")) == ["pretrain"]


def test_a_region_of_interest_redoes_the_crop(done):
    layout, study, clips = done
    redone = stale(layout, study, relabelled(clips, "a-001", roi=Roi(0, 0, 64)))
    assert redone == ["crop"]
    assert stale(layout, study, relabelled(clips, "c-001", roi=Roi(0, 0, 64))) == ["crop"]


def test_a_delivered_clip_with_other_bytes_redoes_its_variant(copied, make_clip):
    layout = copied[0]
    for variant, stage in (("constant", "encode-constant"), ("source", "crop")):
        path = layout.made_clip(variant, "a-001")
        good = path.read_bytes()
        make_clip(path, frames=6, size=(80, 80), seed=77)
        assert stale(*copied) == [stage]
        path.unlink()
        assert stale(*copied) == [stage]
        path.write_bytes(good)
    assert stale(*copied) == []


def test_another_original_clip_redoes_the_crop_and_the_originals(copied, tmp_path, make_clip):
    layout, study, clips = copied
    shutil.copytree(clips_root(layout, study), tmp_path / "originals")
    layout.clips_root_note.write_text(str(tmp_path / "originals"))
    assert stale(*copied) == []
    make_clip(tmp_path / "originals" / clips[0].file, frames=6, size=(96, 80), seed=99)
    without_hash = [replace(clip, sha256="") for clip in clips]
    assert stale(layout, study, without_hash) == ["crop", "encode-originals"]


@pytest.mark.parametrize("lost, redone", [
    ("features/**/*.npy", FEATURES), ("runs/pretrain/*.safetensors", ["pretrain"]),
    ("runs/*/seed-02/history.csv", RUNS[1::2]), ("runs/*/seed-01/run.ipynb", RUNS[::2]),
    ("runs/*/seed-01/predictions.csv.gz", RUNS[::2]), ("runs/*/seed-01/result.json", RUNS[::2]),
    ("features/*/*.json", FEATURES), ("clips/*/report.json", ENCODES)])
def test_what_is_missing_is_made_anew(copied, lost, redone):
    for path in copied[0].work.glob(lost):
        path.unlink()
    assert stale(*copied) == redone


def test_an_index_is_read_once_for_all_runs_and_anew_for_each_look(copied, monkeypatch):
    layout, study, clips = copied
    read, plain = [], finetune.feature_keys
    monkeypatch.setattr(finetune, "feature_keys",
                        lambda *of: read.append(of[2]) or plain(*of))
    assert stale(*copied) == [] and read == list(study.all_variants)
    index = layout.feature_index(study.backbone.name, "optimized")
    index.write_text(index.read_text().replace(plain(layout, study, "optimized", clips[:1])[0],
                                               "0" * 64))
    assert stale(*copied) == ["features-optimized", *RUNS]


def test_weights_count_by_their_content_and_not_by_their_name(copied, tmp_path):
    layout, study, clips = copied
    file = tmp_path / "mine.pth"
    shutil.copy(backbone.weights_file(study.backbone), file)
    mine = with_(study, "backbone", weights=str(file))
    backbone.weights_sha256.cache_clear()
    assert stale(layout, mine, clips) == []
    file.write_bytes(b"other weights")
    backbone.weights_sha256.cache_clear()  # as in the next process
    assert stale(layout, mine, clips) == FEATURES


@pytest.mark.parametrize("name", [name for name, (_, redone) in OTHER.items()
                                  if redone and name not in ("finetuning.keep_weights", "seeds",
                                                             "backbone.name")])
def test_a_mixture_of_records_and_settings_is_refused_in_one_sentence(done, name):
    layout, study, clips = done
    change, redone = OTHER[name]
    first = next(stage for stage in stages(*done) if stage.name in redone)
    with pytest.raises(StudyError) as error:
        check_records(layout, change(study), clips)
    said = str(error.value)
    assert said.startswith(f"{first.record}: was made from something else than the study is now: ")
    assert " was " in said and " and is " in said and "\n" not in said


def test_the_sentence_names_the_setting(done):
    layout, study, clips = done
    for change, words in (
            (with_(study, "finetuning", epochs=25), "epochs was 2 and is 25"),
            (with_(study, "sampling", frames=28), "sampling.frames was 4 and is 28"),
            (study.model_copy(update={"variants": study.variants | {
                "optimized": Optimized(target=93)}}), "target was 80.0 and is 93.0"),
            (study.model_copy(update={"protocol": Holdout(validation=0.5)}),
             "protocol.validation was 0.24 and is 0.5")):
        with pytest.raises(StudyError, match=words):
            check_records(layout, change, clips)
    with pytest.raises(StudyError, match="the content of the clip table was .* and is "):
        check_records(layout, study, relabelled(clips, "a-001", label="b"))


def test_what_trains_nothing_may_differ(done):
    layout, study, clips = done
    for name in ("margin", "title", "primary"):
        check_records(layout, OTHER[name][0](study), clips)


def test_a_missing_record_is_named(copied):
    layout, study, clips = copied
    with pytest.raises(StudyError, match="seed-03/result.json: the record is not there yet; run"):
        check_records(layout, with_(study, "finetuning", seeds=(1, 3)), clips)
    (layout.run("optimized", 1) / "result.json").unlink()
    with pytest.raises(StudyError, match="optimized/seed-01/result.json: the record is not there"):
        check_records(*copied)


def test_a_record_edited_by_hand_is_told(copied):
    path = copied[0].run("optimized", 2) / "result.json"
    record = json.loads(path.read_text())
    record["origin"]["settings"]["epochs"] = 25
    path.write_text(json.dumps(record))
    with pytest.raises(StudyError, match="seed-02/result.json: its key does not fit its settings"):
        check_records(*copied)
    record["key"] = "0" * 64
    path.write_text(json.dumps(record))
    assert stale(*copied) == ["finetune-optimized-2"]


def test_a_table_edited_by_hand_is_a_mixture(copied):
    layout = copied[0]
    report = layout.report("optimized")
    report.write_text(report.read_text().replace("a-001", "a-999"))
    with pytest.raises(StudyError, match="was made from something else than the study is now"):
        check_records(*copied)


def test_a_study_is_read_elsewhere_without_its_clips_and_its_weights(copied, tmp_path):
    layout, study, clips = copied
    for path in [*layout.work.rglob("*.mp4"), *layout.work.rglob("*.npy"),
                 *layout.work.rglob("*.safetensors")]:
        path.unlink()
    layout.clips_root_note.write_text(str(tmp_path / "nowhere"))
    mine = with_(study, "backbone", weights=str(tmp_path / "not-here.pth"))
    check_records(layout, mine, clips)
    # To run it, all of that is needed again.
    assert stale(layout, mine, clips)[:1] == ["crop"]


def test_published_records_are_read_with_the_settings_that_they_came_with(copied):
    layout, study, clips = copied
    run_path(str(ROOT / "data" / "publish.py"))["pack"](load(layout), layout.published)
    published = type(layout)(layout.study, "published")
    check_records(published, study, clips)
    with pytest.raises(StudyError, match="published/.*: was made from something else"):
        check_records(published, with_(study, "finetuning", epochs=9), clips)


def test_published_records_of_an_earlier_version_are_read_and_told(copied):
    layout, study, clips = copied
    run_path(str(ROOT / "data" / "publish.py"))["pack"](load(layout), layout.published)
    published = type(layout)(layout.study, "published")
    assert not check_records(published, study, clips)
    runs = [run.model_copy(update={"origin": (old := run.origin.model_copy(update={"recipe": 1})),
                                   "key": old.key}) for run in read_runs(
                                       published.of_all_runs[0]).values()]
    published.of_all_runs[0].write_bytes(gzip.compress("\n".join(
        run.model_dump_json() for run in runs).encode()))
    assert check_records(published, study, clips)
    for stage in stages(published, study, clips):
        if stage.name.startswith(("crop", "encode")):
            record = json.loads(stage.record.read_text())
            record["origin"]["recipe"] = 1
            record["origin"]["settings"].pop("keyframes", None)
            record["key"] = Origin.model_validate(record["origin"]).key
            stage.record.write_text(json.dumps(record))
    assert check_records(published, study, clips)
    other = study.model_copy(update={"variants": study.variants | {
        "optimized": Optimized(target=93)}})
    with pytest.raises(StudyError, match="target was 80.0 and is 93.0"):
        check_records(published, other, clips)
    record["origin"]["recipe"] = 2
    record["key"] = Origin.model_validate(record["origin"]).key
    stage = next(stage for stage in stages(published, study, clips)
                 if stage.name == "encode-originals")
    stage.record.write_text(json.dumps(record))
    with pytest.raises(StudyError, match="was computed with the recipe 2, other records with 1"):
        check_records(published, study, clips)


def with_both(study):
    """The study with a variant that is trained on two others, and the CRNN on two variants."""
    return study.model_copy(update={
        "variants": study.variants | {"both": Together(together=("source", "optimized"))},
        "crnn_variants": ("source", "optimized")})


def test_a_variant_trained_on_several_adds_runs_and_no_encodes_or_features(done):
    layout, study, clips = done
    both = study.model_copy(update={"variants": with_both(study).variants})
    assert stale(layout, both, clips) == ["finetune-both-1", "finetune-both-2"]


def test_runs_without_the_crnn_depend_on_no_setting_of_it(done):
    layout, study, clips = done
    some = with_both(study)
    assert stale(layout, some, clips) == [
        f"finetune-{variant}-{seed}" for variant in ("constant", "both") for seed in (1, 2)]
    keys = [{stage.name: stage.origin(False).key for stage in stages(layout, one, clips)}
            for one in (some, with_(some, "finetuning", learning_rate=0.1, epochs=9))]
    assert [name for name in keys[0] if keys[0][name] != keys[1][name]] == RUNS[:4]


def test_what_a_variant_is_trained_on_counts(done):
    layout, study, clips = done
    one = with_both(study)
    other = one.model_copy(update={"variants": one.variants | {
        "both": Together(together=("optimized", "source"))}})
    keys = [[stage.origin(False).key for stage in stages(layout, each, clips)
             if stage.name == "finetune-both-1"] for each in (one, other)]
    assert keys[0] != keys[1]
