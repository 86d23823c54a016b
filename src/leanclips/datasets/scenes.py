"""Which clips show the same scene: a few frames of each, compared by where they get brighter."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from leanclips.compression.inspect import opened, probe
from leanclips.errors import StudyError
from leanclips.workers import cores, progress

FRAMES, SIDE = 4, 8
BORDER = 1 / 8  # of each side is left out: black bars are alike in all clips
FLAT = 4.0  # keeps the noise of an empty sky or a blank wall from counting as a scene
SAME = 0.70  # measured: tests/benchmarks/same_scene.py
MOST_PIXELS = 5e7  # to decode where there are few keyframes: some tenths of a second
BLOCK = 1000  # clips compared with as many at once: 4 MB for each array


def outlines(paths: Sequence[Path]) -> np.ndarray:
    """What each clip looks like (clips, FRAMES, 2 × SIDE²), fp32: for frames spread over it the
    steps of brightness from each of 8 × 8 fields to its neighbours, their roots, scaled to a length
    below 1. Frames are keyframes, where there are enough: they are quick to get. All 0, which is
    like nothing, where a clip cannot be read.
    """
    def looked(path: Path) -> np.ndarray:
        try:
            clip, seen = probe(path), _seen(path, ())
            if len(seen) < FRAMES and clip.frames * clip.width * clip.height <= MOST_PIXELS:
                seen = _seen(path, np.linspace(0, clip.frames - 1, FRAMES).round())
            return np.stack(seen)[np.linspace(0, len(seen) - 1, FRAMES).round().astype(int)]
        except (StudyError, ValueError):  # no frame
            return np.zeros((FRAMES, 2 * SIDE ** 2), np.float32)

    with ThreadPoolExecutor(cores()) as pool:  # decoding releases Python's lock
        return np.stack(list(progress(pool.map(looked, paths), len(paths), "looking")))


def _seen(path: Path, wanted: Sequence[float]) -> list[np.ndarray]:  # none: all keyframes
    with opened(path) as (container, video):
        video.codec_context.skip_frame = "DEFAULT" if len(wanted) else "NONKEY"
        return [_steps(frame.to_ndarray(format="gray")) for n, frame
                in enumerate(container.decode(video)) if n in wanted or not len(wanted)]


def _steps(grey: np.ndarray) -> np.ndarray:
    top, left = (int(BORDER * length) for length in grey.shape)
    inner = grey[top:grey.shape[0] - top, left:grey.shape[1] - left].astype(np.float32)
    fields = cv2.resize(inner, (SIDE + 1, SIDE + 1), interpolation=cv2.INTER_AREA)
    steps = (np.stack([fields[:-1, 1:], fields[1:, :-1]]) - fields[:-1, :-1]).ravel()
    roots = np.sign(steps) * np.sqrt(np.abs(steps))
    return roots / (np.linalg.norm(roots) + FLAT)


def same_scene(outlines: np.ndarray, groups: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """Pairs of clips of different `groups` that show the same scene, by blocks of clips: the places
    of the one, of the other, and the likeness of their two most similar frames, from SAME to 1.
    """
    names = np.unique(list(groups), return_inverse=True)[1]
    blocks = [slice(n, n + BLOCK) for n in range(0, len(names), BLOCK)]
    for here, there in product(blocks, blocks):
        if here.start <= there.start:
            likeness = np.full((len(names[here]), len(names[there])), -1, np.float32)
            for a, b in product(range(FRAMES), repeat=2):
                np.maximum(likeness, outlines[here, a] @ outlines[there, b].T, out=likeness)
            found = (likeness >= SAME) & (names[here][:, None] != names[there])
            first, second = np.nonzero(np.triu(found) if here == there else found)
            yield first + here.start, second + there.start, likeness[first, second]


def joined(outlines: np.ndarray, groups: Sequence[str]) -> list[str]:
    """The recording of each clip: `groups` that show the same scene are one, and so are those that
    such pairs link. Each has the first name of its groups.
    """
    from scipy.cluster.hierarchy import DisjointSet

    recordings = DisjointSet(groups)
    for first, second, _ in same_scene(outlines, groups):
        for one, other in zip(first, second, strict=True):
            recordings.merge(groups[one], groups[other])
    first_name = {group: min(linked) for linked in recordings.subsets() for group in linked}
    return [first_name[group] for group in groups]
