"""The machine's view of an encode: how far the features of a frozen backbone move."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from leanclips.recognition import backbone
from leanclips.recognition.features import cosine_distance, features_of
from leanclips.study import Backbone, Sampling


@dataclass(frozen=True)
class FeatureDrift:
    """Mean cosine distance of a backbone's features, source against made, over sampled frames.

    Call it with both files. It goes to worker processes as its settings and loads there.
    """

    backbone: Backbone = Backbone()
    sampling: Sampling = Sampling(frames=12)

    @cached_property
    def fingerprint(self) -> str:
        """What it depends on: network, weights, size and frames."""
        return f"{backbone.fingerprint(self.backbone)} {self.sampling.model_dump_json()}"

    def __call__(self, source: Path, made: Path) -> float:
        """StudyError if either cannot be decoded."""
        before = _of_source(source, source.stat().st_mtime_ns, self.sampling, self.backbone)
        return round(cosine_distance(before, features_of(made, self.sampling, self.backbone)), 6)


@lru_cache(maxsize=1)
def _of_source(path: Path, _changed: int, sampling: Sampling, settings: Backbone) -> np.ndarray:
    """Every try of a clip is compared with the same source."""
    return features_of(path, sampling, settings)
