"""The measured comparisons: each CSV of tests/benchmarks as a table, declared in measured.yml."""

from functools import cache
from pathlib import Path

import pandas as pd
import seaborn as sns
import yaml

from leanclips.records import read_csv
from leanclips.report.display import (Canvas, Figure, Table, Theme, colours, legend_above,
                                      markers, panels)
from leanclips.report.formats import DASH, fill, told


def read(book: Path) -> dict[str, Table]:
    """All measured tables by name, as `book`/measured.yml declares them; StudyError where one is
    missing.
    """
    folder = book.parent / "tests" / "benchmarks"
    return {name: table(book, name, read_csv(folder / f"{name}.csv")) for name in _shown(book)}


def table(book: Path, name: str, data: pd.DataFrame) -> Table:
    """The table of one CSV. Its caption is a template of the first row."""
    shown = _shown(book)[name]
    return Table.of(name, fill(shown["caption"], data.iloc[0]), data, shown["columns"])


@cache
def _shown(book: Path) -> dict[str, dict]:
    return yaml.safe_load((book / "measured.yml").read_text(encoding="utf-8"))


def cell(of: Table, column: str, **where: object) -> object:
    """The value of `column` in the one row that `where` describes, for a page to quote."""
    rows = of.data
    for name, value in where.items():
        rows = rows[rows[name].isna() if value is None else rows[name] == value]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of {of.name}.csv have {where}")
    return rows[column].iloc[0]


def epochs(data: pd.DataFrame) -> Figure:
    """The seconds of an epoch that reads video, by link and variant (storage.csv)."""
    link = [mbit.replace(DASH, "local folder") for mbit in told(data, "{link_mbit:g} Mbit/s")]
    data = data.assign(link=link)
    return Figure("storage", "Time of an epoch that reads and decodes every clip, without a "
                  "network: median, fastest and slowest epoch.", "Seconds per epoch: " + "; ".join(
                      told(data, "{variant} {link} {seconds:.1f} s")) + ".",
                  data, lambda theme: _draw_epochs(data, theme))


def _draw_epochs(data: pd.DataFrame, theme: Theme) -> Canvas:
    canvas, (ax,) = panels(1, 1, 3.4)
    variants = list(data["variant"].unique())
    each = data.melt(["link", "variant"], ["min", "seconds", "max"], value_name="epoch")
    sns.pointplot(each, x="link", y="epoch", hue="variant", estimator="median",
                  errorbar=("pi", 100), dodge=0.15 * (len(variants) - 1), linestyle="none",
                  palette=colours(variants), markers=list(markers(variants).values()),
                  markersize=7, markeredgecolor=theme.page, err_kws={"linewidth": 2}, ax=ax)
    ax.set(xlabel="", ylabel="Seconds per epoch", ylim=(0, None))
    legend_above(canvas, ax, len(variants))
    return canvas
