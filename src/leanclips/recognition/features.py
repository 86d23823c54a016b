"""Stage features: every clip through the frozen backbone, once.

A clip's features are cached under a key made of its bytes, the sampling and the backbone, so a
changed clip is computed anew, an unchanged one never is, and two processes may do it at once.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from leanclips.clips import Clip, Role, of_role
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, write_bytes
from leanclips.layout import Layout
from leanclips.recognition import backbone
from leanclips.recognition.precision import device, keep_freed_memory, note_slow_precision
from leanclips.records import read_csv, write_csv
from leanclips.study import SOURCE, Backbone, Sampling, Study
from leanclips.workers import cores, run_all, run_each

CLIPS_AT_ONCE = 16  # on a GPU


@dataclass(frozen=True)
class Features:
    """Features of some clips of a variant: `values` (clips, frames, features), fp32."""

    ids: tuple[str, ...]
    values: np.ndarray
    sha256: str

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """The features of these clips, in this order."""
        place = {clip_id: n for n, clip_id in enumerate(self.ids)}
        return self.values[[place[clip_id] for clip_id in ids]]


def frame_indices(count: int, sampling: Sampling) -> np.ndarray:
    """Indices (sampling.frames,) of the frames taken from a clip of `count` frames, ascending.

    `uniform` takes the middle of each of `frames` equal parts; where the clip is too short for
    `first` or `every`, its last frame is repeated.
    """
    wanted = np.arange(sampling.frames)
    if sampling.take == "uniform":
        return ((2 * wanted + 1) * count) // (2 * sampling.frames)
    step = sampling.step if sampling.take == "every" else 1
    return np.minimum(wanted * step, count - 1)


def read_frames(path: Path, sampling: Sampling, size: int) -> np.ndarray:
    """The sampled frames (frames, size, size, 3), RGB, uint8; StudyError if it cannot be decoded.

    Each frame is resized by area averaging (shrinking) or bilinear (enlarging).
    """
    try:
        with _opened(path) as container:
            count = sum(packet.size > 0 for packet in container.demux(video=0))
        wanted, found = _decoded(path, frame_indices(count, sampling), size)
        if found != count:  # a packet need not be a frame
            wanted, _ = _decoded(path, frame_indices(found, sampling), size)
        return wanted
    except (av.FFmpegError, IndexError, KeyError, ValueError):
        raise StudyError("no frame can be decoded", path,
                         "delete it and run the study again") from None


@dataclass(frozen=True)
class Frames:
    """Clips that are decoded whenever they are asked for: `frames[chosen]` are their sampled
    frames, (clips, frames, size, size, 3), uint8. StudyError where one cannot be decoded.
    """

    paths: tuple[Path, ...]
    sampling: Sampling
    size: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: slice | Sequence[int]) -> torch.Tensor:
        read = partial(read_frames, sampling=self.sampling, size=self.size)
        with ThreadPoolExecutor(cores()) as pool:  # decoding lets other threads run
            clips = list(pool.map(read, np.array(self.paths, dtype=object)[chosen]))
        return torch.from_numpy(np.stack(clips))


def _opened(path: Path) -> av.container.InputContainer:
    # FFmpeg takes 12:30.mp4 for an address, and a title may be in any encoding.
    return av.open(str(path.absolute()), metadata_errors="replace")


def _decoded(path: Path, indices: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """The frames at `indices` that there are, resized, and how many frames the clip has."""
    resized, count = {}, 0
    with _opened(path) as container:
        container.streams.video[0].thread_type = "NONE"
        for count, frame in enumerate(container.decode(video=0), 1):
            if count - 1 in indices:
                resized[count - 1] = resize(frame.to_ndarray(format="rgb24"), size)
    return np.stack([resized[n] for n in indices if n in resized]), count


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """A square frame at another size: by area averaging (shrinking) or bilinear (enlarging)."""
    way = cv2.INTER_AREA if frame.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(frame, (size, size), interpolation=way)


@cache
def cached_model(settings: Backbone) -> nn.Module:
    torch.set_num_threads(1)  # see workers.run_all
    keep_freed_memory()
    return backbone.load(settings)


@dataclass(frozen=True)
class Task:
    """A clip to compute. The backbone's fingerprint comes along: to find it, a worker that only
    decodes would start the GPU.
    """

    path: Path
    layout: Layout
    backbone: Backbone
    sampling: Sampling
    fingerprint: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A clip as the backbone sees it: its different frames, and for each of the sampled frames
    which of them it is. Equal frames in a row go through the backbone once.
    """

    frames: np.ndarray
    places: np.ndarray


def seen(path: Path, sampling: Sampling, size: int) -> Seen:
    """Decode a clip."""
    frames = read_frames(path, sampling, size)
    different, places = np.unique(frame_places(frames), return_inverse=True)
    return Seen(frames[different], places)


def features_of(path: Path, sampling: Sampling, settings: Backbone) -> np.ndarray:
    """A clip's features (frames, features), fp32, kept nowhere."""
    clip = seen(path, sampling, settings.size)
    return backbone.features(cached_model(settings), clip.frames)[clip.places]


def clip_features(task: Task) -> str:
    """Compute the clip's features unless they are cached; return their key."""
    name, missing = to_compute(task)
    if missing is not None:
        save_features([task], [name], [missing])
    return name


def to_compute(task: Task) -> tuple[str, Seen | None]:
    """The key of the clip's features, and what to compute them from unless they are cached."""
    name = key(file_sha256(task.path), task.sampling.model_dump(), task.fingerprint)
    if is_whole(task.layout.feature(task.backbone.name, name)):
        return name, None
    return name, seen(task.path, task.sampling, task.backbone.size)


def save_features(tasks: Sequence[Task], names: Sequence[str], clips: Sequence[Seen]) -> None:
    """Put clips of one backbone through it together; keep the features of each, fp32."""
    settings = tasks[0].backbone
    values = backbone.features(cached_model(settings),
                               np.concatenate([clip.frames for clip in clips]))
    ends = np.cumsum([len(clip.frames) for clip in clips])
    for task, name, clip, part in zip(tasks, names, clips, np.split(values, ends[:-1]),
                                      strict=True):
        save(task.layout.feature(settings.name, name), part[clip.places])


def features_by_gpu(tasks: Sequence[Task], jobs: int, what: str) -> list[str]:
    """`clip_features` of each, where one process holds the GPU and the workers decode for it."""
    names, waiting = [], []

    def compute() -> None:
        if waiting:
            save_features(*zip(*waiting, strict=True))
            waiting.clear()

    for task, (name, missing) in zip(tasks, run_each(to_compute, tasks, jobs, what), strict=True):
        names.append(name)
        if missing is None:
            continue
        if waiting and waiting[0][0].backbone != task.backbone:
            compute()
        waiting.append((task, name, missing))
        if len(waiting) == CLIPS_AT_ONCE:
            compute()
    compute()
    return names


def save(path: Path, values: np.ndarray) -> None:
    """Write an array; unlike np.save to a file, a full disk is an OSError that says so."""
    content = io.BytesIO()
    np.save(content, values)
    write_bytes(path, content.getvalue())


def is_whole(path: Path) -> bool:
    """Whether `path` holds an array with all its numbers."""
    try:
        return np.load(path, mmap_mode="r").ndim == 2
    except (OSError, ValueError, EOFError):
        return False


def frame_places(frames: np.ndarray) -> np.ndarray:
    """For each frame the index of the first one in its run of equal frames: (frames,) ints."""
    changed = np.array([n == 0 or not np.array_equal(frames[n], frames[n - 1])
                        for n in range(len(frames))])
    return np.maximum.accumulate(np.where(changed, np.arange(len(frames)), 0))


def make_features(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                  jobs: int) -> None:
    """Stage features: the index of a variant names each clip and the key of its features."""
    backbone.weights_file(study.backbone)  # a missing file is one clear message, here
    chosen = clips if variant == SOURCE else of_role(clips, Role.TARGET, Role.HELDOUT)
    through = {role: study.backbone.for_target for role in Role} | {
        Role.PRETRAIN: study.backbone.for_pretraining}
    prints = {role: tuple(backbone.fingerprint(one)) for role, one in through.items()}
    tasks = [Task(layout.made_clip(variant, clip.id), layout, through[clip.role], study.sampling,
                  prints[clip.role]) for clip in chosen]
    if variant == SOURCE:  # once per run: it is the first
        note_slow_precision()
    work = f"features of {variant}"
    if device().type == "cuda":
        keys = features_by_gpu(tasks, jobs, work)
    else:
        keys = run_all(clip_features, tasks, jobs, work)
    table = pd.DataFrame({"clip": [clip.id for clip in chosen], "key": keys})
    if variant != SOURCE:
        ours, theirs = (load(layout, study.backbone.name, names) for names in (
            keys, _keys(layout, study, SOURCE, chosen)))
        table["drift"] = [round(cosine_distance(*pair), 6)
                          for pair in zip(ours, theirs, strict=True)]
    write_csv(layout.feature_index(study.backbone.name, variant), table)


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far features (frames, features) moved: 1 - cosine of each pair of frames, the mean."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.mean(1 - (a * b).sum(axis=-1) / np.maximum(norms, 1e-12)))


def load(layout: Layout, backbone_name: str, keys: Sequence[str]) -> list[np.ndarray]:
    """Cached features, (frames, features) each."""
    return [np.load(layout.feature(backbone_name, name)) for name in keys]


def _keys(layout: Layout, study: Study, variant: str, clips: Sequence[Clip]) -> list[str]:
    """The keys of these clips' features; StudyError where the stage has not run for them."""
    index = layout.feature_index(study.backbone.name, variant)
    table = read_csv(index)
    keys = dict(zip(table["clip"], table["key"], strict=True))
    try:
        return [keys[clip.id] for clip in clips]
    except KeyError:
        raise _damaged(index) from None


def _damaged(index: Path) -> StudyError:
    return StudyError("some features are missing or damaged", index,
                      "delete this file and run the study again")


def load_features(layout: Layout, study: Study, variant: str, clips: Sequence[Clip]) -> Features:
    """The cached features of these clips of a variant; StudyError where the stage has not run."""
    wanted = _keys(layout, study, variant, clips)
    try:
        values = np.stack(load(layout, study.backbone.name, wanted))
    except (OSError, ValueError, EOFError):
        raise _damaged(layout.feature_index(study.backbone.name, variant)) from None
    return Features(tuple(clip.id for clip in clips), values, key(wanted))
