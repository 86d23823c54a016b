"""Training learns, keeps its best epoch, and gives the same bits for the same seed."""

from dataclasses import replace

import pytest
import torch

from leanclips.recognition.network import CRNN, MeanLinear
from leanclips.recognition.training import (Epoch, Labelled, Mixed, Trained, initialized,
                                             predict, step, train)
from leanclips.study import Network

torch.set_num_threads(1)  # as every stage does: more threads fight on a busy machine

SMALL = Network(embedding=(16, 12, 8), lstm_layers=1, lstm_units=8, decoder=8, dropout=0.2)


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
    settings = {"epochs": 4, "batch": 4, "rate": 1e-2} | settings
    return network, train(network, *data, seed=seed, what="test", **settings)


def equal(a, b):
    """Whether two state dicts hold the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("build", [lambda: CRNN(10, 2, SMALL), lambda: MeanLinear(10, 2)])
def test_it_learns_what_can_be_learnt(build):
    _, result = trained(build, epochs=12)
    assert result.history[-1].validation_accuracy == 1
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    first = trained()[1]
    torch.rand(17)
    second = trained()[1]
    assert first.history == second.history
    assert equal(first.last, second.last) and equal(first.best, second.best)


def test_another_seed_gives_another_training():
    assert not equal(trained(seed=1)[1].last, trained(seed=2)[1].last)


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained()
    torch.testing.assert_close(torch.rand(3), wanted)


def test_initial_weights_depend_on_the_seed_alone():
    weights = [initialized(lambda: CRNN(10, 2, SMALL), seed).state_dict() for seed in (3, 3, 4)]
    assert equal(weights[0], weights[1]) and not equal(weights[0], weights[2])


def test_the_order_of_clips_is_paired_across_variants(monkeypatch):
    """The same seed draws the same batches, whatever the features are."""
    orders = []
    monkeypatch.setattr("leanclips.recognition.training._train_epoch",
                        lambda network, copy, data, optimizer, order, batch:
                        orders.append(list(order)) or (0.0, 0.0))
    source = clips_of(9, 0), clips_of(4, 1)
    other = tuple(replace(part, features=part.features * 3) for part in source)
    for data in (source, other):
        trained(data=data, epochs=3)
    assert orders[:3] == orders[3:]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert orders[0] != orders[1]


def test_the_best_epoch_is_the_first_of_the_highest_validation_accuracy():
    history = tuple(Epoch(n, 0, 0, 0, accuracy) for n, accuracy in
                    enumerate((0.5, 0.75, 0.75, 0.25), 1))
    assert Trained(history, {}, {}).best_epoch.epoch == 2


def ends_below_its_best(result):
    return result.history[-1].validation_accuracy < result.best_epoch.validation_accuracy


def test_the_weights_of_the_best_epoch_give_its_accuracy():
    data = clips_of(24, 0, noise=4), clips_of(16, 1, noise=4)
    network, result = next(run for run in (trained(data=data, epochs=10, rate=3e-3, seed=seed)
                                           for seed in range(20)) if ends_below_its_best(run[1]))
    accuracies = [epoch.validation_accuracy for epoch in result.history]
    best = result.best_epoch
    assert best.validation_accuracy == max(accuracies)
    assert best.epoch == 1 + accuracies.index(max(accuracies))
    for state, accuracy in ((result.best, max(accuracies)), (result.last, accuracies[-1])):
        network.load_state_dict(state)
        right = predict(network, data[1]).argmax(1) == data[1].labels
        assert float(right.float().mean()) == pytest.approx(accuracy)


def test_a_network_that_is_worst_at_first_still_has_a_best_epoch():
    data = clips_of(8, 0), replace(clips_of(8, 1), labels=1 - clips_of(8, 1).labels)
    _, result = trained(lambda: MeanLinear(10, 2).standardize(data[0].features), data=data,
                        epochs=3)
    assert result.best and result.best_epoch.epoch >= 1


def test_training_figures_are_means_over_all_clips_not_the_last_batch():
    """A rate of zero changes nothing, so the figures can be computed apart."""
    data = clips_of(10, 0, noise=3), clips_of(4, 1)
    network, result = trained(lambda: MeanLinear(10, 2), data=data, epochs=1, rate=1e-12, batch=4)
    scores = network(data[0].features).detach()
    loss = torch.nn.functional.cross_entropy(scores, data[0].labels)
    assert result.history[0].train_loss == pytest.approx(float(loss), rel=1e-4)
    right = (scores.argmax(1) == data[0].labels).float().mean()
    assert result.history[0].train_accuracy == pytest.approx(float(right))


@pytest.mark.parametrize("count, batch", [(9, 4), (5, 4), (1, 4), (6, 100)])
def test_any_number_of_clips_and_any_batch_will_do(count, batch):
    _, result = trained(data=(clips_of(count, 0), clips_of(1, 1)), batch=batch, epochs=1)
    assert len(result.history) == 1


def test_bf16_learns_as_the_plain_loop_does():
    """The loss of each epoch within 2 %, where training is neither chaotic nor at rest."""
    data = clips_of(40, 0, noise=2), clips_of(20, 1, noise=2)
    steady = Network(embedding=(16, 12, 8), lstm_layers=2, lstm_units=8, decoder=8)
    plain, mixed = ([epoch.train_loss for epoch in trained(
        lambda: CRNN(10, 2, steady), data=data, epochs=5, rate=1e-3, mixed=mixed)[1].history]
        for mixed in (False, True))
    assert plain != mixed and plain[-1] < plain[0]
    assert mixed == pytest.approx(plain, rel=0.02)


def test_bf16_gradients_reach_the_weights_in_fp32():
    network = initialized(lambda: CRNN(10, 2, SMALL.model_copy(update={"dropout": 0.0})), 1)
    data, copy = clips_of(4, 0), Mixed(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    still = torch.optim.SGD(network.parameters(), lr=0.0)
    step(network.train(), None, still, data.features, data.labels)
    wanted = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    network.load_state_dict(before)
    copy.copy.train()
    step(network, copy, still, data.features, data.labels)
    made = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    assert made.dtype is torch.float32 and (made - wanted).norm() < 0.05 * wanted.norm()
    assert not equal({"mean": before["embedding.1.running_mean"]},
                     {"mean": network.state_dict()["embedding.1.running_mean"]})


def test_prediction_changes_nothing_and_does_not_depend_on_the_batch():
    network, _ = trained()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    data = clips_of(9, 3)
    torch.testing.assert_close(predict(network, data, 2), predict(network, data, 9))
    assert equal(state, network.state_dict()) and not network.training
