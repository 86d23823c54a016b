"""Stage pretrain: the CRNN trained on the pretraining clips, for the runs to start from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError

from leanclips.clips import Clip, Role, classes, has_pretraining, pretraining_clips
from leanclips.errors import StudyError
from leanclips.files import key, write_bytes
from leanclips.layout import Layout, short_name
from leanclips.records import (HISTORY, IN_ORDER, LAST, EpochScore, Origin, RoundClips, RoundResult,
                               RunResult, Stated, check_origin, read_record, versions, write_csv,
                               write_record)
from leanclips.rounds import divided, pretraining_leaks, pretraining_split
from leanclips.study import SOURCE, Study
from leanclips.training.crnn import (CRNN, Labelled, Trained, initialized, train,
                                     trainable_parameters)
from leanclips.training.features import Features, feature_keys, load_features, network_settings
from leanclips.training.machine import compute
from leanclips.workers import cores

RECIPE = 2  # raise it when a change here or in crnn.py trains another network
MODEL = "model.safetensors"
VERSIONS_OF = ("torch", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Run:
    """A finished training, as its notebook shows it: record, the CRNN's curves, predictions.

    `leaks` is whether the pretraining that it is, or starts from, leaks recordings.
    """

    result: RunResult
    history: pd.DataFrame
    predictions: pd.DataFrame
    leaks: bool = False


def labelled(clips: Sequence[Clip], names: Sequence[str], *variants: Features) -> Labelled:
    """The clips' features and class numbers as tensors: all clips of one variant, then the next."""
    ids = tuple(clip.id for clip in clips)
    features = torch.cat([torch.from_numpy(one.of(ids)) for one in variants])
    labels = torch.tensor([names.index(clip.label) for clip in clips], dtype=torch.long)
    return Labelled(ids * len(variants), features, labels.repeat(len(variants)))


def pretrain(layout: Layout, study: Study, clips: Sequence[Clip]) -> Run | None:
    """Train the CRNN on the pretraining clips; None if the study has no use for it."""
    if not has_pretraining(study, clips):
        return None
    chosen, settings = pretraining_clips(clips), study.pretraining
    origin = pretrain_origin(layout, study, clips)
    torch.set_num_threads(min(cores(), 4))
    names = classes(chosen, Role.PRETRAIN)
    features = load_features(layout, study, clips, SOURCE, chosen)
    sides = divided(chosen, pretraining_split(chosen, settings))
    training, validation = (labelled(side, names, features) for side in sides)
    network = initialized(lambda: CRNN(features.values.shape[2], len(names), study.network),
                          settings.seed)
    trained = train(network, training, validation, settings, seed=settings.seed,
                    what="pretraining", device=compute(study).device)
    leaks = pretraining_leaks(clips, study)
    result = run_result(
        layout, study, origin, variant="pretrain", seed=settings.seed, leaks_recordings=leaks,
        classes=tuple(names), command=f"leanclips pretrain {quote(short_name(layout))}",
        rounds=(RoundClips(training=len(training.ids), validation=len(validation.ids), test=0,
                           sha256=key(sorted(training.ids), sorted(validation.ids))),),
        classifiers={"crnn": (crnn_result(trained),)})
    run = Run(result, history([(1, IN_ORDER, trained)]), pd.DataFrame(), leaks)
    return keep(layout.pretrain, run, trained.states[LAST])


def run_result(layout: Layout, study: Study, origin: Origin, **of_this: object) -> RunResult:
    """The record of a training: what is told of any, and `of_this` one. The margin and the primary
    endpoint are recorded before the result is known.
    """
    stated = Stated(margin=study.margin, **study.primary_endpoint.model_dump())
    return RunResult(study=layout.study.resolve().name, key=origin.key, origin=origin,
                     stated=stated, synthetic=study.synthetic is not None, versions=versions(),
                     **of_this)


def keep(folder: Path, run: Run, weights: dict[str, torch.Tensor]) -> Run:
    """Write what a finished training leaves; its record comes last: then it is whole."""
    (folder / "result.json").unlink(missing_ok=True)  # none stands beside what it does not tell
    if weights:
        save(folder / MODEL, weights)
    write_csv(folder / "history.csv", run.history)
    if len(run.predictions):
        write_csv(folder / "predictions.csv.gz", run.predictions)
    write_record(folder / "result.json", run.result)
    return run


def pretrain_origin(layout: Layout, study: Study, clips: Sequence[Clip],
                    reading: bool = False) -> Origin:
    """What the pretrained network is made from. `reading`: without the machine."""
    chosen = pretraining_clips(clips)
    settings = study.pretraining.model_dump(mode="json") | {
        "network": study.network.model_dump(mode="json"), **network_settings(study)}
    inputs = {"the features": key(feature_keys(layout, study, SOURCE, chosen)),
              "the clip table": key([[c.id, c.label, c.group, c.fold] for c in chosen])}
    return Origin(recipe=RECIPE, settings=settings, inputs=inputs,
                  machine={} if reading else machine(study))


def machine(study: Study) -> dict[str, str]:
    """What a training depends on beside settings and content."""
    return asdict(compute(study)) | versions(VERSIONS_OF)


def crnn_result(trained: Trained) -> RoundResult:
    """How the CRNN learned."""
    last, best = (epoch and EpochScore.model_validate(epoch, from_attributes=True)
                  for epoch in (trained.history[-1], trained.best_epoch))
    return RoundResult(trainable_parameters=trainable_parameters(trained.network), last=last,
                       best=best)


def history(trained: Sequence[tuple[int, str, Trained]]) -> pd.DataFrame:
    """The CRNN's epochs (records.HISTORY) of (round, input, training)."""
    rows = [{"round": number, "input": seen} | asdict(epoch)
            for number, seen, one in trained for epoch in one.history]
    return pd.DataFrame(rows, columns=list(HISTORY)).round(6)


def save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write weights by name as one safetensors file, whole or not at all."""
    write_bytes(path, safetensors.torch.save(
        {name: value.contiguous() for name, value in weights.items()}))


def started_from_pretraining(layout: Layout, study: Study, clips: Sequence[Clip],
                             network: CRNN) -> CRNN:
    """The CRNN with pretrained weights in all but its last layer.

    StudyError where the pretrained network is missing, or was trained with other settings.
    """
    path, record = layout.pretrain / MODEL, layout.pretrain / "result.json"
    check_origin(record, read_record(record, RunResult).origin,
                 pretrain_origin(layout, study, clips, reading=True))
    try:
        saved = safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise StudyError("the pretrained network is missing", path, "run the study first") from None
    except (OSError, SafetensorError) as error:
        raise StudyError(f"the weights cannot be read ({type(error).__name__})", path,
                         "delete the folder and run the study again") from None
    state = {name: value for name, value in saved.items() if not name.startswith("head.")}
    network.load_state_dict(state, strict=False)
    return network
