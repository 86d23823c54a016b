"""A run's records are true, paired across variants, and the same each time."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from leanclips import clips as clip_table
from leanclips.clips import Role, classes, of_role
from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout
from leanclips.records import HISTORY, PREDICTIONS, SEEN_BY, RunResult, read_csv, read_record
from leanclips.rounds import rounds
from leanclips.study import Backbone, Sampling, Together
from leanclips.training import finetune as stage
from leanclips.training.crnn import CRNN, Labelled, initialized
from leanclips.training.finetune import as_seen, finetune
from leanclips.training.linear import pooled
from leanclips.training.pretrain import MODEL

RECORDS = ("result.json", "history.csv", "predictions.csv.gz")
CLASSIFIERS = ("linear", "temporal", "crnn")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RECORDS}


def remade(opened, variant, seed):
    """A run trained again, its records removed before."""
    layout = opened[0]
    for name in RECORDS:
        (layout.run(variant, seed) / name).unlink(missing_ok=True)
    return finetune(*opened, variant, seed)


def changed(study, **settings):
    """The study with other settings of the fine-tuning."""
    return study.model_copy(update={"finetuning": study.finetuning.model_copy(update=settings)})


@pytest.fixture(params=["done", "done_in_folds"])
def either(request):
    """The finished study under each protocol."""
    return request.getfixturevalue(request.param)


def runs(opened):
    """Every run's (variant, seed, result, history, predictions)."""
    layout, study, _ = opened
    for variant, seed in product(study.all_variants, study.finetuning.seeds):
        folder = layout.run(variant, seed)
        yield (variant, seed, read_record(folder / "result.json", RunResult),
               read_csv(folder / "history.csv"), read_csv(folder / "predictions.csv.gz"))


def test_a_run_made_again_leaves_the_same_bytes(copied):
    before = contents(copied[0].run("source", 2))
    remade(copied, "source", 2)
    assert contents(copied[0].run("source", 2)) == before


def test_a_run_that_is_recorded_is_read_and_not_trained_again(copied, monkeypatch):
    layout = copied[0]
    before = contents(layout.run("optimized", 1))
    monkeypatch.setattr(stage, "train", None)
    run = finetune(*copied, "optimized", 1)
    assert contents(layout.run("optimized", 1)) == before
    assert run.result == read_record(layout.run("optimized", 1) / "result.json", RunResult)
    assert tuple(run.history.columns) == HISTORY and len(run.predictions)


def test_what_a_run_returns_is_what_it_leaves(copied):
    run = remade(copied, "optimized", 1)
    again = finetune(*copied, "optimized", 1)
    assert again.result == run.result
    pd.testing.assert_frame_equal(again.history, run.history, check_dtype=False)
    pd.testing.assert_frame_equal(again.predictions, run.predictions, check_dtype=False,
                                  check_exact=False, atol=1e-6)


def test_runs_of_one_seed_share_their_rounds_and_other_seeds_have_others(either):
    hashes = {}
    for _, seed, result, *_ in runs(either):
        hashes.setdefault(seed, set()).add(tuple(part.sha256 for part in result.rounds))
    assert all(len(of_seed) == 1 for of_seed in hashes.values())
    # Two recordings of a class can only be parted in two ways.
    assert hashes[1] != hashes[2] or either[1].protocol.kind == "holdout"


def test_runs_of_one_seed_start_from_the_same_weights_and_see_the_same_clips(done, monkeypatch):
    started = []

    def record(network, training, validation, settings, *, seed, **_):
        started.append((training.ids, validation.ids, seed, {
            name: value.clone() for name, value in network.state_dict().items()}))
        raise KeyboardInterrupt

    layout, study, clips = done
    crnn_alone = study.model_copy(update={"classifiers": ("crnn",)})
    monkeypatch.setattr(stage, "train", record)
    for variant in study.all_variants:
        with pytest.raises(KeyboardInterrupt):
            finetune(layout, crnn_alone, clips, variant, 1)
    (*same, first), *others = started
    assert all(other[:3] == tuple(same) for other in others)
    assert all(torch.equal(first[name], state[name]) for *_, state in others for name in first)
    fresh = initialized(lambda: CRNN(1280, 2, study.network), 1).state_dict()
    pretrained = load_file(layout.pretrain / MODEL)
    for name, value in first.items():
        wanted = fresh[name] if name.startswith("head.") else pretrained[name]
        assert torch.equal(value, wanted), name


def test_without_pretraining_clips_the_network_starts_afresh(copied):
    layout, study, clips = copied
    (layout.pretrain / MODEL).unlink()
    with pytest.raises(StudyError, match="the pretrained network is missing; run the study first"):
        remade(copied, "optimized", 1)


def wanted_rows(opened, variant, seed):
    """All that the predictions of a run must hold: (part, round, …, clip), each once."""
    _, study, clips = opened
    holdout = study.protocol.kind == "holdout"
    rows = []
    for part in rounds(clips, study.protocol, seed):
        for name in study.classifiers:
            for epoch in ("last", "best") if holdout and name == "crnn" else ("last",):
                own = (part.number, name, epoch, "in-order")
                rows += [("validation", *own, variant, clip.id) for clip in part.validation]
                rows += [("test", *own, tested_on, clip.id)
                         for tested_on in study.all_variants for clip in part.test]
                if variant == "source":
                    rows += [("test", part.number, name, epoch, seen, "source", clip.id)
                             for seen in study.inputs if name in SEEN_BY[seen]
                             for clip in part.test]
    return sorted(rows)


def test_the_predictions_hold_every_combination_once_with_its_label(either):
    _, study, clips = either
    labels = {clip.id: clip.label for clip in clips}
    for variant, seed, result, _, table in runs(either):
        rows = table[[name for name in PREDICTIONS if name not in ("label", "predicted")]]
        assert sorted(rows.itertuples(index=False, name=None)) == wanted_rows(either, variant, seed)
        assert list(table["label"]) == [labels[clip] for clip in table["clip"]]
        assert tuple(table.columns) == (*PREDICTIONS, *(f"p: {name}" for name in result.classes))


def test_the_probabilities_are_of_all_classes_and_the_likeliest_is_predicted(either):
    for _, _, result, _, table in runs(either):
        shares = table[[f"p: {name}" for name in result.classes]].to_numpy()
        assert ((shares >= 0) & (shares <= 1)).all()
        np.testing.assert_allclose(shares.sum(1), 1, atol=2e-4)
        predicted = [result.classes.index(name) for name in table["predicted"]]
        assert (shares[np.arange(len(shares)), predicted] >= shares.max(1) - 1e-9).all()


def test_in_folds_every_clip_of_both_roles_is_tested_once_for_each_seed(done_in_folds):
    _, study, clips = done_in_folds
    every = sorted(clip.id for clip in clip_table.tested_clips(clips))
    for _, _, result, _, table in runs(done_in_folds):
        assert len(result.rounds) == 3 and set(table["part"]) == {"test"}
        for _, rows in table.groupby(["classifier", "input", "tested_on"]):
            assert sorted(rows["clip"]) == every
        for scores in result.classifiers.values():
            assert len(scores) == 3
            assert all(one.best is None and one.last.validation_accuracy is None
                       for one in scores)


def test_under_holdout_no_held_out_clip_is_trained_or_validated_on(done):
    heldout = {clip.id for clip in of_role(done[2], Role.HELDOUT)}
    for _, _, result, _, table in runs(done):
        part, = result.rounds
        assert (part.training, part.validation, part.test) == (4, 4, 4)
        assert set(table.loc[table["part"] == "test", "clip"]) == heldout
        assert not set(table.loc[table["part"] == "validation", "clip"]) & heldout


def test_the_records_agree_with_each_other(done):
    _, study, _ = done
    for _, _, result, history, table in runs(done):
        assert tuple(history.columns) == HISTORY
        curve = history[history["input"] == "in-order"].set_index("epoch")
        assert list(curve.index) == list(range(1, study.finetuning.epochs + 1))
        scores, = result.classifiers["crnn"]
        highest = curve["validation_accuracy"].idxmax()
        assert (scores.last.epoch, scores.best.epoch) == (curve.index[-1], highest)
        for name, epoch in product(result.classifiers, ("last", "best")):
            told = getattr(result.classifiers[name][0], epoch)
            rows = table.query("part == 'validation' and classifier == @name and epoch == @epoch")
            assert (told is None) == rows.empty == (name != "crnn" and epoch == "best")
            if told:
                assert (rows["label"] == rows["predicted"]).mean() == pytest.approx(
                    told.validation_accuracy)


def test_only_runs_of_the_source_are_trained_on_other_inputs(either):
    for variant, _, _, history, table in runs(either):
        others = {"shuffled", "middle", "mean"} if variant == "source" else set()
        assert set(table["input"]) == set(history["input"]) == {"in-order", *others}


def test_a_run_names_what_it_was_made_from(done):
    layout, study, clips = done
    result = read_record(layout.run("optimized", 2) / "result.json", RunResult)
    settings, machine = result.origin.settings, result.origin.machine
    assert (result.variant, result.seed, result.key) == ("optimized", 2, result.origin.key)
    assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (2, 4, 1e-3)
    assert settings["protocol"] == {"kind": "holdout", "validation": 0.24}
    assert settings["network"]["decoder"] == [8] and settings["sampling"]["frames"] == 4
    assert settings["backbone"]["name"] == "efficientnet-lite0"
    assert machine["precision"] in ("fp32", "bf16") and machine["device"] in ("cpu", "cuda", "mps")
    assert set(result.origin.inputs) == {
        *(f"the features of {name}" for name in study.all_variants), "the clip table",
        "the pretrained network"}
    assert result.command == (
        f"papermill notebooks/finetune.ipynb run.ipynb -p study {layout.study} "
        "-p variant optimized -p seed 2")
    assert list(result.classes) == classes(clips, Role.TARGET) == ["a", "b"]
    assert not result.synthetic and not result.leaks_recordings
    assert result.stated.model_dump() == {"margin": 0.1, "classifier": "linear",
                                          "variant": "optimized", "tested_on": "own"}
    assert result.classifiers["linear"][0].trainable_parameters == 1280 + 1
    assert result.classifiers["temporal"][0].trainable_parameters == 2560 + 1
    assert result.classifiers["linear"][0].regularization is not None


def test_the_command_of_a_run_finds_its_study_wherever_that_lies(tmp_path):
    def named(folder):
        return stage.command(Layout(folder), "source", 1).split(" -p ")[1]

    assert named(ROOT / "data" / "jhmdb") == "study data/jhmdb"
    assert named(tmp_path / "my clips") == f"study '{tmp_path}/my clips'"


def test_weights_are_kept_only_where_that_is_asked_for(copied):
    layout, study, clips = copied
    assert not list(layout.work.glob(f"runs/*/seed-*/{MODEL}"))
    finetune(layout, changed(study, keep_weights=True), clips, "constant", 1)
    weights = load_file(layout.run("constant", 1) / MODEL)
    table = read_csv(layout.run("constant", 1) / "predictions.csv.gz")
    heldout = of_role(clips, Role.HELDOUT)
    for name, tested_on in product(("linear", "temporal"), ("source", "constant")):
        mean, scale, matrix, bias = (weights[f"1.{name}.last.{part}"].numpy() for part in (
            "mean", "scale", "coefficients", "intercepts"))
        values = stage.load_features(layout, study, clips, tested_on, heldout).values
        scores = (pooled(name, values) - mean) / scale @ matrix.T + bias
        shares = 1 / (1 + np.exp(-scores[:, 0]))  # of two classes: that of the second
        rows = table.query("classifier == @name and tested_on == @tested_on and part == 'test'")
        assert list(rows["clip"]) == [clip.id for clip in heldout]
        np.testing.assert_allclose(rows["p: b"], shares, atol=1e-3)
    network = CRNN(1280, 2, study.network)
    for epoch in ("last", "best"):
        prefix = f"1.crnn.{epoch}."
        network.load_state_dict({key.removeprefix(prefix): value for key, value in weights.items()
                                 if key.startswith(prefix)})


@pytest.mark.parametrize("settings, difference", [
    ({"sampling": Sampling(frames=5)}, "sampling.frames was 4 and is 5"),
    ({"backbone": Backbone(name="efficientnet-lite0", size=40)}, "backbone.size was 32 and is 40")])
def test_features_of_other_settings_are_refused_in_one_sentence(done, settings, difference):
    layout, study, clips = done
    with pytest.raises(StudyError, match=f".json: .*{difference}; run the study again"):
        finetune(layout, study.model_copy(update=settings), clips, "source", 1)


def test_an_unknown_variant_is_told_with_the_known_ones(done):
    with pytest.raises(StudyError, match="there is no variant 'vendor'; use one of source, opti"):
        finetune(*done, "vendor", 1)


@pytest.fixture(params=["done", "done_in_folds"])
def both(request, copied):
    """A study of either protocol with a variant that is trained on two others."""
    layout, study, clips = copied
    protocol = request.getfixturevalue(request.param)[1].protocol
    return layout, study.model_copy(update={
        "protocol": protocol, "crnn_variants": ("source", "both"),
        "variants": study.variants | {"both": Together(together=("source", "optimized"))}}), clips


def test_trained_together_is_trained_on_each_clip_in_each_variant(both, monkeypatch):
    seen = []

    def watched(name, clips, labels, groups, seed):
        seen.append((name, clips, list(labels), list(groups)))
        return plain(name, clips, labels, groups, seed)

    plain = stage.linear.fit
    monkeypatch.setattr(stage.linear, "fit", watched)
    layout, study, clips = both
    run = finetune(layout, study, clips, "both", 1)
    for part in rounds(clips, study.protocol, 1):
        count = len(part.training)
        name, values, labels, groups = seen.pop(0)
        own = [stage.load_features(layout, study, clips, variant, part.training).values
               for variant in ("source", "optimized")]
        assert np.array_equal(values, np.concatenate(own)) and name == "linear"
        assert labels[:count] == labels[count:] and groups[:count] == groups[count:]
        assert groups[:count] == [clip.group for clip in part.training]
        seen.pop(0)  # the temporal classifier
    tested = run.predictions.query("part == 'test'")
    assert set(tested["tested_on"]) == {"source", "optimized", "constant"}
    assert set(run.predictions.query("part == 'validation'")["tested_on"]) <= {"optimized"}
    assert run.result.own_kind == "optimized" and set(run.result.classifiers) == set(CLASSIFIERS)


def test_runs_of_other_variants_have_no_crnn_and_pair_up(both):
    layout, study, clips = both
    run, whole = (finetune(layout, study, clips, name, 1) for name in ("optimized", "source"))
    assert list(run.result.classifiers) == ["linear", "temporal"] and run.history.empty
    assert set(run.predictions["classifier"]) == {"linear", "temporal"}
    assert run.result.rounds == whole.result.rounds
    assert set(whole.predictions["classifier"]) == set(CLASSIFIERS)


CLIPS = st.integers(1, 4).flatmap(lambda count: st.integers(1, 9).map(
    lambda frames: np.random.default_rng([count, frames]).normal(
        size=(count, frames, 3)).astype(np.float32)))
SEEDS = st.integers(0, 99999)


def data(values, names=None):
    names = names or [f"clip-{n}" for n in range(len(values))]
    return Labelled(tuple(names), torch.from_numpy(values), torch.zeros(len(values)))


def shown(seen, values, seed=1, names=None):
    return as_seen(seen, data(values, names), seed).features.numpy()


def numbered(count, frames):
    """Clips whose frames are their own numbers."""
    return np.tile(np.arange(frames, dtype=np.float32)[:, None], (count, 1, 1))


@given(CLIPS, SEEDS)
def test_shuffled_frames_are_the_clip_s_own_each_once(clips, seed):
    for before, after in zip(clips, shown("shuffled", clips, seed), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))


@given(SEEDS, st.permutations(range(6)))
def test_a_clip_s_order_depends_on_its_id_and_the_seed_alone(seed, places):
    names = [f"clip-{n}" for n in range(6)]
    whole = shown("shuffled", numbered(6, 12), seed, names)
    again = shown("shuffled", numbered(6, 12), seed, [names[place] for place in places])
    assert np.array_equal(whole[places], again)


@given(SEEDS)
def test_other_clips_and_other_seeds_have_other_orders(seed):
    orders = {tuple(clip[:, 0]) for one in (seed, seed + 1)
              for clip in shown("shuffled", numbered(3, 28), one, ["a", "b", "c"])}
    assert len(orders) == 6


@given(CLIPS)
def test_middle_and_mean_are_one_frame_at_every_step(clips):
    for seen, frame in (("middle", clips[:, clips.shape[1] // 2]), ("mean", clips.mean(axis=1))):
        made = shown(seen, clips)
        assert made.shape == clips.shape and made.dtype == np.float32
        for step in range(clips.shape[1]):
            np.testing.assert_allclose(made[:, step], frame, rtol=1e-5, atol=1e-6)


def test_in_order_and_without_clips_nothing_changes():
    values = numbered(2, 5)
    assert np.array_equal(shown("in-order", values), values)
    for seen in ("shuffled", "middle", "mean"):
        assert shown(seen, values[:0]).shape == (0, 5, 1)


@pytest.mark.parametrize("seen", sorted(SEEN_BY))
def test_an_input_is_left_out_where_it_is_the_same_to_a_classifier(seen):
    """`mean` to the temporal one is the linear classifier, for nothing moves."""
    values = np.random.default_rng(1).normal(size=(5, 28, 6)).astype(np.float32)
    made = shown(seen, values)
    for name in ("linear", "temporal"):
        half = slice(0, 6) if (name, seen) == ("temporal", "mean") else slice(None)
        same = np.allclose(pooled(name, made)[:, half], pooled(name, values)[:, half], atol=1e-5)
        assert same == (name not in SEEN_BY[seen])
