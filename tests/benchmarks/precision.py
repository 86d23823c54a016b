"""What computing in bf16 changes: a study's source runs once more, all in fp32.

    python tests/benchmarks/precision.py data/jhmdb

Needs a study that has run to its end, in bf16. Its source clips go through the backbone in fp32,
every seed is fine-tuned on those features in fp32 (from the same split, pretrained network and
order of clips), and the held-out clips are told again. Writes precision.csv beside this file (the
book shows it) and prints it: accuracy at the last epoch, and the cosine distance of the features.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import show

from leanclips.clips import Clip, Role, classes, load_clips, of_role
from leanclips.layout import Layout
from leanclips.recognition import backbone, runs
from leanclips.recognition.features import Features, features_of, load_features, save
from leanclips.recognition.runs import divided, fit, labelled, predictions
from leanclips.records import CLASSIFIERS, read_csv
from leanclips.splits import group_split
from leanclips.study import SOURCE, Study, load_study
from leanclips.workers import cores, run_all

HERE = Path(__file__).parent


def features_in_fp32(clip: Clip, layout: Layout, study: Study, folder: Path) -> None:
    backbone.precision = lambda: "fp32"  # in a process of its own
    save(folder / f"{clip.id}.npy", features_of(layout.made_clip(SOURCE, clip.id), study.sampling,
                                                study.backbone.for_target))


def run_in_fp32(seed: int, layout: Layout, study: Study, clips: Sequence[Clip],
                folder: Path) -> pd.DataFrame:
    """What the classifiers of a seed take the held-out clips for."""
    torch.set_num_threads(1)  # what is told after training, too
    runs.has_fast_bf16 = lambda: False
    chosen, heldout = of_role(clips, Role.TARGET), of_role(clips, Role.HELDOUT)
    names = classes(clips, Role.TARGET)
    found = in_fp32([*chosen, *heldout], folder)
    parts = divided(chosen, group_split(chosen, study.finetuning.validation, seed))
    data = tuple(labelled(found, part, names) for part in parts)
    trained = fit(layout, study, clips, data, CLASSIFIERS, seed, "fp32")
    return predictions(trained, labelled(found, heldout, names), names).assign(seed=seed)


def in_fp32(clips: Sequence[Clip], folder: Path) -> Features:
    return Features(tuple(clip.id for clip in clips),
                    np.stack([np.load(folder / f"{clip.id}.npy") for clip in clips]), "")


def compared(fp32: pd.DataFrame, bf16: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracies, their difference, and how far seeds differ in it and anyway."""
    index = ["classifier", "seed", "clip"]
    both = fp32.merge(bf16, on=index, suffixes=("_fp32", "_bf16")).set_index(index)
    told = pd.DataFrame({
        "fp32": both["predicted_fp32"] == both["label_fp32"],
        "bf16": both["predicted_bf16"] == both["label_bf16"],
        "same": both["predicted_fp32"] == both["predicted_bf16"]})
    by_run = told.groupby(level=index[:2], sort=False).mean()
    return pd.DataFrame([
        {"classifier": name, "seeds": len(part), "fp32": part["fp32"].mean(),
         "bf16": part["bf16"].mean(), "difference": (part["bf16"] - part["fp32"]).mean(),
         "difference_sd": (part["bf16"] - part["fp32"]).std(), "seeds_sd": part["fp32"].std(),
         "same_answers": part["same"].mean()}
        for name, part in by_run.groupby(level="classifier", sort=False)])


def distances(layout: Layout, study: Study, clips: Sequence[Clip], folder: Path) -> np.ndarray:
    """Cosine distance of every frame's features, bf16 from fp32."""
    a, b = (each.values.reshape(-1, each.values.shape[2]) for each in (
        load_features(layout, study, SOURCE, clips), in_fp32(clips, folder)))
    return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=HERE, help="where the table goes")
    wanted = parser.parse_args()
    layout, study = Layout(wanted.study), load_study(wanted.study)
    clips = load_clips(layout)
    chosen = of_role(clips, Role.TARGET, Role.HELDOUT)
    bf16 = read_csv(layout.crosstest).query("variant == tested_on == 'source' and epoch == 'last'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = {"layout": layout, "study": study, "folder": folder}
        run_all(partial(features_in_fp32, **shared), chosen, cores(), "features in fp32")
        found = pd.concat(run_all(partial(run_in_fp32, clips=clips, **shared),
                                  study.finetuning.seeds, cores(), "runs in fp32"))
        apart = distances(layout, study, chosen, folder)
    table = compared(found[found["epoch"] == "last"], bf16)
    show(table.assign(distance_mean=apart.mean(), distance_max=apart.max()).round(5),
         wanted.out / "precision.csv")


if __name__ == "__main__":
    main()
