"""The figures about clips and bytes. Each function: results in, Figure out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from leanclips.analysis import measures
from leanclips.analysis.formats import listing, megabytes, percent, several
from leanclips.analysis.results import Results, targets
from leanclips.analysis.style import (Figure, Theme, colours, legend_above, markers, panels,
                                      percent_axis)
from leanclips.clips import Role
from leanclips.study import ORIGINALS, SOURCE

JITTER_SEED = 7


def overview(results: Results) -> Figure:
    """Clips of each class, by role."""
    clips = pd.DataFrame([(c.label, c.role.value) for c in results.clips], columns=["class",
                                                                                    "role"])
    data = clips.value_counts(["class", "role"], sort=False).rename("clips").reset_index()
    roles = [role.value for role in (Role.TARGET, Role.HELDOUT, Role.PRETRAIN)
             if role.value in set(data["role"])]
    told = listing([f"{several(int(data[data.role == role]['clips'].sum()), 'clip')} of role "
                    f"{role}" for role in roles])
    return Figure("overview", "Clips of each class, by role.",
                  f"{told}, in {several(data['class'].nunique(), 'class', 'classes')}.", data,
                  lambda theme: _draw_overview(data, roles))


def _draw_overview(data: pd.DataFrame, roles: list[str]) -> Canvas:
    grid = data.pivot(index="class", columns="role", values="clips").fillna(0)
    grid = grid.sort_values(roles, ascending=False, kind="stable")
    canvas, (ax,) = panels(1, 1, 1.2 + 0.22 * len(grid))
    left = np.zeros(len(grid))
    for role, colour in colours(roles).items():
        ax.barh(range(len(grid)), grid[role], left=left, color=colour, label=role, height=0.7,
                linewidth=0)
        left = left + grid[role].to_numpy()
    ax.set_yticks(range(len(grid)), grid.index)
    ax.set(xlabel="Clips", ylim=(len(grid) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    legend_above(canvas, ax, len(roles))
    return canvas


def savings(results: Results) -> Figure:
    """Saved share of each clip's bytes."""
    names = (ORIGINALS, *results.study.variants)
    data = pd.concat([results.report(name).assign(
        variant=name, saving=lambda t: measures.savings(t))[["variant", "clip", "saving"]]
        for name in names])
    medians = data.groupby("variant", sort=False)["saving"].median()
    return Figure(
        "savings", "Saved share of each clip's bytes: uncropped originals, and crops by variant. "
        "Box: the middle half and the median; one mark per clip. Below zero: the clip grew.",
        "Median saving per clip: " + listing([f"{name} {percent(value)}"
                                              for name, value in medians.items()]) + ".",
        data, lambda theme: _draw_rows(results, names, data, "saving", theme))


def quality(results: Results) -> Figure:
    """Measured quality of each clip."""
    reports = {name: results.report(name) for name in results.study.variants}
    data = pd.concat([table[~measures.kept(table)].assign(variant=name)[
        ["variant", "clip", "quality"]] for name, table in reports.items()])
    scores = {name: data.loc[data["variant"] == name, "quality"] for name in reports}
    told = listing([f"{name} {values.median():.1f} (lowest {values.min():.1f})" if len(values)
                    else f"{name} none re-encoded" for name, values in scores.items()])
    return Figure(
        "quality", "Quality of each re-encoded clip against its source crop: VMAF NEG, the 10th "
        "percentile of the worst second. Dashed: the target of the optimized variant. Clips that "
        "kept their original bytes are left out.",
        f"Median quality: {told}.", data,
        lambda theme: _draw_rows(results, tuple(reports), data, "quality", theme))


def _draw_rows(results: Results, names: Sequence[str], data: pd.DataFrame, column: str,
               theme: Theme) -> Canvas:
    """A row per variant: a box and every clip, if there is any."""
    colour, marker = colours(results.variants), markers(results.variants)
    canvas, (ax,) = panels(1, 1, 0.9 + 0.75 * len(names))
    rng = np.random.default_rng(JITTER_SEED)
    for y, name in enumerate(names):
        values = data.loc[data["variant"] == name, column].to_numpy()
        ax.plot(values, y + rng.uniform(-0.3, 0.3, len(values)), linestyle="", markersize=3.5,
                marker=marker.get(name, "o"), color=colour.get(name, theme.ink), alpha=0.45,
                markeredgewidth=0, zorder=2)
        if len(values):
            ax.boxplot(values, positions=[y], orientation="horizontal", widths=0.5,
                       showfliers=False, manage_ticks=False, zorder=3,
                       **{f"{part}props": {"color": theme.ink, "linewidth": 1.4}
                          for part in ("box", "whisker", "cap", "median")})
        if column == "quality" and name in targets(results.study):
            ax.plot([targets(results.study)[name]] * 2, [y - 0.42, y + 0.42], linestyle="--",
                    color=theme.ink, linewidth=1.4)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5),
           xlabel="Saved share of the clip's bytes" if column == "saving" else "VMAF NEG")
    if column == "saving":
        percent_axis(ax.xaxis)
    return canvas


def clip_sizes(results: Results) -> Figure:
    """Bytes of each clip before and after."""
    names = tuple(results.study.variants)
    data = pd.concat([results.report(name).assign(variant=name)[
        ["variant", "clip", "bytes_in", "bytes_out"]] for name in names])
    smaller = data[data.bytes_out < data.bytes_in].groupby("variant", sort=False).size()
    source = results.report(SOURCE)["bytes_out"]
    return Figure(
        "sizes", "Each clip's bytes as source crop (across) and re-encoded (up), both on "
        "logarithmic axes. On the line: no change.",
        f"Source crops hold {megabytes(source.min())} to {megabytes(source.max())}. Smaller than "
        "the source crop: " + listing([f"{smaller.get(name, 0)} of {len(source)} clips of {name}"
                                       for name in names]) + ".",
        data, lambda theme: _draw_sizes(results, data, theme))


def _draw_sizes(results: Results, data: pd.DataFrame, theme: Theme) -> Canvas:
    canvas, (ax,) = panels(1, 1, 4.4)
    colour, marker = colours(results.variants), markers(results.variants)
    for name, part in data.groupby("variant", sort=False):
        ax.plot(part.bytes_in, part.bytes_out, linestyle="", marker=marker[name], markersize=5,
                color=colour[name], alpha=0.6, markeredgewidth=0, label=name)
    ends = [data[["bytes_in", "bytes_out"]].min(axis=None) / 1.1, data.bytes_in.max() * 1.1]
    ax.plot(ends, ends, color=theme.ink, linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="Source crop", ylabel="Re-encoded")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda size, _: megabytes_tick(size)))
    legend_above(canvas, ax, 4)
    return canvas


def megabytes_tick(size: float) -> str:
    """20000 as 20 kB, 5e6 as 5 MB."""
    return f"{size / 1e6:g} MB" if size >= 1e6 else f"{size / 1e3:g} kB"
