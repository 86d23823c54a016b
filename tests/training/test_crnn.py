"""The CRNN is the case study's, layer by layer, and learns the same bits from the same seed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from leanclips.records import BEST, EPOCHS, LAST
from leanclips.study import Finetuning, Network
from leanclips.training.crnn import (CRNN, Epoch, Labelled, Trained, initialized, predict,
                                     train, trainable_parameters)

LAYERS = Network(embedding=(16, 12, 8), lstm_layers=2, lstm_units=10, decoder=(6, 5))
SMALL = Network(embedding=(16, 12, 8), lstm_layers=1, lstm_units=8, decoder=(8,), dropout=0.2)


@pytest.fixture(scope="module")
def paper():
    """The network at its defaults, for ResNet-152's features and UCF-101's classes."""
    return CRNN(2048, 101, Network())


def test_it_has_as_many_parameters_as_the_case_study_s_words_give(paper):
    """"LSTM decoder followed by 2 fully connected layers consisting of 512 and 256 neurons"."""
    assert trainable_parameters(paper) == 10_006_373
    assert trainable_parameters(paper.embedding) == 3_282_688
    assert trainable_parameters(paper.lstm) == 6_303_744
    assert trainable_parameters(paper.decoder) == 512 * 512 + 512 + 512 * 256 + 256
    assert trainable_parameters(paper.head) == 256 * 101 + 101


def test_with_one_decoder_layer_it_has_as_many_as_the_public_ancestor():
    assert trainable_parameters(CRNN(2048, 101, Network(decoder=(256,)))) == 9_743_717


def test_normalization_and_relu_follow_the_first_two_layers_and_not_the_third(paper):
    kinds = [type(layer) for layer in paper.embedding]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU,
                     nn.Dropout, nn.Linear]
    assert [layer.momentum for layer in paper.embedding if isinstance(layer, nn.BatchNorm1d)] == [
        0.01, 0.01]
    assert [layer.out_features for layer in paper.embedding if isinstance(layer, nn.Linear)] == [
        1024, 768, 512]
    assert [type(layer) for layer in paper.decoder] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU,
                                                        nn.Dropout]
    assert (paper.lstm.num_layers, paper.lstm.hidden_size, paper.lstm.bidirectional) == (
        3, 512, False)


def test_a_decoder_may_have_any_number_of_layers():
    for widths, last in (((), 10), ((7,), 7), ((9, 8, 6), 6)):
        network = CRNN(20, 3, LAYERS.model_copy(update={"decoder": widths}))
        assert network.head.in_features == last
        assert network.eval()(torch.randn(2, 4, 20)).shape == (2, 3)


def test_there_is_no_dropout_unless_asked_for(paper):
    dropouts = [layer.p for layer in paper.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0, 0]
    asked = CRNN(8, 2, LAYERS.model_copy(update={"dropout": 0.5}))
    assert [layer.p for layer in asked.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("clips, frames", [(1, 1), (1, 28), (5, 3)])
def test_clips_in_scores_out(clips, frames):
    scores = CRNN(20, 7, LAYERS).eval()(torch.randn(clips, frames, 20))
    assert scores.shape == (clips, 7)


def test_the_scores_come_from_the_last_step_alone():
    network = CRNN(20, 3, LAYERS).eval()
    clips = torch.randn(2, 5, 20)
    embedded = network.embedding(clips.reshape(10, 20)).reshape(2, 5, -1)
    _, (hidden, _) = network.lstm(embedded)
    wanted = network.head(network.decoder(hidden[-1]))
    torch.testing.assert_close(network(clips), wanted)


def test_each_clip_is_judged_on_its_own():
    network = CRNN(20, 3, LAYERS).eval()
    clips = torch.randn(4, 5, 20)
    alone = torch.cat([network(clip[None]) for clip in clips])
    torch.testing.assert_close(network(clips), alone)


def test_the_order_of_frames_counts():
    clips = torch.randn(2, 5, 20)
    network = CRNN(20, 3, LAYERS).eval()
    assert not torch.allclose(network(clips), network(clips.flip(1)))


def clips_of(count, seed, noise=0.5):
    """Two classes, told apart by the sign of their features."""
    labels = torch.arange(count) % 2
    grain = torch.randn(count, 4, 10, generator=torch.Generator().manual_seed(seed))
    features = (labels * 2.0 - 1)[:, None, None] + noise * grain
    return Labelled(tuple(f"clip-{n}" for n in range(count)), features, labels)


def trained(build=lambda: CRNN(10, 2, SMALL), *, seed=1, data=None, **settings):
    """A small training and its network."""
    network = initialized(build, seed)
    data = data or (clips_of(21, 0), clips_of(8, 1))
    settings = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2} | settings
    return network, train(network, *data, Finetuning(**settings), seed, "test")


def equal(a, b):
    """Whether two state dicts hold the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_what_can_be_learnt():
    _, result = trained(epochs=12)
    assert result.history[-1].validation_accuracy == 1
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    first = trained()[1]
    torch.rand(17)
    second = trained()[1]
    assert first.history == second.history
    assert all(equal(first.states[epoch], second.states[epoch]) for epoch in EPOCHS)


def test_another_seed_gives_another_training():
    assert not equal(*(trained(seed=seed)[1].states[LAST] for seed in (1, 2)))


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained()
    torch.testing.assert_close(torch.rand(3), wanted)


def test_initial_weights_depend_on_the_seed_alone():
    weights = [initialized(lambda: CRNN(10, 2, SMALL), seed).state_dict() for seed in (3, 3, 4)]
    assert equal(weights[0], weights[1]) and not equal(weights[0], weights[2])


class Watched(nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.layer, self.shown = nn.Linear(10, 2), []

    def forward(self, clips):
        if self.training:
            self.shown.append(clips[:, 0, 0].clone())
        return self.layer(clips.mean(1))


def test_the_order_of_clips_is_paired_across_variants():
    """The same seed draws the same batches, whatever the features are."""
    orders = []
    for scale in (1.0, 3.0):
        numbered = torch.arange(1.0, 10)[:, None, None].expand(9, 4, 10) * scale
        data = replace(clips_of(9, 0), features=numbered)
        network, _ = trained(Watched, data=(data, clips_of(4, 1)), epochs=3)
        assert [len(batch) for batch in network.shown] == [4, 4, 1] * 3
        shown = torch.cat(network.shown) / scale
        orders.append(shown.round().int().unflatten(0, (3, 9)).tolist())
    assert orders[0] == orders[1]
    assert all(sorted(order) == list(range(1, 10)) for order in orders[0])
    assert orders[0][0] != orders[0][1]


def test_the_best_epoch_is_the_first_of_the_highest_validation_accuracy():
    history = tuple(Epoch(n, 0, 0, 0, accuracy) for n, accuracy in
                    enumerate((0.5, 0.75, 0.75, 0.25), 1))
    assert Trained(nn.Identity(), history, dict.fromkeys(EPOCHS, {})).best_epoch.epoch == 2


def test_without_validation_clips_there_is_no_best_epoch():
    nothing = Labelled((), torch.empty(0, 4, 10), torch.empty(0, dtype=torch.long))
    _, result = trained(data=(clips_of(9, 0), nothing), epochs=2)
    assert set(result.states) == {LAST} and result.best_epoch is None
    assert all(epoch.validation_loss is None and epoch.validation_accuracy is None
               for epoch in result.history)
    with_some = trained(data=(clips_of(9, 0), clips_of(5, 1)), epochs=2)[1]
    # Validation changes nothing in the training.
    assert equal(result.states[LAST], with_some.states[LAST])


def ends_below_its_best(result):
    return result.history[-1].validation_accuracy < result.best_epoch.validation_accuracy


def test_the_weights_of_the_best_epoch_give_its_accuracy():
    data = clips_of(24, 0, noise=4), clips_of(16, 1, noise=4)
    tried = (trained(data=data, epochs=10, learning_rate=3e-3, seed=seed) for seed in range(20))
    network, result = next(run for run in tried if ends_below_its_best(run[1]))
    accuracies = [epoch.validation_accuracy for epoch in result.history]
    best = result.best_epoch
    assert best.validation_accuracy == max(accuracies)
    assert best.epoch == 1 + accuracies.index(max(accuracies))
    for epoch, accuracy in ((BEST, max(accuracies)), (LAST, accuracies[-1])):
        network.load_state_dict(result.states[epoch])
        right = predict(network, data[1]).argmax(1) == data[1].labels
        assert float(right.float().mean()) == pytest.approx(accuracy)


def test_a_network_that_is_worst_at_first_still_has_a_best_epoch():
    data = clips_of(8, 0), replace(clips_of(8, 1), labels=1 - clips_of(8, 1).labels)
    _, result = trained(data=data, epochs=3, learning_rate=1e-12)
    assert result.best_epoch.epoch == 1


def test_training_figures_are_means_over_all_clips_not_the_last_batch():
    """At so low a rate nothing changes, so the figures can be computed apart."""
    data = clips_of(10, 0, noise=3), clips_of(4, 1)
    network, result = trained(Watched, data=data, epochs=1, learning_rate=1e-12)
    scores = network(data[0].features).detach()
    loss = torch.nn.functional.cross_entropy(scores, data[0].labels)
    assert result.history[0].train_loss == pytest.approx(float(loss), rel=1e-4)
    right = (scores.argmax(1) == data[0].labels).float().mean()
    assert result.history[0].train_accuracy == pytest.approx(float(right))


@pytest.mark.parametrize("count, size", [(9, 4), (5, 4), (1, 4), (6, 100)])
def test_any_number_of_clips_and_any_batch_size_will_do(count, size):
    _, result = trained(data=(clips_of(count, 0), clips_of(1, 1)), batch_size=size, epochs=1)
    assert len(result.history) == 1


def test_prediction_changes_nothing_and_does_not_depend_on_the_batch():
    network, _ = trained()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    data = clips_of(9, 3)
    torch.testing.assert_close(predict(network, data, 2), predict(network, data, 9))
    assert equal(state, network.state_dict()) and not network.training
