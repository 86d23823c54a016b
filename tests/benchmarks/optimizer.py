"""The optimizer side by side with other ways to choose a CRF, in one run.

    python tests/benchmarks/optimizer.py --crops data/jhmdb/work/clips/source \\
        --longer FOLDER --every 2

Every method encodes by x264 (preset medium) and is scored by the same gate: VMAF NEG, the 10th
percentile of the worst window. Writes optimizer.csv, speed.csv, targets.csv and heights.csv
beside this file (the book shows them) and prints them. `--crops` is any folder of clips; the
demo's clips and three longer ones are added where they are there:

    apt-get download opencv-doc; pip download --no-deps --no-binary :all: moviepy==2.2.1
    (unpack both) and --longer with a folder that holds box.mp4, vtest.avi and trailer_bbb.mp4
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log
from pathlib import Path

import pandas as pd
from common import compared, show

from leanclips.compression import ffmpeg
from leanclips.compression.ffmpeg import CODECS, Encoding, encode
from leanclips.compression.inspect import inspect
from leanclips.compression.optimize import optimize
from leanclips.compression.quality import METRICS, Goal, measure, timeline
from leanclips.compression.search import USUAL_CRF, next_crf_for_bytes
from leanclips.compression.tree import optimize_tree
from leanclips.training.features import FeatureDrift
from leanclips.workers import run_all

HERE = Path(__file__).parent
TARGETS = (95, 93, 90, 85, 75, 60)
HEIGHTS = (480, 720, 1080)
LONGER_SECONDS = 15


@dataclass(frozen=True)
class Encoded:
    """One uniform encode: bytes and worst window."""

    bytes: int
    quality: float


@dataclass(frozen=True)
class Chosen:
    """What a method delivers for a clip."""

    crf: float
    bytes: int
    quality: float
    encodes: int


class Clip:
    """Uniform encodes of a clip, each made once."""

    def __init__(self, path: Path):
        content = inspect(path)
        self.path, self.fps = path, content.fps
        self.times = timeline(content.times, content.cuts)
        self.seen: dict[float, Encoded] = {}

    def at(self, crf: float) -> Encoded:
        crf = round(crf, 2)
        if crf not in self.seen:
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / "made.mp4"
                encode(self.path, made, Encoding("h264"), self.fps, (crf,))
                quality = measure(made, self.path, self.times, Goal())
                self.seen[crf] = Encoded(made.stat().st_size, quality.worst)
        return self.seen[crf]


def chosen(clip: Clip, crf: float, tried: Sequence[float]) -> Chosen:
    return Chosen(crf, clip.at(crf).bytes, clip.at(crf).quality, len(dict.fromkeys(tried)))


def ab_av1(clip: Clip, target: float) -> Chosen:
    """crf-search of ab-av1 0.7, from its source: linear interpolation between 10 and 46 in steps
    of 0.1, a tolerance that grows; the clip itself is its sample, its final encode not counted.
    """
    low, high, tried = 100, 460, []
    q = (low + high) // 2

    def between(worse: int, better: int) -> int:
        bad, good = clip.at(worse / 10).quality, clip.at(better / 10).quality
        q = round(worse - (worse - better) * (target - bad) / (good - bad))
        return min(max(q, better + 1), worse - 1)

    for run in range(1, 30):
        tried.append(q)
        quality = clip.at(q / 10).quality
        if quality > target:
            if quality < target + max(0.1 * 2 ** (run - 1) * 0.1, 0.1):
                break
            above = min((other for other in tried if other > q), default=None)
            if above == q + 1 or (above is None and q == high):
                break
            q = (between(above, q) if above is not None else (q + high) // 2 if run == 1
                 else high)
        else:
            below = max((other for other in tried if other < q), default=None)
            if q == low or below == q - 1:
                q = below if below is not None else q
                break
            q = (between(q, below) if below is not None else (low + q) // 2 if run == 1 else low)
    return chosen(clip, q / 10, [n / 10 for n in tried])


def av1an(clip: Clip, target: float) -> Chosen:
    """Target quality of Av1an 0.4, from its source: four probes at whole CRFs from 15 to 35,
    weighted by -log(1 - VMAF / 100), then a linear interpolation that is encoded unseen.
    """
    def straight(quality: float) -> float:
        return 9.2 if quality >= 99.99 else -log(1 - quality / 100)

    least, most = 15, 35
    tried = [(least + most) // 2]
    tried.append(least if clip.at(tried[0]).quality < target else most)
    edge = clip.at(tried[1]).quality
    if (tried[1] == least and edge < target) or (tried[1] == most and edge > target):
        return chosen(clip, tried[1], tried)
    low, high = (tried[0], tried[1]) if edge < target else (tried[1], tried[0])
    lower, upper = (high, low) if clip.at(high).quality < clip.at(low).quality else (low, high)
    for _ in range(2):
        up = abs(straight(target) - straight(clip.at(upper).quality))
        down = abs(straight(target) - straight(clip.at(lower).quality))
        q = round(lower * up / (up + down) + upper * down / (up + down))
        if q in tried:
            break
        tried.append(q)
        lower, upper = (q, upper) if clip.at(q).quality < target else (lower, q)
    points = sorted((clip.at(q).quality, q) for q in tried)
    below = max((p for p in points if p[0] <= target), default=points[0])
    above = min((p for p in points if p[0] > target), default=points[-1])
    share = (target - below[0]) / max(above[0] - below[0], 1e-9)
    final = int(below[1] + share * (above[1] - below[1]))
    return chosen(clip, final, [*tried, final])


def bisection(clip: Clip, target: float) -> Chosen:
    """Halving 1 to 51 in steps of 0.1 until within half a point above the target."""
    low, high, tried = 10, 510, []
    while high - low > 1:
        q = (low + high) // 2
        tried.append(q / 10)
        quality = clip.at(q / 10).quality
        low, high = (q, high) if quality >= target else (low, q)
        if target <= quality <= target + METRICS["vmaf"].tolerance:
            break
    return chosen(clip, low / 10, [*tried, low / 10])


METHODS = {"search of ab-av1": ab_av1, "search of Av1an": av1an, "bisection": bisection}


def others(path: Path, target: float) -> dict[str, Chosen]:
    clip = Clip(path)
    return {name: method(clip, target) for name, method in METHODS.items()}


def uniform(clips: Sequence[Path], target: float) -> list[Chosen]:
    """leanclips without zones, learning from clip to clip."""
    zones, found, done = CODECS["h264"], [], []
    ffmpeg.CODECS["h264"] = replace(zones, zones=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for path in clips:
                made = optimize(path, Goal(target), Path(folder) / "made.mp4", Encoding("h264"),
                                done)
                done += [made.solved] if made.solved else []
                found.append(Chosen(made.crf or 0, made.bytes_out, made.quality.worst,
                                    len(made.tries)))
    finally:
        ffmpeg.CODECS["h264"] = zones
    return found


def sizes_at(crf: float, path: Path) -> Encoded:
    return Clip(path).at(crf)


def row(name: str, method: str, found: Sequence[Chosen] | Sequence[Encoded], target: float,
        crf: float | None = None) -> dict:
    """A line of the table; `crf` is that of all clips, if they have one together."""
    tolerance = METRICS["vmaf"].tolerance
    encodes = None if crf else round(sum(one.encodes for one in found) / len(found), 2)
    return {"set": name, "method": method, "crf": crf, "clips": len(found),
            "bytes": sum(one.bytes for one in found), "encodes": encodes,
            "worst_quality": round(min(one.quality for one in found), 2),
            "below_target": sum(one.quality < target for one in found),
            "above_tolerance": sum(one.quality > target + tolerance for one in found)}


def compare(name: str, folder: Path, target: float, jobs: int) -> pd.DataFrame:
    """Every method on the clips of a folder that leanclips re-encodes."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        optimize_tree(folder, out, Goal(target), jobs, Encoding("h264"))
        report = pd.read_csv(out / "report.csv")
    # Only clips that leanclips re-encodes are compared: where it keeps the source, it has no CRF.
    report = report[report["crf"].notna()]
    clips = [folder / file for file in report["file"]]
    ours = [Chosen(line.crf, line.bytes_out, line.quality, line.encodes)
            for line in report.itertuples()]
    rows = [row(name, "leanclips", ours, target)]
    if report["zones"].max() > 1:
        rows.append(row(name, "leanclips, uniform", uniform(clips, target), target))
    found = run_all(partial(others, target=target), clips, jobs, name)
    rows += [row(name, method, [one[method] for one in found], target) for method in METHODS]
    lowest = min(one["bisection"].crf for one in found)
    at_lowest = run_all(partial(sizes_at, lowest), clips, jobs, f"{name} at CRF {lowest:g}")
    rows.append(row(name, "one CRF, worst clip at the target", at_lowest, target, lowest))
    tried, total = [], rows[0]["bytes"]
    while not tried or abs(tried[-1][1] / total - 1) > 0.01 and len(tried) < 8:
        crf = next_crf_for_bytes([(at, size) for at, size, _ in tried], total, USUAL_CRF)
        same = run_all(partial(sizes_at, crf), clips, jobs, f"{name} at CRF {crf:g}")
        tried.append((crf, sum(one.bytes for one in same), same))
    rows.append(row(name, "one CRF, equal bytes", same, target, crf))
    table = pd.DataFrame(rows)
    table["against_leanclips"] = (table["bytes"] / total).round(4)
    return table


def speed(folder: Path, clips: int, target: float) -> pd.DataFrame:
    """Wall time of the search over that of its encodes and scorings; two workers over one."""
    chosen_clips = sorted(path for path in folder.iterdir() if path.is_file())[:clips]
    whole = alone = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.mp4"
        for path in chosen_clips[:20]:
            start = time.perf_counter()
            outcome = optimize(path, Goal(target), made, Encoding("h264"))
            whole += time.perf_counter() - start
            content = inspect(path)
            times = timeline(content.times, content.cuts)
            start = time.perf_counter()
            for sample in outcome.tries:
                encode(path, made, Encoding("h264"), content.fps, sample.crfs,
                       [zone.start for zone in times.zones])
                measure(made, path, times, Goal(target))
            alone += time.perf_counter() - start
        for path in chosen_clips:
            (Path(scratch) / "in").mkdir(exist_ok=True)
            (Path(scratch) / "in" / path.name).symlink_to(path.resolve())
        seconds = {}
        for jobs in (1, 2):
            start = time.perf_counter()
            optimize_tree(Path(scratch) / "in", Path(scratch) / f"out{jobs}", Goal(target), jobs)
            seconds[jobs] = time.perf_counter() - start
    return pd.DataFrame([
        {"measure": "search / its encodes and scorings back to back",
         "ratio": round(whole / alone, 3), "clips": len(chosen_clips[:20])},
        {"measure": "one worker / two workers", "ratio": round(seconds[1] / seconds[2], 3),
         "clips": len(chosen_clips)}])


def targets(folder: Path, jobs: int) -> pd.DataFrame:
    """Bytes and feature drift at several targets."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for target in TARGETS:
            out = Path(scratch) / str(target)
            optimize_tree(folder, out, Goal(target), jobs, Encoding("h264"), FeatureDrift())
            report = pd.read_csv(out / "report.csv")
            done = report[report["drift"].notna()]
            rows.append({"target": target, "clips": len(done),
                         "bytes_share": round(report["bytes_out"].sum()
                                              / report["bytes_in"].sum(), 4),
                         "mean_drift": round(done["drift"].mean(), 5),
                         "drift_p95": round(done["drift"].quantile(0.95), 5),
                         "encodes": round(done["encodes"].mean(), 2)})
    return pd.DataFrame(rows)


def seen_at(path: Path, target: float) -> dict[str, float]:
    """The same encode, scored as displayed at several heights; empty where the original is kept."""
    content = inspect(path)
    times = timeline(content.times, content.cuts)
    with tempfile.TemporaryDirectory() as folder:
        made = optimize(path, Goal(target), Path(folder) / "made.mp4", Encoding("h264"))
        if not made.crfs:
            return {}
        return {"own": made.quality.worst} | {
            f"at_{height}": measure(made.path, path, times, Goal(target, height=height)).worst
            for height in HEIGHTS}


def heights(clips: Sequence[Path], jobs: int) -> pd.DataFrame:
    """The same encodes scored at the clips' own size and as shown at larger ones."""
    rows = []
    for target in (85, 93, 97):
        scores = run_all(partial(seen_at, target=target), clips, jobs, f"heights at {target}")
        found = pd.DataFrame([one for one in scores if one])
        rows.append({"target": target, "clips": len(found)}
                    | {name: round(found[name].mean(), 1) for name in found})
    return pd.DataFrame(rows)


def longer_clips(found: Path, folder: Path) -> None:
    """The first 15 seconds of each of three longer clips, stored losslessly: some of the files as
    they are would gain nothing at the target, so that there would be nothing to compare.
    """
    for name in ("box.mp4", "vtest.avi", "trailer_bbb.mp4"):
        ffmpeg.run(["-i", found / name, "-t", LONGER_SECONDS, "-map", "0:v:0", "-c:v", "ffv1",
                    "-pix_fmt", "yuv420p", folder / Path(name).with_suffix(".mkv")], found / name)


def link(clips: Sequence[Path], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for clip in clips:
        (folder / clip.name).symlink_to(clip.resolve())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="a folder of clips")
    parser.add_argument("--demo", type=Path, default=Path("data/demo/work/clips/source"))
    parser.add_argument("--longer", type=Path, help="a folder with the three longer clips")
    parser.add_argument("--target", type=float, default=93)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take every N-th clip of a set")
    parser.add_argument("--out", type=Path, default=HERE, help="where the tables go")
    parser.add_argument("--only", choices=["optimizer", "speed", "targets", "heights"])
    chosen_parts = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        every = chosen_parts.every
        crops = link(compared(chosen_parts.crops)[::every], Path(scratch) / "crops")
        some = link(compared(crops)[::max(4 // every, 1)], Path(scratch) / "some")

        def optimizer() -> pd.DataFrame:
            sets = {"crops": crops}
            if chosen_parts.demo.is_dir():
                sets["demo"] = link(compared(chosen_parts.demo)[::every],
                                    Path(scratch) / "demo")
            if chosen_parts.longer:
                sets["longer"] = Path(scratch) / "longer"
                sets["longer"].mkdir()
                longer_clips(chosen_parts.longer, sets["longer"])
            return pd.concat([compare(name, folder, chosen_parts.target, chosen_parts.jobs)
                              for name, folder in sets.items()])

        parts = {"speed": lambda: speed(crops, 80, chosen_parts.target),
                 "targets": lambda: targets(some, chosen_parts.jobs),
                 "heights": lambda: heights(compared(some)[::3], chosen_parts.jobs),
                 "optimizer": optimizer}
        for name, make in parts.items():
            if chosen_parts.only in (None, name):
                show(make(), chosen_parts.out / f"{name}.csv")


if __name__ == "__main__":
    main()
