"""What smaller clips are worth to a training that reads video in every epoch.

    python tests/benchmarks/storage.py --clips data/jhmdb/work/clips

`--clips` holds a folder of clips for each variant, under the same names. An epoch goes through
the clips as a training loop's input pipeline does: two worker processes fetch each clip, from a
local folder or over a link of so many Mbit/s, decode it, and take and resize the frames that the
study's network sees. No network runs meanwhile: its frames per second are measured afterwards.
Writes storage.csv (epochs) and steps.csv (decoding alone, the network alone) beside this file
and prints them.
"""

import argparse
import http.client
import io
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from urllib.parse import quote

import av
import cv2
import numpy as np
import pandas as pd
import torch
from common import compared, show
from link import served
from torch.utils.data import DataLoader, Dataset

from leanclips.study import SOURCE, Backbone, Sampling, Study
from leanclips.training import backbone
from leanclips.training.features import frame_indices
from leanclips.training.machine import compute

HERE = Path(__file__).parent
LINKS = (50, 200, 1000)  # Mbit/s
VARIANTS = (SOURCE, "optimized", "constant")
REPEATS = 3
WORKERS, BATCH, SEED = 2, 4, 1  # the batch is that of the study's fine-tuning
NETWORK_CLIPS = 8


@dataclass(frozen=True)
class Folder:
    """Reads clips from a local folder."""

    path: Path

    def __call__(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


@dataclass(frozen=True)
class Remote:
    """Reads clips from a folder of a server; each process keeps a connection of its own."""

    port: int
    folder: str

    @cached_property
    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port)

    def __call__(self, name: str) -> bytes:
        self.connection.request("GET", quote(f"/{self.folder}/{name}"))
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise FileNotFoundError(f"{self.folder}/{name}: {answer.status} {answer.reason}")
        return content


Reader = Callable[[str], bytes]


def decode(content: bytes) -> list[av.VideoFrame]:
    """All frames, in one thread: the workers share the cores."""
    with av.open(io.BytesIO(content)) as container:
        container.streams.video[0].thread_type = "NONE"
        return list(container.decode(video=0))


def sampled(frames: Sequence[av.VideoFrame]) -> np.ndarray:
    """What the network sees of a clip: (frames, size, size, 3), RGB, uint8."""
    indices = frame_indices(len(frames), Sampling())
    size = Backbone().size
    way = cv2.INTER_AREA if frames[0].height > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frames[n].to_ndarray(format="rgb24"), (size, size),
                                interpolation=way) for n in indices])


@dataclass(frozen=True)
class Clips(Dataset):
    """For each clip its sampled frames, the bytes read and the number of frames decoded."""

    read: Reader
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int, int]:
        content = self.read(self.names[place])
        frames = decode(content)
        return torch.from_numpy(sampled(frames)), len(content), len(frames)


@dataclass(frozen=True)
class Epoch:
    seconds: float
    clips: int
    bytes: int
    frames: int


def epoch(read: Reader, names: Sequence[str]) -> Epoch:
    """Once through the clips, in the same shuffled order each time."""
    loader = DataLoader(Clips(read, names), BATCH, shuffle=True, num_workers=WORKERS,
                        multiprocessing_context="fork",  # at once, nothing imported again
                        generator=torch.Generator().manual_seed(SEED),
                        worker_init_fn=lambda _: cv2.setNumThreads(1))
    clips = size = frames = 0
    start = time.perf_counter()
    for batch, sizes, counts in loader:
        clips += len(batch)
        size += int(sizes.sum())
        frames += int(counts.sum())
    return Epoch(time.perf_counter() - start, clips, size, frames)


def epoch_row(variant: str, link: int | None, epochs: Sequence[Epoch]) -> dict:
    seconds = [one.seconds for one in epochs]
    middle, one = median(seconds), epochs[0]
    return {"variant": variant, "link_mbit": link, "epochs": len(epochs), "clips": one.clips,
            "bytes": one.bytes, "seconds": round(middle, 4), "min": round(min(seconds), 4),
            "max": round(max(seconds), 4),
            "link_seconds": round(one.bytes * 8e-6 / link, 4) if link else None,
            "clips_per_s": round(one.clips / middle, 2),
            "decoded_frames_per_s": round(one.frames / middle, 1)}


def storage(folder: Path, variants: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Epochs of every variant over every link, and from the local folder."""
    with ExitStack() as servers:
        ports = {link: servers.enter_context(served(folder, link)) for link in LINKS}
        readers: dict[tuple[str, int | None], Reader] = {
            (variant, link): Remote(ports[link], variant) if link else Folder(folder / variant)
            for link in (*LINKS, None) for variant in variants}
        found = {key: [] for key in readers}
        # Repeat by repeat: what else the machine does meanwhile meets every variant.
        for repeat in range(REPEATS):
            for (variant, link), read in readers.items():
                found[variant, link].append(epoch(read, names))
                print(f"{repeat + 1}/{REPEATS} {variant} {link or 'local'}: "
                      f"{found[variant, link][-1].seconds:.2f} s", flush=True)
    table = pd.DataFrame([epoch_row(*key, epochs) for key, epochs in found.items()])
    return table.astype({"link_mbit": "Int64"})  # whole numbers, and none for the folder


def decoding(read: Reader, names: Sequence[str]) -> Epoch:
    """The clips decoded from memory, one after the other in one process."""
    seconds, size, count = 0.0, 0, 0
    for name in names:
        content = read(name)
        start = time.perf_counter()
        frames = decode(content)
        seconds += time.perf_counter() - start
        size += len(content)
        count += len(frames)
    return Epoch(seconds, len(names), size, count)


def network(read: Reader, names: Sequence[str]) -> list[Epoch]:
    """The frozen backbone over the sampled frames of a few clips, on all cores."""
    model, found = backbone.load(Backbone(), compute(Study(title="benchmark", device="cpu"))), []
    clips = [(content, sampled(decode(content))) for content in map(read, names[:NETWORK_CLIPS])]
    backbone.features(model, clips[0][1])  # the first call sets things up
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _, frames in clips:
            backbone.features(model, frames)
        found.append(Epoch(time.perf_counter() - start, len(clips),
                           sum(len(content) for content, _ in clips),
                           sum(len(frames) for _, frames in clips)))
    return found


def step_row(step: str, of: str, runs: Sequence[Epoch], clips: int) -> dict:
    """Frames per second, and what that makes for an epoch of `clips` clips."""
    rates = [one.frames / one.seconds for one in runs]
    frames = runs[0].frames * clips / runs[0].clips
    return {"step": step, "of": of, "frames_per_s": round(median(rates), 1),
            "min": round(min(rates), 1), "max": round(max(rates), 1),
            "epoch_frames": round(frames), "epoch_seconds": round(frames / median(rates), 4)}


def steps(folder: Path, variants: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Decoding alone and the network alone: what an epoch takes at least, however it reads."""
    runs = {variant: [] for variant in variants}
    for _ in range(REPEATS):
        for variant in variants:
            runs[variant].append(decoding(Folder(folder / variant), names))
    rows = [step_row("decode", variant, found, len(names)) for variant, found in runs.items()]
    seen = network(Folder(folder / variants[0]), names)
    return pd.DataFrame([*rows, step_row("network", Backbone().name, seen, len(names))])


def clip_names(folder: Path, variants: Sequence[str]) -> list[str]:
    """The clips to go through (see `compared`), below each variant's folder."""
    first = folder / variants[0]
    return [path.relative_to(first).as_posix() for path in compared(first)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder for each variant")
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--limit", type=int, help="only so many clips")
    parser.add_argument("--out", type=Path, default=HERE, help="where the tables go")
    wanted = parser.parse_args()
    names = clip_names(wanted.clips, wanted.variants)[:wanted.limit]
    if not names:
        parser.error(f"no clips in {wanted.clips / wanted.variants[0]}")
    for name in names:  # once, so that every variant comes from the system's cache
        for variant in wanted.variants:
            Folder(wanted.clips / variant)(name)
    # The network comes last: its threads must not be there when the workers are forked.
    show(storage(wanted.clips, wanted.variants, names), wanted.out / "storage.csv")
    show(steps(wanted.clips, wanted.variants, names), wanted.out / "steps.csv")


if __name__ == "__main__":
    main()
