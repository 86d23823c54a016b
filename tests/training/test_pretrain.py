"""The pretraining's record is true, names its leaks, and comes out the same each time."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from leanclips.clips import Role, classes, of_role, pretraining_clips
from leanclips.errors import StudyError
from leanclips.records import HISTORY, RunResult, read_csv, read_record
from leanclips.rounds import pretraining_split
from leanclips.training.crnn import CRNN
from leanclips.training.pretrain import (MODEL, has_pretraining, pretrain, save,
                                         started_from_pretraining)

RECORDS = ("result.json", "history.csv", MODEL)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RECORDS}


def changed(study, **settings):
    """The study with other settings of the pretraining."""
    return study.model_copy(update={"pretraining": study.pretraining.model_copy(update=settings)})


def test_made_again_it_leaves_the_same_bytes(copied):
    before = contents(copied[0].pretrain)
    for name in RECORDS:
        (copied[0].pretrain / name).unlink()
    pretrain(*copied)
    assert contents(copied[0].pretrain) == before


def test_the_record_tells_clips_settings_and_scores(done):
    layout, study, clips = done
    result = read_record(layout.pretrain / "result.json", RunResult)
    chosen = pretraining_clips(clips)
    aside = pretraining_split(chosen, study.pretraining)
    assert (result.variant, result.seed) == ("pretrain", 0)
    assert list(result.classes) == classes(chosen, Role.PRETRAIN) == ["c", "d"]
    part, = result.rounds
    assert (part.training, part.validation, part.test) == (
        len(chosen) - len(aside), len(aside), 0)
    settings = result.origin.settings
    assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (2, 4, 1e-3)
    assert settings["network"]["decoder"] == [8] and settings["sampling"]["frames"] == 4
    assert result.command == f"leanclips pretrain {layout.study}"
    assert result.key == result.origin.key and not result.leaks_recordings
    history = read_csv(layout.pretrain / "history.csv")
    assert tuple(history.columns) == HISTORY and list(history["epoch"]) == [1, 2]
    scores, = result.classifiers["crnn"]
    assert scores.last.epoch == 2
    assert scores.last.validation_accuracy == pytest.approx(
        history["validation_accuracy"].iloc[-1], abs=1e-6)
    assert scores.best.epoch == history["epoch"][history["validation_accuracy"].idxmax()]


def test_clips_of_other_roles_have_no_part_in_it(copied):
    """Labels of target clips may change; the pretrained network stays."""
    layout, study, clips = copied
    before = contents(layout.pretrain)
    others = [replace(clip, fold="train") if clip.role != Role.PRETRAIN else clip
              for clip in clips]
    pretrain(layout, study, others)
    assert contents(layout.pretrain) == before


def test_a_random_split_is_marked_as_leaking(copied):
    layout, study, clips = copied
    run = pretrain(layout, changed(study, split="random", epochs=1), clips)
    assert run.result.leaks_recordings and run.leaks


@pytest.mark.parametrize("mixed", [True, False])
def test_whether_an_official_split_leaks_is_seen_in_its_folds(copied, mixed):
    layout, study, clips = copied
    held = {clip.group for clip in clips if clip.group.endswith("tape1")}
    folds = [replace(clip, fold="validation" if clip.group in held
                     and not (mixed and clip.id.endswith("4")) else "train") for clip in clips]
    run = pretrain(layout, changed(study, split="official", epochs=1), folds)
    assert run.result.leaks_recordings == run.leaks == mixed


def test_without_clips_or_a_network_for_it_there_is_none(copied):
    layout, study, clips = copied
    without = of_role(clips, Role.TARGET, Role.HELDOUT)
    linear = study.model_copy(update={"classifiers": ("linear", "temporal")})
    assert has_pretraining(study, clips)
    for settings, table in ((study, without), (linear, clips)):
        assert not has_pretraining(settings, table)
        assert pretrain(layout, settings, table) is None


def test_an_official_split_that_is_not_there_is_told(done):
    layout, study, clips = done
    with pytest.raises(StudyError, match="the pretraining clips have no official split"):
        pretrain(layout, changed(study, split="official"), clips)


def test_all_but_the_head_starts_from_the_pretrained_network(done):
    layout, study, clips = done
    fresh = CRNN(1280, 2, study.network)
    head = {name: value.clone() for name, value in fresh.head.state_dict().items()}
    network = started_from_pretraining(layout, study, clips, fresh)
    saved = load_file(layout.pretrain / MODEL)
    for name, value in network.state_dict().items():
        wanted = head[name.removeprefix("head.")] if name.startswith("head.") else saved[name]
        assert torch.equal(value, wanted), name


@pytest.mark.parametrize("part, other, difference", [
    ("network", {"decoder": (9,)}, r"network.decoder was \[8\] and is \[9\]"),
    ("network", {"lstm_layers": 2}, "network.lstm_layers was 1 and is 2"),
    ("pretraining", {"epochs": 9}, "epochs was 2 and is 9")])
def test_a_network_pretrained_with_other_settings_is_refused(done, part, other, difference):
    layout, study, clips = done
    study = study.model_copy(update={part: getattr(study, part).model_copy(update=other)})
    with pytest.raises(StudyError, match=f"pretrain/result.json: was made from .*: {difference}"):
        started_from_pretraining(layout, study, clips, CRNN(1280, 2, study.network))


def test_a_pretrained_network_that_is_missing_or_damaged_is_told(copied):
    layout, study, clips = copied
    network = CRNN(1280, 2, study.network)
    (layout.pretrain / MODEL).write_bytes(b"nothing")
    with pytest.raises(StudyError, match="model.safetensors: the weights cannot be read"):
        started_from_pretraining(layout, study, clips, network)
    (layout.pretrain / MODEL).unlink()
    with pytest.raises(StudyError, match="the pretrained network is missing; run the study first"):
        started_from_pretraining(layout, study, clips, network)


def test_weights_are_kept_by_their_names(tmp_path):
    turned = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    save(tmp_path / "a.safetensors", {"b": turned, "a": torch.ones(1)})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["b"], turned)


def test_a_run_read_back_is_the_run_that_was_made(copied):
    layout = copied[0]
    run = pretrain(*copied)
    assert read_record(layout.pretrain / "result.json", RunResult) == run.result
    pd.testing.assert_frame_equal(read_csv(layout.pretrain / "history.csv"),
                                  run.history, check_dtype=False)
