"""Trained from the pixels up: the CRNN together with its backbone, where there is a GPU.

    python tests/benchmarks/pixels.py data/jhmdb21 --variants source t85 t50 --seeds 1 2 3

Of each variant and seed, in the first round of the study's protocol: all weights learn from the
clips themselves, and the network is tested on clips of its own kind. The study has to have its
clips. Writes pixels.csv beside this file and prints it. On a CPU an epoch takes hours.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import show
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from leanclips.clips import Clip, Role, classes, load_clips
from leanclips.layout import Layout
from leanclips.rounds import rounds
from leanclips.study import Backbone, Sampling, Study, load_study
from leanclips.training import backbone
from leanclips.training.crnn import CRNN, Labelled, initialized, predict, train
from leanclips.training.features import read_frames
from leanclips.training.machine import compute, compute_repeatably
from leanclips.workers import cores

PIXELS_AT_ONCE = 7 * 224 ** 2
DECODED_AT_ONCE = 4  # clips


@dataclass(frozen=True)
class Frames:
    """Clips decoded when asked for: `frames[chosen]`, (clips, frames, size, size, 3), uint8."""

    paths: tuple[Path, ...]
    sampling: Sampling
    size: int

    def __getitem__(self, chosen: slice | Sequence[int]) -> torch.Tensor:
        read = partial(read_frames, sampling=self.sampling, size=self.size)
        with ThreadPoolExecutor(cores()) as pool:  # decoding lets other threads run
            clips = list(pool.map(read, np.array(self.paths, dtype=object)[chosen]))
        return torch.from_numpy(np.stack(clips))


class EndToEnd(nn.Module):
    """A backbone and a CRNN behind it: frames (clips, frames, H, W, 3), uint8 → class scores.

    All weights learn. Batch norm of the backbone keeps its published statistics, for the frames
    of four clips are too much alike to stand for a batch. Only a few frames' activations are held
    at a time and computed again in the backward pass (Chen et al., arXiv 1604.06174): those of a
    whole batch take more memory than most machines have.
    """

    def __init__(self, settings: Backbone, crnn: CRNN):
        super().__init__()
        compute_repeatably()
        self.backbone = backbone.whole(settings).requires_grad_(True)
        self.crnn = crnn

    def train(self, mode: bool = True) -> "EndToEnd":
        super().train(mode)
        for layer in self.backbone.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        few = max(PIXELS_AT_ONCE // (clips.shape[2] * clips.shape[3]), 1)
        parts = [checkpoint(self._seen, part, use_reentrant=False)
                 for part in clips.flatten(0, 1).split(few)]
        return self.crnn(torch.cat(parts).unflatten(0, clips.shape[:2]))

    def _seen(self, frames: torch.Tensor) -> torch.Tensor:
        return self.backbone(backbone.pixels(frames, where=frames.device)).flatten(1)


def trained(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
            learning_rate: float) -> dict[str, object]:
    """Train on the first round's clips of a variant; the accuracy on its test clips."""
    part, names = rounds(clips, study.protocol, seed)[0], classes(clips, Role.TARGET)
    through, device = study.backbone.for_target, compute(study).device

    def data(chosen: Sequence[Clip]) -> Labelled:
        paths = tuple(layout.made_clip(variant, clip.id) for clip in chosen)
        return Labelled(tuple(clip.id for clip in chosen),
                        Frames(paths, study.sampling, through.size),
                        torch.tensor([names.index(clip.label) for clip in chosen]))

    frames = torch.zeros(1, through.size, through.size, 3, dtype=torch.uint8)
    features = backbone.whole(through)(backbone.pixels(frames)).flatten(1).shape[1]
    network = initialized(lambda: EndToEnd(through, CRNN(features, len(names), study.network)),
                          seed)
    settings = study.finetuning.model_copy(update={"learning_rate": learning_rate})
    train(network, data(part.training), data(()), settings, seed, f"{variant}, seed {seed}", device)
    test = data(part.test)
    right = (predict(network, test, DECODED_AT_ONCE).argmax(1) == test.labels).float().mean()
    return {"variant": variant, "seed": seed, "device": device, "test_clips": len(test.ids),
            "accuracy": round(float(right), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--variants", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args()
    layout, study = Layout(chosen.study), load_study(chosen.study)
    clips = load_clips(layout, study)
    show(pd.DataFrame([trained(layout, study, clips, variant, seed, chosen.learning_rate)
                       for seed in chosen.seeds for variant in chosen.variants]),
         chosen.out / "pixels.csv")


if __name__ == "__main__":
    main()
