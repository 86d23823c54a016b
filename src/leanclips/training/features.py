"""Stage features: every clip through the frozen backbone, once.

A clip's features are cached under a key made of its bytes, the sampling and the backbone, so a
changed clip is computed anew, an unchanged one never is, and two processes may do it at once.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from leanclips.clips import Clip, Role, variant_clips
from leanclips.compression.inspect import open_video, probe
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, write_bytes
from leanclips.layout import Layout
from leanclips.records import (Origin, StageRecord, check_origin, read_csv, read_record, versions,
                               write_csv, write_record)
from leanclips.study import SOURCE, Backbone, Sampling, Study
from leanclips.training import backbone
from leanclips.training.machine import Compute, compute, keep_freed_memory
from leanclips.workers import cores, progress, run_all

CLIPS_AT_ONCE = 16  # on a GPU
RECIPE = 1  # raise it when a change here makes other features from the same clips


@dataclass(frozen=True)
class Features:
    """Features of some clips of a variant: `values` (clips, frames, features), fp32."""

    variant: str
    ids: tuple[str, ...]
    values: np.ndarray

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
    resized = {}
    try:
        wanted = frame_indices(probe(path, least=1).frames, sampling)
        with open_video(path) as container:
            container.streams.video[0].thread_type = "NONE"
            for n, frame in enumerate(container.decode(video=0)):
                if n in wanted:
                    way = cv2.INTER_AREA if frame.height > size else cv2.INTER_LINEAR
                    resized[n] = cv2.resize(frame.to_ndarray(format="rgb24"), (size, size),
                                            interpolation=way)
        return np.stack([resized[n] for n in wanted])
    except (av.FFmpegError, StudyError, KeyError):
        raise StudyError("no frame can be decoded", path,
                         "delete it and run the study again") from None


@cache
def cached_model(settings: Backbone, chosen: Compute) -> nn.Module:
    torch.set_num_threads(1)  # see workers.run_all
    keep_freed_memory()
    return backbone.load(settings, chosen)


def seen(path: Path, sampling: Sampling, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip's different frames (n, size, size, 3), and which of them each sampled frame is."""
    frames = read_frames(path, sampling, size)
    # Equal frames in a row go through the backbone once.
    changed = [n == 0 or not np.array_equal(frames[n], frames[n - 1]) for n in range(len(frames))]
    return frames[changed], np.cumsum(changed) - 1


@dataclass(frozen=True)
class FeatureJob:
    """A clip to compute."""

    path: Path
    layout: Layout
    backbone: Backbone
    compute: Compute
    sampling: Sampling

    @cached_property
    def key(self) -> str:
        """Of the clip's features, cached under it."""
        return key(file_sha256(self.path), self.sampling.model_dump(),
                   backbone.fingerprint(self.backbone, self.compute))

    @property
    def is_done(self) -> bool:
        """Whether the cache holds an array with all its numbers."""
        try:
            return np.load(self.file, mmap_mode="r").ndim == 2
        except (OSError, ValueError, EOFError):
            return False

    @property
    def file(self) -> Path:
        return self.layout.feature(self.backbone.name, self.key)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        return seen(self.path, self.sampling, self.backbone.size)

    def save(self, values: np.ndarray) -> None:
        content = io.BytesIO()  # np.save to a file does not say that a disk is full
        np.save(content, values)
        write_bytes(self.file, content.getvalue())


def features_of(path: Path, sampling: Sampling, settings: Backbone,
                chosen: Compute) -> np.ndarray:
    """A clip's features (frames, features), fp32, kept nowhere."""
    frames, places = seen(path, sampling, settings.size)
    return backbone.features(cached_model(settings, chosen), frames)[places]


@dataclass(frozen=True)
class FeatureDrift:
    """How far an encode moves a backbone's features, on average; loads in each worker process."""

    backbone: Backbone = Backbone()
    sampling: Sampling = Sampling(frames=12)
    compute: Compute = Compute("cpu", "fp32")

    @property
    def fingerprint(self) -> str:
        """What it depends on: network, weights, size and frames."""
        return (f"{backbone.fingerprint(self.backbone, self.compute)} "
                f"{self.sampling.model_dump_json()}")

    def __call__(self, source: Path, made: Path) -> float:
        """StudyError if either cannot be decoded."""
        network = self.sampling, self.backbone, self.compute
        before = _of_source(source, source.stat().st_mtime_ns, *network)
        return round(cosine_distance(before, features_of(made, *network)), 6)


def feature_drift() -> FeatureDrift:
    """The measure of drift as this machine computes it best."""
    return FeatureDrift(compute=compute(Study(title="drift")))


@lru_cache(maxsize=1)
def _of_source(path: Path, _changed: int, *network: object) -> np.ndarray:
    """Every try of a clip is compared with the same source."""
    return features_of(path, *network)


def clip_features(job: FeatureJob) -> str:
    """Compute the clip's features unless they are cached; return their key."""
    if not job.is_done:
        job.save(features_of(job.path, job.sampling, job.backbone, job.compute))
    return job.key


def features_by_gpu(work: Sequence[FeatureJob], what: str) -> list[str]:
    """`clip_features` of each on this process's GPU, in blocks that threads decode ahead."""
    left = [job for job in work if not job.is_done]
    by_network = [[job for job in left if job.backbone == each]
                  for each in dict.fromkeys(job.backbone for job in left)]
    blocks = [jobs[n:n + CLIPS_AT_ONCE]
              for jobs in by_network for n in range(0, len(jobs), CLIPS_AT_ONCE)]
    with ThreadPoolExecutor(cores()) as pool:
        ahead = [pool.map(FeatureJob.seen, block) for block in blocks[:1]]
        for place, block in progress(enumerate(blocks, 1), len(blocks), what, "blocks of clips"):
            ahead += [pool.map(FeatureJob.seen, following) for following in blocks[place:][:1]]
            frames, places = zip(*ahead.pop(0), strict=True)
            network = cached_model(block[0].backbone, block[0].compute)
            values = backbone.features(network, np.concatenate(frames))
            ends = np.cumsum([len(one) for one in frames])
            for job, which, part in zip(block, places, np.split(values, ends[:-1]), strict=True):
                job.save(part[which])
    return [job.key for job in work]


def make_features(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                  jobs: int) -> None:
    """Stage features: the index of a variant names each clip and the key of its features."""
    origin = features_origin(layout, study, clips, variant)
    chosen, where = variant_clips(clips, variant), compute(study)
    through = dict.fromkeys(Role, study.backbone.for_target) | {Role.PRETRAIN: study.backbone}
    work = [FeatureJob(layout.made_clip(variant, clip.id), layout, through[clip.role], where,
                       study.sampling) for clip in chosen]
    what = f"features of {variant}"
    keys = features_by_gpu(work, what) if where.is_gpu else run_all(
        clip_features, work, jobs, what, load=[__name__])
    table = pd.DataFrame({"clip": [clip.id for clip in chosen], "key": keys})
    if variant != SOURCE:
        made = (np.load(layout.feature(study.backbone.name, name)) for name in keys)
        table["drift"] = [round(cosine_distance(*pair), 6) for pair in zip(
            made, _loaded(layout, study, SOURCE, chosen), strict=True)]
    record = layout.feature_record(study.backbone.name, variant)
    record.unlink(missing_ok=True)  # none stands beside what it does not tell
    write_csv(layout.feature_index(study.backbone.name, variant), table)
    write_record(record, StageRecord(key=origin.key, origin=origin))


def features_origin(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                    reading: bool = False) -> Origin:
    """What a variant's features are made from; `reading`: without weights and machine."""
    def delivered(name: str) -> str:
        sha256 = dict(read_csv(layout.report(name), ("clip", "sha256")).itertuples(index=False))
        return key([[sha256.get(clip.id), clip.role] for clip in variant_clips(clips, variant)])

    inputs = {f"the clips of {name}": delivered(name) for name in dict.fromkeys((SOURCE, variant))}
    machine = {}
    if not reading:
        inputs["the weights"] = backbone.weights_sha256(study.backbone)
        machine = asdict(compute(study)) | versions(backbone.VERSIONS_OF)
    return Origin(recipe=RECIPE, settings=network_settings(study), inputs=inputs, machine=machine)


def network_settings(study: Study) -> dict[str, object]:
    """The settings that features depend on. The weights count by their content."""
    return {"backbone": study.backbone.model_dump(mode="json", exclude={"weights"}),
            "sampling": study.sampling.model_dump(mode="json")}


def features_whole(layout: Layout, study: Study, variant: str) -> bool:
    """Whether the features that the index names are there."""
    table = read_csv(layout.feature_index(study.backbone.name, variant))
    return all(layout.feature(study.backbone.name, name).is_file() for name in table["key"])


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far features (frames, features) moved: 1 - cosine of each pair of frames, the mean."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.mean(1 - (a * b).sum(axis=-1) / np.maximum(norms, 1e-12)))


def feature_keys(layout: Layout, study: Study, variant: str, clips: Sequence[Clip]) -> list[str]:
    """The keys of these clips' features; StudyError where the stage has not run for them."""
    index = layout.feature_index(study.backbone.name, variant)
    keys = dict(read_csv(index, ("clip", "key")).itertuples(index=False))
    try:
        return [keys[clip.id] for clip in clips]
    except KeyError:
        raise _damaged(index) from None


def _damaged(index: Path) -> StudyError:
    return StudyError("some features are missing or damaged", index,
                      "delete this file and run the study again")


def load_features(layout: Layout, study: Study, table: Sequence[Clip], variant: str,
                  clips: Sequence[Clip]) -> Features:
    """The cached features of these clips of a variant; StudyError where the stage has not run, or
    ran with other clips or settings. `table` is the study's whole clip table.
    """
    path = layout.feature_record(study.backbone.name, variant)
    check_origin(path, read_record(path, StageRecord).origin,
                 features_origin(layout, study, table, variant, reading=True))
    return Features(variant, tuple(clip.id for clip in clips),
                    _loaded(layout, study, variant, clips))


def _loaded(layout: Layout, study: Study, variant: str, clips: Sequence[Clip]) -> np.ndarray:
    """The cached features of these clips, (clips, frames, features)."""
    keys = feature_keys(layout, study, variant, clips)
    try:
        return np.stack([np.load(layout.feature(study.backbone.name, name)) for name in keys])
    except (OSError, ValueError, EOFError):
        raise _damaged(layout.feature_index(study.backbone.name, variant)) from None
