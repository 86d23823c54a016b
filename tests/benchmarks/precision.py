"""How far the features of the frozen backbone move when it computes in bf16 instead of fp32.

    python tests/benchmarks/precision.py --clips data/jhmdb/work/clips/source

Writes precision.csv beside this file (the book shows it) and prints it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from common import compared, show

from leanclips.study import Backbone, Sampling
from leanclips.training.features import features_of
from leanclips.training.machine import Compute
from leanclips.workers import cores, run_all

HERE = Path(__file__).parent


def distances(clip: Path) -> np.ndarray:
    """Cosine distance of each frame's features (frames,)."""
    a, b = (features_of(clip, Sampling(), Backbone(), Compute("cpu", precision)).astype(float)
            for precision in ("fp32", "bf16"))
    return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder of MP4 clips")
    parser.add_argument("--out", type=Path, default=HERE, help="where the table goes")
    wanted = parser.parse_args()
    clips = compared(wanted.clips)
    if not clips:
        parser.error(f"{wanted.clips} holds no MP4 clips")
    found = np.concatenate(run_all(distances, clips, cores(), "features"))
    show(pd.DataFrame([{"backbone": Backbone().name, "clips": len(clips), "frames": len(found),
                        "distance_mean": found.mean(), "distance_max": found.max()}]).round(5),
         wanted.out / "precision.csv")


if __name__ == "__main__":
    main()
