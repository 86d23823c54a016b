"""The time and disk that a study will take, measured on five of its clips."""

import subprocess
import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from leanclips.clips import Clip, clips_root, tested_clips, verify_file
from leanclips.compression.batch import ClipJob, make
from leanclips.compression.search import USUAL_CRF
from leanclips.compression.stages import how_made
from leanclips.layout import Layout
from leanclips.report.formats import duration, megabytes
from leanclips.rounds import rounds
from leanclips.study import CRNN, ORIGINALS, SOURCE, Constant, External, Study
from leanclips.training import crnn, linear
from leanclips.training.features import features_of
from leanclips.training.machine import compute
from leanclips.workers import cores

SAMPLED = 5  # clips
SEARCHED = 2.5  # encodes of a constant variant: the search for its CRF does not score them


def forecast(layout: Layout, study: Study, clips: Sequence[Clip], root: Path | None = None) -> str:
    """In a sentence, the time and disk that a run takes; `root` holds the clips, if they moved.

    Five clips are made in every variant, without files of other tools, and go through the backbone;
    each classifier is trained once, on random numbers. Pretraining is left out.
    """
    tested, root = tested_clips(clips), root or clips_root(layout, study)
    sample, encoding = tested[::ceil(len(tested) / SAMPLED)], 0.0
    times, through = len(tested) / len(sample), (
        study.sampling, study.backbone.for_target, compute(study))
    with TemporaryDirectory() as folder:
        small = Layout(Path(folder))
        for name in (*study.encoded, ORIGINALS):
            variant, begun = study.variants.get(name), perf_counter()
            for clip in () if isinstance(variant, External) else sample:
                parent = (verify_file(root, clip) if name in (SOURCE, ORIGINALS) else
                          small.clip(SOURCE, clip.id))
                make(ClipJob(parent, small.clip(name, clip.id), small.clip_record(name, clip.id),
                             how_made(study, name, clip, USUAL_CRF)))
            sets = SEARCHED if isinstance(variant, Constant) else 1
            encoding += sets * (perf_counter() - begun)
        crops = [small.clip(SOURCE, clip.id) for clip in sample]
        features_of(crops[0], *through)  # loads the network
        begun = perf_counter()
        features = [features_of(path, *through) for path in crops]
        looking = len(study.encoded) * (perf_counter() - begun)
        size = sum(path.stat().st_size for path in small.work.rglob("*.*"))
    size += len(study.encoded) * sum(one.nbytes for one in features)
    parts = {"to encode": times * encoding, "for features": times * looking,
             "to train": _training(study, clips, features[0].shape)}
    each = ", ".join(f"{duration(spent / cores())} {what}" for what, spent in parts.items())
    return (f"A run takes about {duration(sum(parts.values()) / cores())} ({each}) and "
            f"{megabytes(times * size)} on this machine, to judge from {len(sample)} clips.")


def _training(study: Study, clips: Sequence[Clip], shape: tuple[int, int]) -> float:
    """Seconds to train all runs, one after another, on features of this `shape` of each clip."""
    part, *others = rounds(clips, study.protocol, study.finetuning.seeds[0])
    names, ids = sorted({c.label for c in part.training}), tuple(c.id for c in part.training)
    data = crnn.Labelled(ids, torch.randn(len(ids), *shape), torch.tensor(
        [names.index(clip.label) for clip in part.training]))
    once, each = study.finetuning.model_copy(update={"epochs": 1}), {}
    begun = perf_counter()
    subprocess.run([sys.executable, "-c", "import leanclips.training.finetune"], check=True)
    starting = 2 * len(study.all_variants) * (perf_counter() - begun)  # a verb and its notebook
    for name in study.classifiers * 2:  # the first time, each also loads what it needs
        begun, fits = perf_counter(), len(study.trained_on(name)) * (1 + len(others))
        if name == CRNN:
            crnn.train(crnn.CRNN(shape[1], len(names), study.network), data,
                       crnn.Labelled((), data.features, data.labels), once, 0, "crnn")
            fits *= study.finetuning.epochs
        else:
            linear.fit(name, data.features.numpy(), data.labels.numpy(),
                       [clip.group for clip in part.training], 0)
        each[name] = fits * (perf_counter() - begun)
    return len(study.finetuning.seeds) * (starting + sum(each.values()))
