"""What is measured: accuracies, sizes and paired comparisons; and what others have published."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import yaml

from leanclips.layout import ROOT
from leanclips.records import EPOCHS, IN_ORDER, LAST
from leanclips.report.formats import in_words, within
from leanclips.report.results import Encoded, Results
from leanclips.report.statistics import Estimate, estimate, verdict
from leanclips.study import OWN, SOURCE


@cache
def literature(name: str) -> SimpleNamespace:
    """Numbers of other people's publications, from book/literature.yml: `case_study`, `ucf_101`."""
    text = (ROOT / "book" / "literature.yml").read_text(encoding="utf-8")
    return SimpleNamespace(**yaml.safe_load(text)[name])


def scores(results: Results, classifier: str, variant: str, tested_on: str, epoch: str = LAST,
           seen: str = IN_ORDER) -> np.ndarray:
    """1 where a test clip was recognized, else 0: shape (seeds, clips)."""
    truth = [results.classes.index(clip.label) for clip in results.tested]
    answers = results.answers[classifier, variant, tested_on, epoch, seen]
    return (answers == truth).astype(float)


def by_seed(results: Results, epoch: str = LAST) -> pd.DataFrame:
    """A row for each classifier, variant, variant that it was tested on, input and seed: the
    accuracy on test clips, and that on validation clips where there are any.
    """
    rows, seeds = [], results.study.finetuning.seeds
    for place in results.answers:
        classifier, variant, _, at, _ = place
        for seed, right in zip(seeds, scores(results, *place), strict=True):
            rounds = results.runs[variant, seed].classifiers[classifier]
            validation = [getattr(one, at).validation_accuracy for one in rounds]
            rows.append((*place, seed, right.mean(), np.mean(np.array(validation, float))))
    return pd.DataFrame(rows, columns=["classifier", "variant", "tested_on", "epoch", "input",
                                       "seed", "accuracy", "validation"]).query("epoch == @epoch")


def own_kind(results: Results, epoch: str = LAST) -> pd.DataFrame:
    """The rows of `by_seed` that were tested on the variant's own kind, frames in order."""
    rows = by_seed(results, epoch).query("input == @IN_ORDER")
    return rows[rows["tested_on"] == rows["variant"].map(results.study.own_kind)]


def majority(results: Results) -> float:
    """The share of the majority class among the test clips: what a constant answer gets right."""
    return pd.Series([clip.label for clip in results.tested]).value_counts(normalize=True).max()


def accuracy(results: Results, classifier: str, variant: str, seen: str = IN_ORDER) -> Estimate:
    """Accuracy on test clips of the variant's own kind, last epoch."""
    right = scores(results, classifier, variant, results.study.own_kind(variant), seen=seen)
    return estimate(right, results.recordings, least=0)


def difference(results: Results, classifier: str, variant: str, tested: str,
               seen: str = IN_ORDER, epoch: str = LAST, base: str = SOURCE) -> Estimate:
    """Of a training from that of `base` (on the frames in order and its own kind of clip), paired
    over seeds and test clips.
    """
    shown = results.study.own_kind(variant) if tested == OWN else SOURCE
    ours = scores(results, classifier, variant, shown, epoch, seen)
    return estimate(ours - scores(results, classifier, base, base, epoch), results.recordings)


def compare(results: Results, classifier: str, variant: str, tested: str,
            seen: str = IN_ORDER, epoch: str = LAST) -> dict[str, object]:
    """A row of `comparisons`. `accuracy` is the mean over seeds, between `min` and `max`; `over_…`
    the difference from the constant variant with the same bytes, each on its own kind of clip. The
    source on the frames in order is compared with nothing.
    """
    shown = results.study.own_kind(variant) if tested == OWN else SOURCE
    each = scores(results, classifier, variant, shown, epoch, seen).mean(axis=1)
    row = {"classifier": classifier, "variant": variant, "input": seen, "tested": tested,
           "epoch": epoch, "min": each.min(), "accuracy": each.mean(), "max": each.max(),
           "source_accuracy": scores(results, classifier, SOURCE, SOURCE, epoch).mean()}
    if (variant, seen) == (SOURCE, IN_ORDER):
        return row
    found = difference(results, classifier, variant, tested, seen, epoch)
    control = [name for name in results.study.trained_on(classifier)[1:]
               if getattr(results.study.variants[name], "bytes_of", None) == variant]
    over = difference(results, classifier, variant, OWN, base=control[0]) if control else None
    row |= {f"over_{name}": getattr(over, name, None) for name in ("value", "low90", "high90")}
    return row | {"difference": found.value, "low90": found.low90, "high90": found.high90,
                  "low95": found.low95, "high95": found.high95,
                  "verdict": verdict(found, results.study.margin)}


def comparisons(results: Results) -> pd.DataFrame:
    """Classifier by classifier, variant by variant, own kind first; `endpoint` is the primary one
    (what the study's verdict is about) or a secondary one.
    """
    data = pd.DataFrame([compare(results, classifier, variant, tested)
                         for classifier in results.study.classifiers
                         for variant in results.study.trained_on(classifier)[1:]
                         for tested in (OWN, SOURCE)])
    chosen = results.study.primary_endpoint
    primary = data[["classifier", "variant", "tested"]] == [
        chosen.classifier, chosen.variant, chosen.tested_on]
    return data.assign(endpoint=np.where(primary.all(axis=1), "primary", "secondary"))


def inputs(results: Results) -> pd.DataFrame:
    """Is time needed? Each classifier on the frames in order (first) and on other inputs."""
    return pd.DataFrame([compare(results, classifier, SOURCE, SOURCE, seen, epoch)
                         for epoch in EPOCHS for classifier in results.study.classifiers
                         for seen in (IN_ORDER, *results.inputs)
                         if (classifier, SOURCE, SOURCE, epoch, seen) in results.answers])


def restated(results: Results) -> str:
    """A sentence on a margin or a primary endpoint changed after a run; empty if none was."""
    stated = [run.stated for run in results.runs.values()]
    changes = [("margin", [f"±{within(one.margin)} points" for one in (*stated, results.study)]),
               ("primary endpoint", [
                   f"the {in_words(one.classifier)} trained on {one.variant} and tested on "
                   f"{'its own kind' if one.tested_on == OWN else 'source clips'}"
                   for one in (*stated, results.study.primary_endpoint)])]
    return " ".join(f"The {what} was {' or '.join(dict.fromkeys(then))} when the runs were made "
                    f"and was changed to {now} afterwards."
                    for what, (*then, now) in changes if set(then) != {now})


def pairing(results: Results, classifier: str, variant: str) -> dict[str, float | None]:
    """What the test clips can tell of the difference from the source, each on its own kind: the
    width of its 90% interval, the width that two unrelated sets of seeds and clips would give, the
    correlation of the seeds' accuracies (None where they do not vary), and numbers of Estimate.
    """
    ours, theirs = (scores(results, classifier, name, results.study.own_kind(name))
                    for name in (variant, SOURCE))
    found = [estimate(each, results.recordings) for each in (ours - theirs, ours, theirs)]
    paired, *alone = (each.high90 - each.low90 for each in found)
    seeds = ours.mean(axis=1), theirs.mean(axis=1)
    varies = all(np.ptp(each) > 0 for each in seeds)
    return {"paired": paired, "unpaired": float(np.hypot(*alone)),
            "correlation": float(np.corrcoef(*seeds)[0, 1]) if varies else None,
            **{name: getattr(found[0], name)
               for name in ("error", "effective", "design", "detectable")}}


def sizes(results: Encoded) -> pd.DataFrame:
    """A row for the uncropped `originals` and for each variant: bytes of the target and held-out
    clips, how they were saved, and how many kept their bytes for which reason.
    """
    rows = results.encodes
    below, reason = rows["quality"] < rows["target"], rows["reason"]
    sizes = rows.assign(below=below.where(rows["target"].notna()).astype(float),
                        no_gain=reason == "no-gain", unreachable=reason == "target-unreachable")
    sizes = sizes.groupby("variant", sort=False).agg(
        clips=("clip", "size"), bytes_in=("bytes_in", "sum"), bytes_out=("bytes_out", "sum"),
        encodes_per_clip=("encodes", "mean"), crf_median=("crf", "median"),
        target=("target", "first"), lowest_quality=("quality", "min"),
        below_target=("below", lambda each: each.sum(min_count=1)),
        feature_drift=("drift", "mean"), kept_no_gain=("no_gain", "sum"),
        kept_target_unreachable=("unreachable", "sum"))
    return sizes.assign(saving_of_total=1 - sizes["bytes_out"] / sizes["bytes_in"])


def share_of_source(results: Encoded) -> pd.Series:
    """The bytes that each variant is trained on (of all of its clips, trained together), as a
    fraction of the source's.
    """
    size = sizes(results).bytes_out
    total = pd.Series({name: size[list(results.study.parts(name))].sum()
                       for name in results.study.all_variants})
    return total / total[SOURCE]
