"""The case study's network behind the frozen backbone, and how it is trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leanclips.records import BEST, LAST
from leanclips.study import Finetuning, Network, Pretraining
from leanclips.training.machine import compute_repeatably, denormals_flushed, keep_freed_memory
from leanclips.workers import progress


class CRNN(nn.Module):
    """The case study's encoder-decoder: three FC layers on each frame, an LSTM, FC layers.

    (clips, frames, features) → (clips, classes). Follows the public ResNetCRNN design (2020):
    batch norm of momentum 0.01 and ReLU after the first two FCs, none after the third, zero
    LSTM state, last step only. Batch norm sees all frames of the batch at once; the ancestor
    normalized each time step over the clips of the batch alone.
    """

    def __init__(self, features: int, classes: int, settings: Network):
        super().__init__()
        first, second, third = settings.embedding
        self.embedding = nn.Sequential(
            nn.Linear(features, first), nn.BatchNorm1d(first, momentum=0.01), nn.ReLU(),
            nn.Linear(first, second), nn.BatchNorm1d(second, momentum=0.01), nn.ReLU(),
            nn.Dropout(settings.dropout), nn.Linear(second, third),
        )
        self.lstm = nn.LSTM(third, settings.lstm_units, settings.lstm_layers, batch_first=True)
        widths = (settings.lstm_units, *settings.decoder)
        layers = [layer for before, after in zip(widths, widths[1:])
                  for layer in (nn.Linear(before, after), nn.ReLU())]
        self.decoder = nn.Sequential(*layers, nn.Dropout(settings.dropout))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return self.head(self.decoder(self.lstm(embedded)[0][:, -1]))


def trainable_parameters(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Labelled:
    """Clips ready to train on: `features` (clips, frames, features) fp32, `labels` (clips,)."""

    ids: tuple[str, ...]
    features: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Epoch:
    """Losses and accuracies over all clips of an epoch; None without validation clips."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Trained:
    """A trained network, its history and its weights by name after its last epoch and, where there
    are validation clips, after the best one: the first of the highest validation accuracy.
    """

    network: nn.Module
    history: tuple[Epoch, ...]
    states: dict[str, dict[str, torch.Tensor]]

    @property
    def best_epoch(self) -> Epoch | None:
        return (max(self.history, key=lambda epoch: epoch.validation_accuracy)
                if BEST in self.states else None)


def initialized(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(network: nn.Module, training: Labelled, validation: Labelled,
          settings: Pretraining | Finetuning, seed: int, what: str, device: str = "cpu",
          watch: Callable[[Sequence[Epoch], int], object] | None = None) -> Trained:
    """Train by Adam on cross-entropy; `seed` decides the order of clips and the dropout.
    `watch` gets the epochs so far, and how many there will be.

    Batches are drawn without replacement, the last one may be smaller. `validation` may hold no
    clip. Deterministic on one machine for one number of torch threads.
    """
    keep_freed_memory()
    if device != "cpu":
        compute_repeatably()
    network.to(device)
    order = np.random.default_rng([seed, 2])
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate,
                                 fused=device != "mps")
    history, best = [], {}
    with torch.random.fork_rng(devices=[]), denormals_flushed():
        torch.manual_seed(seed)
        for epoch in progress(range(1, settings.epochs + 1), settings.epochs, what, "epochs"):
            loss, accuracy = _train_epoch(network, training, optimizer,
                                          order.permutation(len(training.ids)), settings.batch_size)
            now = Epoch(epoch, loss, accuracy, *_validated(network, validation))
            if validation.ids and all(before.validation_accuracy < now.validation_accuracy
                                      for before in history):
                best = {BEST: _copy(network)}
            history.append(now)
            if watch:
                watch(history, settings.epochs)
    return Trained(network, tuple(history), {LAST: _copy(network)} | best)


def _train_epoch(network: nn.Module, data: Labelled, optimizer: torch.optim.Optimizer,
                 order: np.ndarray, batch_size: int) -> tuple[float, float]:
    """One pass over the clips; mean loss and accuracy of the network as it was in training."""
    network.train()
    device, loss_sum, hits = next(network.parameters()).device, 0.0, 0.0
    for chosen in torch.from_numpy(order).split(batch_size):
        labels = data.labels[chosen]
        scores = network(data.features[chosen].to(device))
        loss = cross_entropy(scores, labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += float(loss.detach()) * len(chosen)
        hits += float((scores.argmax(1).cpu() == labels).sum())
    return loss_sum / len(order), hits / len(order)


def _validated(network: nn.Module, data: Labelled) -> tuple[float | None, float | None]:
    """Loss and accuracy on the validation clips."""
    if not data.ids:
        return None, None
    scores = predict(network, data)
    return (float(cross_entropy(scores, data.labels)),
            float((scores.argmax(1) == data.labels).float().mean()))


@torch.inference_mode()
def predict(network: nn.Module, data: Labelled, batch_size: int = 32) -> torch.Tensor:
    """Class scores (clips, classes) in eval mode."""
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([network(data.features[start:start + batch_size].to(device)).float().cpu()
                      for start in range(0, len(data.ids), batch_size)])


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
