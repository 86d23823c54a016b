"""The book's tables: the numbers as data, and as the text that the pages show."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from leanclips.analysis import measures
from leanclips.analysis.case_study import CASE_STUDY
from leanclips.analysis.formats import (capitalized, change, classifier_name, duration, megabytes,
                                        percent, several, spread, thousands, within)
from leanclips.analysis.results import Results
from leanclips.analysis.statistics import Spread
from leanclips.analysis.statistics import spread as spread_of
from leanclips.clips import Role, of_role, pretraining_clips
from leanclips.records import CLASSIFIERS, write_csv
from leanclips.study import ORIGINALS, SOURCE

CASE_STUDY_NAME = "case study"


@dataclass(frozen=True)
class Table:
    """`header` and `rows` are what a page shows, `data` what its CSV holds."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: pd.DataFrame

    def write_csv(self, folder: Path) -> None:
        write_csv(folder / f"{self.name}.csv", self.data)


def summary(results: Results) -> Table:
    """One row per classifier and variant: bytes, held-out accuracy, paired difference."""
    rows, data = [], []
    for classifier in CLASSIFIERS:
        for variant in results.variants:
            size = measures.sizes(results, variant).bytes_out
            share = measures.share_of_source(results, variant)
            accuracy = measures.heldout_accuracy(results, classifier, variant).value
            shown, numbers = _against_source(results, classifier, variant)
            rows.append((classifier_name(classifier), variant, megabytes(size),
                         percent(share, 0), percent(accuracy), *shown))
            data.append({"classifier": classifier, "variant": variant, "bytes": size,
                         "share_of_source": share, "heldout": accuracy, **numbers})
    header = ("Classifier", "Trained on", "Bytes", "Of source", "Held-out", "Against source",
              "Verdict")
    caption = (f"Held-out accuracy, mean over {results.seed_count}, each variant tested on "
               "its own kind of clip; paired difference in points with its 90% interval.")
    return Table("summary", caption, header, tuple(rows), pd.DataFrame(data))


def _against_source(results: Results, classifier: str,
                    variant: str) -> tuple[tuple[str, str], dict]:
    """The paired difference and the verdict, as shown and as numbers."""
    if variant == SOURCE:
        return ("–", "–"), {}
    compared = measures.compare(results, classifier, variant, measures.OWN)
    difference = compared.difference
    return ((change(difference), str(compared.verdict)),
            {"difference": difference.value, "low90": difference.within90.low,
             "high90": difference.within90.high, "verdict": str(compared.verdict)})


def accuracies(results: Results, epoch: str) -> Table:
    """min / mean / max over seeds, beside the case study's own."""
    found: list[tuple[str, str, Spread, Spread | None]] = [
        (CASE_STUDY_NAME, name, values, _heldout_of_case_study(name))
        for name, values in CASE_STUDY.validation]
    for classifier in CLASSIFIERS:
        for variant in results.variants:
            heldout = measures.scores(results, classifier, variant, variant, epoch).mean(axis=1)
            found.append((classifier_name(classifier), variant,
                          spread_of(measures.validation(results, classifier, variant, epoch)),
                          spread_of(heldout)))
    rows = tuple((who, what, spread(seen, 0), _spread_or_part(heldout))
                 for who, what, seen, heldout in found)
    data = pd.DataFrame([{"classifier": who, "variant": what, **_columns("validation", seen),
                          **_columns("heldout", heldout)} for who, what, seen, heldout in found])
    caption = (f"Accuracy at the {'last' if epoch == 'last' else 'validation-picked'} epoch: "
               f"minimum / mean / maximum over {results.seed_count} "
               f"({CASE_STUDY.repeats} repeats in the case study).")
    header = ("Classifier", "Trained on", "Validation", "Held-out, own kind")
    return Table(f"accuracy-{epoch}", caption, header, rows, data)


def _heldout_of_case_study(name: str) -> Spread:
    """The case study gives maximum and mean; its minimum is not known."""
    for trained, tested, most, mean in CASE_STUDY.heldout:
        if trained == tested == name:
            return Spread(float("nan"), mean, most)
    raise KeyError(name)


def _spread_or_part(values: Spread) -> str:
    if values.least != values.least:
        return f"? / {percent(values.mean, 0)} / {percent(values.greatest, 0)}"
    return spread(values, 0)


def _columns(prefix: str, values: Spread) -> dict[str, float]:
    return {f"{prefix}_min": values.least, f"{prefix}_mean": values.mean,
            f"{prefix}_max": values.greatest}


def differences(results: Results) -> Table:
    """Paired differences from the source, with intervals and the verdict."""
    found = measures.comparisons(results)
    rows = tuple((classifier_name(c.classifier), c.variant, measures.TESTED[c.tested],
                  percent(c.accuracy), percent(c.source_accuracy), change(c.difference),
                  str(c.verdict)) for c in found)
    caption = ("Held-out accuracy against that of training on the source: each network tested on "
               "its own kind of clip, or both on source clips. Difference in points with its 90% "
               f"interval; equivalence margin ±{within(results.study.margin)} points.")
    header = ("Classifier", "Trained on", "Tested on", "Accuracy", "Source's", "Difference",
              "Verdict")
    return Table("differences", caption, header, rows, measures.as_table(found))


def cross(results: Results, classifier: str) -> Table:
    """Trained on (rows) by tested on (columns): maximum, mean over seeds."""
    data = pd.DataFrame([{"trained_on": trained, "tested_on": tested,
                          "max": float(each.max()), "mean": float(each.mean())}
                         for trained in results.variants for tested in results.variants
                         for each in [measures.scores(results, classifier, trained, tested)
                                      .mean(axis=1)]])
    caption = (f"{capitalized(classifier_name(classifier))}: maximum, mean accuracy on "
               f"{len(results.heldout)} held-out clips over {results.seed_count} "
               "(last epoch).")
    return _cross_table(f"cross-{classifier}", caption, data)


def case_study_cross() -> Table:
    """The case study's own matrix."""
    data = pd.DataFrame(CASE_STUDY.heldout, columns=["trained_on", "tested_on", "max", "mean"])
    caption = (f"The case study: maximum, mean accuracy on {CASE_STUDY.heldout_clips} held-out "
               f"clips over {CASE_STUDY.repeats} repeats.")
    return _cross_table("cross-case-study", caption, data)


def _cross_table(name: str, caption: str, data: pd.DataFrame) -> Table:
    tested = list(dict.fromkeys(data["tested_on"]))
    rows = tuple((trained, *(f"{percent(row['max'], 0)}, {percent(row['mean'], 0)}"
                             for _, row in part.iterrows()))
                 for trained, part in data.groupby("trained_on", sort=False))
    return Table(name, caption, ("Trained on ↓, tested on →", *tested), rows, data)


def compression(results: Results) -> Table:
    """Bytes before and after, per variant and for the originals, beside the case study's."""
    names = (ORIGINALS, *results.study.variants)
    published = {ORIGINALS: CASE_STUDY.saving_originals, "optimized": CASE_STUDY.saving_crops}
    found = [measures.sizes(results, name) for name in names]
    rows = tuple((size.variant, megabytes(size.bytes_in), megabytes(size.bytes_out),
                  percent(size.saving), f"{size.encodes:.1f}",
                  "–" if size.drift is None else f"{size.drift:.3f}", thousands(size.kept),
                  percent(published[size.variant], 0) if size.variant in published else "–")
                 for size in found)
    data = pd.DataFrame([{"variant": size.variant, "clips": size.clips, "bytes_in": size.bytes_in,
                          "bytes_out": size.bytes_out, "saving_of_total": size.saving,
                          "mean_saving": size.mean_saving, "median_saving": size.median_saving,
                          "encodes_per_clip": size.encodes, "feature_drift": size.drift,
                          "kept": size.kept, "kept_no_gain": size.no_gain,
                          "kept_target_unreachable": size.unreachable}
                         for size in found])
    caption = (f"Bytes of the {len(results.compared)} target and held-out clips: the uncropped "
               "originals, and the crops that the network is trained on. Feature drift: mean cosine "
               "distance of the frozen backbone's features from those of the source.")
    header = ("Encoded", "Before", "After", "Saved", "Encodes per clip", "Feature drift",
              "Originals kept", "Case study")
    return Table("compression", caption, header, rows, data)


def data(results: Results) -> Table:
    """Clips, recordings and seconds of the source, by role."""
    clips = pd.DataFrame([(c.id, c.role.value, c.label, c.group) for c in results.clips],
                         columns=["clip", "role", "class", "recording"])
    report = results.reports[SOURCE]
    seconds = clips["clip"].map(dict(zip(report["clip"], report["seconds"], strict=True)))
    grouped = clips.assign(seconds=seconds).groupby("role").agg(
        classes=("class", "nunique"), clips=("clip", "size"),
        recordings=("recording", "nunique"), seconds=("seconds", "sum"))
    table = grouped.loc[[role.value for role in Role if role.value in grouped.index]].reset_index()
    rows = tuple((r.role, thousands(r.classes), thousands(r.clips), thousands(r.recordings),
                  duration(r.seconds)) for r in table.itertuples())
    left_out = len(of_role(results.clips, Role.PRETRAIN)) - len(pretraining_clips(results.clips))
    caption = "Clips by role. Nothing of a held-out recording is trained on" + (
        f"; {several(left_out, 'clip')} of role pretrain left out for that." if left_out else ".")
    return Table("data", caption, ("Role", "Classes", "Clips", "Recordings", "Video"), rows, table)


def cost(results: Results) -> Table:
    """Wall time of each stage; empty where no times were kept."""
    table = pd.DataFrame([(stage, len(times), sum(times), max(times))
                          for stage, times in results.seconds.items()],
                         columns=["stage", "jobs", "seconds", "longest"])
    rows = tuple((r.stage, thousands(r.jobs), duration(r.seconds), duration(r.longest))
                 for r in table.sort_values("seconds", ascending=False).itertuples())
    return Table("cost", "Wall time of each stage: jobs, their sum, the longest one.",
                 ("Stage", "Jobs", "Time in all", "Longest job"), rows, table)


def protocol(results: Results) -> Table:
    """The study's settings beside the case study's."""
    study, case = results.study, CASE_STUDY
    pretraining, finetuning = study.pretraining, study.finetuning
    rows = [("Backbone", study.backbone.name, "resnet152"),
            ("Frames per clip", str(study.sampling.frames), "not stated")]
    if results.pretrain:
        rows += [("Pretraining split", pretraining.split, "random"),
                 ("Pretraining validation share", percent(pretraining.validation, 0),
                  percent(case.pretraining_validation, 0)),
                 ("Pretraining epochs, batch, rate",
                  f"{pretraining.epochs}, {pretraining.batch}, {pretraining.rate:g}",
                  f"{case.pretraining_epochs}, {case.pretraining_batch}, {case.rate:g}")]
    rows += [("Fine-tuning split", "group", "not stated"),
             ("Fine-tuning validation share", percent(finetuning.validation, 0),
              percent(case.finetuning_validation, 0)),
             ("Fine-tuning epochs, batch, rate",
              f"{finetuning.epochs}, {finetuning.batch}, {finetuning.rate:g}",
              f"{case.finetuning_epochs}, {case.finetuning_batch}, {case.rate:g}"),
             ("Repeats", results.seed_count, str(case.repeats)),
             ("Equivalence margin", f"{within(study.margin)} points", "none")]
    header = ("Setting", "Here", CASE_STUDY_NAME)
    return Table("protocol", "The settings, beside the case study's.", header, tuple(rows),
                 pd.DataFrame(rows, columns=header))


def runs(results: Results) -> Table:
    """Every run, with its page and its accuracies at the last epoch."""
    rows, data = [], []
    for variant in results.variants:
        heldout = {c: measures.scores(results, c, variant, variant).mean(axis=1)
                   for c in CLASSIFIERS}
        for place, seed in enumerate(results.seeds):
            row = {"variant": variant, "seed": seed}
            for c in CLASSIFIERS:
                row[f"{c}_validation"] = (results.runs[variant, seed].classifiers[c]
                                          .last.validation_accuracy)
                row[f"{c}_heldout"] = float(heldout[c][place])
            data.append(row)
            rows.append((variant, f"[seed {seed}]({run_page(variant, seed)})",
                         *(percent(value) for value in list(row.values())[2:])))
    header = ("Variant", "Run", "CRNN, validation", "CRNN, held-out", "Linear, validation",
              "Linear, held-out")
    return Table("runs", "All runs.", header, tuple(rows), pd.DataFrame(data))


def run_page(variant: str, seed: int) -> str:
    """The document of a run, beside the index of runs."""
    return f"{variant}-seed-{seed:02d}"
