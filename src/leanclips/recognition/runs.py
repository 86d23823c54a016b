"""The stages pretrain and finetune: from a study's features to a run's records."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from leanclips.clips import Clip, Role, classes, of_role, pretraining_clips
from leanclips.errors import StudyError
from leanclips.files import key, write_bytes
from leanclips.layout import Layout, check_variant, short_name
from leanclips.leaks import leaks_recordings, pretraining_leaks
from leanclips.recognition import backbone
from leanclips.recognition.endtoend import EndToEnd
from leanclips.recognition.features import Features, Frames, load_features
from leanclips.recognition.network import CRNN, MeanLinear, trainable_parameters
from leanclips.recognition.precision import device, has_fast_bf16
from leanclips.recognition.training import Labelled, Trained, initialized, predict, train
from leanclips.records import (CLASSIFIERS, EPOCHS, HISTORY, PREDICTIONS, ClassifierResult,
                               EpochScore, RunResult, read_result, versions, write_csv,
                               write_result)
from leanclips.splits import group_split, pretraining_split
from leanclips.study import SOURCE, Study
from leanclips.workers import cores

PRETRAIN = "pretrain"
MODEL = "model.safetensors"
Fitted = dict[str, tuple[torch.nn.Module, Trained]]  # by classifier


@dataclass(frozen=True)
class Run:
    """A finished training, as its notebook shows it: record, curves, validation predictions.

    `leaks` is whether the pretraining that it is, or starts from, leaks recordings.
    """

    result: RunResult
    history: pd.DataFrame
    predictions: pd.DataFrame
    leaks: bool = False


def labelled(features: Features, clips: Sequence[Clip], names: Sequence[str]) -> Labelled:
    """The clips' features and class numbers as tensors."""
    ids = tuple(clip.id for clip in clips)
    return Labelled(ids, torch.from_numpy(features.of(ids)),
                    torch.tensor([names.index(clip.label) for clip in clips]))


def with_frames(data: Labelled, layout: Layout, study: Study, variant: str) -> Labelled:
    """`data` with the frames of its clips, where the study trains its backbone."""
    if not study.finetuning.finetune_backbone:
        return data
    return replace(data, frames=Frames(
        tuple(layout.made_clip(variant, clip_id) for clip_id in data.ids), study.sampling,
        study.backbone.for_target.size))


def divided(clips: Sequence[Clip], aside: set[str]) -> tuple[list[Clip], list[Clip]]:
    """(training clips, validation clips)."""
    return ([clip for clip in clips if clip.id not in aside],
            [clip for clip in clips if clip.id in aside])


def pretrain(layout: Layout, study: Study, clips: Sequence[Clip]) -> Run | None:
    """Train the CRNN on the pretraining clips; None if the study has none."""
    chosen = pretraining_clips(clips)
    if not chosen:
        return None
    torch.set_num_threads(min(cores(), 4))
    settings = study.pretraining
    aside = pretraining_split(chosen, settings)
    if not 0 < len(aside) < len(chosen):
        raise StudyError("the pretraining clips have no official split", layout.table,
                         "fill the fold column with train and validation, or set "
                         "pretraining.split to group in study.yml")
    names = classes(chosen, Role.PRETRAIN)
    features = load_features(layout, study, SOURCE, chosen)
    training, validation = divided(chosen, aside)
    network = initialized(lambda: CRNN(features.values.shape[2], len(names), study.network),
                          settings.seed)
    data = labelled(features, training, names), labelled(features, validation, names)
    trained = train(network, *data, epochs=settings.epochs, batch=settings.batch,
                    rate=settings.rate, seed=settings.seed, what="pretraining",
                    mixed=has_fast_bf16())
    return _record(layout, study, clips, PRETRAIN, settings.seed, names, features, data,
                   {"crnn": (network, trained)})


def finetune(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
             seed: int) -> Run:
    """Train both classifiers on one variant of the target clips, and record the run.

    Split, initial weights and order of clips depend on `seed` alone, so runs of one seed pair
    up across variants. Raises StudyError for an unknown variant or when earlier stages are
    missing.
    """
    check_variant(layout, study.all_variants, variant)
    features, data = target_data(layout, study, clips, variant, seed)
    data = tuple(with_frames(part, layout, study, variant) for part in data)
    trained = fit(layout, study, clips, data, CLASSIFIERS, seed, variant)
    return _record(layout, study, clips, variant, seed, classes(clips, Role.TARGET), features,
                   data, trained)


def target_data(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                seed: int) -> tuple[Features, tuple[Labelled, Labelled]]:
    """The features of a variant's target clips, and (training, validation) as `seed` parts them.
    """
    chosen = of_role(clips, Role.TARGET)
    names = classes(clips, Role.TARGET)
    features = load_features(layout, study, variant, chosen)
    training, validation = divided(chosen, group_split(chosen, study.finetuning.validation, seed))
    return features, (labelled(features, training, names), labelled(features, validation, names))


def fit(layout: Layout, study: Study, clips: Sequence[Clip], data: tuple[Labelled, Labelled],
        classifiers: Sequence[str], seed: int, what: str) -> Fitted:
    """Train these classifiers on (training, validation) as study.yml's fine-tuning says.

    Initial weights and order of clips depend on `seed` alone. Raises StudyError where there
    was to be pretraining but its network is missing.
    """
    settings, training = study.finetuning, data[0]
    whole = training.frames is not None
    # Two runs side by side beat two threads in one; with a backbone in each they do not fit.
    torch.set_num_threads(cores() if whole else 1)
    width, count = training.features.shape[2], len(classes(clips, Role.TARGET))
    build = {
        "crnn": lambda: with_backbone(study, _warm(layout, clips, initialized(
            lambda: CRNN(width, count, study.network), seed)), whole),
        "linear": lambda: initialized(lambda: MeanLinear(width, count), seed).standardize(
            training.features),
    }
    networks = {name: build[name]() for name in classifiers}
    return {name: (network, train(network, *data, epochs=settings.epochs, batch=settings.batch,
                                  rate=settings.rate, seed=seed,
                                  what=f"{name}, {what}, seed {seed}",
                                  mixed=name == "crnn" and has_fast_bf16() and not whole))
            for name, network in networks.items()}


def with_backbone(study: Study, crnn: CRNN, whole: bool) -> torch.nn.Module:
    """The CRNN alone, for cached features, or the `whole` network."""
    return EndToEnd(study.backbone.for_target, crnn) if whole else crnn


def _warm(layout: Layout, clips: Sequence[Clip], network: CRNN) -> CRNN:
    """The CRNN with pretrained weights in all but its last layer, where there was pretraining.

    StudyError where its network is missing, or was trained with other settings.
    """
    if not pretraining_clips(clips):
        return network
    path = layout.pretrain / MODEL
    if not path.is_file():
        raise StudyError("the pretrained network is missing", path, "run the study first")
    state = {name: value for name, value in weights_of(load_file(path), "crnn", "last").items()
             if not name.startswith("head.")}
    shapes = {name: value.shape for name, value in network.state_dict().items()
              if not name.startswith("head.")}
    if {name: value.shape for name, value in state.items()} != shapes:
        raise StudyError("the pretrained network has other layers than study.yml gives it", path,
                         "run the study again")
    network.load_state_dict(state, strict=False)
    return network


def _record(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
            names: Sequence[str], features: Features, data: tuple[Labelled, Labelled],
            trained: Fitted) -> Run:
    folder = layout.pretrain if variant == PRETRAIN else layout.run(variant, seed)
    training, validation = data
    used = [clip for clip in clips if clip.id in {*training.ids, *validation.ids}]
    result = RunResult(
        study=layout.study.resolve().name, variant=variant, seed=seed,
        synthetic=study.synthetic is not None,
        leaks_recordings=leaks_recordings(used, validation.ids),
        classes=tuple(names), train_clips=len(training.ids),
        validation_clips=len(validation.ids),
        split_sha256=key(sorted(training.ids), sorted(validation.ids)),
        features_sha256=features.sha256,
        backbone=study.backbone.name, backbone_sha256=backbone.weights_sha256(study.backbone),
        precision="bf16" if has_fast_bf16() and not training.frames else "fp32",
        device=device().type if training.frames else "cpu",
        versions=versions(), command=command(layout, variant, seed),
        classifiers={name: _scores(*pair) for name, pair in trained.items()})
    run = Run(result, _history(trained), predictions(trained, validation, names),
              pretraining_leaks(clips, study))
    save(folder / MODEL, {name: pair[1] for name, pair in trained.items()})
    write_csv(folder / "history.csv", run.history)
    write_csv(folder / "predictions.csv", run.predictions)
    write_result(folder / "result.json", run.result)  # last: a run with a result is whole
    return run


def command(layout: Layout, variant: str, seed: int) -> str:
    """The command that makes a run again, at the top of leanclips."""
    study = quote(short_name(layout))
    if variant == PRETRAIN:
        return f"leanclips pretrain {study}"
    return (f"papermill notebooks/finetune.ipynb run.ipynb -p study {study} "
            f"-p variant {variant} -p seed {seed}")


def _scores(network: torch.nn.Module, trained: Trained) -> ClassifierResult:
    last, best = (EpochScore(epoch=e.epoch, train_accuracy=e.train_accuracy,
                             validation_accuracy=e.validation_accuracy)
                  for e in (trained.history[-1], trained.best_epoch))
    return ClassifierResult(trainable_parameters=trainable_parameters(network), last=last,
                            best=best)


def _history(trained: Fitted) -> pd.DataFrame:
    rows = [{"classifier": name} | asdict(epoch)
            for name, (_, result) in trained.items() for epoch in result.history]
    return pd.DataFrame(rows, columns=list(HISTORY)).round(6)


def predictions(trained: Fitted, tested: Labelled, names: Sequence[str]) -> pd.DataFrame:
    """What each classifier, at its last and at its best epoch, takes these clips for.

    The columns are records.PREDICTIONS.
    """
    rows = []
    for name, (network, result) in trained.items():
        for epoch in EPOCHS:
            network.load_state_dict(getattr(result, epoch))
            guesses = predict(network, tested).argmax(1)
            rows += [(name, epoch, clip_id, names[label], names[guess]) for clip_id, label, guess
                     in zip(tested.ids, tested.labels, guesses, strict=True)]
    return pd.DataFrame(rows, columns=list(PREDICTIONS))


def save(path: Path, trained: dict[str, Trained]) -> None:
    """Write weights as `<classifier>.<last|best>.<parameter>` in one safetensors file."""
    write_bytes(path, safetensors.torch.save(
        {f"{name}.{epoch}.{parameter}": value.contiguous()
         for name, result in trained.items() for epoch in EPOCHS
         for parameter, value in getattr(result, epoch).items()}))


def weights_of(saved: dict[str, torch.Tensor], classifier: str,
               epoch: str) -> dict[str, torch.Tensor]:
    """The weights of one classifier and epoch, from what `save` wrote."""
    prefix = f"{classifier}.{epoch}."
    return {name.removeprefix(prefix): value for name, value in saved.items()
            if name.startswith(prefix)}


def load_run(folder: Path) -> tuple[RunResult, dict[str, torch.Tensor]]:
    """A run's record and weights."""
    result = read_result(folder / "result.json")
    try:
        return result, load_file(folder / MODEL)
    except (OSError, SafetensorError) as error:
        raise StudyError(f"the weights cannot be read ({type(error).__name__})", folder / MODEL,
                         "delete the run's folder and run the study again") from None
