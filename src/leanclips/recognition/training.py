"""Training a classifier on cached features: one plain loop for every classifier and stage."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.functional import cross_entropy

from leanclips.progress import progress
from leanclips.recognition.endtoend import EndToEnd
from leanclips.recognition.features import Frames
from leanclips.recognition.precision import keep_freed_memory

DECODED_AT_ONCE = 4  # clips


@dataclass(frozen=True)
class Labelled:
    """Clips ready to train on: `features` (clips, frames, features) fp32, `labels` (clips,).

    `frames` are there for a network that trains its backbone too.
    """

    ids: tuple[str, ...]
    features: torch.Tensor
    labels: torch.Tensor
    frames: Frames | None = None

    def seen_by(self, network: nn.Module) -> torch.Tensor | Frames:
        """What `network` takes: its features or its frames."""
        return self.frames if isinstance(network, EndToEnd) else self.features


@dataclass(frozen=True)
class Epoch:
    """Losses and accuracies over all clips of an epoch."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Trained:
    """A trained network's history and its weights after the last and after the best epoch.

    Best is the first epoch of the highest validation accuracy.
    """

    history: tuple[Epoch, ...]
    last: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]

    @property
    def best_epoch(self) -> Epoch:
        return max(self.history, key=lambda epoch: epoch.validation_accuracy)


def initialized(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class Mixed:
    """A copy of a network that computes in bf16, for weights that learn in fp32.

    After Micikevicius et al., Mixed Precision Training (arXiv 1710.03740). Batch norm stays in
    fp32, and is the network's own. On a CPU it is the half of the bytes that counts.
    """

    def __init__(self, network: nn.Module):
        norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
        self.copy = deepcopy(network, {id(layer): layer for layer in norms})
        self.pairs = [(weight, rounded) for weight, rounded
                      in zip(network.parameters(), self.copy.parameters(), strict=True)
                      if weight is not rounded and weight.requires_grad]
        # New memory in every step would cost as much as the sums.
        self.gradients = [torch.empty_like(weight) for weight, _ in self.pairs]
        for _, rounded in self.pairs:
            rounded.data = rounded.data.bfloat16()

    @torch.no_grad()
    def take_weights(self) -> None:
        """Round the weights as they are now."""
        for weight, rounded in self.pairs:
            rounded.copy_(weight)

    @torch.no_grad()
    def give_gradients(self) -> None:
        """Hand the copy's gradients to the weights that learn."""
        for (weight, rounded), gradient in zip(self.pairs, self.gradients, strict=True):
            weight.grad = gradient.copy_(rounded.grad)
            rounded.grad = None


def train(network: nn.Module, training: Labelled, validation: Labelled, *, epochs: int,
          batch: int, rate: float, seed: int, what: str, mixed: bool = False) -> Trained:
    """Train by Adam on cross-entropy; `seed` decides the order of clips and the dropout.

    `mixed` computes in bf16 (see Mixed); weights, validation and predictions are fp32. Batches
    are drawn without replacement, the last one may be smaller. Deterministic on one machine for
    one number of torch threads.
    """
    order = np.random.default_rng([seed, 2])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    keep_freed_memory()
    copy = Mixed(network) if mixed else None
    history, best, best_state = [], -1.0, {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in progress(range(1, epochs + 1), epochs, what, "epochs"):
            losses, hits = _train_epoch(network, copy, training, optimizer,
                                        order.permutation(len(training.ids)), batch)
            scores = predict(network, validation)
            loss = float(cross_entropy(scores, validation.labels))
            accuracy = _accuracy(scores, validation.labels)
            history.append(Epoch(epoch, losses, hits, loss, accuracy))
            if accuracy > best:
                best, best_state = accuracy, _copy(network)
    return Trained(tuple(history), _copy(network), best_state)


def _train_epoch(network: nn.Module, copy: Mixed | None, data: Labelled,
                 optimizer: torch.optim.Optimizer, order: np.ndarray,
                 batch: int) -> tuple[float, float]:
    """One pass over the clips; mean loss and accuracy of the network as it was in training."""
    (copy.copy if copy else network).train()
    seen, loss_sum, hits = data.seen_by(network), 0.0, 0.0
    for start in range(0, len(order), batch):
        chosen = torch.from_numpy(order[start:start + batch])
        loss, scores = step(network, copy, optimizer, seen[chosen], data.labels[chosen])
        loss_sum += float(loss) * len(chosen)
        hits += float((scores.argmax(1) == data.labels[chosen]).sum())
    return loss_sum / len(order), hits / len(order)


def step(network: nn.Module, copy: Mixed | None, optimizer: torch.optim.Optimizer,
         features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of Adam on a batch; its loss and scores before the step."""
    if copy:
        copy.take_weights()
        scores = copy.copy(features.bfloat16()).float()
    else:
        scores = network(features)
    loss = cross_entropy(scores, labels)
    optimizer.zero_grad()
    loss.backward()
    if copy:
        copy.give_gradients()
    optimizer.step()
    return loss.detach(), scores.detach()


@torch.inference_mode()
def predict(network: nn.Module, data: Labelled, batch: int = 32) -> torch.Tensor:
    """Class scores (clips, classes) in eval mode; decoded frames are held of a few clips only."""
    network.eval()
    seen = data.seen_by(network)
    batch = min(batch, DECODED_AT_ONCE) if isinstance(seen, Frames) else batch
    return torch.cat([network(seen[start:start + batch])
                      for start in range(0, len(data.ids), batch)])


def _accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return float((scores.argmax(1) == labels).float().mean())


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return deepcopy({name: value.detach() for name, value in network.state_dict().items()})
