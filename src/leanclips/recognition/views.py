"""Stage views: the same training on something else than the frames in order. Is time needed?

A view of a clip has the shape of the clip, so that the same network takes it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from leanclips.clips import Clip, Role, classes, of_role
from leanclips.files import key
from leanclips.layout import Layout
from leanclips.recognition.features import load_features
from leanclips.recognition.runs import fit, labelled, predictions, target_data
from leanclips.recognition.training import Labelled
from leanclips.records import VIEW_PREDICTIONS, VIEWS, write_csv
from leanclips.study import SOURCE, Study


def shuffled(clips: np.ndarray, ids: Sequence[str], seed: int) -> np.ndarray:
    """Each clip's frames in a random order that its id and `seed` decide.

    (clips, frames, features) → the same shape, as for every view.
    """
    orders = (np.random.default_rng([seed, 3, int(key(name), 16)]).permutation(clips.shape[1])
              for name in ids)
    return np.stack([clip[order] for clip, order in zip(clips, orders, strict=True)])


def middle(clips: np.ndarray) -> np.ndarray:
    """The frame in the middle (of an even number the later one of two), at every step."""
    return _at_every_step(clips[:, clips.shape[1] // 2], clips.shape[1])


def mean(clips: np.ndarray) -> np.ndarray:
    """The mean over frames, at every step."""
    return _at_every_step(clips.mean(axis=1), clips.shape[1])


def _at_every_step(frame: np.ndarray, steps: int) -> np.ndarray:
    return np.repeat(frame[:, None], steps, axis=1)


def seen(view: str, data: Labelled, seed: int) -> Labelled:
    """The clips of `data` as one of records.VIEWS shows them."""
    make = {"shuffled": lambda clips: shuffled(clips, data.ids, seed),
            "middle": middle, "mean": mean}[view]
    return replace(data, features=torch.from_numpy(make(data.features.numpy())))


def train_on_views(layout: Layout, study: Study, clips: Sequence[Clip],
                   seed: int) -> pd.DataFrame:
    """Train on each view of the source's target clips and test on that of its held-out clips.

    Pairs with the source run of `seed`: the same split, initial weights (pretrained on frames
    in order, where there is pretraining) and order of clips. Writes and returns a table of
    records.VIEW_PREDICTIONS. Raises StudyError when earlier stages are missing.
    """
    names, heldout = classes(clips, Role.TARGET), of_role(clips, Role.HELDOUT)
    features = load_features(layout, study, SOURCE, heldout)
    _, data = target_data(layout, study, clips, SOURCE, seed)
    in_order, parts = (*data, labelled(features, heldout, names)), []
    for view, classifiers in VIEWS.items():
        training, validation, tested = (seen(view, part, seed) for part in in_order)
        trained = fit(layout, study, clips, (training, validation), classifiers, seed, view)
        parts.append(predictions(trained, tested, names).assign(view=view, seed=seed))
    table = pd.concat(parts, ignore_index=True)[list(VIEW_PREDICTIONS)]
    write_csv(layout.views(seed), table)
    return table
