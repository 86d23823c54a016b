"""Features and fine-tuning as leanclips makes them and the plain way, in one run.

    python tests/benchmarks/engine.py --clips data/jhmdb/work/clips/source

Needs a quiet machine. Writes features.csv and ancestor.csv beside this file (the book shows them)
and prints them. ResNet-152 gets random weights: they do not change its speed.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from threading import Barrier

import numpy as np
import pandas as pd
import torch
from common import show
from torchvision import models

from leanclips.study import Backbone, Finetuning, Network, Sampling, Study
from leanclips.training import backbone
from leanclips.training.crnn import CRNN, Labelled, train
from leanclips.training.features import features_of, read_frames, seen
from leanclips.training.machine import compute
from leanclips.workers import cores, run_all

HERE = Path(__file__).parent
FRAMES, BATCH, CLASSES, WIDTH = 28, 4, 4, 2048
ROUNDS, MOST_CLIPS = 3, 8
GEMM_SECONDS = 1  # for each size and round
GFLOP = {"resnet152": 23.1}  # a frame of 224 x 224, two for a multiplication and an addition
# The case study's fine-tuning.
RUNS, EPOCHS, TRAINED, VALIDATED, HELDOUT = 20, 30, 122, 38, 48
COMPUTE = compute(Study(title="benchmark", device="cpu"))


def all_different(clips: Iterable[Path], count: int) -> list[Path]:
    """The first `count` clips with no sampled frame twice in a row, which leanclips would pass
    once and the plain way twice.
    """
    sampling = Sampling(frames=FRAMES)
    return list(islice((clip for clip in clips if len(seen(clip, sampling, 224)[0]) == FRAMES),
                       count))


def plain_frames(model: torch.nn.Module, clips: Sequence[Path]) -> float:
    """Seconds of the plain loop: fp32, contiguous, one clip at a time, decoded in the loop."""
    start = time.perf_counter()
    with torch.inference_mode():
        for clip in clips:
            frames = read_frames(clip, Sampling(frames=FRAMES), 224)
            model(backbone.pixels(frames).contiguous())
    return time.perf_counter() - start


def ours(settings: Backbone, clips: Sequence[Path], few: int) -> float:
    """Seconds for the clips beyond `few`: the start of the workers, the same for any number of
    clips, cancels out.
    """
    seconds = []
    for part in (clips[:few], clips):
        start = time.perf_counter()
        run_all(partial(features_of, sampling=Sampling(frames=FRAMES), settings=settings,
                        chosen=COMPUTE), part, cores(), settings.name)
        seconds.append(time.perf_counter() - start)
    return seconds[1] - seconds[0]


def time_shares(settings: Backbone, clip: Path) -> dict[str, float]:
    """Of a clip's time in one thread, the shares of decoding (with resizing) and convolutions."""
    torch.set_num_threads(1)
    model, sampling = backbone.load(settings, COMPUTE), Sampling(frames=FRAMES)
    frames, _ = seen(clip, sampling, settings.size)
    backbone.features(model, frames)
    start = time.perf_counter()
    seen(clip, sampling, settings.size)
    decoding = time.perf_counter() - start
    with torch.profiler.profile() as profile:
        start = time.perf_counter()
        backbone.features(model, frames)
        network = time.perf_counter() - start
    convolutions = sum(event.self_cpu_time_total for event in profile.key_averages()
                       if "convolution" in event.key) / 1e6
    return {"decoding": decoding / (decoding + network),
            "convolutions": convolutions / (decoding + network)}


def matrix_rate(dtype: torch.dtype) -> float:
    """This machine's best rate of matrix products, in TFLOP/s: one thread for each core."""
    best = 0.0
    for size in (1024, 2048, 4096):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        end = time.perf_counter() + GEMM_SECONDS
        while (start := time.perf_counter()) < end:
            a @ b
            best = max(best, 2 * size ** 3 / (time.perf_counter() - start) / 1e12)
    return best


def features(clips: Sequence[Path], weights: Path) -> pd.DataFrame:
    """Frames per second of each backbone, both ways on the same clips: medians of alternating
    rounds; the share of the best matrix rate of these rounds.
    """
    rows = []
    # leanclips takes the few clips again and again.
    for settings, few, many in zip(of_both(weights), (3, MOST_CLIPS), (15, 8 * MOST_CLIPS),
                                   strict=True):
        torch.set_num_threads(cores())
        whole, plain, own, rates = backbone.whole(settings), [], [], []
        plain_frames(whole, clips[:1])
        for _ in range(ROUNDS):
            plain.append(plain_frames(whole, clips[:few]))
            own.append(ours(settings, list(islice(cycle(clips[:few]), many)), few))
            if settings.name in GFLOP:
                rates.append([matrix_rate(dtype) for dtype in (torch.bfloat16, torch.float32)])
        rate, mine = few * FRAMES / median(plain), (many - few) * FRAMES / median(own)
        bf16, fp32 = map(max, zip(*rates, strict=True)) if rates else (None, None)
        rows += [{"backbone": settings.name, "method": "plain loop, fp32", "frames_per_s": rate,
                  "ratio_to_plain": 1.0, "share_of_gemm": None, "gemm_over_fp32": None},
                 {"backbone": settings.name, "method": f"leanclips, {COMPUTE.precision}",
                  "frames_per_s": mine, "ratio_to_plain": mine / rate,
                  "share_of_gemm": mine * GFLOP[settings.name] / 1000 / bf16 if rates else None,
                  "gemm_over_fp32": bf16 / fp32 if rates else None,
                  **time_shares(settings, clips[0])}]
    return pd.DataFrame(rows).round(3)


def of_both(weights: Path) -> tuple[Backbone, Backbone]:
    return (Backbone(name="resnet152", weights=str(weights)), Backbone(name="efficientnet-lite2"))


def run_once(threads: int, begin: Barrier) -> float:
    """Seconds of a fine-tuning of the CRNN, begun together with the other processes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    crnn = CRNN(WIDTH, CLASSES, Network())
    training, validation = labelled(TRAINED), labelled(VALIDATED)
    begin.wait()
    start = time.perf_counter()
    settings = Finetuning(epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-4)
    train(crnn, training, validation, settings, seed=0, what="fine-tuning")
    return time.perf_counter() - start


def labelled(clips: int) -> Labelled:
    """Random features: they do not change the speed."""
    return Labelled(tuple(map(str, range(clips))), torch.rand(clips, FRAMES, WIDTH),
                    torch.arange(clips) % CLASSES)


def seconds_a_run(processes: int, threads: int) -> float:
    """Seconds per run of runs side by side: each counts its share of the time."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        begin = manager.Barrier(processes)
        return max(pool.starmap(run_once, [(threads, begin)] * processes)) / processes


def ancestor(passed: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """The whole fine-tuning study both ways, from the measured rates.

    The public ancestor passes every frame of every clip through the backbone in every epoch, one
    run after the other. leanclips passes each frame once, and has a run for each core.
    """
    resnet = passed[passed["backbone"] == "resnet152"]["frames_per_s"].tolist()
    ways = {"every frame in every epoch (public ancestor)": (1, cores()),
            "each frame once (leanclips)": (cores(), 1)}
    found = pd.DataFrame([{name: seconds_a_run(*way) for name, way in ways.items()}
                          for _ in range(rounds)]).median()
    clips = TRAINED + VALIDATED
    frames = (RUNS * (EPOCHS * clips + 2 * HELDOUT) * FRAMES, 2 * (clips + HELDOUT) * FRAMES)
    return pd.DataFrame({
        "method": list(ways), "frames": frames, "frames_per_s": resnet,
        "run_seconds": found.to_numpy(),
        "seconds": [count / rate + RUNS * run
                    for count, rate, run in zip(frames, resnet, found, strict=True)]}).round(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder of MP4 clips")
    parser.add_argument("--out", type=Path, default=HERE, help="where the tables go")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    clips = all_different(sorted(wanted.clips.glob("*.mp4")), MOST_CLIPS)
    if len(clips) < MOST_CLIPS:
        parser.error(f"{wanted.clips} holds no {MOST_CLIPS} clips of {FRAMES} frames or more")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "resnet152.pth"
        torch.manual_seed(0)
        torch.save(models.resnet152(weights=None).state_dict(), weights)
        passed = show(features(clips, weights), wanted.out / "features.csv")
    show(ancestor(passed, wanted.rounds), wanted.out / "ancestor.csv")


if __name__ == "__main__":
    main()
