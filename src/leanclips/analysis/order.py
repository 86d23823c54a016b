"""Is time needed? Accuracy on something else than the frames in order, against the source runs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from leanclips.analysis.figures import SpreadRow, draw_spread
from leanclips.analysis.formats import (change, classifier_name, interval, listing, percent,
                                        points, spread, within)
from leanclips.analysis.measures import chance, heldout_groups
from leanclips.analysis.measures import scores as source_scores
from leanclips.analysis.results import Results
from leanclips.analysis.statistics import Estimate, Spread, Verdict, estimate, verdict
from leanclips.analysis.statistics import spread as spread_of
from leanclips.analysis.style import Canvas, Figure, Theme
from leanclips.analysis.tables import Table
from leanclips.records import CLASSIFIERS, EPOCHS, VIEWS
from leanclips.study import SOURCE

ORDERED = "ordered"
SEEN = {ORDERED: "frames in order", "shuffled": "frames shuffled", "middle": "middle frame",
        "mean": "mean frame"}
# What a view takes away, and what its verdict says of that: "worse" is the view, without it.
TAKEN = {"shuffled": "the order of the frames", "middle": "more than one frame",
         "mean": "more than the mean of the frames"}
SAYS = {Verdict.EQUIVALENT: "changes the accuracy by less than {margin} points",
        Verdict.WORSE: "helps", Verdict.BETTER: "harms",
        Verdict.UNDECIDED: "may or may not help (undecided)",
        Verdict.FEW: "changes the accuracy by less than {margin} points here, on too few "
                     "recordings to say so of others",
        Verdict.ONE_SEED: "may or may not help (one seed cannot tell)"}


@dataclass(frozen=True)
class Seen:
    """A classifier on a view, against itself on the frames in order: same seeds and clips."""

    view: str
    classifier: str
    epoch: str
    each: np.ndarray
    difference: Estimate
    verdict: Verdict

    @property
    def spread(self) -> Spread:
        """Held-out accuracy over the seeds."""
        return spread_of(self.each)


def scores(results: Results, view: str, classifier: str, epoch: str = "last") -> np.ndarray:
    """1 where a held-out source clip was recognized, else 0: shape (seeds, clips)."""
    if view == ORDERED:
        return source_scores(results, classifier, SOURCE, SOURCE, epoch)
    table = results.views
    chosen = table[(table["view"] == view) & (table["classifier"] == classifier)
                   & (table["epoch"] == epoch)]
    right = (chosen["label"] == chosen["predicted"]).to_numpy(float)
    return right.reshape(len(results.seeds), -1)


def seen(results: Results, view: str, classifier: str, epoch: str = "last") -> Seen:
    """The view's held-out accuracy less that of the frames in order."""
    ours = scores(results, view, classifier, epoch)
    difference = estimate(ours - scores(results, ORDERED, classifier, epoch),
                          heldout_groups(results))
    return Seen(view, classifier, epoch, ours.mean(axis=1), difference,
                verdict(difference, results.study.margin))


def all_seen(results: Results, epoch: str = "last") -> list[Seen]:
    """Classifier by classifier, the frames in order first."""
    return [seen(results, view, classifier, epoch) for classifier in CLASSIFIERS
            for view in (ORDERED, *VIEWS) if view == ORDERED or classifier in VIEWS[view]]


def table(results: Results) -> Table:
    """One row per classifier and view, at the last epoch and at the one picked on validation."""
    found = list(zip(*(all_seen(results, epoch) for epoch in EPOCHS), strict=True))
    rows = tuple((classifier_name(last.classifier), SEEN[last.view], spread(last.spread),
                  _change(last), "–" if last.view == ORDERED else str(last.verdict),
                  spread(best.spread), _change(best)) for last, best in found)
    data = pd.DataFrame([_numbers(one) for pair in found for one in pair])
    caption = (f"Accuracy on {len(results.heldout)} held-out source clips, minimum / mean / "
               f"maximum over {results.seed_count}; paired difference from the frames in order in "
               "points with its 90% interval. The verdict is that of the last epoch; picked: the "
               "epoch of the best validation accuracy.")
    header = ("Classifier", "Sees", "Held-out", "Against in order", "Verdict",
              "Held-out, picked", "Against in order, picked")
    return Table("time", caption, header, rows, data)


def _numbers(one: Seen) -> dict[str, object]:
    numbers = {"classifier": one.classifier, "view": one.view, "epoch": one.epoch,
               "min": one.spread.least, "mean": one.spread.mean, "max": one.spread.greatest}
    if one.view == ORDERED:
        return numbers
    return numbers | {
        "difference": one.difference.value, "low90": one.difference.within90.low,
        "high90": one.difference.within90.high, "low95": one.difference.within95.low,
        "high95": one.difference.within95.high, "verdict": str(one.verdict)}


def _change(one: Seen) -> str:
    return "–" if one.view == ORDERED else change(one.difference)


def figure(results: Results) -> Figure:
    """Held-out accuracy of each classifier on each view."""
    found = all_seen(results)
    rows: list[SpreadRow] = [
        (f"{SEEN[one.view]}, {classifier_name(one.classifier)}",
         SOURCE if one.view == ORDERED else one.view, one.spread, one.each) for one in found]
    data = pd.DataFrame([(one.classifier, one.view, one.spread.least, one.spread.mean,
                          one.spread.greatest) for one in found],
                        columns=["classifier", "view", "min", "mean", "max"])
    told = "; ".join(f"{name} {spread(values)}" for name, _, values, _ in rows)
    return Figure(
        "time", "Accuracy on held-out source clips at the last epoch, by what the network was "
        "trained and tested on: line from minimum to maximum, large mark at the mean, small marks "
        f"for each of {results.seed_count}; dashed: chance ({percent(chance(results), 0)}).",
        f"Minimum / mean / maximum: {told}.", data, lambda theme: _draw(results, rows, theme))


def _draw(results: Results, rows: list[SpreadRow], theme: Theme) -> Canvas:
    canvas = draw_spread(rows, (*results.variants, *VIEWS), "Held-out accuracy", theme)
    canvas.axes[0].axvline(chance(results), color=theme.ink, linewidth=1, linestyle="--")
    return canvas


def headline(results: Results) -> str:
    """What order and more than one frame are worth, as far as the intervals allow to say."""
    margin, told = within(results.study.margin), []
    for classifier in CLASSIFIERS:
        said = [f"{TAKEN[one.view]} {SAYS[one.verdict].format(margin=margin)}"
                for one in _others(results, classifier)]
        told.append(f"for the {classifier_name(classifier)}, {listing(said)}")
    return (f"On \u201c{results.study.title}\u201d, {len(results.heldout)} held-out clips and "
            f"{results.seed_count}: {'; '.join(told)}.")


def _others(results: Results, classifier: str) -> list[Seen]:
    """The classifier on everything but the frames in order."""
    return [seen(results, view, classifier) for view in VIEWS if classifier in VIEWS[view]]


def sentences(results: Results) -> list[str]:
    """The numbers behind the headline, and whether a single frame tells anything."""
    lines = []
    for classifier in CLASSIFIERS:
        in_order = float(scores(results, ORDERED, classifier).mean())
        told = "; ".join(f"{percent(one.spread.mean)} given the {SEEN[one.view]}, "
                         f"{points(one.difference.value)} points (90% interval "
                         f"{interval(one.difference.within90)})"
                         for one in _others(results, classifier))
        lines.append(f"The {classifier_name(classifier)} recognizes {percent(in_order)} of the "
                     f"held-out clips given the {SEEN[ORDERED]}; {told}.")
    return [*lines, _single_frame(results)]


def _single_frame(results: Results) -> str:
    found = {classifier_name(name): estimate(scores(results, "middle", name),
                                             heldout_groups(results)) for name in CLASSIFIERS}
    told = listing([f"{percent(one.value)} with the {name} (95% interval "
                    f"{percent(one.within95.low)} to {percent(one.within95.high)})"
                    for name, one in found.items()])
    above = [name for name, one in found.items() if one.within95.low > chance(results)]
    verdict = (f"with the {listing(above)} it tells these classes apart, at least in part, which "
               "the case study says single frames cannot" if above else
               "that leaves open whether it tells these classes apart at all")
    return (f"The middle frame alone gives {told}, chance {percent(chance(results))}: {verdict}.")
