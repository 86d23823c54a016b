"""How often the 90% interval holds the truth, and a loss of the margin is called equivalent.

    python tests/benchmarks/coverage.py

Studies are simulated at the sizes of data/*/clips.csv, recordings as large as there, with ten
seeds, as a threshold model of what is recognized: a clip is right where its own ease plus luck is
above zero. Its ease has a part of its recording and one of its own; training on the variant moves
both a little; luck has a part of the seed and one of seed and clip. `steady`: luck is small, as
with a linear classifier; `unsteady`: as large as with the CRNN. The true difference is nothing, a
quarter of the margin or all of it, spread over all clips, or falling on few recordings. Writes
coverage.csv beside this file (the book shows it) and prints it. Takes two minutes on one core.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from common import show

from leanclips.report.statistics import Estimate, Verdict, intervals, verdict

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
STUDIES = {"jhmdb21": (0.02, 0.55), "ucf8": (0.02, 0.9), "jhmdb": (0.05, 0.65)}  # margin, accuracy
SEEDS, RESAMPLES = 10, 2000
# Standard deviations. Ease of a recording and of a clip, and what the variant does to both.
EASE, MOVED = (0.6, 1.0), (0.06, 0.12)
LUCK = {"steady": (0.01, 0.1), "unsteady": (0.06, 0.8)}  # of a seed, and of a clip in it
# What share of the recordings loses (None: no recording stands out), and of the margin how much.
LOSSES = {"none": (None, 0), "a quarter": (None, 0.25), "even": (None, 1),
          "on a tenth": (0.1, 1), "on a twentieth": (0.05, 1), "on whole recordings": (0, 1)}


@dataclass(frozen=True)
class Case:
    """`sizes` are the clips of each recording; `loss` one of LOSSES."""

    sizes: np.ndarray
    luck: str
    loss: str
    margin: float
    accuracy: float
    seeds: int = SEEDS

    @property
    def truth(self) -> float:
        return -self.margin * LOSSES[self.loss][1]


def sizes_of(study: str) -> np.ndarray:
    """How many test clips each recording of a study has."""
    clips = pd.read_csv(DATA / study / "clips.csv").query("role != 'pretrain'")
    heldout = clips[clips["role"] == "heldout"]
    return (heldout if len(heldout) else clips).groupby("group").size().to_numpy()


def differences(case: Case, rng: np.random.Generator) -> np.ndarray:
    """One simulated study: variant less source, summed over the clips of each recording; shape
    (seeds, recordings).
    """
    members = np.repeat(np.arange(len(case.sizes)), case.sizes)
    share, _ = LOSSES[case.loss]

    def part(recording: float, clip: float) -> np.ndarray:
        return (rng.normal(0, recording, len(case.sizes))[members]
                + rng.normal(0, clip, len(members)))

    def right(ease: np.ndarray, accuracy: float, *spread: float) -> np.ndarray:
        seed, clip = LUCK[case.luck]
        total = np.sqrt(sum(each**2 for each in (*EASE, *spread, seed, clip)))
        return (ease + rng.normal(0, seed, (case.seeds, 1)) + NormalDist().inv_cdf(accuracy) * total
                + rng.normal(0, clip, (case.seeds, len(members)))) > 0

    ease = part(*EASE)
    even = case.truth if share is None else 0
    source = right(ease, case.accuracy)
    variant = right(ease + part(*MOVED), case.accuracy + even, *MOVED)
    if share is not None:  # by as much of what was right that the loss is the margin
        lost = -case.truth / case.accuracy
        share = max(share, lost)
        hit = (rng.random(len(case.sizes)) < share)[members]
        variant &= ~(hit & (rng.random(len(members)) < lost / share))
    return np.add.reduceat(variant.astype(float) - source, np.r_[0, np.cumsum(case.sizes)[:-1]],
                           axis=1)


def simulate(case: Case, times: int, seed: int = 1) -> dict[str, float]:
    """What `times` simulated studies say, as shares of them; widths and error are means."""
    rng = np.random.default_rng(seed)
    sums = np.array([differences(case, rng) for _ in range(times)])
    error, _, bootstrap, clustered = intervals(sums, case.sizes, RESAMPLES)
    outer = np.where(np.arange(4)[:, None] % 2, np.maximum(bootstrap, clustered),
                     np.minimum(bootstrap, clustered))
    found = sums.sum((1, 2)) / (case.seeds * case.sizes.sum())
    said = [verdict(Estimate(*one, case.seeds, len(case.sizes)), case.margin)
            for one in zip(found, *outer, strict=True)]

    # The plain way, for comparison: percentiles of the mean over seeds.
    even = np.full(len(case.sizes), 1 / len(case.sizes))
    drawn = rng.multinomial(len(case.sizes), even, size=RESAMPLES).astype(float)
    means = sums.mean(axis=1) @ drawn.T / (drawn @ case.sizes)

    def covers(ends: np.ndarray) -> float:
        return float(((ends[0] <= case.truth) & (case.truth <= ends[1])).mean())

    inside = (-case.margin < outer) & (outer < case.margin)
    return {"scatter": found.std(), "error": error.mean(), "coverage": covers(outer),
            "coverage_bootstrap": covers(bootstrap), "coverage_clustered": covers(clustered),
            "coverage_percentile": covers(np.quantile(means, [0.05, 0.95], axis=1)),
            "width_bootstrap": np.mean(bootstrap[1] - bootstrap[0]),
            "width_clustered": np.mean(clustered[1] - clustered[0]),
            "inside90": float(inside[:2].all(0).mean()),
            "equivalent": said.count(Verdict.EQUIVALENT) / times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=4000, help="simulated studies per row")
    parser.add_argument("--out", type=Path, default=HERE, help="where the table goes")
    wanted = parser.parse_args()
    rows = []
    for study, (margin, accuracy) in STUDIES.items():
        sizes = sizes_of(study)
        for luck in LUCK:
            for number, loss in enumerate(LOSSES):
                case = Case(sizes, luck, loss, margin, accuracy)
                rows.append({"study": study, "recordings": len(sizes), "clips": sizes.sum(),
                             "seeds": SEEDS, "luck": luck, "loss": loss, "truth": case.truth,
                             "times": wanted.times, **simulate(case, wanted.times, number)})
    show(pd.DataFrame(rows).round(4), wanted.out / "coverage.csv")


if __name__ == "__main__":
    main()
