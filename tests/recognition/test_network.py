"""The CRNN is the case study's, layer by layer; the baseline sees no order."""

import pytest
import torch
from torch import nn

from leanclips.recognition.network import CRNN, MeanLinear, trainable_parameters
from leanclips.study import Network

torch.set_num_threads(1)  # as every stage does: more threads fight on a busy machine

SMALL = Network(embedding=(16, 12, 8), lstm_layers=2, lstm_units=10, decoder=6)


@pytest.fixture(scope="module")
def paper():
    """The network at its defaults, for ResNet-152's features and UCF-101's classes."""
    return CRNN(2048, 101, Network())


def test_it_has_as_many_parameters_as_the_public_ancestor(paper):
    assert trainable_parameters(paper) == 9_743_717
    assert trainable_parameters(paper.embedding) == 3_282_688
    assert trainable_parameters(paper.lstm) == 6_303_744
    assert trainable_parameters(paper.decoder) + trainable_parameters(paper.head) == 157_285


def test_normalization_and_relu_follow_the_first_two_layers_and_not_the_third(paper):
    kinds = [type(layer) for layer in paper.embedding]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU,
                     nn.Dropout, nn.Linear]
    assert [layer.momentum for layer in paper.embedding if isinstance(layer, nn.BatchNorm1d)] == [
        0.01, 0.01]
    assert [layer.out_features for layer in paper.embedding if isinstance(layer, nn.Linear)] == [
        1024, 768, 512]
    assert [type(layer) for layer in paper.decoder] == [nn.Linear, nn.ReLU, nn.Dropout]
    assert (paper.lstm.num_layers, paper.lstm.hidden_size, paper.lstm.bidirectional) == (
        3, 512, False)


def test_there_is_no_dropout_unless_asked_for(paper):
    dropouts = [layer.p for layer in paper.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0, 0]
    asked = CRNN(8, 2, SMALL.model_copy(update={"dropout": 0.5}))
    assert [layer.p for layer in asked.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("clips, frames", [(1, 1), (1, 28), (5, 3)])
def test_clips_in_scores_out(clips, frames):
    scores = CRNN(20, 7, SMALL).eval()(torch.randn(clips, frames, 20))
    assert scores.shape == (clips, 7)
    assert MeanLinear(20, 7)(torch.randn(clips, frames, 20)).shape == (clips, 7)


def test_the_scores_come_from_the_last_step_alone():
    network = CRNN(20, 3, SMALL).eval()
    clips = torch.randn(2, 5, 20)
    embedded = network.embedding(clips.reshape(10, 20)).reshape(2, 5, -1)
    _, (hidden, _) = nn.LSTM.forward(network.lstm, embedded)
    wanted = network.head(network.decoder(hidden[-1]))
    torch.testing.assert_close(network(clips), wanted)


def test_each_clip_is_judged_on_its_own():
    network = CRNN(20, 3, SMALL).eval()
    clips = torch.randn(4, 5, 20)
    alone = torch.cat([network(clip[None]) for clip in clips])
    torch.testing.assert_close(network(clips), alone)


def test_the_crnn_sees_the_order_of_frames_and_the_baseline_does_not():
    clips = torch.randn(2, 5, 20)
    crnn, linear = CRNN(20, 3, SMALL).eval(), MeanLinear(20, 3)
    assert not torch.allclose(crnn(clips), crnn(clips.flip(1)))
    torch.testing.assert_close(linear(clips), linear(clips.flip(1)))


def test_the_baseline_standardizes_by_the_training_clips():
    clips = torch.randn(50, 4, 6) * 3 + 7
    clips[:, :, 5] = 1  # a feature that never changes must not divide by zero
    linear = MeanLinear(6, 2).standardize(clips)
    seen = (clips.mean(1) - linear.mean) / linear.std
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[:, :5].std(0, correction=0), torch.ones(5))
    assert torch.isfinite(linear(clips)).all()
    assert {"mean", "std"} <= set(linear.state_dict())
    assert trainable_parameters(linear) == 6 * 2 + 2
