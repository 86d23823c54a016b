"""A run's records are true, paired across variants, and the same each time."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from leanclips.clips import Role, classes, load_clips, of_role, pretraining_clips
from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout
from leanclips.recognition import runs
from leanclips.recognition.features import load_features
from leanclips.recognition.network import CRNN, MeanLinear
from leanclips.recognition.runs import MODEL, finetune, load_run, pretrain
from leanclips.recognition.training import Labelled, initialized, predict
from leanclips.records import HISTORY, PREDICTIONS, read_csv, read_result
from leanclips.splits import group_split
from leanclips.study import load_study

RECORDS = ("result.json", "history.csv", "predictions.csv", MODEL)


@pytest.fixture
def opened(finished_study):
    """Layout, settings and clips of a finished study."""
    return finished_study, load_study(finished_study.study), load_clips(finished_study)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RECORDS}


def test_a_run_made_again_leaves_the_same_bytes_as_its_notebook_did(opened):
    layout = opened[0]
    before = contents(layout.run("optimized", 2))
    for name in RECORDS:
        (layout.run("optimized", 2) / name).unlink()
    finetune(*opened, "optimized", 2)
    assert contents(layout.run("optimized", 2)) == before


def test_pretraining_made_again_leaves_the_same_bytes(opened):
    layout = opened[0]
    before = contents(layout.pretrain)
    pretrain(*opened)
    assert contents(layout.pretrain) == before


def test_runs_of_one_seed_share_their_split(opened):
    layout, study, _ = opened
    for seed in study.finetuning.seeds:
        assert len({read_result(layout.run(variant, seed) / "result.json").split_sha256
                    for variant in study.all_variants}) == 1


def test_runs_of_one_seed_start_from_the_same_weights(opened, monkeypatch):
    started = []

    def record(network, training, *_, seed, **__):
        started.append((training.ids, {name: value.clone() for name, value
                                       in network.state_dict().items()}))
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", record)
    for variant in ("source", "optimized", "constant"):
        with pytest.raises(KeyboardInterrupt):
            finetune(*opened, variant, 1)
    (ids, first), *others = started
    assert first and all(other[0] == ids for other in others)
    assert all(torch.equal(first[name], state[name]) for _, state in others for name in first)


@pytest.mark.parametrize("fast", [True, False])
def test_the_crnn_computes_in_bf16_where_that_is_fast(opened, monkeypatch, fast):
    asked = []
    monkeypatch.setattr(runs, "train", lambda *_, mixed=False, **__: asked.append(mixed))
    monkeypatch.setattr(runs, "has_fast_bf16", lambda: fast)
    monkeypatch.setattr(runs, "_record", lambda *_: None)
    pretrain(*opened)
    finetune(*opened, "optimized", 1)
    assert asked == [fast, fast, False]  # pretraining, the CRNN, the linear classifier


def test_all_but_the_head_starts_from_the_pretrained_network(opened, monkeypatch):
    layout, study, clips = opened
    started = {}
    monkeypatch.setattr(runs, "train", lambda network, *_, **__: started.update(
        network.state_dict()) or exit())
    with pytest.raises(SystemExit):
        finetune(*opened, "optimized", 2)
    pretrained = load_file(layout.pretrain / MODEL)
    fresh = initialized(lambda: CRNN(1280, 2, study.network), 2).state_dict()
    for name, value in started.items():
        wanted = fresh[name] if name.startswith("head.") else pretrained[f"crnn.last.{name}"]
        assert torch.equal(value, wanted), name


def test_the_records_agree_with_each_other(opened):
    layout, study, clips = opened
    for variant in study.all_variants:
        for seed in study.finetuning.seeds:
            folder = layout.run(variant, seed)
            result = read_result(folder / "result.json")
            history, predictions = (read_csv(folder / name)
                                    for name in ("history.csv", "predictions.csv"))
            assert tuple(history.columns) == HISTORY
            assert tuple(predictions.columns) == PREDICTIONS
            aside = group_split(of_role(clips, Role.TARGET), study.finetuning.validation, seed)
            assert set(predictions["clip"]) == aside
            assert result.validation_clips == len(aside)
            assert result.train_clips == len(of_role(clips, Role.TARGET)) - len(aside)
            for name, scores in result.classifiers.items():
                curve = history[history["classifier"] == name].set_index("epoch")
                assert list(curve.index) == list(range(1, study.finetuning.epochs + 1))
                highest = curve["validation_accuracy"].idxmax()
                assert (scores.last.epoch, scores.best.epoch) == (curve.index[-1], highest)
                for epoch in ("last", "best"):
                    rows = predictions[(predictions["classifier"] == name)
                                       & (predictions["epoch"] == epoch)]
                    right = (rows["label"] == rows["predicted"]).mean()
                    assert len(rows) == len(aside)
                    assert right == pytest.approx(
                        getattr(scores, epoch).validation_accuracy) == pytest.approx(
                        curve.loc[getattr(scores, epoch).epoch, "validation_accuracy"], abs=1e-6)


def test_the_saved_weights_give_the_saved_predictions(opened):
    layout, study, clips = opened
    result, weights = load_run(layout.run("constant", 1))
    predictions = read_csv(layout.run("constant", 1) / "predictions.csv")
    features = load_features(layout, study, "constant", of_role(clips, Role.TARGET))
    networks = {"crnn": CRNN(1280, 2, study.network), "linear": MeanLinear(1280, 2)}
    for (name, epoch), rows in predictions.groupby(["classifier", "epoch"]):
        prefix = f"{name}.{epoch}."
        networks[name].load_state_dict({key.removeprefix(prefix): value for key, value
                                        in weights.items() if key.startswith(prefix)})
        found = torch.from_numpy(features.of(list(rows["clip"])))
        scores = predict(networks[name], Labelled(tuple(rows["clip"]), found, torch.empty(0)))
        assert [result.classes[n] for n in scores.argmax(1)] == list(rows["predicted"])


def test_a_run_names_what_it_was_made_from(opened):
    layout, study, clips = opened
    result = read_result(layout.run("optimized", 2) / "result.json")
    assert (result.variant, result.seed, result.backbone) == ("optimized", 2, "efficientnet-lite0")
    assert result.command == (
        f"papermill notebooks/finetune.ipynb run.ipynb -p study {layout.study} "
        "-p variant optimized -p seed 2")
    assert list(result.classes) == classes(clips, Role.TARGET) == ["a", "b"]
    assert not result.synthetic and not result.leaks_recordings
    chosen = of_role(clips, Role.TARGET)
    assert result.features_sha256 == load_features(layout, study, "optimized", chosen).sha256
    assert result.classifiers["linear"].trainable_parameters == 2 * 1280 + 2


def test_the_command_of_a_run_finds_its_study_wherever_that_lies(tmp_path):
    def named(folder):
        return runs.command(Layout(folder), "source", 1).split(" -p ")[1]

    assert named(ROOT / "data" / "jhmdb") == "study data/jhmdb"
    assert named(tmp_path / "my clips") == f"study '{tmp_path}/my clips'"
    assert runs.command(Layout(tmp_path / "a"), "pretrain", 0) == f"leanclips pretrain {tmp_path}/a"


def split_by(study, name):
    return study.model_copy(update={"pretraining": study.pretraining.model_copy(
        update={"split": name, "epochs": 1})})


def test_a_random_split_of_the_pretraining_is_marked_as_leaking(opened):
    layout, study, clips = opened
    random = split_by(study, "random")
    assert pretrain(layout, random, clips).result.leaks_recordings
    run = finetune(layout, random, clips, "source", 1)
    assert run.leaks and not run.result.leaks_recordings  # its own split is whole


@pytest.mark.parametrize("mixed", [True, False])
def test_whether_an_official_split_leaks_is_seen_in_its_folds(opened, mixed):
    layout, study, clips = opened
    held = {clip.group for clip in clips if clip.group.endswith("tape1")}
    folds = [replace(clip, fold="validation" if clip.group in held
                     and not (mixed and clip.id.endswith("4")) else "train") for clip in clips]
    run = pretrain(layout, split_by(study, "official"), folds)
    assert run.result.leaks_recordings == run.leaks == mixed


def test_a_random_split_of_clips_with_a_recording_each_does_not_leak(opened):
    layout, study, clips = opened
    alone = [replace(clip, group=clip.id) for clip in clips]
    assert not pretrain(layout, split_by(study, "random"), alone).result.leaks_recordings


def test_no_held_out_clip_is_ever_trained_or_validated_on(opened):
    layout, study, clips = opened
    heldout = {clip.id for clip in of_role(clips, Role.HELDOUT)}
    used = pd.concat(read_csv(path) for path in layout.work.glob("runs/**/predictions.csv"))
    assert not heldout & set(used["clip"])
    assert not heldout & {clip.id for clip in pretraining_clips(clips)}


def test_without_pretraining_clips_the_network_starts_afresh(opened):
    layout, study, clips = opened
    (layout.pretrain / MODEL).unlink()
    target = of_role(clips, Role.TARGET, Role.HELDOUT)
    assert pretrain(layout, study, target) is None
    assert finetune(layout, study, target, "source", 1).result.train_clips > 0
    with pytest.raises(StudyError, match="the pretrained network is missing; run the study first"):
        finetune(layout, study, clips, "source", 1)


@pytest.mark.parametrize("changed", [{"decoder": 9}, {"lstm_layers": 2}])
def test_a_pretrained_network_with_other_layers_is_told(opened, changed):
    layout, study, clips = opened
    other = study.model_copy(update={"network": study.network.model_copy(update=changed)})
    with pytest.raises(StudyError, match="has other layers than study.yml gives it; run the"):
        finetune(layout, other, clips, "source", 1)


def test_an_official_split_that_is_not_there_is_told(opened):
    layout, study, clips = opened
    official = study.model_copy(update={"pretraining": study.pretraining.model_copy(
        update={"split": "official"})})
    with pytest.raises(StudyError, match="the pretraining clips have no official split"):
        pretrain(layout, official, clips)


def test_an_unknown_variant_is_told_with_the_known_ones(opened):
    with pytest.raises(StudyError, match="there is no variant 'vendor'; use one of source, opti"):
        finetune(*opened, "vendor", 1)


def test_weights_that_cannot_be_read_are_told(opened):
    layout = opened[0]
    (layout.run("source", 1) / MODEL).write_bytes(b"nothing")
    with pytest.raises(StudyError, match="model.safetensors: the weights cannot be read"):
        load_run(layout.run("source", 1))
    (layout.run("source", 1) / "result.json").write_text("{}")
    with pytest.raises(StudyError, match="is not a result of this version"):
        load_run(layout.run("source", 1))
