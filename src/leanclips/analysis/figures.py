"""The figures about accuracy. Each function: results in, Figure out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from leanclips.analysis import measures
from leanclips.analysis.case_study import CASE_STUDY
from leanclips.analysis.formats import (capitalized, change, classifier_name, listing, percent,
                                        spread, within)
from leanclips.analysis.results import Results
from leanclips.analysis.statistics import Spread
from leanclips.analysis.statistics import spread as spread_of
from leanclips.analysis.style import (Figure, Theme, colours, legend_above, markers, panels,
                                      percent_axis, points_axis)
from leanclips.records import CLASSIFIERS

MOST_CLASSES_WITH_NUMBERS = 8
SpreadRow = tuple[str, str | None, Spread, np.ndarray]


def title(classifier: str) -> str:
    """A classifier's name over its panel."""
    return capitalized(classifier_name(classifier))


def spread_apart(positions: Sequence[float], gap: float) -> np.ndarray:
    """`positions` moved as little as keeps neighbours `gap` apart, in their order."""
    order = np.argsort(positions, kind="stable")
    blocks: list[list[float]] = []  # [centre, members] of runs that touch
    for place in order:
        blocks.append([float(positions[place]), 1])
        while len(blocks) > 1 and (blocks[-1][0] - blocks[-2][0]
                                   < gap * (blocks[-1][1] + blocks[-2][1]) / 2):
            centre, members = blocks.pop()
            before, count = blocks.pop()
            blocks.append([(before * count + centre * members) / (count + members),
                           count + members])
    moved = [centre + gap * (i - (members - 1) / 2)
             for centre, members in blocks for i in range(int(members))]
    out = np.empty(len(order))
    out[order] = moved
    return out


def answer(results: Results) -> Figure:
    """Bytes against held-out accuracy."""
    rows, seeds = [], []
    for classifier in CLASSIFIERS:
        for variant in results.variants:
            found = measures.heldout_accuracy(results, classifier, variant)
            each = measures.scores(results, classifier, variant, variant).mean(axis=1)
            share = measures.share_of_source(results, variant)
            rows.append((classifier, variant, share, found.value, found.within95.low,
                         found.within95.high))
            seeds += [(classifier, variant, share, seed, score)
                      for seed, score in zip(results.seeds, each, strict=True)]
    means = pd.DataFrame(rows, columns=["classifier", "variant", "share_of_source", "accuracy",
                                        "low95", "high95"])
    dots = pd.DataFrame(seeds, columns=["classifier", "variant", "share_of_source", "seed",
                                        "accuracy"])
    told = [f"{classifier_name(c)}: " + listing(
        [f"{r.variant} {percent(r.accuracy)} at {percent(r.share_of_source, 0)} of the bytes"
         for r in part.itertuples()]) for c, part in means.groupby("classifier", sort=False)]
    return Figure(
        "answer", "Size of the clips against accuracy on held-out clips of the same kind. Small "
        f"marks: each of {results.seed_count}; large: their mean with its 95% interval; dashed: "
        f"chance ({percent(measures.chance(results), 0)}). Variants of equal size are set side "
        "by side.",
        "Accuracy on held-out clips. " + "; ".join(told) + ".",
        pd.concat([means.assign(seed="mean"), dots]),
        lambda theme: _draw_answer(results, means, dots, theme))


def _draw_answer(results: Results, means: pd.DataFrame, dots: pd.DataFrame,
                 theme: Theme) -> Canvas:
    canvas, axes = panels(1, len(CLASSIFIERS), 3.9, sharey=True, sharex=True)
    colour, marker = colours(results.variants), markers(results.variants)
    logs = np.log10([measures.share_of_source(results, variant) for variant in results.variants])
    reach = max(float(np.ptp(logs)), 0.3)
    places = dict(zip(results.variants, spread_apart(logs, 0.13 * reach), strict=True))
    for ax, classifier in zip(axes, CLASSIFIERS, strict=True):
        for variant in results.variants:
            row = means[(means.classifier == classifier) & (means.variant == variant)].iloc[0]
            scores = dots[(dots.classifier == classifier) & (dots.variant == variant)].accuracy
            sideways = np.linspace(-0.045, 0.045, len(scores)) * reach
            ax.plot(places[variant] + sideways, scores, linestyle="", marker=marker[variant],
                    markersize=4, alpha=0.55, color=colour[variant], markeredgewidth=0)
            ax.errorbar(places[variant], row.accuracy, marker=marker[variant], markersize=9,
                        yerr=[[row.accuracy - row.low95], [row.high95 - row.accuracy]],
                        color=colour[variant], markeredgecolor=theme.page, elinewidth=2,
                        label=variant)
        ax.axhline(measures.chance(results), color=theme.ink, linewidth=1, linestyle="--")
        ax.set(title=title(classifier), xlim=(logs.min() - 0.2 * reach, logs.max() + 0.2 * reach))
        ax.xaxis.set_major_locator(FixedLocator(_share_ticks(logs)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda log, _: f"{100 * 10**log:.3g}%"))
        ax.set_xlabel("Bytes, of the source's")
    axes[0].set_ylabel("Held-out accuracy")
    percent_axis(axes[0].yaxis)
    legend_above(canvas, axes[0], 4)
    return canvas


def _share_ticks(logs: np.ndarray) -> list[float]:
    shares = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0]
    return [log for log in np.log10(shares) if logs.min() - 0.15 < log < logs.max() + 0.1]


def accuracy_spread(results: Results) -> Figure:
    """Validation accuracy: minimum, mean, maximum, beside the case study's."""
    rows: list[SpreadRow] = [(f"{name}, case study", None, values, np.array([]))
                             for name, values in CASE_STUDY.validation]
    for classifier in CLASSIFIERS:
        for variant in results.variants:
            seeds = measures.validation(results, classifier, variant)
            rows.append((f"{variant}, {classifier_name(classifier)}", variant, spread_of(seeds),
                         seeds))
    data = pd.DataFrame([(name, s.least, s.mean, s.greatest) for name, _, s, _ in rows],
                        columns=["row", "min", "mean", "max"])
    return Figure(
        "accuracy", f"Validation accuracy at the last epoch: line from minimum to maximum, large "
        f"mark at the mean, small marks for each of {results.seed_count}. Without colour: the "
        "case study, on another data set.",
        "Minimum / mean / maximum: " + "; ".join(f"{name} {spread(values)}"
                                                 for name, _, values, _ in rows) + ".",
        data, lambda theme: draw_spread(rows, results.variants, "Validation accuracy", theme))


def draw_spread(rows: Sequence[SpreadRow], names: Sequence[str], label: str,
                theme: Theme) -> Canvas:
    """A line for each row; its colour and mark by the place of its name among `names`."""
    canvas, (ax,) = panels(1, 1, 0.9 + 0.36 * len(rows))
    colour, marker = colours(names), markers(names)
    for y, (_, name, values, seeds) in enumerate(rows):
        ink, mark = colour.get(name, theme.ink), marker.get(name, "d")
        ax.plot([values.least, values.greatest], [y, y], color=ink, linewidth=2)
        ax.plot(seeds, np.full(len(seeds), y + 0.25), linestyle="", marker=mark, markersize=3.5,
                alpha=0.6, color=ink, markeredgewidth=0)
        ax.plot(values.mean, y, marker=mark, markersize=9, color=ink,
                markeredgecolor=theme.page)
    ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows])
    percent_axis(ax.xaxis)
    return canvas


def differences(results: Results) -> Figure:
    """Paired differences from the source, with the margin."""
    found = measures.comparisons(results)
    told = "; ".join(f"{classifier_name(c.classifier)}, {c.variant} tested on "
                     f"{measures.TESTED[c.tested]}: {change(c.difference)}, {c.verdict}"
                     for c in found)
    return Figure(
        "differences", "Held-out accuracy less that of training on the source, same seeds and "
        "clips. Thick line: 90% interval; thin: 95%; band: the margin of "
        f"±{within(results.study.margin)} points. A thick line inside the band: "
        "equivalent, if enough recordings were held out.",
        f"Paired differences in points with 90% intervals. {told}.",
        measures.as_table(found), lambda theme: _draw_differences(results, found, theme))


def _draw_differences(results: Results, found: list[measures.Comparison],
                      theme: Theme) -> Canvas:
    per_panel = len(found) // len(CLASSIFIERS)
    canvas, axes = panels(len(CLASSIFIERS), 1, 0.9 + 0.42 * len(found), sharex=True)
    colour, marker = colours(results.variants), markers(results.variants)
    for ax, classifier in zip(axes, CLASSIFIERS, strict=True):
        ax.axvspan(-results.study.margin, results.study.margin, color=theme.faint, alpha=0.45,
                   linewidth=0)
        ax.axvline(0, color=theme.ink, linewidth=1)
        shown = [c for c in found if c.classifier == classifier]
        for y, c in enumerate(shown):
            for between, width in ((c.difference.within95, 1.2), (c.difference.within90, 4)):
                ax.plot([between.low, between.high], [y, y], color=colour[c.variant],
                        linewidth=width, solid_capstyle="butt")
            ax.plot(c.difference.value, y, marker=marker[c.variant], markersize=9,
                    color=colour[c.variant], markeredgecolor=theme.page)
        ax.set(title=title(classifier), ylim=(per_panel - 0.5, -0.5))
        ax.set_yticks(range(per_panel),
                      [f"{c.variant} on {measures.TESTED[c.tested]}" for c in shown])
    points_axis(axes[-1].xaxis)
    axes[-1].set_xlabel("Difference from training on the source, points")
    return canvas


def cross_matrix(results: Results) -> Figure:
    """Trained on × tested on: mean held-out accuracy."""
    data = pd.DataFrame([(classifier, trained, tested, float(
        measures.scores(results, classifier, trained, tested).mean()))
        for classifier in CLASSIFIERS for trained in results.variants
        for tested in results.variants],
        columns=["classifier", "trained_on", "tested_on", "mean"])
    lowest, highest = data["mean"].min(), data["mean"].max()
    return Figure(
        "cross", f"Mean accuracy on held-out clips over {results.seed_count}, in percent: "
        "trained on (rows), tested on (columns).",
        f"Heat maps of mean held-out accuracy, from {percent(lowest)} to {percent(highest)}; "
        "the table below holds every cell.", data,
        lambda theme: _draw_heat(data, ("trained_on", "tested_on", "mean"), results.variants,
                                 ("Trained on", "Tested on")))


def confusion(results: Results) -> Figure:
    """Which held-out class is taken for which: training on the source, all seeds."""
    table = results.crosstest
    table = table[(table.epoch == "last") & (table.variant == "source")
                  & (table.tested_on == "source")]
    counts = pd.concat({classifier: pd.crosstab(part.label, part.predicted, normalize="index")
                        .reindex(index=results.classes, columns=results.classes, fill_value=0.0)
                        for classifier, part in table.groupby("classifier")})
    data = counts.stack().rename_axis(["classifier", "label", "predicted"]).rename("share")
    data = data.reset_index()
    wrong = data[data.label != data.predicted].sort_values("share", ascending=False, kind="stable")
    worst = wrong.iloc[0]
    told = (f"The most frequent mistake: {worst.label} taken for {worst.predicted}, "
            f"{percent(worst.share, 0)} of its clips ({classifier_name(worst.classifier)})."
            if worst.share else "No clip is mistaken.")
    return Figure(
        "confusion", f"Held-out source clips, {results.seed_count}, trained on source: "
        "what each class (rows) is recognized as (columns), percent of its clips.",
        f"Confusion matrices. {told}", data,
        lambda theme: _draw_heat(data, ("label", "predicted", "share"), results.classes,
                                 ("Class", "Recognized as")))


def _draw_heat(data: pd.DataFrame, columns: tuple[str, str, str], names: Sequence[str],
               labels: tuple[str, str]) -> Canvas:
    canvas, axes = panels(1, len(CLASSIFIERS), 1.3 + max(2.0, min(0.5 * len(names), 5)),
                          sharey=True)
    few = len(names) <= MOST_CLASSES_WITH_NUMBERS
    for ax, classifier in zip(axes, CLASSIFIERS, strict=True):
        grid = data[data.classifier == classifier].pivot(
            index=columns[0], columns=columns[1], values=columns[2]).loc[names, names]
        _heat(ax, 100 * grid, few, (100 * data[columns[2]].min(), 100 * data[columns[2]].max()))
        ax.set(title=title(classifier), xlabel=labels[1],
               ylabel=labels[0] if ax is axes[0] else "")
    return canvas


def _heat(ax: Axes, grid: pd.DataFrame, numbers: bool, limits: tuple[float, float]) -> None:
    sns.heatmap(grid, ax=ax, annot=numbers, fmt=".0f", cmap="cividis", cbar=False, vmin=limits[0],
                vmax=limits[1], linewidths=0.5 if numbers else 0, square=False)
    ax.tick_params(axis="x", rotation=35 if numbers else 90)
    ax.tick_params(axis="y", rotation=0)
    for label in ax.get_xticklabels():
        label.set_horizontalalignment("right" if numbers else "center")


def learning_curves(results: Results) -> Figure:
    """Validation accuracy by epoch."""
    grouped = results.history.groupby(["classifier", "variant", "epoch"], sort=False)
    data = grouped["validation_accuracy"].agg(["min", "mean", "max"]).reset_index()
    final = data[data.epoch == data.epoch.max()]
    told = "; ".join(f"{classifier_name(r.classifier)}, {r.variant}: {percent(r.mean)}"
                     for r in final.itertuples())
    return Figure(
        "learning", f"Validation accuracy by epoch: mean over {results.seed_count}; band "
        "from the lowest to the highest seed.",
        f"Learning curves. Mean at the last epoch: {told}.", data,
        lambda theme: _draw_learning(results, data))


def _draw_learning(results: Results, data: pd.DataFrame) -> Canvas:
    canvas, axes = panels(1, len(CLASSIFIERS), 3.3, sharey=True)
    colour, marker = colours(results.variants), markers(results.variants)
    for ax, classifier in zip(axes, CLASSIFIERS, strict=True):
        for variant in results.variants:
            part = data[(data.classifier == classifier) & (data.variant == variant)]
            ax.plot(part.epoch, part["mean"], color=colour[variant], label=variant,
                    marker=marker[variant], markersize=5, markevery=max(1, len(part) // 6))
            ax.fill_between(part.epoch, part["min"], part["max"], color=colour[variant],
                            alpha=0.12, linewidth=0)
        ax.set(title=title(classifier), xlabel="Epoch")
    axes[0].set_ylabel("Validation accuracy")
    percent_axis(axes[0].yaxis)
    legend_above(canvas, axes[0], 4)
    return canvas
