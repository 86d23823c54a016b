"""The CRNN together with its backbone, trained from the clips' frames: no cached features."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from leanclips.recognition import backbone
from leanclips.recognition.network import CRNN
from leanclips.recognition.precision import compute_repeatably, device
from leanclips.study import Backbone

PIXELS_AT_ONCE = 7 * 224 ** 2


class EndToEnd(nn.Module):
    """A backbone and a CRNN behind it: frames (clips, frames, H, W, 3), uint8 -> class scores.

    All weights learn. Batch norm of the backbone keeps its published statistics, for the frames
    of four clips are too much alike to stand for a batch. Only a few frames' activations are held
    at a time and computed again on the way back (Chen et al., arXiv 1604.06174), for all of a
    batch take more memory than most machines have. Computes on a GPU where there is one; scores
    come back to the CPU.
    """

    def __init__(self, settings: Backbone, crnn: CRNN):
        super().__init__()
        compute_repeatably()
        self.backbone = backbone.whole(settings).requires_grad_(True)
        self.crnn = crnn
        self.to(device())

    def train(self, mode: bool = True) -> "EndToEnd":
        super().train(mode)
        for layer in self.backbone.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        # Frames go to the device first: checkpoint repeats the random numbers (the masks of
        # dropout and drop-connect) of the devices that it sees, and no others.
        few = max(PIXELS_AT_ONCE // (clips.shape[2] * clips.shape[3]), 1)
        parts = [checkpoint(self._seen, part.to(device()), use_reentrant=False)
                 for part in clips.flatten(0, 1).split(few)]
        return self.crnn(torch.cat(parts).unflatten(0, clips.shape[:2])).cpu()

    def _seen(self, frames: torch.Tensor) -> torch.Tensor:
        return self.backbone(backbone.pixels(frames, where=frames.device)).flatten(1)
