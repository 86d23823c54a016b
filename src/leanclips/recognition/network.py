"""The two classifiers behind the frozen backbone: features of a clip in, class scores out."""

import torch
from torch import nn

from leanclips.recognition.lstm import LSTM
from leanclips.study import Network


class CRNN(nn.Module):
    """The case study's encoder-decoder: three FC layers on each frame, an LSTM, two FC layers.

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
        self.lstm = LSTM(third, settings.lstm_units, settings.lstm_layers)
        self.decoder = nn.Sequential(
            nn.Linear(settings.lstm_units, settings.decoder), nn.ReLU(),
            nn.Dropout(settings.dropout),
        )
        self.head = nn.Linear(settings.decoder, classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return self.head(self.decoder(self.lstm(embedded)[:, -1]))


class MeanLinear(nn.Module):
    """The baseline: mean over frames, standardized, then one linear layer; blind to order.

    (clips, frames, features) → (clips, classes). The statistics come from the training clips
    and are kept with the weights.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.head = nn.Linear(features, classes)

    def standardize(self, clips: torch.Tensor) -> "MeanLinear":
        """Take mean and deviation from the training clips (clips, frames, features)."""
        means = clips.mean(1)
        self.mean.copy_(means.mean(0))
        self.std.copy_(means.std(0, correction=0).clamp_min(1e-6))
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.head((clips.mean(1) - self.mean) / self.std)


def trainable_parameters(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
