"""How much could the case study have seen? Its sizes, drawn from trainings between which nothing
differs.

    python tests/benchmarks/seen.py data/jhmdb

The study's CRNN was trained on the source with several seeds. Each of 10,000 draws makes the case
study's experiment of these runs alone: for either side ten trainings (drawn with replacement, so
the two sides are unpaired), and clips to test on, whole recordings drawn with replacement until
there are as many as it had. Its text does not say whether both sides were validated on the same
clips, so both readings are drawn. The difference of the two means then comes from chance alone.

reached     the share of draws in which it is at least as large as the case study's, either way
seen        the difference that would stand out (5%, two-sided) in 8 of 10 experiments of its kind

Of the trainings it is assumed that the case study's scatter as ours do. Its own minima and maxima
say how far they scatter: one more row takes its spread from them (a range of ten normal draws is
3.08 standard deviations), for chance in training alone.

The cross matrix is drawn in the same way: its two trainings, each tested on clips of its own kind.
(Within a row of the matrix, chance makes no difference: the same networks answer the same clips.)
Writes seen.csv beside this file and prints it; and, in book/_static/seen, how often each difference
came out (chance.csv), drawn for both themes.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from common import show
from scipy.integrate import quad

from leanclips.layout import ROOT, with_records
from leanclips.report import measures, results
from leanclips.report.display import (Canvas, Figure, Theme, colours, panels, percent_axis,
                                      points_axis)
from leanclips.report.formats import heading
from leanclips.study import CRNN, SOURCE

DRAWS = 10_000
RANDOM_SEED = 20_261_128
SEEN = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)


def clip_sets(rng: np.random.Generator, members: np.ndarray, clips: int) -> np.ndarray:
    """How often each clip is in each draw, (draws, clips of the study), `clips` in a draw."""
    recordings = [np.flatnonzero(members == n) for n in range(members.max() + 1)]
    counts = np.zeros((DRAWS, len(members)))
    for row in counts:
        while (short := clips - int(row.sum())) > 0:
            drawn = recordings[rng.integers(len(recordings))]
            row[rng.permutation(drawn)[:short]] += 1
    return counts


def sides(rng: np.random.Generator, right: np.ndarray, members: np.ndarray, clips: int,
          repeats: int, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each repeat's accuracy on either side, (draws, repeats) twice; with the same clips or not."""
    chosen = clip_sets(rng, members, clips)
    other = chosen if same else clip_sets(rng, members, clips)
    seeds = rng.integers(len(right), size=(2, DRAWS, repeats))
    accuracies = [sets @ right.T / clips for sets in (chosen, other)]  # (draws, seeds)
    return tuple(np.take_along_axis(each, drawn, axis=1)
                 for each, drawn in zip(accuracies, seeds, strict=True))


def rows(right: np.ndarray, members: np.ndarray, case) -> Iterator[tuple[dict, np.ndarray]]:
    """A row for each comparison of the case study, and the differences that were drawn."""
    rng = np.random.default_rng(RANDOM_SEED)
    (_, _, before, high), (_, _, after, high_after) = case.validation
    found = {(trained, tested): (most, mean) for trained, tested, most, mean in case.heldout}
    validated, heldout = case.validation_clips_implied, case.heldout_clips
    own = [found[name, name] for name in ("source", "optimized")]
    for clips, same, means, extremes, what in (
            (validated, True, after - before, high_after - high, "same clips"),
            (validated, False, after - before, high_after - high, "clips of its own"),
            (heldout, True, own[1][1] - own[0][1], own[1][0] - own[0][0], "held-out clips")):
        ours, theirs = sides(rng, right, members, clips, case.repeats, same)
        for name, observed, drawn in (("mean", means, theirs.mean(1) - ours.mean(1)),
                                      ("maximum", extremes, theirs.max(1) - ours.max(1))):
            yield {"comparison": what, "of": name, "clips": clips, "case_study": observed,
                   "ranges": (np.ptp(ours, axis=1) + np.ptp(theirs, axis=1)).mean() / 2,
                   "spread": drawn.std(), "reached": _reached(drawn, observed),
                   "seen": SEEN * drawn.std()}, drawn


def by_its_ranges(case) -> dict:
    """The row of the means whose spread follows from the case study's own minima and maxima."""
    (_, low, before, high), (_, low_after, after, high_after) = case.validation
    ranges, repeats = np.array([high - low, high_after - low_after]), case.repeats
    normal = NormalDist()
    per_deviation = quad(lambda x: 1 - normal.cdf(x) ** repeats - normal.cdf(-x) ** repeats,
                         -10, 10)[0]
    spread = np.sqrt(((ranges / per_deviation) ** 2).sum() / repeats)
    return {"comparison": "same clips, its own ranges", "of": "mean",
            "clips": case.validation_clips_implied, "case_study": after - before,
            "ranges": ranges.mean(), "spread": spread, "seen": SEEN * spread,
            "reached": 2 * normal.cdf(-abs(after - before) / spread)}


def _reached(drawn: np.ndarray, observed: float) -> float:
    return float((np.abs(drawn) >= abs(observed) - 1e-9).mean())


def chance(table: pd.DataFrame, draws: pd.DataFrame) -> Figure:
    """The case study's differences of means beside those that chance makes. Its caption and what it
    shows are told in book/seen.md.
    """
    drawn = draws[draws["of"] == "mean"]
    means = table[(table["of"] == "mean") & table["comparison"].isin(drawn["comparison"])]
    return Figure("chance", "", "", draws, lambda theme: draw(drawn, means, theme))


def draw(drawn: pd.DataFrame, means: pd.DataFrame, theme: Theme) -> Canvas:
    canvas, axes = panels(1, len(means), 2.6, sharex=True, sharey=True)
    for ax, row in zip(axes, means.itertuples(), strict=True):
        part = drawn[drawn["comparison"] == row.comparison]
        ax.bar(part["difference"], part["draws"] / part["draws"].sum(), 0.01,
               color=colours("x")["x"], linewidth=0)
        ax.axvline(row.case_study, color=theme.ink, linewidth=2)
        ax.set(title=heading(row.comparison), xlabel="Points", ylabel="Of the draws")
        points_axis(ax.xaxis)
        percent_axis(ax.yaxis)
        ax.label_outer()
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--figure", type=Path, default=ROOT / "book" / "_static" / "seen")
    chosen = parser.parse_args()
    found = results.load(with_records(chosen.study))
    right = measures.scores(found, CRNN, SOURCE, SOURCE)
    members = np.unique(found.recordings, return_inverse=True)[1]
    case = measures.literature("case_study")
    made = list(rows(right, members, case))
    table = pd.DataFrame([*(row for row, _ in made), by_its_ranges(case)]).assign(
        draws=DRAWS, trainings=len(right), accuracy=right.mean(), study=found.study.title)
    draws = pd.concat([pd.DataFrame({"comparison": row["comparison"], "of": row["of"],
                                     "difference": np.round(drawn, 2)})
                       .value_counts().reset_index(name="draws") for row, drawn in made])
    chance(table, draws).write(chosen.figure)
    show(table.round(4), chosen.out / "seen.csv")


if __name__ == "__main__":
    main()
