"""The figures. Each function: results in, Figure out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import confusion_matrix

from leanclips.records import IN_ORDER, LAST, EpochScore
from leanclips.report import measures
from leanclips.report.display import (Canvas, Figure, Points, Theme, colours, legend_above,
                                      markers, panels, percent_axis, points_axis)
from leanclips.report.formats import CHANGE, heading, listing, percent, told, within
from leanclips.report.results import Encoded, Results
from leanclips.study import CRNN, OWN, SOURCE, Constant, External, Optimized, Study

MOST_NAMES_WITH_NUMBERS, MOST_DRAWN = 8, 2000  # more marks become a picture in the SVG
CURVES = {"train_accuracy": "training", "validation_accuracy": "validation"}
CODEC_NAMES = {"h264": "H.264", "hevc": "HEVC", "av1": "AV1"}
SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)


def frontier(results: Results) -> Figure:
    """What each size costs: the paired difference to the source over the bytes, a line for each
    way to encode.
    """
    data = measures.comparisons(results).query("tested == @OWN")
    ways = {name: way_of(results.study, name) for name in results.study.variants}
    data = data.assign(way=data["variant"].map(ways), share_of_source=data["variant"].map(
        measures.share_of_source(results))).dropna(subset=["way"])
    chosen = results.study.primary_endpoint.classifier
    data = data.sort_values("share_of_source", ascending=False, kind="stable").sort_values(
        "classifier", key=lambda name: name != chosen, kind="stable")  # it comes first
    names = list(dict.fromkeys(filter(None, ways.values())))
    places = data["way"].map(names.index) - (len(names) - 1) / 2
    drawn = data.assign(x=data["share_of_source"] * (1 + 0.012 * places))  # no interval is covered
    primary = drawn[drawn["classifier"] == chosen]
    each = "; ".join(f"{way}: " + listing(told(part, "{variant} at {share_of_source:.1%} of the "
                                                     f"bytes {CHANGE}"))
                     for way, part in primary.groupby("way", sort=False))
    return Figure(
        "frontier", "Test accuracy less that of training on the source, over the bytes that are "
        "kept; each network trained and tested on clips of its own kind. Line: 95% interval; band: "
        f"the margin of ±{within(results.study.margin)} points. {measures.restated(results)}"
        .strip(), f"Paired differences in points with 90% intervals, by size. {each}.",
        data, lambda theme: _draw_frontier(drawn, names, results.study.margin, theme),
        Points(drawn, "classifier", "x", "difference", "{way}, {variant}: {share_of_source:.1%} of "
               f"the bytes, {CHANGE} points, accuracy {{accuracy:percent}}: {{verdict}}"))


def way_of(study: Study, variant: str) -> str | None:
    """How a variant is encoded, for variants of several sizes to share."""
    settings = study.variants[variant]
    if isinstance(settings, Optimized):
        return f"{CODEC_NAMES[settings.codec]}, adaptive"
    if isinstance(settings, Constant):
        like = study.variants[settings.bytes_of]
        return f"{CODEC_NAMES[getattr(like, 'codec', 'h264')]}, one CRF"
    return variant if isinstance(settings, External) else None


def _draw_frontier(data: pd.DataFrame, ways: Sequence[str], margin: float, theme: Theme) -> Canvas:
    classifiers = list(data["classifier"].unique())
    canvas, axes = panels(len(classifiers), 1, 0.8 + 2.3 * len(classifiers), sharex=True)
    inks, shapes = colours(ways), markers(ways)
    for ax, classifier in zip(axes, classifiers, strict=True):
        ax.axhspan(-margin, margin, color=theme.faint, alpha=0.45, linewidth=0)
        ax.axhline(0, color=theme.ink, linewidth=1)
        for way in ways:
            part = data[(data["classifier"] == classifier) & (data["way"] == way)]
            ax.errorbar(part["x"], part["difference"],
                        yerr=[part["difference"] - part["low95"],
                              part["high95"] - part["difference"]],
                        label=way, color=inks[way], marker=shapes[way], markersize=6,
                        markeredgecolor=theme.page, linewidth=1.2, elinewidth=2)
        ax.set(title=heading(classifier), xscale="log", ylabel="Points")
        points_axis(ax.yaxis)
        ax.minorticks_off()
    low, high = 0.85 * data["share_of_source"].min(), 1.1 * max(data["share_of_source"].max(), 1)
    shares = [share for share in SHARES if low < share < high]
    axes[-1].set_xticks(shares, [f"{share:.0%}" for share in shares])
    axes[-1].set_xlim(low, high)
    axes[-1].set_xlabel("Bytes, of the source's")
    legend_above(canvas, axes[0], 4)
    return canvas


def cross_matrix(results: Results) -> Figure:
    seeds = measures.by_seed(results).query("input == @IN_ORDER")
    data = seeds.groupby(["classifier", "variant", "tested_on"], sort=False)["accuracy"].mean()
    return Figure(
        "cross", f"Mean accuracy on test clips over {results.seed_count}, in percent: trained on "
        "(rows), tested on (columns).",
        f"Heat maps of mean test accuracy, from {percent(data.min())} to {percent(data.max())}; "
        "the tables or their CSVs hold every cell.", data.reset_index(),
        lambda theme: _draw_heat(data, results.study.all_variants, ("Trained on", "Tested on"),
                                 results.study.encoded))


def confusion(results: Results) -> Figure:
    names = results.classes
    truth = [names.index(clip.label) for clip in results.tested]
    shares = {}
    for classifier in results.study.classifiers:
        answers = results.answers[classifier, SOURCE, SOURCE, LAST, IN_ORDER]
        matrix = confusion_matrix(np.broadcast_to(truth, answers.shape).ravel(), answers.ravel(),
                                  labels=range(len(names)), normalize="true")
        shares[classifier] = pd.DataFrame(matrix, names, names).iloc[sorted(set(truth))]
    data = pd.concat(shares, names=["classifier", "label"])
    data = data.rename_axis(columns="predicted").stack().rename("share")
    wrong = data.reset_index().query("label != predicted").nlargest(1, "share")
    worst = told(wrong[wrong["share"] > 0], "The most frequent mistake: {label} taken for "
                 "{predicted}, {share:.0%} of its clips ({classifier:words}).")
    return Figure(
        "confusion", f"Source test clips, {results.seed_count}, trained on source: what each "
        "class (rows) is recognized as (columns), percent of its clips.",
        f"Confusion matrices. {''.join(worst) or 'No clip is mistaken.'}", data.reset_index(),
        lambda theme: _draw_heat(data, names, ("Class", "Recognized as"), names))


def _draw_heat(data: pd.Series, names: Sequence[str], labels: tuple[str, str],
               columns: Sequence[str]) -> Canvas:
    """A heat map for each classifier; `data` is indexed by classifier, row and column."""
    classifiers, few = data.index.unique(0), len(names) <= MOST_NAMES_WITH_NUMBERS
    height = 1.3 + max(2.0, min(0.5 * len(names), 5))
    canvas, axes = (panels(1, len(classifiers), height, sharey=True) if few else
                    panels(len(classifiers), 1, height * len(classifiers)))
    for ax, classifier in zip(axes, classifiers, strict=True):
        grid = 100 * data[classifier].unstack().reindex(index=names, columns=columns)
        sns.heatmap(grid, ax=ax, annot=few, fmt=".0f", cmap="cividis", cbar=False,
                    vmin=100 * data.min(), vmax=100 * data.max(), linewidths=0.5 if few else 0)
        ax.set(title=heading(classifier), xlabel=labels[1],
               ylabel=labels[0] if ax is axes[0] or not few else "")
        ax.tick_params(axis="y", rotation=0)
        for label in ax.get_xticklabels():
            label.set(rotation=35 if few else 90, ha="right" if few else "center")
    return canvas


def learning_curves(results: Results) -> Figure:
    """The CRNN's accuracy by epoch, mean over rounds."""
    column = "validation_accuracy" if results.validates else "train_accuracy"
    kind = CURVES[column]
    history = results.history[results.history["input"] == IN_ORDER]
    data = history.groupby(["variant", "seed", "epoch"], sort=False)[column].mean().reset_index()
    last = data[data.epoch == data.epoch.max()].groupby("variant", sort=False)[column].mean()
    means = "; ".join(f"{name}: {percent(mean)}" for name, mean in last.items())
    return Figure(
        "learning", f"{heading(CRNN)}: {kind} accuracy by epoch, mean over rounds and "
        f"{results.seed_count}; band from the lowest to the highest seed.",
        f"Learning curves. Mean at the last epoch: {means}.", data, lambda theme: draw_learning(
            data, "variant", results.study.all_variants, f"{heading(kind)} accuracy", theme))


def draw_learning(data: pd.DataFrame, which: str, names: Sequence[str], label: str, theme: Theme,
                  best: EpochScore | None = None) -> Canvas:
    """A line by epoch for each of `names`, told apart by the column `which`; `best` is ringed."""
    canvas, (ax,) = panels(1, 1, 3.3)
    sns.lineplot(data, x="epoch", y=data.columns[-1], hue=which, style=which,
                 palette=colours(names), markers=markers(names), dashes=False,
                 errorbar=("pi", 100), err_kws={"alpha": 0.12, "linewidth": 0},
                 markersize=6, markevery=max(1, data["epoch"].nunique() // 6), ax=ax)
    if best:
        ax.plot(best.epoch, best.validation_accuracy, "o", markersize=12, markerfacecolor="none",
                markeredgecolor=theme.ink, label="best on validation")
    ax.set(xlabel="Epoch", ylabel=label)
    ax.xaxis.get_major_locator().set_params(integer=True)
    percent_axis(ax.yaxis)
    legend_above(canvas, ax, 4)
    return canvas


def quality(results: Encoded) -> Figure:
    names = list(results.study.encoded[1:])
    data = results.encodes.query("variant in @names and not kept")
    found = data.groupby("variant")["quality"].agg(["median", "min"]).reindex(names)
    each = [f"{name} {row['median']:.1f} (lowest {row['min']:.1f})" if row.notna().all() else
            f"{name} none re-encoded" for name, row in found.iterrows()]
    return Figure(
        "quality", "Quality of each re-encoded clip against its source crop: VMAF NEG, the 10th "
        "percentile of the worst second. Dashed: the target of the variant, or of the one whose "
        "bytes it matches. Clips that kept their original bytes are left out.",
        f"Median quality: {listing(each)}.", data[["variant", "clip", "quality", "target"]],
        lambda theme: _draw_qualities(results, names, data, theme))


def _draw_qualities(results: Encoded, names: Sequence[str], data: pd.DataFrame,
                    theme: Theme) -> Canvas:
    """A row per variant: a box and every clip, if there is any."""
    canvas, (ax,) = panels(1, 1, 0.9 + 0.75 * len(names))
    np.random.seed(7)  # the strip's jitter draws from it
    sns.stripplot(data, x="quality", y="variant", hue="variant", order=names, legend=False, ax=ax,
                  jitter=0.3, size=3.5, alpha=0.45, rasterized=len(data) > MOST_DRAWN,
                  palette=colours(results.study.all_variants))
    box = {f"{part}props": {"color": theme.ink, "linewidth": 1.4}
           for part in ("box", "whisker", "cap", "median")}
    for name, part in data.groupby("variant"):
        y, target = names.index(name), part["target"].iloc[0]
        ax.boxplot(part["quality"], positions=[y], orientation="horizontal", widths=0.5,
                   showfliers=False, manage_ticks=False, zorder=3, **box)
        ax.plot([target] * 2, [y - 0.42, y + 0.42], "--", color=theme.ink, linewidth=1.4)
    ax.set(xlabel="VMAF NEG", ylabel="")
    return canvas
