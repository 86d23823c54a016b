"""What is measured: arrays, sizes and comparisons taken out of a study's records."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leanclips.analysis.results import Results
from leanclips.analysis.statistics import Estimate, Verdict, estimate, verdict
from leanclips.records import CLASSIFIERS, EPOCHS
from leanclips.study import SOURCE

OWN, ON_SOURCE = "own", "source"
TESTED = {OWN: "own kind", ON_SOURCE: "source"}


@dataclass(frozen=True)
class Comparison:
    """A variant against the source: paired over seeds and held-out clips."""

    variant: str
    classifier: str
    tested: str
    accuracy: float
    source_accuracy: float
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class Pairing:
    """What pairing does for a comparison: the widths of its 90% interval, and of the one that
    two unrelated sets of seeds and clips would give; `correlation` is that of the seeds'
    accuracies (None where they do not vary).
    """

    classifier: str
    paired: float
    unpaired: float
    correlation: float | None


@dataclass(frozen=True)
class Sizes:
    """Bytes of a variant's target and held-out clips.

    `no_gain` and `unreachable` kept their bytes for that reason, `kept` for any. `encodes` is
    the mean a clip, `drift` the mean feature drift (None where it is not known).
    """

    variant: str
    clips: int
    bytes_in: int
    bytes_out: int
    mean_saving: float
    median_saving: float
    kept: int
    no_gain: int
    unreachable: int
    encodes: float
    drift: float | None

    @property
    def saving(self) -> float:
        """Saved share of all bytes."""
        return 1 - self.bytes_out / self.bytes_in


def scores(results: Results, classifier: str, variant: str, tested_on: str,
           epoch: str = "last") -> np.ndarray:
    """1 where a held-out clip was recognized, else 0: shape (seeds, clips)."""
    return results.correct[results.variants.index(variant), :, CLASSIFIERS.index(classifier),
                           EPOCHS.index(epoch), results.variants.index(tested_on)]


def heldout_groups(results: Results) -> list[str]:
    """The recording of each held-out clip."""
    return [clip.group for clip in results.heldout]


def chance(results: Results) -> float:
    """What anybody gets right who has not looked: the share of the largest held-out class."""
    labels = [clip.label for clip in results.heldout]
    return max(map(labels.count, labels)) / len(labels)


def heldout_accuracy(results: Results, classifier: str, variant: str) -> Estimate:
    """Accuracy on held-out clips of the variant's own kind, last epoch."""
    return estimate(scores(results, classifier, variant, variant), heldout_groups(results))


def validation(results: Results, classifier: str, variant: str,
               epoch: str = "last") -> np.ndarray:
    """Validation accuracy of each seed."""
    return np.array([getattr(results.runs[variant, seed].classifiers[classifier], epoch)
                     .validation_accuracy for seed in results.seeds])


def compare(results: Results, classifier: str, variant: str, tested: str) -> Comparison:
    """The variant's held-out accuracy less the source's, last epoch."""
    ours = scores(results, classifier, variant, variant if tested == OWN else SOURCE)
    theirs = scores(results, classifier, SOURCE, SOURCE)
    difference = estimate(ours - theirs, heldout_groups(results))
    return Comparison(variant, classifier, tested, float(ours.mean()), float(theirs.mean()),
                      difference, verdict(difference, results.study.margin))


def comparisons(results: Results) -> list[Comparison]:
    """All of them: classifier by classifier, variant by variant, own kind first."""
    return [compare(results, classifier, variant, tested) for classifier in CLASSIFIERS
            for variant in results.study.variants for tested in (OWN, ON_SOURCE)]


def pairing(results: Results, classifier: str, variant: str) -> Pairing:
    """How much pairing narrows the comparison of `variant` with the source, each on its own."""
    groups = heldout_groups(results)
    ours, theirs = (scores(results, classifier, name, name) for name in (variant, SOURCE))
    paired, *alone = (_width(estimate(each, groups)) for each in (ours - theirs, ours, theirs))
    seeds = ours.mean(axis=1), theirs.mean(axis=1)
    varies = all(np.ptp(each) > 0 for each in seeds)
    return Pairing(classifier, paired, float(np.hypot(*alone)),
                   float(np.corrcoef(*seeds)[0, 1]) if varies else None)


def _width(found: Estimate) -> float:
    return found.within90.high - found.within90.low


def as_table(found: Sequence[Comparison]) -> pd.DataFrame:
    """Comparisons as rows of numbers."""
    return pd.DataFrame([{
        "classifier": c.classifier, "variant": c.variant, "tested": c.tested,
        "accuracy": c.accuracy, "source_accuracy": c.source_accuracy,
        "difference": c.difference.value, "low90": c.difference.within90.low,
        "high90": c.difference.within90.high, "low95": c.difference.within95.low,
        "high95": c.difference.within95.high, "verdict": str(c.verdict)} for c in found])


def sizes(results: Results, variant: str) -> Sizes:
    """Bytes before and after; `originals` are the uncropped files."""
    table = results.report(variant)
    saving = savings(table)
    return Sizes(variant, len(table), int(table["bytes_in"].sum()), int(table["bytes_out"].sum()),
                 float(saving.mean()), float(saving.median()),
                 int(kept(table).sum()),
                 int((table["reason"] == "no-gain").sum()),
                 int((table["reason"] == "target-unreachable").sum()),
                 float(table["encodes"].mean()),
                 float(results.drift[variant].mean()) if variant in (results.drift or {})
                 else None)


def kept(table: pd.DataFrame) -> pd.Series:
    """Which clips were delivered with the bytes they had."""
    return table["crf"].isna() & (table["reason"] != "external")


def savings(table: pd.DataFrame) -> pd.Series:
    """Saved share of each clip's bytes."""
    return 1 - table["bytes_out"] / table["bytes_in"]


def share_of_source(results: Results, variant: str) -> float:
    """The variant's bytes as a fraction of the source's."""
    return sizes(results, variant).bytes_out / sizes(results, SOURCE).bytes_out


def picking_bonus(results: Results, classifier: str) -> tuple[float, float]:
    """What picking the best validation epoch adds: on validation, and on held-out clips."""
    on_validation = np.mean([validation(results, classifier, variant, "best").mean()
                             - validation(results, classifier, variant).mean()
                             for variant in results.variants])
    on_heldout = np.mean([scores(results, classifier, variant, variant, "best").mean()
                          - scores(results, classifier, variant, variant).mean()
                          for variant in results.variants])
    return float(on_validation), float(on_heldout)
