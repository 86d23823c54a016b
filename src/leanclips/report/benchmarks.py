"""The measured comparisons: each CSV of tests/benchmarks as a table, by one declaration."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import seaborn as sns

from leanclips.records import read_csv
from leanclips.report.display import (Canvas, Figure, Table, Theme, colours, legend_above,
                                      markers, panels)
from leanclips.report.formats import DASH, fill, told


class Shown(NamedTuple):
    """How a CSV is shown: templates (formats.fill), the caption's of its first row."""

    caption: str
    cells: dict[str, str]


SHOWN = {
    "optimizer": Shown(
        "Ways to choose a CRF: x264, preset medium; VMAF NEG of the worst second (10th "
        "percentile); target 93, tolerance half a point. Crops: every second one of J-HMDB; demo: "
        "of the synthetic demo; longer: 15 seconds of box.mp4 and vtest.avi (opencv-doc) and "
        "trailer_bbb.mp4 (moviepy), stored losslessly. 'leanclips, uniform': one CRF per clip, as "
        "crops of a second have anyway. Encodes: per clip, all that a method needs; one CRF for a "
        "set takes many encodes of the whole set. Below, above: clips below the target, above the "
        "tolerance.",
        {"Clips": "{set} ({clips})", "Method": "{method}", "CRF": "{crf:.4g}",
         "Bytes": "{bytes:size}", "Of leanclips'": "{against_leanclips:percent}",
         "Encodes": "{encodes:.2f}", "Worst clip": "{worst_quality:.1f}",
         "Below": "{below_target}", "Above": "{above_tolerance}"}),
    "no_gain": Shown(
        "Sources with no gain at target 93, each optimized alone, without earlier clips to learn "
        "from: J-HMDB's clips as they are (MPEG-4) and re-encoded. A search to the end tells which "
        "have no gain. Given up: sources kept though that search saves 5% or more.",
        {"Source": "{source}", "Clips": "{clips}", "Without gain": "{no_gain}",
         "Known after one encode": "{known_after_one}", "Encodes": "{encodes:.2f}",
         "Encodes to the end": "{encodes_to_the_end:.2f}", "Given up": "{given_up}",
         "Bytes given up": "{bytes_given_up:.2%}"}),
    "speed": Shown(
        "Wall times as ratios, measured in one run on 2 cores.",
        {"Measure": "{measure}", "Ratio": "{ratio:.2f}", "Clips": "{clips}"}),
    "memory": Shown(
        "Peak memory for one long file, all processes together.",
        {"Pixels": "{width} × {height}", "Length": "{minutes:g} min",
         "Frames per second": "{fps:g}", "Frames": "{frames:count}", "Encodes": "{encodes}",
         "Memory": "{peak_gb:.2f} GB"}),
    "targets": Shown(
        "J-HMDB crops at several targets. Drift: cosine distance of a frozen EfficientNet-Lite2's "
        "features from those of the source, 12 frames per clip. Bytes are those of all clips, "
        "drift and encodes those of the re-encoded ones.",
        {"Target": "{target:g}", "Bytes kept": "{bytes_share:percent}", "Re-encoded": "{clips}",
         "Mean drift": "{mean_drift:.4f}", "95th percentile": "{drift_p95:.4f}",
         "Encodes per clip": "{encodes:.2f}"}),
    "heights": Shown(
        "The same encodes, scored at the clips' own height and as displayed at others: VMAF NEG of "
        "the worst second, mean over the clips.",
        {"Target": "{target:g}", "Clips": "{clips}", "Own height": "{own:.1f}",
         "At 480": "{at_480:.1f}", "At 720": "{at_720:.1f}", "At 1080": "{at_1080:.1f}"}),
    "storage": Shown(
        "An epoch over {clips} clips by two worker processes, their start included: median of "
        "{epochs}. No link: from a local folder. Link alone: the epoch's bytes at that rate.",
        {"Clips": "{variant}", "Link, Mbit/s": "{link_mbit:count}", "Bytes": "{bytes:size}",
         "Epoch": "{seconds:.2f} s", "Fastest to slowest": "{min:.2f} to {max:.2f} s",
         "Link alone, s": "{link_seconds:.2f}",
         "Frames decoded/s": "{decoded_frames_per_s:count}"}),
    "steps": Shown(
        "Each step alone: decoding all frames from memory in one process; the frozen network on "
        "the sampled frames, on all cores.",
        {"Step": "{step}", "Of": "{of}", "Frames/s": "{frames_per_s:.1f}",
         "Slowest to fastest": "{min:.1f} to {max:.1f}", "Frames per epoch": "{epoch_frames:count}",
         "Time per epoch": "{epoch_seconds:duration}"}),
    "features": Shown(
        "Frames per second through the frozen backbone, decoding included. Matrix product: the "
        "rate of the machine's own, in bf16. On {machine}.",
        {"Backbone": "{backbone}", "Method": "{method}", "Frames/s": "{frames_per_s:.1f}",
         "Times plain": "{ratio_to_plain:.2f}", "Of matrix product": "{share_of_gemm:.0%}",
         "Decoding": "{decoding:.0%}", "Convolutions": "{convolutions:.0%}"}),
    "compiled": Shown(
        "The backbone alone, one process on all cores: as leanclips runs it, and compiled by "
        "torch.compile.",
        {"Backbone": "{backbone}", "Frames/s": "{frames_per_s:.1f}",
         "Frames/s, compiled": "{compiled_frames_per_s:.1f}",
         "Time to compile": "{compile_seconds:duration}"}),
    "precision": Shown(
        "Cosine distance of the features in bf16 from those in fp32; J-HMDB crops.",
        {"Backbone": "{backbone}", "Clips": "{clips}", "Frames": "{frames:count}",
         "Mean": "{distance_mean:.4f}", "Largest": "{distance_max:.4f}"}),
    "ancestor": Shown(
        "The case study's fine-tuning with a ResNet-152: 20 runs of 30 epochs of 160 clips, 28 "
        "frames each, tested on 2 × 48 clips. Times in all are extrapolated from the measured "
        "rates. On {machine}.",
        {"Method": "{method}", "Frames through the backbone": "{frames:count}",
         "Frames/s": "{frames_per_s:.1f}", "Training per run": "{run_seconds:duration}",
         "In all": "{seconds:duration}"}),
}


def read(folder: Path) -> dict[str, Table]:
    """All measured tables by name; StudyError where one is missing."""
    return {name: table(name, read_csv(folder / f"{name}.csv")) for name in SHOWN}


def table(name: str, data: pd.DataFrame) -> Table:
    """The table of one CSV."""
    shown = SHOWN[name]
    return Table.of(name, fill(shown.caption, data.iloc[0]), data, shown.cells)


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
