"""Stage crosstest: every trained classifier on every variant's held-out clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from leanclips.clips import Clip, Role, classes, of_role
from leanclips.layout import Layout
from leanclips.recognition.features import load_features
from leanclips.recognition.network import CRNN, MeanLinear
from leanclips.recognition.runs import (labelled, load_run, predictions, weights_of,
                                        with_backbone, with_frames)
from leanclips.recognition.training import Trained
from leanclips.records import CLASSIFIERS, CROSSTEST, EPOCHS, write_csv
from leanclips.study import Study
from leanclips.workers import cores, run_all


@dataclass(frozen=True)
class Task:
    layout: Layout
    study: Study
    clips: tuple[Clip, ...]
    variant: str
    seed: int


def crosstest(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Write crosstest.csv: one row per run, classifier, epoch, tested variant and held-out clip.

    Networks with a backbone of their own are tested one at a time: each takes the memory of many.
    """
    tasks = [Task(layout, study, tuple(clips), variant, seed)
             for variant in study.all_variants for seed in study.finetuning.seeds]
    parts = run_all(tested_run, tasks, 1 if study.finetuning.finetune_backbone else jobs,
                    "cross tests")
    write_csv(layout.crosstest, pd.concat(parts, ignore_index=True))


def tested_run(task: Task) -> pd.DataFrame:
    """The held-out predictions of one run, on every variant."""
    torch.set_num_threads(cores() if task.study.finetuning.finetune_backbone else 1)
    heldout = of_role(task.clips, Role.HELDOUT)
    names = classes(task.clips, Role.TARGET)
    _, weights = load_run(task.layout.run(task.variant, task.seed))
    parts = []
    for tested_on in task.study.all_variants:
        features = load_features(task.layout, task.study, tested_on, heldout)
        data = with_frames(labelled(features, heldout, names), task.layout, task.study, tested_on)
        crnn = CRNN(data.features.shape[2], len(names), task.study.network)
        networks = {"crnn": with_backbone(task.study, crnn, data.frames is not None),
                    "linear": MeanLinear(data.features.shape[2], len(names))}
        trained = {name: (networks[name], Trained((), *(weights_of(weights, name, epoch)
                                                        for epoch in EPOCHS)))
                   for name in CLASSIFIERS}
        parts.append(predictions(trained, data, names).assign(
            variant=task.variant, seed=task.seed, tested_on=tested_on))
    return pd.concat(parts, ignore_index=True)[list(CROSSTEST)]
