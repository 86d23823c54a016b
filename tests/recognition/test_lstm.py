"""The faster LSTM computes what nn.LSTM does, in value and in gradient."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from leanclips.recognition import lstm
from leanclips.recognition.lstm import LSTM

torch.set_num_threads(1)  # as every stage does: more threads fight on a busy machine

# Largest relative error that bf16 products leave, in the norm.
TOLERANCE = 0.015


def gradients(network, clips, output=LSTM.__call__):
    """What `output(network, clips)` is worth to each weight and to the clips, in fp32."""
    network.zero_grad()
    clips = clips.clone().requires_grad_()
    output(network, clips).float().square().sum().backward()
    return [grad.float() for grad in (*(parameter.grad for parameter in network.parameters()),
                                      clips.grad)]


def error(made, wanted):
    return ((made.float() - wanted).norm() / wanted.norm()).item()


def both(inputs=24, units=16, layers=3, seed=0):
    """An LSTM, and the same in bf16 but for the rounding of its weights."""
    torch.manual_seed(seed)
    rounded = LSTM(inputs, units, layers).bfloat16()
    return deepcopy(rounded).float(), rounded


@pytest.mark.parametrize("clips, steps", [(4, 28), (1, 5), (3, 1)])
def test_steps_and_gradients_are_those_of_nn_lstm(clips, steps):
    plain, rounded = both()
    inputs = torch.randn(clips, steps, 24).bfloat16()
    made, wanted = rounded(inputs), plain(inputs.float())
    assert made.shape == wanted.shape == (clips, steps, 16) and made.dtype is torch.bfloat16
    assert error(made, wanted) < TOLERANCE
    for got, expected in zip(gradients(rounded, inputs), gradients(plain, inputs.float()),
                             strict=True):
        # After a single step nothing has come back through the recurrence.
        assert error(got, expected) < TOLERANCE if expected.any() else not got.any()


def test_a_loss_on_the_last_step_alone_reaches_the_first():
    plain, rounded = both()
    inputs = torch.randn(2, 12, 24).bfloat16()
    *_, got = gradients(rounded, inputs, lambda network, clips: network(clips)[:, -1])
    *_, expected = gradients(plain, inputs.float(), lambda network, clips: network(clips)[:, -1])
    assert error(got, expected) < TOLERANCE and got[:, 0].any()


@pytest.mark.skipif(not lstm._can_lay_out(), reason="this CPU or torch lays no weights out")
@pytest.mark.parametrize("units", [16, 50, 256])
def test_laying_the_weights_out_beforehand_changes_no_bit(units, monkeypatch):
    _, rounded = both(units=units, layers=2)
    inputs = torch.randn(4, 9, 24).bfloat16()
    made = [rounded(inputs), *gradients(rounded, inputs)]
    monkeypatch.setattr(lstm, "_can_lay_out", lambda: False)
    assert all(map(torch.equal, made, [rounded(inputs), *gradients(rounded, inputs)]))


def test_without_the_operators_it_does_without(monkeypatch):
    """They are not documented: another torch may lack them, or take other arguments."""
    def missing(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(lstm, "_laid_out", missing)
    assert not lstm._can_lay_out.__wrapped__()


def test_the_gradient_is_the_slope_of_what_is_computed():
    """Against the definition of a derivative, apart from autograd, in the gradient's direction."""
    _, network = both(6, 5, 2, seed=1)
    inputs, step = torch.randn(2, 4, 6).bfloat16(), 1e-3
    *ways, _ = gradients(network, inputs)
    length = torch.cat([way.flatten() for way in ways]).norm().double()

    def moved(by):
        other = LSTM(6, 5, 2).double().eval()
        other.load_state_dict({name: value.double() + by * way.double() / length
                               for (name, value), way
                               in zip(network.state_dict().items(), ways, strict=True)})
        return other(inputs.double()).square().sum()

    slope = (moved(step) - moved(-step)) / (2 * step)
    assert slope.item() == pytest.approx(length.item(), rel=TOLERANCE)


def test_in_fp32_it_is_nn_lstm_to_the_bit():
    plain, _ = both()
    inputs = torch.randn(2, 7, 24)
    assert torch.equal(plain(inputs), nn.LSTM.forward(plain, inputs)[0])


def test_its_weights_are_those_of_nn_lstm():
    network = LSTM(24, 16, 3)
    other = nn.LSTM(24, 16, 3, batch_first=True)
    other.load_state_dict(network.state_dict())
    assert [name for name, _ in network.named_parameters()] == [
        name for name, _ in other.named_parameters()]
