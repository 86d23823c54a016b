"""The measured comparisons of tests/benchmarks, as the book shows them."""

from pathlib import Path

import pandas as pd

from leanclips.analysis import epochs
from leanclips.analysis.formats import (capitalized, classifier_name, duration, listing,
                                        megabytes, number, percent, points, thousands)
from leanclips.analysis.tables import Table

SETS = {"crops": "J-HMDB crops", "demo": "demo crops, synthetic", "longer": "longer clips"}
# The rows of ancestor.csv that say what the whole study takes, in one unit.
FOR_ALL = "one CRF"
ANCESTOR, OURS = "public ancestor, in all", "leanclips, in all"


def read(folder: Path) -> dict[str, Table]:
    """The tables that were measured, by name; what was not is left out."""
    makers = {"optimizer": _optimizer, "no_gain": _no_gain, "speed": _speed, "memory": _memory,
              "targets": _targets, "heights": _heights, "storage": _storage, "steps": _steps,
              "features": _features, "compiled": _compiled, "precision": _precision,
              "finetuning": _finetuning, "ancestor": _ancestor}
    return {name: make(pd.read_csv(folder / f"{name}.csv")) for name, make in makers.items()
            if (folder / f"{name}.csv").is_file()}


def saving_of_zones(data: pd.DataFrame) -> float | None:
    """Share of bytes that zones save on the longer clips, against the method with one CRF for each
    clip that takes the least and holds the target in all of them.
    """
    longer = data[data["set"] == "longer"].set_index("method")
    uniform = longer[(longer.index != "leanclips") & ~longer.index.str.startswith(FOR_ALL)
                     & (longer["below_target"] == 0)]["bytes"]
    if "leanclips" not in longer.index or uniform.empty:
        return None
    return float(1 - longer.loc["leanclips", "bytes"] / uniform.min())


def saving_of_search(data: pd.DataFrame) -> dict[str, float]:
    """By set, the share of bytes saved against one CRF at which the worst clip holds the target."""
    worst = data[data["method"].str.startswith(f"{FOR_ALL}, worst clip")]
    return {SETS[row.set]: 1 - 1 / row.against_leanclips for row in worst.itertuples()}


def smaller_elsewhere(data: pd.DataFrame) -> list[str]:
    """Where the search of another tool ends in fewer bytes than leanclips', and at what price."""
    ours = data[data["method"] == "leanclips"].set_index("set")["encodes"]
    other = data[data["method"].str.startswith("search of") & (data["against_leanclips"] < 1)
                 & (data["below_target"] == 0)]
    return [f"{SETS[row.set]}: the {row.method} takes {percent(1 - row.against_leanclips)} fewer "
            f"bytes than leanclips, with {row.encodes:.1f} encodes a clip instead of "
            f"{ours[row.set]:.1f}: it ends nearer to the target." for row in other.itertuples()]


def fastest_features(data: pd.DataFrame) -> list[str]:
    """For each backbone, what its fastest way is worth."""
    best = data.loc[data.groupby("backbone", sort=False)["frames_per_s"].idxmax()]
    return [f"{row.backbone} is fastest by {row.method}: {row.frames_per_s:.1f} frames/s, "
            f"{row.ratio_to_plain:.2f} times plain PyTorch"
            + ("." if pd.isna(row.share_of_gemm) else
               f" and {percent(row.share_of_gemm, 0)} of what the machine's bf16 matrix product "
               f"does. That is {row.gemm_over_fp32:.1f} times as fast as in fp32 on this CPU: all "
               f"of it would be {row.ratio_to_plain / row.share_of_gemm:.1f} times plain PyTorch.")
            for row in best.itertuples()]


def shortfall(data: pd.DataFrame) -> list[str]:
    """Why leanclips' features do not run at the rate of the matrix product, where measured."""
    if "convolutions" not in data:
        return []
    return [f"Of {row.backbone}'s time, {percent(row.decoding, 0)} goes to decoding and resizing, "
            f"{percent(row.convolutions, 0)} to convolutions, the rest to what lies between them "
            "(activations, sums, pooling, a new layout of the pixels)."
            for row in data[data["convolutions"].notna()].itertuples()]


def compile_pays(data: pd.DataFrame) -> list[str]:
    """What torch.compile is worth for each backbone."""
    return [f"{row.backbone} compiled does {row.compiled_frames_per_s:.1f} frames/s, "
            f"{row.compiled_frames_per_s / row.frames_per_s:.2f} times as many as leanclips, after "
            f"{duration(row.compile_seconds)} of compiling in each process."
            for row in data.itertuples()]


def within_seed_noise(data: pd.DataFrame) -> str:
    """Whether bf16 moves the mean accuracy by more than chance does, and how far features move."""
    distance = (f"Its features are at a cosine distance of {data['distance_mean'].iloc[0]:.4f} "
                f"from those in fp32, {data['distance_max'].iloc[0]:.4f} at most.")
    return f"{_moved(data)} {distance}"


def _moved(data: pd.DataFrame) -> str:
    """The paired difference between two standard errors; beside the seeds' own, where the spread
    of the differences was not measured.
    """
    if "difference_sd" not in data:
        moved = data["difference"].abs()
        within = (moved < data["seeds_sd"]).all()
        return (f"Computing in bf16 moves the mean by {points(moved.max()).lstrip('+')} points at "
                f"most, {'less' if within else 'for one classifier more'} than one seed differs "
                "from another.")
    half = 2 * data["difference_sd"] / data["seeds"] ** 0.5
    told = listing([f"{points(row.difference)} points for the {classifier_name(row.classifier)} "
                    f"(± two standard errors: {points(row.difference - wide)} to "
                    f"{points(row.difference + wide)})"
                    for row, wide in zip(data.itertuples(), half, strict=True)])
    beyond = (data["difference"].abs() > half).any()
    return (f"Computing in bf16 moves the mean, seed against seed, by {told}; "
            f"{'for one classifier that is' if beyond else 'neither is'} more than chance explains.")


def fastest_run(data: pd.DataFrame) -> str:
    """What the fastest way to fine-tune is worth against the first one: a step, a whole run."""
    plain, best = data.iloc[0], data.loc[data["ms_per_step"].idxmin()]
    return (f"A step takes {best.ms_per_step:.1f} ms by {best.method}, {best.ratio:.1f} times as "
            f"fast as by {plain.method}; a whole run, whose validation stays in fp32, "
            f"{best.run_seconds:.1f} s, {best.run_ratio:.1f} times as fast.")


def against_ancestor(data: pd.DataFrame) -> str:
    """What computing features once is worth for the whole study; empty without both totals."""
    total = data.set_index("part")
    if not {ANCESTOR, OURS} <= set(total.index):
        return ""
    theirs, ours = total.loc[ANCESTOR], total.loc[OURS]
    return (f"The ancestor's way takes {_amount(theirs.value, theirs.unit)} in all, "
            f"{theirs.value / ours.value:.1f} times leanclips' {_amount(ours.value, ours.unit)}.")


def _amount(value: float, unit: str) -> str:
    """A value with its unit; seconds as a person says them."""
    if unit in ("s", "seconds"):
        return duration(value)
    return f"{thousands(value) if abs(value) >= 1000 else f'{value:.4g}'} {unit}"


def _optimizer(data: pd.DataFrame) -> Table:
    rows = tuple((f"{SETS[row.set]} ({row.clips})", row.method, megabytes(row.bytes),
                  percent(row.against_leanclips),
                  "–" if row.method.startswith(FOR_ALL) else f"{row.encodes:.2f}",
                  f"{row.worst_quality:.1f}", thousands(row.below_target),
                  thousands(row.above_tolerance)) for row in data.itertuples())
    caption = ("Ways to choose a CRF, side by side: x264 preset medium, VMAF NEG of the worst "
               "second (10th percentile), target 93, tolerance half a point. 'leanclips, uniform' "
               "has one CRF for each clip; crops of hardly a second have that anyway. Encodes per "
               "clip count what each method needs to decide and deliver; one CRF for all clips "
               "is found by encoding the whole set many times. Crops and demo are every second "
               "clip of their sets; the longer clips are excerpts of 15 seconds, stored without "
               "loss, of box.mp4 and vtest.avi (from opencv-doc) and trailer_bbb.mp4 (from "
               "moviepy's source package).")
    header = ("Clips", "Method", "Bytes", "Of leanclips'", "Encodes per clip", "Worst clip",
              "Below target", "Above tolerance")
    return Table("optimizer", caption, header, rows, data)


def _no_gain(data: pd.DataFrame) -> Table:
    rows = tuple((f"H.264, CRF {row.source}" if str(row.source).isdigit() else row.source,
                  thousands(row.clips), thousands(row.no_gain), thousands(row.known_after_one),
                  number(row.encodes, 2), number(row.encodes_to_the_end, 2),
                  thousands(row.given_up), percent(row.bytes_given_up, 2))
                 for row in data.itertuples())
    caption = ("Sources with no gain at target 93, each optimized alone, with nothing learnt: "
               "clips of J-HMDB as they are (MPEG-4) and re-encoded. Which have none is told by a "
               "search to the end. Given up: sources kept though that search saves 5% or more.")
    header = ("Source", "Clips", "Without gain", "Known after one encode", "Encodes",
              "Encodes to the end", "Given up", "Bytes given up")
    return Table("no_gain", caption, header, rows, data)


def _speed(data: pd.DataFrame) -> Table:
    rows = tuple((row.measure, f"{row.ratio:.2f}", thousands(row.clips))
                 for row in data.itertuples())
    return Table("speed", "Wall times, as ratios measured in one run on 2 cores.",
                 ("Measure", "Ratio", "Clips"), rows, data)


def _memory(data: pd.DataFrame) -> Table:
    rows = tuple((f"{row.width} × {row.height}", f"{row.minutes:g} min", f"{row.fps:g}",
                  thousands(row.frames), thousands(row.encodes), f"{row.peak_gb:.2f} GB")
                 for row in data.itertuples())
    return Table("memory", "The most memory that one long file takes, all processes together. At few "
                 "frames a second where they are large; the last line has as many frames as ten "
                 "minutes hold.",
                 ("Pixels", "Length", "Frames per second", "Frames", "Encodes", "Memory"),
                 rows, data)


def _targets(data: pd.DataFrame) -> Table:
    rows = tuple((f"{row.target:g}", percent(row.bytes_share), thousands(row.clips),
                  f"{row.mean_drift:.4f}",
                  f"{row.drift_p95:.4f}", f"{row.encodes:.2f}") for row in data.itertuples())
    caption = ("The machine's view: how far the features of the frozen backbone "
               "(EfficientNet-Lite2, 12 frames a clip) move at each target. Cosine distance, "
               "J-HMDB crops. Bytes are those of all clips; drift and encodes those of the clips "
               "that were re-encoded.")
    return Table("targets", caption, ("Target", "Bytes kept", "Re-encoded", "Mean drift", "95th percentile",
                                      "Encodes per clip"), rows, data)


def _heights(data: pd.DataFrame) -> Table:
    names = [name for name in data.columns if name not in ("target", "clips")]
    rows = tuple((f"{row['target']:g}", thousands(row["clips"]),
                  *(f"{row[name]:.1f}" for name in names))
                 for row in data.to_dict("records"))
    caption = ("The same encodes, scored at the clips' own height and as shown at others: VMAF "
               "NEG of the worst second, mean over the clips.")
    header = ("Target", "Clips", *("Own height" if name == "own" else f"At {name}" for name in names))
    return Table("heights", caption, header, rows, data)


def _storage(data: pd.DataFrame) -> Table:
    rows = tuple((row.variant, "local" if row.is_local else epochs.mbit(row.link_mbit),
                  megabytes(row.bytes), f"{row.seconds:.2f} s", f"{row.min:.2f} to {row.max:.2f} s",
                  "–" if row.is_local else f"{row.link_seconds:.2f} s", f"{row.clips_per_s:.1f}",
                  thousands(row.decoded_frames_per_s), epochs.bound_by(data, row))
                 for row in epochs.rows(data))
    one = epochs.rows(data)[0]
    caption = (f"An epoch over {thousands(one.clips)} clips, median of {one.epochs}, the start of "
               "its two worker processes included. Bound by: what takes longer alone, the link or "
               "all that the workers do (an epoch from a local folder).")
    header = ("Clips", "Link", "Bytes", "Epoch", "Fastest to slowest", "Link alone", "Clips/s",
              "Frames decoded/s", "Bound by")
    return Table("storage", caption, header, rows, data)


def _steps(data: pd.DataFrame) -> Table:
    rows = tuple((row.step, row.of, f"{row.frames_per_s:.1f}", f"{row.min:.1f} to {row.max:.1f}",
                  thousands(row.epoch_frames), duration(row.epoch_seconds))
                 for row in data.itertuples())
    caption = ("Alone: decoding all frames from memory, in one process; the frozen network over "
               "the frames it samples, on all cores.")
    return Table("steps", caption, ("Step", "Of", "Frames/s", "Slowest to fastest",
                                    "Frames an epoch", "An epoch"), rows, data)


def _features(data: pd.DataFrame) -> Table:
    rows = tuple((row.backbone, row.method, f"{row.frames_per_s:.1f}",
                  f"{row.ratio_to_plain:.2f}",
                  "–" if pd.isna(row.share_of_gemm) else percent(row.share_of_gemm, 0))
                 for row in data.itertuples())
    caption = ("Features: frames per second through the frozen backbone, against plain PyTorch "
               f"and against the rate of the machine's own matrix product{_on(data)}.")
    return Table("features", caption, ("Backbone", "Method", "Frames/s", "Times plain",
                                       "Of matrix product"), rows, data)


def _compiled(data: pd.DataFrame) -> Table:
    rows = tuple((row.backbone, f"{row.frames_per_s:.1f}", f"{row.compiled_frames_per_s:.1f}",
                  duration(row.compile_seconds)) for row in data.itertuples())
    caption = "The network alone, one process with all cores: as leanclips runs it, and compiled."
    return Table("compiled", caption, ("Backbone", "Frames/s", "Frames/s by torch.compile",
                                       "To compile"), rows, data)


def _precision(data: pd.DataFrame) -> Table:
    rows = tuple((capitalized(classifier_name(row.classifier)), thousands(row.seeds),
                  percent(row.fp32), percent(row.bf16), points(row.difference),
                  points(row.seeds_sd).lstrip("+"), percent(row.same_answers))
                 for row in data.itertuples())
    caption = ("The same source runs of J-HMDB with features and fine-tuning in fp32 and in bf16: "
               "accuracy on held-out clips at the last epoch, mean over the seeds.")
    header = ("Classifier", "Seeds", "fp32", "bf16", "Difference, points",
              "Standard deviation of seeds, points", "Same answers")
    return Table("precision", caption, header, rows, data)


def _finetuning(data: pd.DataFrame) -> Table:
    rows = tuple((row.method, f"{row.ms_per_step:.1f} ms",
                  f"{row.step_min:.1f} to {row.step_max:.1f}", f"{row.ratio:.2f}",
                  f"{row.run_seconds:.1f} s",
                  f"{row.run_min:.1f} to {row.run_max:.1f}", f"{row.run_ratio:.2f}")
                 for row in data.itertuples())
    caption = ("Fine-tuning on cached features as the case study has it: 122 clips of 28 frames, "
               "batch 4; a step alone, over 10 epochs with next to no validation, and a run of 30 "
               f"epochs with 38 clips to validate on after each{_on(data)}. Medians; of runs side "
               "by side, each counts its share of the time.")
    header = ("Method", "A step", "Fastest to slowest", "Times plain", "A run",
              "Fastest to slowest", "Times plain")
    return Table("finetuning", caption, header, rows, data)


def _on(data: pd.DataFrame) -> str:
    return f"; on {data['machine'].iloc[0]}" if "machine" in data else ""


def _ancestor(data: pd.DataFrame) -> Table:
    rows = tuple((row.part, _amount(row.value, row.unit), "" if pd.isna(row.note) else row.note)
                 for row in data.itertuples())
    caption = ("The whole fine-tuning study the public ancestor's way (every frame through the "
               "backbone in every epoch) and leanclips' (features once).")
    return Table("ancestor", caption, ("Part", "Amount", "Note"), rows, data)
