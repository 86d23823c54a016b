"""What an epoch that reads video waits for: storage.csv and steps.csv of tests/benchmarks.

Few epochs were timed of each kind, so one kind counts as faster than another only where all of
its epochs were: where the slowest of them took less time than the fastest of the others.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from leanclips.analysis.formats import capitalized, duration, listing, percent, thousands
from leanclips.analysis.style import Figure, colours, legend_above, markers, panels
from leanclips.study import SOURCE

OPTIMIZED = "optimized"


class Row(NamedTuple):
    """A row of storage.csv: the epochs of one variant over one link."""

    variant: str
    link_mbit: float  # NaN: from a local folder
    epochs: int
    clips: int
    bytes: int
    seconds: float
    min: float
    max: float
    clips_per_s: float
    decoded_frames_per_s: float

    @property
    def is_local(self) -> bool:
        return bool(np.isnan(self.link_mbit))

    @property
    def link_seconds(self) -> float:
        """What the link alone takes for the bytes of an epoch."""
        return 0.0 if self.is_local else self.bytes * 8e-6 / self.link_mbit

    @property
    def source(self) -> str:
        """Where the clips come from, as in a sentence."""
        return "from a local folder" if self.is_local else f"at {mbit(self.link_mbit)}"

    def faster_than(self, other: "Row") -> bool:
        return self.max < other.min


def mbit(rate: float) -> str:
    return f"{thousands(rate) if rate >= 10 else f'{rate:.1f}'} Mbit/s"


def rows(data: pd.DataFrame) -> list[Row]:
    """Slow links first, the local folder last, each with its variants in their order."""
    ordered = data.sort_values("link_mbit", kind="stable", na_position="last")
    return [Row(*values) for values in ordered[list(Row._fields)].itertuples(index=False)]


def local(data: pd.DataFrame) -> dict[str, Row]:
    return {row.variant: row for row in rows(data) if row.is_local}


def pairs(data: pd.DataFrame) -> Iterator[tuple[Row, Row]]:
    """Source and optimized, link by link."""
    found = rows(data)
    optimized = {row.source: row for row in found if row.variant == OPTIMIZED}
    return ((row, optimized[row.source]) for row in found
            if row.variant == SOURCE and row.source in optimized)


def conclusion(data: pd.DataFrame) -> str:
    """Whether smaller files make an epoch faster, and where."""
    found = list(pairs(data))
    fast = [source.source for source, optimized in found if optimized.faster_than(source)]
    others = [source.source for source, _ in found if source.source not in fast]
    if not fast:
        return "No link showed an epoch over the optimized clips to be faster."
    beside = f"; {listing(others)} no gain is shown" if others else ": on every link measured"
    return f"The optimized clips made an epoch faster {listing(fast)}{beside}."


def gains(data: pd.DataFrame) -> list[str]:
    """An epoch over optimized clips beside one over source clips, for each link."""
    return [_gain(source, optimized) for source, optimized in pairs(data)]


def _gain(source: Row, optimized: Row) -> str:
    times = f"{duration(optimized.seconds)} instead of {duration(source.seconds)}"
    if optimized.faster_than(source):
        told = f"{times}, {source.seconds / optimized.seconds:.2f} times as fast"
    elif source.faster_than(optimized):
        told = f"{times}, {percent(optimized.seconds / source.seconds - 1)} more"
    else:
        told = (f"{duration(optimized.seconds)} against {duration(source.seconds)}; the "
                f"{source.epochs} epochs of each overlap, so no difference is shown")
    return f"{capitalized(source.source)}: {told}."


def bound_by(data: pd.DataFrame, row: Row) -> str:
    """What takes longer alone: the link, or all that the worker processes do."""
    return "link" if row.link_seconds > local(data)[row.variant].seconds else "workers"


def break_even(data: pd.DataFrame) -> str:
    """Below which rate the link alone takes longer than the workers need, for each variant."""
    told = [f"{mbit(row.bytes * 8e-6 / row.seconds)} for {variant}"
            for variant, row in local(data).items()]
    return f"The link alone takes longer than the workers need below {listing(told)}."


def free_from(data: pd.DataFrame, variant: str) -> Row | None:
    """The slowest link from which on none was slower than the local folder."""
    here, free = local(data)[variant], None
    for row in reversed([row for row in rows(data) if row.variant == variant]):
        if here.faster_than(row):
            break
        free = row if not row.is_local else None
    return free


def freedom(data: pd.DataFrame) -> list[str]:
    """For each variant, from which of the measured rates on the link is not what takes time."""
    found = {variant: free_from(data, variant) for variant in local(data)}
    return [f"Every link slowed the epochs over {variant} clips." if free is None else
            f"From {mbit(free.link_mbit)} on, no link was shown to slow the epochs over {variant} "
            "clips." for variant, free in found.items()]


def decoding(steps: pd.DataFrame) -> str:
    """Whether smaller files decode faster; empty where they were not both measured."""
    rates = steps[steps["step"] == "decode"].set_index("of")
    if not {SOURCE, OPTIMIZED} <= set(rates.index):
        return ""
    source, optimized = rates.loc[SOURCE], rates.loc[OPTIMIZED]
    if source["max"] < optimized["min"] or optimized["max"] < source["min"]:
        ratio = optimized["frames_per_s"] / source["frames_per_s"]
        return f"Optimized clips decode {ratio:.2f} times as fast as source clips."
    return "That optimized clips decode faster or slower than source clips is not shown."


def pace(data: pd.DataFrame, steps: pd.DataFrame) -> list[str]:
    """Whether the network or its input sets the pace if every frame goes through each epoch."""
    network = steps[steps["step"] == "network"].iloc[0]
    waits = [f"{row.variant} {row.source}" for row in rows(data)
             if row.seconds > network.epoch_seconds]
    if not waits:
        verdict = ("longer than any of the epochs above. With every frame through the network "
                   "in every epoch, the network sets the pace, and smaller files save no time "
                   "as long as clips are read ahead")
    elif len(waits) == len(data):
        verdict = "shorter than any of the epochs above: the clips set the pace"
    else:
        verdict = f"and the clips set the pace only for {listing(waits)}"
    fed = {variant: network.epoch_frames / row.seconds for variant, row in local(data).items()}
    told = listing([f"{thousands(rate)} frames/s of {variant}" for variant, rate in fed.items()])
    return [f"The network ({network.of}) takes {duration(network.epoch_seconds)} for the frames of "
            f"an epoch on this machine, {verdict}.",
            f"These two workers feed {told} from a local folder: a network that is faster than "
            "that waits for its clips on any link."]


def figure(data: pd.DataFrame) -> Figure:
    """Seconds of an epoch, by link and variant."""
    told = listing([f"{row.variant} {row.source} {duration(row.seconds)}" for row in rows(data)])
    return Figure("storage", "Seconds of an epoch that reads and decodes every clip, without a "
                  "network; median, with the fastest and the slowest epoch.",
                  f"Seconds of an epoch: {told}.", data, lambda theme: _draw(data))


def _draw(data: pd.DataFrame) -> Canvas:
    found, variants = rows(data), list(dict.fromkeys(data["variant"]))
    places = list(dict.fromkeys(row.source for row in found))
    colour, marker = colours(variants), markers(variants)
    canvas, (ax,) = panels(1, 1, 3.4)
    for shift, variant in zip(np.linspace(-0.15, 0.15, len(variants)), variants, strict=True):
        of = [row for row in found if row.variant == variant]
        middle = np.array([row.seconds for row in of])
        reach = [middle - [row.min for row in of], [row.max for row in of] - middle]
        ax.errorbar([places.index(row.source) + shift for row in of], middle, reach,
                    linestyle="", marker=marker[variant], markersize=7, color=colour[variant],
                    elinewidth=2, label=variant)
    ax.set_xticks(range(len(places)), [capitalized(place) for place in places])
    ax.set(ylabel="Seconds of an epoch", ylim=(0, None))
    ax.grid(axis="x", visible=False)
    legend_above(canvas, ax, len(variants))
    return canvas
