"""An LSTM that trains faster in bf16 on a CPU, at batches of a few clips.

At batch 4 each step of the recurrence reads all its weights for next to no arithmetic. In bf16
these are half the bytes, they are laid out for the CPU once instead of at each step, and the
gradients of the weights are one product over all steps instead of one for each. Gates and cells
stay in fp32.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.nn.functional import pad

# So many zeros at the end of each row part rows whose length is a power of two: in the cache these
# get into each other's way, and take up to five times as long to lay out.
APART = 32


class LSTM(nn.LSTM):
    """`nn.LSTM` with `batch_first`; (clips, steps, inputs) → (clips, steps, units), zero states.

    With weights in fp32 it computes as `nn.LSTM` does.
    """

    def __init__(self, inputs: int, units: int, layers: int):
        super().__init__(inputs, units, layers, batch_first=True)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        if self.weight_ih_l0.dtype is not torch.bfloat16:
            return super().forward(clips)[0]
        steps = clips.transpose(0, 1)
        for layer in range(self.num_layers):
            w_ih, w_hh, b_ih, b_hh = (getattr(self, f"{name}_l{layer}") for name in (
                "weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            steps = _Layer.apply(steps, w_ih, w_hh, b_ih + b_hh)
        return steps.transpose(0, 1)


class _Layer(torch.autograd.Function):
    """One layer: (steps, clips, inputs) → (steps, clips, units), bf16. Gates i, f, g, o.

    Views of all steps are made at once: one by one they would cost as much as the sums.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, w_ih: torch.Tensor, w_hh: torch.Tensor,
                bias: torch.Tensor) -> torch.Tensor:
        steps, clips, units = *x.shape[:2], w_hh.shape[1]
        gates = (x.flatten(0, 1) @ w_ih.t()).float().add_(bias).view(steps, clips, 4 * units)
        hidden = x.new_zeros(steps + 1, clips, units + APART)
        cells = gates.new_zeros(steps + 1, clips, units)
        squashed = gates.new_empty(steps, clips, units)  # tanh of the cells
        gate, state, out, cell, shown = (part.unbind() for part in (
            gates, hidden, hidden[..., :units], cells, squashed))
        i, f, g, o = (part.unbind() for part in gates.chunk(4, 2))
        i_and_f = gates[..., :2 * units].unbind()
        recurrent = _times(w_hh)
        for t in range(steps):
            if t:
                gate[t].add_(recurrent(state[t]))
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], cell[t], out=cell[t + 1]).addcmul_(i[t], g[t])
            torch.tanh(cell[t + 1], out=shown[t])
            torch.mul(o[t], shown[t], out=out[t + 1])
        hidden = hidden[..., :units]
        ctx.save_for_backward(x, w_ih, w_hh, gates, hidden, cells, squashed)
        return hidden[1:]

    @staticmethod
    def backward(ctx, above: torch.Tensor):
        x, w_ih, w_hh, gates, hidden, cells, squashed = ctx.saved_tensors
        steps, clips, units = *x.shape[:2], w_hh.shape[1]
        i, f, g, o = gates.chunk(4, 2)
        # What each gate's input is worth, per unit of the gradient that its cell (i, f, g) or
        # output (o) gets.
        worth = torch.stack([g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g * g),
                             squashed * o * (1 - o)], 2)
        of_cell, of_output = worth[:, :, :3].unbind(), worth[:, :, 3].unbind()
        through, kept = (o * (1 - squashed * squashed)).unbind(), f.unbind()
        from_above, cell = above.float().unbind(), worth.new_zeros(clips, 1, units)
        exact = worth.new_empty(clips, 4, units)
        by_cell, by_output, by_gate = exact[:, :3], exact[:, 3], exact.flatten(1)
        padded = x.new_zeros(steps, clips, 4 * units + APART)
        inner = padded[..., :4 * units]
        gate, rounded = padded.unbind(), inner.unbind()
        recurrent = _times(w_hh.t())
        for t in reversed(range(steps)):
            output = from_above[t] + recurrent(gate[t + 1]) if t < steps - 1 else from_above[t]
            cell[:, 0].addcmul_(output, through[t])
            torch.mul(of_cell[t], cell, out=by_cell)
            torch.mul(of_output[t], output, out=by_output)
            rounded[t].copy_(by_gate)
            cell[:, 0].mul_(kept[t])
        flat = inner.flatten(0, 1)
        below = (flat @ w_ih).view_as(x) if ctx.needs_input_grad[0] else None
        return (below, flat.t() @ x.flatten(0, 1), flat.t() @ hidden[:-1].flatten(0, 1),
                flat.sum(0))


def _times(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """`rows @ weight.t()` as a function of a few rows, each with APART zeros at its end."""
    if _can_lay_out():
        return _laid_out(weight)
    return lambda rows: rows[:, :weight.shape[1]] @ weight.t()


def _laid_out(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    operators = torch.ops.mkldnn
    ready = operators._reorder_linear_weight(pad(weight.contiguous(), (0, APART)))
    return lambda rows: operators._linear_pointwise(rows, ready, None, "none", [], "")


@cache
def _can_lay_out() -> bool:
    """Whether torch has oneDNN's operators for it, which are not documented, and this CPU what
    they need. A small product has to come out the same.
    """
    weight, rows = (torch.arange(float(count * 8)).view(count, 8).bfloat16() for count in (16, 4))
    try:
        return torch.equal(_laid_out(weight)(pad(rows, (0, APART))), rows @ weight.t())
    except (AttributeError, RuntimeError, TypeError):
        return False
