"""A network that trains its backbone sees what the frozen one saw, and learns all the way down."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from leanclips.clips import Role, load_clips, of_role
from leanclips.recognition import backbone, endtoend
from leanclips.recognition.crosstest import crosstest
from leanclips.recognition.endtoend import EndToEnd
from leanclips.recognition.features import Frames, read_frames
from leanclips.recognition.network import CRNN
from leanclips.recognition.precision import device
from leanclips.recognition.runs import finetune, load_run
from leanclips.recognition.training import Labelled, predict
from leanclips.records import read_csv
from leanclips.study import Backbone, Network, Sampling, load_study
from leanclips.workers import run_all

SETTINGS = Backbone(name="efficientnet-lite0", size=64)
NETWORK = Network(embedding=(16, 12, 8), lstm_layers=1, lstm_units=8, decoder=4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return EndToEnd(SETTINGS, CRNN(1280, 3, NETWORK))


@pytest.mark.parametrize("make", [lambda: EndToEnd(SETTINGS, CRNN(1280, 3, NETWORK)),
                                  lambda: backbone.load(SETTINGS)])
def test_a_gpu_would_compute_repeatably_and_in_fp32(make):
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    make()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def frames(monkeypatch):
    """Two clips of ten frames: (2, 10, 64, 64, 3), more than are computed at a time."""
    monkeypatch.setattr(endtoend, "PIXELS_AT_ONCE", 7 * 64 ** 2)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 10, 64, 64, 3),
                                                              np.uint8))


def test_it_begins_as_the_crnn_behind_the_frozen_backbone(network, frames):
    features = backbone.whole(SETTINGS)(backbone.pixels(frames.flatten(0, 1).numpy()))
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            network(frames), network.crnn(features.flatten(1).unflatten(0, (2, 10))),
            rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_all_frames_at_once(network, frames):
    """What is computed again on the way back is the same."""
    network.train()
    for layer in network.modules():  # chance would have it otherwise each time
        if hasattr(layer, "_global_params"):
            layer._global_params = layer._global_params._replace(drop_connect_rate=0)
    cross_entropy(network(frames), torch.tensor([0, 2])).backward()
    found = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    network.zero_grad()
    seen = network.backbone(backbone.pixels(frames.flatten(0, 1).numpy())).flatten(1)
    cross_entropy(network.crnn(seen.unflatten(0, (2, 10))), torch.tensor([0, 2])).backward()
    largest = max(gradient.abs().max() for gradient in found.values())
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-2, atol=1e-4 * largest)


def gradients(network, frames, seed=3):
    """Of a training step under one seed."""
    torch.manual_seed(seed)
    network.zero_grad()
    cross_entropy(network.train()(frames), torch.tensor([0, 2])).backward()
    return [weight.grad.clone() for weight in network.parameters()]


def test_what_chance_leaves_out_is_the_same_when_it_is_computed_again(network, frames,
                                                                      monkeypatch):
    """Drop-connect, which this network has, draws other masks each time, but not on the way back."""
    found = gradients(network, frames)
    monkeypatch.setattr(endtoend, "checkpoint", lambda function, part, **_: function(part))
    torch.testing.assert_close(gradients(network, frames), found)
    assert not torch.equal(gradients(network, frames, seed=4)[0], found[0])


def test_frames_are_on_the_device_before_what_is_computed_again(network, frames, monkeypatch):
    """Else its random numbers would not be repeated; `meta` stands for a GPU here."""
    def look(_, part, **__):
        assert part.device.type == "meta"
        raise KeyboardInterrupt

    monkeypatch.setattr(endtoend, "device", lambda: torch.device("meta"))
    monkeypatch.setattr(endtoend, "checkpoint", look)
    with pytest.raises(KeyboardInterrupt):
        network(frames)


def test_every_weight_learns_and_published_statistics_stay(network, frames):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    cross_entropy(network(frames), torch.tensor([0, 2])).backward()
    optimizer.step()
    for name, value in network.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(value, before[name]) == ("running_" in name or "num_b" in name)
    norms = [layer for layer in network.crnn.modules() if isinstance(layer, _BatchNorm)]
    assert norms and all(layer.training for layer in norms)


@pytest.mark.parametrize("size, parts", [(64, [7, 7, 6]), (128, [1] * 20), (256, [1] * 20)])
def test_larger_frames_are_computed_fewer_at_a_time(network, frames, monkeypatch, size, parts):
    seen = []
    monkeypatch.setattr(endtoend, "checkpoint",
                        lambda _, part, **__: seen.append(len(part)) or torch.zeros(len(part), 1280))
    network.train()(torch.zeros(2, 10, size, size, 3, dtype=torch.uint8))
    assert seen == parts


def test_predictions_decode_a_few_clips_at_a_time(network, frames, monkeypatch):
    asked = []
    monkeypatch.setattr(Frames, "__getitem__", lambda self, chosen: asked.append(
        len(self.paths[chosen])) or frames[:1].repeat(asked[-1], 1, 1, 1, 1)[:, :1])
    ids = tuple("abcdefghi")
    clips = Frames(tuple(map(Path, ids)), Sampling(), 64)
    scores = predict(network, Labelled(ids, torch.zeros(9, 1, 1280), torch.zeros(9), clips))
    assert scores.shape == (9, 3) and asked == [4, 4, 1]


@pytest.mark.parametrize("name, size, features", [("googlenet", 64, 1024),
                                                  ("inception_v3", 80, 2048)])
def test_a_backbone_with_auxiliary_classifiers_learns_without_them(tmp_path, name, size, features):
    built = models.get_model(name, weights=None, init_weights=False)
    torch.save(built.state_dict(), tmp_path / "made.pth")
    settings = Backbone(name=name, weights=str(tmp_path / "made.pth"), size=size)
    network = EndToEnd(settings, CRNN(features, 3, NETWORK)).train()
    cross_entropy(network(torch.zeros(2, 2, size, size, 3, dtype=torch.uint8)),
                  torch.tensor([0, 2])).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_frames_are_decoded_when_they_are_asked_for(tmp_path, make_clip):
    paths = tuple(make_clip(tmp_path / f"{n}.mp4", frames=9, seed=n) for n in range(3))
    sampling = Sampling(frames=5)
    clips = Frames(paths, sampling, 32)
    assert len(clips) == 3 and clips[1:].shape == (2, 5, 32, 32, 3)
    for chosen in (torch.tensor([2, 0]), slice(0, 3, 2)):
        places = [2, 0] if isinstance(chosen, torch.Tensor) else [0, 2]
        wanted = [read_frames(paths[n], sampling, 32) for n in places]
        assert np.array_equal(clips[chosen].numpy(), np.stack(wanted))


def test_a_study_that_trains_its_backbone_runs_and_is_tested(finished_study, monkeypatch):
    layout, clips, asked = finished_study, load_clips(finished_study), []
    study = load_study(layout.study)
    study = study.model_copy(update={"variants": {"optimized": study.variants["optimized"]},
                                     "finetuning": study.finetuning.model_copy(update={
        "finetune_backbone": True, "epochs": 1, "seeds": (1,)})})
    frozen, _ = load_run(layout.run("source", 1))
    for variant in study.all_variants:
        run = finetune(layout, study, clips, variant, 1)
    assert run.result.split_sha256 == frozen.split_sha256
    whole, _ = load_run(layout.run("source", 1))
    assert (whole.precision, whole.device) == ("fp32", device().type)
    assert (whole.classifiers["crnn"].trainable_parameters
            > frozen.classifiers["crnn"].trainable_parameters + 3_000_000)
    assert (whole.classifiers["linear"].trainable_parameters
            == frozen.classifiers["linear"].trainable_parameters)
    monkeypatch.setattr("leanclips.recognition.crosstest.run_all",
                        lambda *arguments: asked.append(arguments[2]) or run_all(*arguments))
    crosstest(layout, study, clips, 2)
    assert asked == [1]
    table = read_csv(layout.crosstest)
    assert len(table) == 2 * 2 * 2 * 2 * len(of_role(clips, Role.HELDOUT))
