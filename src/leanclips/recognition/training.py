"""Training a classifier on cached features: one plain loop for every classifier and stage."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leanclips.progress import progress


@dataclass(frozen=True)
class Labelled:
    """Clips ready to train on: `features` (clips, frames, features) fp32, `labels` (clips,)."""

    ids: tuple[str, ...]
    features: torch.Tensor
    labels: torch.Tensor


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


def train(network: nn.Module, training: Labelled, validation: Labelled, *, epochs: int,
          batch: int, rate: float, seed: int, what: str) -> Trained:
    """Train by Adam on cross-entropy; `seed` decides the order of clips and the dropout.

    Batches are drawn without replacement, the last one may be smaller. Deterministic on one
    machine for one number of torch threads.
    """
    order = np.random.default_rng([seed, 2])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    history, best, best_state = [], -1.0, {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in progress(range(1, epochs + 1), epochs, what, "epochs"):
            losses, hits = _train_epoch(network, training, optimizer,
                                        order.permutation(len(training.ids)), batch)
            scores = predict(network, validation.features)
            loss = float(cross_entropy(scores, validation.labels))
            accuracy = _accuracy(scores, validation.labels)
            history.append(Epoch(epoch, losses, hits, loss, accuracy))
            if accuracy > best:
                best, best_state = accuracy, _copy(network)
    return Trained(tuple(history), _copy(network), best_state)


def _train_epoch(network: nn.Module, data: Labelled, optimizer: torch.optim.Optimizer,
                 order: np.ndarray, batch: int) -> tuple[float, float]:
    """One pass over the clips; mean loss and accuracy of the network as it was in training."""
    network.train()
    loss_sum = hits = 0.0
    for start in range(0, len(order), batch):
        chosen = torch.from_numpy(order[start:start + batch])
        scores = network(data.features[chosen])
        loss = cross_entropy(scores, data.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += float(loss.detach()) * len(chosen)
        hits += float((scores.argmax(1) == data.labels[chosen]).sum())
    return loss_sum / len(order), hits / len(order)


@torch.inference_mode()
def predict(network: nn.Module, features: torch.Tensor, batch: int = 32) -> torch.Tensor:
    """Class scores (clips, classes) in eval mode."""
    network.eval()
    return torch.cat([network(part) for part in features.split(batch)])


def _accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return float((scores.argmax(1) == labels).float().mean())


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return deepcopy({name: value.detach() for name, value in network.state_dict().items()})
