"""A long file: wall time over the least work there is, and bytes over the whole-file search.

    python tests/benchmarks/long.py --clips ../shared/clips/jhmdb

Two clips are made of real ones, in a temporary folder: each of these, played forwards, backwards
and forwards again, is a scene, scaled up to 720p (300 s) and 1080p (120 s). Of each, in one run:

floor       one encode at the settings that leanclips chose, and one scoring, in its parts and on
            all cores: nobody who verifies can do with less
leanclips   the search in parts
exhaustive  leanclips' search on the whole file, as for short clips, on one core
ab-av1      its search from its source (optimizer.py) on its samples: 20 s, one for every 12
            minutes, cut at keyframes; then one encode of the whole on one core, and its scores.
            Beside the exhaustive search, so both have a core each.

Every method encodes by x264 (preset medium) and is scored by the same gate: VMAF NEG of every
second. Writes long.csv. `--seconds 60 30` makes the clips shorter.
"""

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path

import pandas as pd
import psutil
from common import show

from leanclips.compression import long
from leanclips.compression.ffmpeg import Encoding, encode_span, run
from leanclips.compression.inspect import inspect
from leanclips.compression.optimize import optimize
from leanclips.compression.quality import Goal, timeline
from leanclips.workers import cores

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
SECONDS = (300.0, 120.0)
SCENE_SECONDS = 4  # of a scene made of an ordinary clip
SAMPLE_SECONDS, SAMPLE_EVERY = 20, 12 * 60  # ab-av1's defaults
WHOLE_FROM = 0.85  # share of the file from which on ab-av1 takes it whole
NEVER = 1e9


def build(clips: Sequence[Path], size: tuple[int, int], seconds: float, made: Path) -> None:
    """Scenes of different clips, until they last so long."""
    width, height = size
    scenes = max(round(seconds / SCENE_SECONDS), 2)
    chosen = [clips[n % len(clips)] for n in range(scenes)]
    parts = []
    for n, clip in enumerate(chosen):
        part = made.with_name(f"scene-{n}.mkv")
        run(["-i", clip, "-filter_complex",
             f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=lanczos,"
             f"crop={width}:{height},setsar=1,fps=30,format=yuv420p,split=3[a][b][c];"
             "[b]reverse[r];[a][r][c]concat=n=3", "-c:v", "libx264", "-preset", "veryfast", "-crf",
             10, "-an", part], clip)
        parts.append(part)
    listed = made.with_suffix(".txt")
    listed.write_text("".join(f"file '{part.name}'\n" for part in parts))
    run(["-f", "concat", "-i", listed, "-c:v", "libx264", "-preset", "veryfast", "-crf", 10,
         made], made)
    for part in parts:
        part.unlink()


def timed(work: Callable[[], object]) -> tuple[object, float, float, float]:
    """The result, the seconds it took, those of all cores together, and the most memory of all
    processes together, in MB.
    """
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            size = 0
            for process in (me := psutil.Process(), *me.children(recursive=True)):
                try:
                    size += process.memory_info().rss
                except psutil.Error:
                    continue
            most[0] = max(most[0], size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, busy = time.perf_counter(), sum(os.times()[:4])
    try:
        result = work()
        return (result, time.perf_counter() - start, sum(os.times()[:4]) - busy, most[0] / 1e6)
    finally:
        done.set()
        watcher.join()


def in_parts(source: Path, made: Path, goal: Goal) -> tuple:
    """leanclips' outcome, what it spent (see `timed`), and how many frames it encoded."""
    frames = []

    def counted(*given) -> None:
        frames.append(given[-1].frames)
        encode_span(*given)

    long.encode_span = counted
    try:
        outcome, *spent = timed(lambda: optimize(source, goal, made, Encoding("h264")))
    finally:
        long.encode_span = encode_span
    return outcome, spent, sum(frames)


def floor(source: Path, crfs: Sequence[float], folder: Path, goal: Goal) -> tuple:
    """What one encode and one scoring in parts spend."""
    was = inspect(source)
    work = long.prepare(source, was, timeline(was.times, was.cuts), goal, Encoding("h264"),
                        folder / "floor", cores())
    todo = {n: crfs[piece.zones] for n, piece in enumerate(work.pieces)}
    return timed(lambda: long._make_all(work, todo, "floor"))[1:]


def whole(source: Path, made: Path, goal: Goal) -> tuple:
    """The outcome of the search on the whole file, and its time."""
    start = time.perf_counter()
    return optimize(source, goal, made, Encoding("h264")), time.perf_counter() - start


def sampled(source: Path, folder: Path, target: float) -> tuple:
    """ab-av1's CRF from its samples, the whole file at it, encodes, and the time."""
    from optimizer import Clip, ab_av1  # imports PyTorch, which is no part of what is measured

    start, clip = time.perf_counter(), Clip(source)
    lasts = inspect(source).seconds
    samples = ceil(lasts / SAMPLE_EVERY)
    searched = clip
    if samples * SAMPLE_SECONDS < WHOLE_FROM * lasts:
        apart = (lasts - SAMPLE_SECONDS * samples) / (samples + 1)
        parts = []
        for n in range(samples):
            parts.append(folder / f"sample-{n}.mkv")
            run(["-ss", apart * (n + 1) + SAMPLE_SECONDS * n, "-i", source, "-frames:v",
                 round(SAMPLE_SECONDS * clip.fps), "-c", "copy", "-an", parts[-1]], source)
        (folder / "samples.txt").write_text("".join(f"file '{part.name}'\n" for part in parts))
        run(["-f", "concat", "-i", folder / "samples.txt", "-c", "copy", folder / "samples.mkv"],
            source)
        searched = Clip(folder / "samples.mkv")
    found = ab_av1(searched, target)
    made = clip.at(found.crf)
    share = searched.times.frames / clip.times.frames
    return made, found.encodes * share + 1, time.perf_counter() - start


def compare(name: str, source: Path, folder: Path, goal: Goal, others: bool) -> pd.DataFrame:
    frames = inspect(source).frames
    ours, (wall, busy, memory), encoded = in_parts(source, folder / "ours" / "made.mp4", goal)
    least, least_busy, least_memory = floor(source, ours.crfs, folder, goal)
    rows = [{"method": "floor", "wall_s": least, "core_s": least_busy, "peak_MB": least_memory,
             "encodes": 1, "bytes": ours.bytes_out, "worst": ours.quality.worst},
            {"method": "leanclips", "wall_s": wall, "core_s": busy, "peak_MB": memory,
             "encodes": encoded / frames, "bytes": ours.bytes_out, "worst": ours.quality.worst,
             "reason": str(ours.reason)}]
    if others:
        limit, long.LONG_SECONDS = long.LONG_SECONDS, NEVER
        try:
            with ThreadPoolExecutor(1) as pool:
                theirs = pool.submit(sampled, source, folder, goal.target)
                best, seconds = whole(source, folder / "whole" / "made.mp4", goal)
                made, encodes, their_seconds = theirs.result()
        finally:
            long.LONG_SECONDS = limit
        rows += [{"method": "exhaustive", "wall_s": seconds, "encodes": len(best.tries),
                  "bytes": best.bytes_out, "worst": best.quality.worst,
                  "reason": str(best.reason)},
                 {"method": "ab-av1", "wall_s": their_seconds, "encodes": encodes,
                  "bytes": made.bytes, "worst": made.quality}]
    table = pd.DataFrame(rows)
    table.insert(0, "clip", name)
    table.insert(1, "frames", frames)
    table["over_floor"] = (table["wall_s"] / least).round(2)
    table["work_over_floor"] = (table["core_s"] / least_busy).round(2)  # whatever else runs here
    if others:
        table["over_exhaustive"] = (table["bytes"] / best.bytes_out).round(4)
    return table.round({"wall_s": 1, "core_s": 1, "encodes": 2, "peak_MB": 0, "worst": 2})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder of short real clips")
    parser.add_argument("--seconds", type=float, nargs=2, default=SECONDS,
                        help="of the 720p and the 1080p clip; 0 leaves one out")
    parser.add_argument("--target", type=float, default=93)
    parser.add_argument("--floor-only", action="store_true",
                        help="leave out the exhaustive search and ab-av1, most of the time")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args()
    clips = sorted(path for path in chosen.clips.rglob("*") if path.suffix in (".avi", ".mp4"))
    random.Random(0).shuffle(clips)
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for (name, size), seconds in zip(SIZES.items(), chosen.seconds, strict=True):
            if seconds:
                folder = Path(scratch) / name
                folder.mkdir()
                build(clips, size, seconds, folder / "clip.mp4")
                tables.append(compare(name, folder / "clip.mp4", folder, Goal(chosen.target),
                                      not chosen.floor_only))
    table = pd.concat(tables)
    show(table, chosen.out / "long.csv")


if __name__ == "__main__":
    main()
