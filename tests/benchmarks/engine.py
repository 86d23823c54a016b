"""The recognition engine side by side with the plain way, in one run.

    python tests/benchmarks/engine.py --clips data/jhmdb/work/clips/source

Needs a quiet machine and a C++ compiler (for torch.compile). Writes features.csv, compiled.csv,
finetuning.csv and ancestor.csv beside this file (the book shows them) and prints them. ResNet-152
gets random weights: they do not change its speed.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from common import show, where
from torchvision import models

from leanclips.recognition import backbone
from leanclips.recognition.features import features_of, read_frames, seen
from leanclips.recognition.network import CRNN
from leanclips.recognition.precision import has_fast_bf16
from leanclips.recognition.training import Labelled, predict, step, train
from leanclips.study import Backbone, Network, Sampling
from leanclips.workers import cores, run_all

HERE = Path(__file__).parent
FRAMES, BATCH, CLASSES, WIDTH = 28, 4, 4, 2048
ROUNDS, MOST_CLIPS = 3, 8
GEMM_SECONDS = 1  # for each size and round
GFLOP = {"resnet152": 23.1}  # a frame of 224 x 224, two for a multiplication and an addition
# The fine-tuning study of the case study, and the clips that its ancestor would pass each epoch.
RUNS, EPOCHS, TRAINED, VALIDATED, HELDOUT = 20, 30, 122, 38, 48
STEPS = -(-TRAINED // BATCH)  # an epoch
STEP_EPOCHS = 10


def all_different(clips: Iterable[Path], count: int) -> list[Path]:
    """The first `count` clips with no sampled frame twice in a row: leanclips would pass it once,
    the plain way twice.
    """
    sampling = Sampling(frames=FRAMES)
    return list(islice((clip for clip in clips if len(seen(clip, sampling, 224).frames) == FRAMES),
                       count))


def plain_frames(model: torch.nn.Module, clips: Sequence[Path]) -> float:
    """Seconds of the plain loop: fp32, contiguous, one clip at a time, decode inline."""
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
        run_all(partial(features_of, sampling=Sampling(frames=FRAMES), settings=settings), part,
                cores(), settings.name)
        seconds.append(time.perf_counter() - start)
    return seconds[1] - seconds[0]


def time_shares(settings: Backbone, clip: Path) -> dict[str, float]:
    """Of a clip's time in one thread, the shares of decoding (with resizing) and convolutions."""
    torch.set_num_threads(1)
    model, sampling = backbone.load(settings), Sampling(frames=FRAMES)
    frames = seen(clip, sampling, settings.size).frames
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
    """Frames per second of each backbone, both ways on the same clips, the medians of rounds in
    turn; the share of the best matrix rate that the rounds saw.
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
                 {"backbone": settings.name, "method": f"leanclips, {backbone.precision()}",
                  "frames_per_s": mine, "ratio_to_plain": mine / rate,
                  "share_of_gemm": mine * GFLOP[settings.name] / 1000 / bf16 if rates else None,
                  "gemm_over_fp32": bf16 / fp32 if rates else None,
                  **time_shares(settings, clips[0])}]
    return pd.DataFrame(rows).round(3)


def compiling(weights: Path) -> pd.DataFrame:
    """Frames per second of each backbone as leanclips runs it and by torch.compile, the medians of
    rounds in turn, and the seconds that compiling takes.
    """
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 224, 224, 3), np.uint8)
    torch.set_num_threads(cores())
    rows = []
    for settings in of_both(weights):
        model = backbone.load(settings)
        compiled = torch.compile(model)
        first = passing(compiled, frames)
        seconds = [(passing(model, frames), passing(compiled, frames)) for _ in range(ROUNDS)]
        plain, fast = map(median, zip(*seconds, strict=True))
        rows.append({"backbone": settings.name, "frames_per_s": FRAMES / plain,
                     "compiled_frames_per_s": FRAMES / fast, "compile_seconds": first - fast})
    return pd.DataFrame(rows).round(2)


def passing(model: torch.nn.Module, frames: np.ndarray) -> float:
    start = time.perf_counter()
    backbone.features(model, frames)
    return time.perf_counter() - start


def of_both(weights: Path) -> tuple[Backbone, Backbone]:
    return (Backbone(name="resnet152", weights=str(weights)), Backbone(name="efficientnet-lite2"))


def run_once(threads: int, plain: bool, epochs: int, validated: int, begin) -> float:
    """Seconds of a fine-tuning of the CRNN, begun together with the other processes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    crnn = CRNN(WIDTH, CLASSES, Network())
    parts = labelled(TRAINED), labelled(validated)
    begin.wait()
    start = time.perf_counter()
    if plain:
        train_plainly(crnn, *parts, epochs)
    else:
        train(crnn, *parts, epochs=epochs, batch=BATCH, rate=1e-4, seed=0, what="leanclips",
              mixed=has_fast_bf16())
    return time.perf_counter() - start


def labelled(clips: int) -> Labelled:
    """Features of nothing: they do not change the speed."""
    return Labelled(tuple(map(str, range(clips))), torch.rand(clips, FRAMES, WIDTH),
                    torch.arange(clips) % CLASSES)


def train_plainly(crnn: CRNN, training: Labelled, validation: Labelled, epochs: int) -> None:
    """What `train` does, in fp32 and with nothing done for speed."""
    optimizer = torch.optim.Adam(crnn.parameters(), lr=1e-4)
    for _ in range(epochs):
        crnn.train()
        for chosen in torch.randperm(len(training.ids)).split(BATCH):
            step(crnn, None, optimizer, training.features[chosen], training.labels[chosen])
        predict(crnn, validation)


def together(processes: int, threads: int, plain: bool, epochs: int, validated: int) -> float:
    """Seconds a run of runs side by side, over all of them."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        begin = manager.Barrier(processes)
        seconds = pool.starmap(run_once, [(threads, plain, epochs, validated, begin)] * processes)
    return max(seconds) / processes


METHODS = {
    "plain PyTorch, fp32, all threads in one run": (1, 0, True),
    "plain PyTorch, fp32, a run for each core": (0, 1, True),
    "leanclips, a run for each core": (0, 1, False),
}


def finetuning(rounds: int) -> pd.DataFrame:
    """Milliseconds a step, next to nothing validated, and seconds a run with its validation: the
    medians of rounds in turn, the ratios to the first method, the fastest and slowest round.
    """
    steps, runs = ({name: [] for name in METHODS} for _ in range(2))
    for _ in range(rounds):
        for name, (processes, threads, plain) in METHODS.items():
            way = processes or cores(), threads or cores(), plain
            steps[name].append(together(*way, STEP_EPOCHS, 1) * 1000 / (STEP_EPOCHS * STEPS))
            runs[name].append(together(*way, EPOCHS, VALIDATED))
    found = pd.DataFrame(index=pd.Index(list(METHODS), name="method"))
    for what, column, ratio, times in (("step", "ms_per_step", "ratio", pd.DataFrame(steps)),
                                       ("run", "run_seconds", "run_ratio", pd.DataFrame(runs))):
        found[column] = times.median()
        found[ratio] = found[column].iloc[0] / found[column]
        found[f"{what}_min"], found[f"{what}_max"] = times.min(), times.max()
    return found.reset_index().round(2)


def ancestor(passed: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """The whole fine-tuning study both ways, from the measured times.

    The public ancestor passes every frame of every clip through the backbone in every epoch.
    """
    resnet = passed[passed["backbone"] == "resnet152"]["frames_per_s"].tolist()
    runs = trained["run_seconds"].tolist()
    epoch_frames = (TRAINED + VALIDATED) * FRAMES
    frames = RUNS * (EPOCHS * epoch_frames + 2 * HELDOUT * FRAMES)
    once = 2 * (TRAINED + VALIDATED + HELDOUT) * FRAMES
    theirs = frames / resnet[0] + RUNS * runs[0]
    mine = once / resnet[1] + RUNS * runs[-1]
    rows = [
        ("frames through the backbone, each in every epoch", frames, "frames",
         f"{RUNS} runs x ({EPOCHS} epochs x {TRAINED + VALIDATED} clips + 2 x {HELDOUT} held-out) "
         f"x {FRAMES}"),
        ("frames through the backbone, each once", once, "frames",
         f"2 variants x {TRAINED + VALIDATED + HELDOUT} clips x {FRAMES}"),
        ("training steps", RUNS * EPOCHS * STEPS, "steps",
         f"{RUNS} runs x {EPOCHS} epochs x {STEPS}"),
        ("public ancestor, in all", theirs, "s",
         f"at {resnet[0]:.2f} frames/s and {runs[0]:.1f} s to fine-tune"),
        ("leanclips, in all", mine, "s",
         f"at {resnet[1]:.2f} frames/s and {runs[-1]:.1f} s to fine-tune"),
        ("ratio", theirs / mine, "times", "extrapolated from the measured rates"),
    ]
    return pd.DataFrame(rows, columns=["part", "value", "unit", "note"]).round(3)


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
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # compile anew each time
        weights = Path(folder) / "resnet152.pth"
        torch.manual_seed(0)
        torch.save(models.resnet152(weights=None).state_dict(), weights)
        passed = show(features(clips, weights).assign(machine=where()),
                      wanted.out / "features.csv")
        show(compiling(weights), wanted.out / "compiled.csv")
    trained = show(finetuning(wanted.rounds).assign(machine=where()),
                   wanted.out / "finetuning.csv")
    show(ancestor(passed, trained), wanted.out / "ancestor.csv")


if __name__ == "__main__":
    main()
