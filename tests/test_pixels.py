"""The network of the benchmark that is trained from the pixels up (tests/benchmarks/pixels.py)."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from leanclips.study import Backbone, Network, Sampling
from leanclips.training import backbone
from leanclips.training.crnn import CRNN
from leanclips.training.features import read_frames

SETTINGS = Backbone(name="efficientnet-lite0", size=64)
BEHIND = Network(embedding=(16, 12, 8), lstm_layers=1, lstm_units=8, decoder=(8,))


@pytest.fixture(scope="module")
def pixels():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "benchmarks")  # as Python does for a script
        return importlib.import_module("pixels")


@pytest.fixture
def network(pixels):
    torch.manual_seed(0)
    return pixels.EndToEnd(SETTINGS, CRNN(1280, 3, BEHIND))


@pytest.fixture
def frames(pixels, monkeypatch):
    """Two clips of ten frames: (2, 10, 64, 64, 3), more than are computed at a time."""
    monkeypatch.setattr(pixels, "PIXELS_AT_ONCE", 7 * 64 ** 2)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 10, 64, 64, 3),
                                                              np.uint8))


def test_end_to_end_it_begins_as_the_crnn_behind_the_frozen_backbone(network, frames):
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


def test_frames_are_decoded_when_they_are_asked_for(pixels, tmp_path, make_clip):
    paths = tuple(make_clip(tmp_path / f"{n}.mp4", frames=9, seed=n) for n in range(3))
    clips = pixels.Frames(paths, Sampling(frames=5), 32)
    assert clips[1:].shape == (2, 5, 32, 32, 3)
    wanted = [read_frames(paths[n], Sampling(frames=5), 32) for n in (2, 0)]
    assert np.array_equal(clips[torch.tensor([2, 0])].numpy(), np.stack(wanted))
