"""Stage finetune: one run (variant, seed), trained round by round and tested on all variants."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd
import torch

from leanclips.clips import Clip, Role, classes, leaks_recordings, tested_clips
from leanclips.files import key
from leanclips.layout import Layout, check_variant, short_name
from leanclips.records import (BEST, IN_ORDER, LAST, PREDICTIONS, SEEN_BY, EpochScore, Origin,
                               RoundClips, RoundResult, RunResult, found, read_csv, read_record,
                               versions, withdraw, write_csv, write_record)
from leanclips.rounds import Round, pretraining_leaks, rounds
from leanclips.study import CRNN as CRNN_NAME
from leanclips.study import SOURCE, Study
from leanclips.training import linear
from leanclips.training.crnn import CRNN, EndToEnd, Labelled, Trained, initialized, predict, train
from leanclips.training.features import (Features, Frames, features_key, load_features,
                                         network_settings)
from leanclips.training.machine import compute
from leanclips.training.pretrain import (MODEL, Run, crnn_result, has_pretraining, history,
                                         labelled, machine, save, started_from_pretraining,
                                         stated)
from leanclips.workers import cores

RECIPE = 2  # raise it when a change in this package makes other runs from the same features
DIGITS = 4  # of probabilities, in predictions.csv.gz


@dataclass(frozen=True)
class Model:
    """A classifier trained in one round on one input, and how it learned."""

    round: Round
    input: str
    classifier: str
    fitted: Trained | linear.Fitted
    result: RoundResult

    @property
    def epochs(self) -> tuple[str, ...]:
        both = isinstance(self.fitted, Trained) and self.fitted.best is not None
        return (LAST, BEST) if both else (LAST,)

    def probabilities(self, data: Labelled, epoch: str = LAST) -> np.ndarray:
        """(clips, classes)."""
        if not isinstance(self.fitted, Trained):
            return self.fitted.probabilities(data.features.numpy())
        self.fitted.network.load_state_dict(getattr(self.fitted, epoch))
        return predict(self.fitted.network, data).softmax(1).numpy()


def finetune(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
             seed: int) -> Run:
    """Train the study's classifiers on one variant, test them on all, and record the run.

    Rounds, initial weights and order of clips depend on `seed` alone, so runs of one seed pair up
    across variants. Runs of the source also train on the study's `inputs` in place of the frames in
    order. If the run is recorded already and matches, its records are read instead. Raises
    StudyError for an unknown variant or when earlier stages are missing.
    """
    check_variant(layout, study.all_variants, variant)
    origin = run_origin(layout, study, clips, variant, seed)
    if recorded := _recorded(layout, study, clips, variant, seed, origin.key):
        return recorded
    # Two runs side by side beat two threads in one; with a backbone in each, memory is short.
    torch.set_num_threads(cores() if study.finetuning.finetune_backbone else 1)
    work = _Work(layout, study, clips, variant, seed)
    kept, learned, tables = [], [], []
    for model in work.models():
        if isinstance(model.fitted, Trained):
            learned.append((model.round.number, model.input, model.fitted))
        if model.input == IN_ORDER:
            kept.append(model)
            tables += work.predictions("validation", model, model.round.validation)
        else:
            tables += work.predictions("test", model, model.round.test)
    for tested_on in study.all_variants:
        features = load_features(layout, study, clips, tested_on, tested_clips(clips))
        for model in kept:
            tables += work.predictions("test", model, model.round.test, tested_on, features)
    results = defaultdict(list)
    for model in kept:
        results[model.classifier].append(model.result)
    result = RunResult(
        study=layout.study.resolve().name, variant=variant, seed=seed, key=origin.key,
        origin=origin, stated=stated(study), synthetic=study.synthetic is not None,
        leaks_recordings=any(_leaks(part) for part in work.rounds), classes=tuple(work.names),
        rounds=tuple(RoundClips(training=len(part.training), validation=len(part.validation),
                                test=len(part.test), sha256=part.sha256)
                     for part in work.rounds),
        versions=versions(), command=command(layout, variant, seed),
        classifiers={name: tuple(each) for name, each in results.items()})
    run = Run(result, history(learned), pd.concat(tables, ignore_index=True),
              pretraining_leaks(clips, study))
    folder = layout.run(variant, seed)
    withdraw(folder / "result.json")
    if study.finetuning.keep_weights:
        save(folder / MODEL, _weights(kept))
    write_csv(folder / "history.csv", run.history)
    write_csv(folder / "predictions.csv.gz", run.predictions)
    write_record(folder / "result.json", result)  # last: then the run is whole
    return run


def _recorded(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
              key_now: str) -> Run | None:
    """The run as its records tell it, if they are whole and have this key."""
    folder = layout.run(variant, seed)
    result = found(folder / "result.json", RunResult)
    needed = run_files(study)
    if not (result and result.key == key_now and all((folder / n).is_file() for n in needed)):
        return None
    return Run(result, read_csv(folder / "history.csv"), read_csv(folder / "predictions.csv.gz"),
               pretraining_leaks(clips, study))


def run_files(study: Study) -> list[str]:
    """What a run leaves beside its result.json and its notebook."""
    kept = [MODEL] if study.finetuning.keep_weights else []
    return ["history.csv", "predictions.csv.gz", *kept]


def run_origin(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
               reading: bool = False) -> Origin:
    """What a run is made from. `reading`: without the machine."""
    tested = tested_clips(clips)
    settings = {"variant": variant, "seed": seed,
                "protocol": study.protocol.model_dump(mode="json"),
                "classifiers": list(study.classifiers), "inputs": list(inputs(study, variant)),
                **network_settings(study)}
    content = {f"the features of {name}": features_key(layout, study, name, tested)
               for name in study.all_variants}
    content["the clip table"] = key([[c.id, c.label, c.group, c.role] for c in tested])
    if CRNN_NAME in study.classifiers:
        settings |= study.finetuning.model_dump(mode="json", exclude={"seeds", "keep_weights"})
        settings["network"] = study.network.model_dump(mode="json")
        if has_pretraining(study, clips):
            content["the pretrained network"] = read_record(
                layout.pretrain / "result.json", RunResult).key
    return Origin(recipe=RECIPE, settings=settings, inputs=content,
                  machine={} if reading else machine(study))


def inputs(study: Study, variant: str) -> tuple[str, ...]:
    """What runs of the variant are trained on beside the frames in order."""
    return study.inputs if variant == SOURCE and not study.finetuning.finetune_backbone else ()


def command(layout: Layout, variant: str, seed: int) -> str:
    """The command that makes a run again, at the top of leanclips."""
    return (f"papermill notebooks/finetune.ipynb run.ipynb -p study {quote(short_name(layout))} "
            f"-p variant {variant} -p seed {seed}")


def own_accuracies(folder: Path) -> dict[str, float]:
    """Each classifier's share of test clips right, last epoch, on the run's own variant."""
    variant = read_record(folder / "result.json", RunResult).variant
    table = read_csv(folder / "predictions.csv.gz")
    own = table[(table["part"] == "test") & (table["epoch"] == LAST)
                & (table["input"] == IN_ORDER) & (table["tested_on"] == variant)]
    right = (own["label"] == own["predicted"]).groupby(own["classifier"], sort=False).mean()
    return {str(name): float(share) for name, share in right.items()}


class _Work:
    """The data of one run, and the classifiers trained on it."""

    def __init__(self, layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                 seed: int):
        self.layout, self.study, self.clips = layout, study, clips
        self.variant, self.seed = variant, seed
        self.names = classes(clips, Role.TARGET)
        self.rounds = rounds(clips, study.protocol, seed)
        self.features = load_features(layout, study, clips, variant, tested_clips(clips))

    def models(self) -> Iterator[Model]:
        """Every classifier of every round on its inputs, one after another."""
        for part in self.rounds:
            for name in self.study.classifiers:
                yield self._fitted(part, name, IN_ORDER)
            for seen in inputs(self.study, self.variant):
                for name in self.study.classifiers:
                    if name in SEEN_BY[seen]:
                        yield self._fitted(part, name, seen)

    def data(self, clips: Sequence[Clip], seen: str, variant: str,
             features: Features) -> Labelled:
        data = labelled(features, clips, self.names)
        if self.study.finetuning.finetune_backbone:
            paths = tuple(self.layout.made_clip(variant, clip.id) for clip in clips)
            data = replace(data, frames=Frames(paths, self.study.sampling,
                                               self.study.backbone.for_target.size))
        return as_seen(seen, data, self.seed)

    def predictions(self, part: str, model: Model, clips: Sequence[Clip],
                    tested_on: str | None = None,
                    features: Features | None = None) -> list[pd.DataFrame]:
        """A table (records.PREDICTIONS and the probability of each class) for each epoch."""
        if not clips:
            return []
        tested_on = tested_on or self.variant
        data = self.data(clips, model.input, tested_on, features or self.features)
        tables = []
        for epoch in model.epochs:
            shares = model.probabilities(data, epoch)
            table = pd.DataFrame(
                {"part": part, "round": model.round.number, "classifier": model.classifier,
                 "epoch": epoch, "input": model.input, "tested_on": tested_on,
                 "clip": data.ids, "label": [clip.label for clip in clips],
                 "predicted": [self.names[n] for n in shares.argmax(1)]},
                columns=list(PREDICTIONS))
            each = pd.DataFrame(shares.round(DIGITS), columns=[f"p: {n}" for n in self.names])
            tables.append(pd.concat([table, each], axis=1))
        return tables

    def _fitted(self, part: Round, name: str, seen: str) -> Model:
        training, validation = (self.data(clips, seen, self.variant, self.features)
                                for clips in (part.training, part.validation))
        if name == CRNN_NAME:
            trained = self._trained(part, training, validation, seen)
            return Model(part, seen, name, trained, crnn_result(trained))
        fitted = linear.fit(name, training.features.numpy(), training.labels.numpy(),
                            [clip.group for clip in part.training], self.seed)
        accuracies = [_accuracy(fitted, data) for data in (training, validation)]
        score = EpochScore(epoch=0, train_accuracy=accuracies[0],
                           validation_accuracy=accuracies[1])
        return Model(part, seen, name, fitted, RoundResult(
            trainable_parameters=fitted.trainable_parameters, last=score,
            regularization=fitted.regularization))

    def _trained(self, part: Round, training: Labelled, validation: Labelled,
                 seen: str) -> Trained:
        study, settings = self.study, self.study.finetuning
        network = initialized(lambda: CRNN(self.features.values.shape[2], len(self.names),
                                           study.network), self.seed)
        if has_pretraining(study, self.clips):
            network = started_from_pretraining(self.layout, study, self.clips, network)
        if settings.finetune_backbone:
            network = EndToEnd(study.backbone.for_target, network)
        what = (f"crnn, {self.variant}, seed {self.seed}"
                + (f", {seen}" if seen != IN_ORDER else "")
                + (f", round {part.number} of {len(self.rounds)}" if len(self.rounds) > 1 else ""))
        return train(network, training, validation, epochs=settings.epochs,
                     batch_size=settings.batch_size, learning_rate=settings.learning_rate,
                     seed=self.seed, what=what, device=compute(study).device)


def _accuracy(fitted: linear.Fitted, data: Labelled) -> float | None:
    if not data.ids:
        return None
    guesses = fitted.probabilities(data.features.numpy()).argmax(1)
    return float((guesses == data.labels.numpy()).mean())


def _leaks(part: Round) -> bool:
    return leaks_recordings((*part.training, *part.validation, *part.test),
                            {clip.id for clip in (*part.validation, *part.test)})


def _weights(models: Sequence[Model]) -> dict[str, torch.Tensor]:
    """Weights by round, classifier, epoch and parameter: `1.crnn.last.head.bias`."""
    weights = {}
    for model in models:
        if isinstance(model.fitted, Trained):
            states = {epoch: getattr(model.fitted, epoch) for epoch in model.epochs}
        else:
            states = {LAST: {name: torch.from_numpy(value)
                             for name, value in model.fitted.weights.items()}}
        weights |= {f"{model.round.number}.{model.classifier}.{epoch}.{name}": value
                    for epoch, state in states.items() for name, value in state.items()}
    return weights


def as_seen(seen: str, data: Labelled, seed: int) -> Labelled:
    """The clips as an input shows them, in the shape of the frames in order.

    `shuffled`: each clip's frames in an order that its id and `seed` decide; `middle`: the frame in
    the middle (of an even number the later one of two) at every step; `mean`: the mean over frames
    at every step.
    """
    clips = data.features
    if seen == IN_ORDER:
        return data
    if seen == "shuffled":
        orders = (np.random.default_rng([seed, 3, int(key(name), 16)]).permutation(clips.shape[1])
                  for name in data.ids)
        shown = [clip[torch.from_numpy(order)]
                 for clip, order in zip(clips, orders, strict=True)]
        return replace(data, features=torch.stack(shown) if shown else clips)
    step = clips[:, clips.shape[1] // 2] if seen == "middle" else clips.mean(1)
    return replace(data, features=step[:, None].expand_as(clips).contiguous())
