"""The tables. Each function: results in, Table out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from leanclips.clips import Clip, Role, of_role, pretraining_clips
from leanclips.records import BEST, IN_ORDER, LAST, read_csv
from leanclips.report import measures
from leanclips.report.display import Table
from leanclips.report.figures import way_of
from leanclips.report.formats import CHANGE, fill, heading, in_words, several, within
from leanclips.report.results import Encoded, Results
from leanclips.report.run_page import RECORD, RUN_PAGE
from leanclips.study import OWN, SOURCE

WHO = {"Classifier": "{classifier:words}", "Trained on": "{variant}"}
SPREAD = "{min:.0%} / {accuracy:.0%} / {max:.0%}"
OVER = "{over_value:points} ({over_low90:points} to {over_high90:points})"
MATRIX = "Trained on ↓, tested on →", "{max:.0%}, {mean:.0%}"
ROLES = [Role.TARGET, Role.HELDOUT, Role.PRETRAIN]


def choices(results: Results) -> Table:
    """What the primary endpoint's classifier makes of each variant, the largest first."""
    study, chosen = results.study, results.study.primary_endpoint
    data = measures.comparisons(results).query(
        "classifier == @chosen.classifier and tested == @chosen.tested_on")
    data = data.assign(
        way=[way_of(study, name) for name in data["variant"]],
        target=[getattr(study.variants[name], "target", None) for name in data["variant"]],
        share_of_source=data["variant"].map(measures.share_of_source(results)))
    return Table.of(
        "choices", f"Each variant, the largest first: the {in_words(chosen.classifier)}'s accuracy "
        "less that of training on the source, in points with its 90% interval; and less that of the "
        "variant with the same bytes and one CRF for all clips. Target: VMAF NEG of the worst "
        f"second. {measures.restated(results)}",
        data.sort_values("share_of_source", ascending=False, kind="stable"),
        {"Variant": "{variant}", "Encoded": "{way}", "Target": "{target:g}",
         "Bytes": "{share_of_source:percent}", "Against source": CHANGE, "Verdict": "{verdict}",
         "Against one CRF": OVER})


def accuracies(results: Results, epoch: str) -> Table:
    """min / mean / max over seeds."""
    ours = measures.own_kind(results, epoch).rename(columns={"accuracy": "test"}).groupby(
        ["classifier", "variant"], sort=False)[["validation", "test"]].agg(["min", "mean", "max"])
    ours.columns = ["_".join(column) for column in ours]
    return Table.of(
        f"accuracy-{epoch}", f"Accuracy at the {'last' if epoch == LAST else 'validation-picked'} "
        f"epoch: minimum / mean / maximum over {results.seed_count}.", ours.reset_index(),
        {**WHO, "Validation":
         "{validation_min:.0%} / {validation_mean:.0%} / {validation_max:.0%}",
         "Test, own kind": "{test_min:.0%} / {test_mean:.0%} / {test_max:.0%}"})


def differences(results: Results) -> Table:
    return Table.of(
        "differences", "Test accuracy against that of training on the source: each network tested "
        "on its own kind of clip, or both on source clips. Difference in points with its 90% "
        f"interval; equivalence margin ±{within(results.study.margin)} points. "
        f"{measures.restated(results)}", measures.comparisons(results),
        {**WHO, "Tested on": "{tested:words}", "Accuracy": "{accuracy:percent}",
         "Source's": "{source_accuracy:percent}", "Difference": CHANGE, "Verdict": "{verdict}",
         "Endpoint": "{endpoint}"})


def inputs(results: Results) -> Table:
    """Is time needed? One row per classifier, input and epoch."""
    data = measures.inputs(results)
    epoch = {"Epoch": "{epoch}"} if (data["epoch"] == BEST).any() else {}
    return Table.of(
        "time", f"Accuracy on the {len(results.tested)} test clips of the source, minimum / mean / "
        f"maximum over {results.seed_count}; paired difference from the frames in order in points "
        f"with its 90% interval. {measures.restated(results)}", data,
        {"Classifier": WHO["Classifier"], "Sees": "{input:words}", **epoch, "Accuracy": SPREAD,
         "Against in order": CHANGE, "Verdict": "{verdict}"})


def pairing(results: Results) -> Table:
    """What the study can tell, and what pairing does for it."""
    variant = results.study.primary_endpoint.variant
    return Table.of(
        "pairing", f"{variant} less source over {results.seed_count}, in points: width of "
        "the 90% interval, correlation of the accuracies, standard error. Recordings: as many of "
        "equal size as the clips are worth. Design effect: the variance over that of independent "
        "clips. Detectable: the least difference told from zero at 5% in 8 of 10 cases.",
        pd.DataFrame([{"classifier": name, **measures.pairing(results, name, variant)}
                      for name in results.study.classifiers_of(variant)]),
        {"Classifier": "{classifier:heading}", "Paired": "{paired:width}",
         "Unpaired": "{unpaired:width}", "Correlation": "{correlation:.2f}",
         "Standard error": "{error:width}", "Recordings": "{effective:.0f}",
         "Design effect": "{design:.2f}", "Detectable": "{detectable:width}"})


def cross(results: Results, classifier: str) -> Table:
    seeds = measures.by_seed(results).query("classifier == @classifier and input == @IN_ORDER")
    seeds = seeds.groupby(["variant", "tested_on"], sort=False)["accuracy"]
    return Table.matrix(
        f"cross-{classifier}", f"{heading(classifier)}: maximum, mean accuracy on "
        f"{len(results.tested)} test clips over {results.seed_count} (last epoch).",
        seeds.agg(["max", "mean"]).reset_index(), *MATRIX)


def compression(results: Encoded) -> Table:
    return Table.of(
        "compression", f"Bytes of the {len(results.compared)} target and held-out clips: the "
        "uncropped originals, and the crops that the network is trained on. Feature drift: mean "
        "cosine distance of the frozen backbone's features from those of the source.",
        measures.sizes(results).drop(SOURCE).reset_index(),
        {"Encoded": "{variant}", "Before": "{bytes_in:size}", "After": "{bytes_out:size}",
         "Saved": "{saving_of_total:percent}", "Encodes per clip": "{encodes_per_clip:.1f}",
         "Feature drift": "{feature_drift:.3f}"})


def quality(results: Encoded) -> Table:
    """What each variant holds to, and how many clips kept their bytes for which reason."""
    return Table.of(
        "quality", "VMAF NEG of the worst second. The target is that of the variant itself or, "
        "for a control, of the variant whose bytes it matches. Clips that re-encoding would "
        "shrink by too little, or whose target is out of reach, keep their bytes.",
        measures.sizes(results).drop(SOURCE).reset_index(),
        {"Encoded": "{variant}", "Median CRF": "{crf_median:.1f}", "Target": "{target:.1f}",
         "Worst clip": "{lowest_quality:.1f}", "Clips below target": "{below_target:.0f}",
         "Kept: no gain": "{kept_no_gain:count}",
         "Kept: out of reach": "{kept_target_unreachable:count}"})


def per_clip(results: Encoded, variant: str) -> Table:
    return Table.of(
        f"per-clip-{variant}", f"Each clip of {variant}, the largest saving first. Quality: VMAF "
        "NEG, the 10th percentile of the worst second; 100 where the bytes were kept.",
        results.report(variant).sort_values("saving", ascending=False, kind="stable"),
        {"Clip": "{clip}", "Class": "{label}", "Source crop": "{bytes_in:size}",
         heading(variant): "{bytes_out:size}", "Saved": "{saving:percent}", "CRF": "{crf:.2f}",
         "Quality": "{quality:.1f}", "Reason": "{reason}"})


def _by_role(clips: Sequence[Clip], *by: str) -> pd.DataFrame:
    """Classes, clips and recordings of each role, and of whatever else to group by."""
    data = pd.DataFrame(clips).assign(role=lambda rows: pd.Categorical(rows["role"], ROLES))
    data["class"] = data["label"]
    return data.groupby(["role", *by], observed=True, as_index=False).agg(
        classes=("label", "nunique"), clips=("id", "size"), recordings=("group", "nunique"))


def counts(clips: Sequence[Clip]) -> Table:
    data = _by_role(clips, "class")[["class", "role", "clips", "recordings"]]
    return Table.matrix(
        "counts", f"{several(len(clips), 'clip')} of "
        f"{several(data['class'].nunique(), 'class', 'classes')}: clips (recordings in brackets) "
        "of each class, by what they are for.", data, "Class", "{clips} ({recordings})")


def data(results: Encoded) -> Table:
    """Clips, recordings and seconds of the source, by role."""
    source = results.reports[results.reports["variant"] == SOURCE]
    rows, seconds = _by_role(results.clips), source.groupby("role")["seconds"].sum()
    left_out = len(of_role(results.clips, Role.PRETRAIN)) - len(pretraining_clips(results.clips))
    return Table.of(
        "data", "Clips by role. Pretraining sees no recording of a target or held-out clip"
        + (f": {several(left_out, 'clip')} of role pretrain left out." if left_out else "."),
        rows.assign(seconds=rows["role"].map(seconds)),
        {"Role": "{role}", "Classes": "{classes:count}", "Clips": "{clips:count}",
         "Recordings": "{recordings:count}", "Video": "{seconds:duration}"})


def _runs(results: Results) -> tuple[pd.DataFrame, dict[str, str]]:
    """Every run's accuracies at the last epoch, and the columns that show them."""
    kinds = ["validation", "test"] if results.validates else ["test"]
    shown = [(kind, name) for name in results.study.classifiers for kind in kinds]
    data = measures.own_kind(results).rename(columns={"accuracy": "test"}).pivot(
        index=["variant", "seed"], columns="classifier", values=kinds)
    data = data.loc[list(results.runs), shown].set_axis(
        [f"{name}_{kind}" for kind, name in shown], axis=1)
    return data.reset_index(), {f"{heading(name)}, {kind}": f"{{{name}_{kind}:percent}}"
                                for kind, name in shown}


def runs(results: Results) -> Table:
    """Every variant, with the page of its runs."""
    data, shown = _runs(results)
    means = data.drop(columns="seed").groupby("variant", sort=False).mean().reset_index()
    return Table.of("runs", f"The runs of each variant: mean accuracy over {results.seed_count}.",
                    means, {"Variant": f"[{{variant}}]({RUN_PAGE})", **shown})


def runs_of(results: Results, variant: str) -> Table:
    """Every run of a variant, with its record."""
    data, shown = _runs(results)
    return Table.of(f"runs-{variant}", f"The runs of {variant}: accuracy at the last epoch.",
                    data[data["variant"] == variant],
                    {"Seed": "{seed}", **shown, "Record": f"[JSON]({RECORD})"})


def measured(book: Path) -> dict[str, Table]:
    """The CSVs of tests/benchmarks as `book`/measured.yml declares them, by name."""
    folder = book.parent / "tests" / "benchmarks"
    return {name: declared(shown, name, read_csv(folder / f"{name}.csv")) for name, shown
            in yaml.safe_load((book / "measured.yml").read_text(encoding="utf-8")).items()}


def declared(shown: dict, name: str, data: pd.DataFrame) -> Table:
    """A table by its `caption`, a template of the first row, and `columns`."""
    return Table.of(name, fill(shown["caption"], data.iloc[0]), data, shown["columns"])


def cell(of: Table, column: str, /, **where: object) -> object:
    """The value of `column` in the one row that `where` describes, for a page to quote."""
    rows = of.data
    for name, value in where.items():
        rows = rows[rows[name].isna() if value is None else rows[name] == value]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of {of.name}.csv have {where}")
    return rows[column].iloc[0]
