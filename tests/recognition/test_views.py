"""A view shows the clips it says, and pairs with the source run of its seed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leanclips.clips import Role, load_clips, of_role
from leanclips.recognition import runs, views
from leanclips.recognition.network import MeanLinear
from leanclips.recognition.runs import finetune
from leanclips.recognition.training import Labelled, initialized, predict
from leanclips.recognition.views import middle, seen, shuffled, train_on_views
from leanclips.records import EPOCHS, VIEW_PREDICTIONS, VIEWS, read_csv
from leanclips.study import load_study

CLIPS = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3)),
               elements=st.floats(-100, 100, width=32))
SEEDS = st.integers(0, 99999)


@pytest.fixture
def opened(finished_study):
    """Layout, settings and clips of a finished study."""
    return finished_study, load_study(finished_study.study), load_clips(finished_study)


def ids(clips):
    return [f"clip-{n}" for n in range(len(clips))]


def numbered(count, frames):
    """Clips whose frames are their own numbers."""
    return np.tile(np.arange(frames, dtype=np.float32)[:, None], (count, 1, 1))


@given(CLIPS, SEEDS)
def test_shuffled_frames_are_the_clips_own_each_once(clips, seed):
    for before, after in zip(clips, shuffled(clips, ids(clips), seed), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))


@given(SEEDS, st.permutations(range(6)))
def test_a_clips_order_hangs_on_its_id_and_the_seed_alone(seed, places):
    clips = numbered(6, 12)
    names = ids(clips)
    whole = shuffled(clips, names, seed)
    again = shuffled(clips, [names[place] for place in places], seed)
    assert np.array_equal(whole[places], again)


@given(SEEDS)
def test_other_clips_and_other_seeds_have_other_orders(seed):
    names = ["a", "b", "c"]
    orders = {tuple(clip[:, 0]) for one in (seed, seed + 1)
              for clip in shuffled(numbered(3, 28), names, one)}
    assert len(orders) == 6


@given(CLIPS)
def test_middle_and_mean_are_one_frame_at_every_step(clips):
    for made, frame in ((middle(clips), clips[:, clips.shape[1] // 2]),
                        (views.mean(clips), clips.mean(axis=1))):
        assert made.shape == clips.shape and made.dtype == np.float32
        assert all(np.array_equal(made[:, step], frame) for step in range(clips.shape[1]))


@pytest.mark.parametrize("view", ["shuffled", "mean"])
def test_to_the_linear_classifier_shuffled_and_averaged_frames_are_the_same(view):
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 28, 6))
                                .astype(np.float32))
    data = Labelled(tuple("abcde"), features, torch.zeros(5, dtype=torch.long))
    network = initialized(lambda: MeanLinear(6, 4), 1).standardize(features)
    torch.testing.assert_close(predict(network, seen(view, data, 3)),
                               predict(network, data))
    assert "linear" not in VIEWS[view]


def test_the_records_hold_every_held_out_clip_once(opened):
    layout, study, clips = opened
    heldout = [(clip.id, clip.label) for clip in of_role(clips, Role.HELDOUT)]
    for seed in study.finetuning.seeds:
        whole = read_csv(layout.views(seed))
        assert tuple(whole.columns) == VIEW_PREDICTIONS and set(whole["seed"]) == {seed}
        assert set(whole["view"]) == set(VIEWS)
        for view, table in whole.groupby("view"):
            parts = dict(list(table.groupby(["classifier", "epoch"])))
            assert set(parts) == {(name, epoch) for name in VIEWS[view] for epoch in EPOCHS}
            for part in parts.values():
                assert list(zip(part["clip"], part["label"], strict=True)) == heldout


def test_views_made_again_leave_the_same_bytes(opened):
    path = opened[0].views(2)
    before = path.read_bytes()
    path.unlink()
    train_on_views(*opened, 2)
    assert path.read_bytes() == before


def test_in_order_a_view_would_end_in_the_source_runs_own_predictions(opened, monkeypatch):
    """The frames left as they are: training, and what is tested, are those of the source run."""
    layout = opened[0]
    monkeypatch.setattr(views, "seen", lambda view, data, seed: data)
    made = train_on_views(*opened, 2).query("view == 'middle'")
    wanted = read_csv(layout.crosstest).query(
        "variant == 'source' and tested_on == 'source' and seed == 2")
    columns = ["classifier", "epoch", "clip", "label", "predicted"]
    assert made[columns].values.tolist() == wanted[columns].values.tolist()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_starts_as_the_source_run_does(opened, monkeypatch, view):
    started = []

    def record(network, training, validation, *, seed, epochs, batch, rate, what, mixed):
        weights = {name: value.clone() for name, value in network.named_parameters()}
        started.append((training, validation, (seed, epochs, batch, rate, mixed), weights))
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", record)
    monkeypatch.setattr(views, "VIEWS", {view: VIEWS[view]})
    for begin in (lambda: finetune(*opened, "source", 1),
                  lambda: train_on_views(*opened, 1)):
        with pytest.raises(KeyboardInterrupt):
            begin()
    source, ours = started
    assert [part.ids for part in source[:2]] == [part.ids for part in ours[:2]]
    assert source[2] == ours[2]
    assert all(torch.equal(source[3][name], ours[3][name]) for name in source[3])
    assert not torch.equal(source[0].features, ours[0].features)


