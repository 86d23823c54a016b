"""Stage finetune: one run (variant, seed), trained round by round and tested on all variants."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd
import torch

from leanclips.clips import Clip, Role, classes, has_pretraining, tested_clips
from leanclips.files import key
from leanclips.layout import Layout, check_variant, short_name
from leanclips.records import (IN_ORDER, LAST, SEEN_BY, EpochScore, Origin, RoundClips,
                               RoundResult, RunResult, found, read_csv, read_record)
from leanclips.rounds import Round, pretraining_leaks, rounds
from leanclips.study import CRNN as CRNN_NAME
from leanclips.study import SOURCE, Study
from leanclips.training import linear
from leanclips.training.crnn import CRNN, Labelled, Trained, initialized, predict, train
from leanclips.training.features import Features, feature_keys, load_features, network_settings
from leanclips.training.machine import compute
from leanclips.training.pretrain import (MODEL, Run, crnn_result, history, keep, labelled, machine,
                                         run_result, started_from_pretraining)

RECIPE = 3  # raise it when a change in this package makes other runs from the same features
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
    def states(self) -> dict[str, dict[str, torch.Tensor]]:
        """Its weights by name, after each epoch that it is tested at."""
        if isinstance(self.fitted, Trained):
            return self.fitted.states
        return {LAST: {name: torch.from_numpy(value)
                       for name, value in self.fitted.weights.items()}}

    def probabilities(self, data: Labelled, epoch: str) -> np.ndarray:
        """(clips, classes)."""
        if not isinstance(self.fitted, Trained):
            return self.fitted.probabilities(data.features.numpy())
        self.fitted.network.load_state_dict(self.states[epoch])
        return predict(self.fitted.network, data).softmax(1).numpy()


def finetune(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
             watch: Callable | None = None) -> Run:
    """Train the study's classifiers on one variant, test them on all, and record the run.

    Rounds, initial weights and order of clips depend on `seed` alone, so runs of one seed pair up
    across variants. Runs of the source also train on the study's `inputs` in place of the frames in
    order. If the run is recorded already and matches, its records are read instead. `watch`: see
    crnn.train. StudyError for an unknown variant or when earlier stages are missing.
    """
    check_variant(layout, study.all_variants, variant)
    origin, folder = run_origin(layout, study, clips, variant, seed), layout.run(variant, seed)
    recorded, leaks = found(folder / "result.json", RunResult), pretraining_leaks(clips, study)
    if recorded and recorded.key == origin.key and run_whole(folder, study):
        return Run(recorded, read_csv(folder / "history.csv"),
                   read_csv(folder / "predictions.csv.gz"), leaks)
    torch.set_num_threads(1)  # two runs side by side beat two threads in one
    work = _Work(layout, study, clips, variant, seed, watch)
    models, tables = list(work.models()), []
    for model in models:
        part = "validation" if model.input == IN_ORDER else "test"
        tables += work.predictions(part, model, work.features[-1])
    kept = [model for model in models if model.input == IN_ORDER]
    for tested_on in study.encoded:
        features = load_features(layout, study, clips, tested_on, tested_clips(clips))
        for model in kept:
            tables += work.predictions("test", model, features)
    result = run_result(
        layout, study, origin, variant=variant, seed=seed, classes=tuple(work.names),
        rounds=tuple(RoundClips(training=len(part.training), validation=len(part.validation),
                                test=len(part.test), sha256=part.sha256)
                     for part in work.rounds),
        command=command(layout, variant, seed),
        classifiers={name: tuple(model.result for model in kept if model.classifier == name)
                     for name in study.classifiers_of(variant)})
    learned = history([(model.round.number, model.input, model.fitted) for model in models
                       if isinstance(model.fitted, Trained)])
    weights = {f"{model.round.number}.{model.classifier}.{epoch}.{name}": value
               for model in kept for epoch, state in model.states.items()
               for name, value in state.items()}  # such as 1.crnn.last.head.bias
    return keep(folder, Run(result, learned, pd.concat(tables, ignore_index=True), leaks),
                weights if study.finetuning.keep_weights else {})


def run_whole(folder: Path, study: Study) -> bool:
    """Whether all that a run leaves beside its result.json and its notebook is there."""
    kept = [MODEL] if study.finetuning.keep_weights else []
    return all((folder / name).is_file() for name in ("history.csv", "predictions.csv.gz", *kept))


def run_origin(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
               reading: bool = False, features: Callable[[], dict[str, str]] | None = None
               ) -> Origin:
    """What a run is made from. `reading`: without the machine. `features` gives what
    `features_of_all` does, where that is read once for many runs.
    """
    tested = tested_clips(clips)
    settings = {"variant": variant, "seed": seed,
                "protocol": study.protocol.model_dump(mode="json"),
                "classifiers": list(study.classifiers_of(variant)),
                "inputs": list(inputs(study, variant)), **network_settings(study)}
    if study.parts(variant) != (variant,):
        settings["together"] = list(study.parts(variant))
    content = {**(features() if features else features_of_all(layout, study, clips)),
               "the clip table": key([[c.id, c.label, c.group, c.role] for c in tested])}
    if CRNN_NAME in study.classifiers_of(variant):
        settings |= study.finetuning.model_dump(mode="json", exclude={"seeds", "keep_weights"})
        settings["network"] = study.network.model_dump(mode="json")
        if has_pretraining(study, clips, variant):
            content["the pretrained network"] = read_record(
                layout.pretrain / "result.json", RunResult).key
    return Origin(recipe=RECIPE, settings=settings, inputs=content,
                  machine={} if reading else machine(study))


def features_of_all(layout: Layout, study: Study, clips: Sequence[Clip]) -> dict[str, str]:
    """The hashes of the features of all variants, which every run is tested on."""
    return {f"the features of {name}": key(feature_keys(layout, study, name, tested_clips(clips)))
            for name in study.encoded}


def inputs(study: Study, variant: str) -> tuple[str, ...]:
    """What runs of the variant are trained on beside the frames in order."""
    return study.inputs if variant == SOURCE else ()


def command(layout: Layout, variant: str, seed: int) -> str:
    """The command that makes a run again, at the top of leanclips."""
    return (f"papermill notebooks/finetune.ipynb run.ipynb -p study {quote(short_name(layout))} "
            f"-p variant {variant} -p seed {seed}")


class _Work:
    """The data of one run: features of each variant that it is trained on, its own kind last."""

    def __init__(self, layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
                 seed: int, watch: Callable | None):
        self.layout, self.study, self.clips = layout, study, clips
        self.variant, self.seed, self.watch = variant, seed, watch
        self.names = classes(clips, Role.TARGET)
        self.rounds = rounds(clips, study.protocol, seed)
        self.features = [load_features(layout, study, clips, name, tested_clips(clips))
                         for name in study.parts(variant)]

    def models(self) -> Iterator[Model]:
        """Every classifier of every round on its inputs, one after another."""
        for part in self.rounds:
            for seen in (IN_ORDER, *inputs(self.study, self.variant)):
                for name in self.study.classifiers_of(self.variant):
                    if seen == IN_ORDER or name in SEEN_BY[seen]:
                        yield self._fitted(part, name, seen)

    def data(self, clips: Sequence[Clip], seen: str, *variants: Features) -> Labelled:
        """What a classifier takes of these clips."""
        return as_seen(seen, labelled(clips, self.names, *variants), self.seed)

    def predictions(self, part: str, model: Model, features: Features) -> Iterator[pd.DataFrame]:
        """A table (records.PREDICTIONS and the probability of each class) for each epoch, of the
        round's clips for validation or test.
        """
        clips = getattr(model.round, part)
        if not clips:
            return
        data = self.data(clips, model.input, features)
        for epoch in model.states:
            shares = model.probabilities(data, epoch)
            yield pd.DataFrame(
                {"part": part, "round": model.round.number, "classifier": model.classifier,
                 "epoch": epoch, "input": model.input, "tested_on": features.variant,
                 "clip": data.ids, "label": [clip.label for clip in clips],
                 "predicted": [self.names[n] for n in shares.argmax(1)]}
                | {f"p: {name}": shares[:, n].round(DIGITS) for n, name in enumerate(self.names)})

    def _fitted(self, part: Round, name: str, seen: str) -> Model:
        training = self.data(part.training, seen, *self.features)
        validation = self.data(part.validation, seen, self.features[-1])
        if name != CRNN_NAME:
            fitted = linear.fit(name, training.features.numpy(), training.labels.numpy(),
                                [clip.group for clip in part.training] * len(self.features),
                                self.seed)
            score = EpochScore(epoch=0, train_accuracy=_accuracy(fitted, training),
                               validation_accuracy=_accuracy(fitted, validation))
            return Model(part, seen, name, fitted, RoundResult(
                trainable_parameters=fitted.trainable_parameters, last=score,
                regularization=fitted.regularization))
        study = self.study
        network = initialized(lambda: CRNN(self.features[-1].values.shape[2], len(self.names),
                                           study.network), self.seed)
        if has_pretraining(study, self.clips):
            network = started_from_pretraining(self.layout, study, self.clips, network)
        what = (f"crnn, {self.variant}, seed {self.seed}"
                + (f", {seen}" if seen != IN_ORDER else "")
                + (f", round {part.number} of {len(self.rounds)}" if len(self.rounds) > 1 else ""))
        trained = train(network, training, validation, study.finetuning, seed=self.seed,
                        what=what, device=compute(study).device, watch=self.watch)
        return Model(part, seen, name, trained, crnn_result(trained))


def _accuracy(fitted: linear.Fitted, data: Labelled) -> float | None:
    if not data.ids:
        return None
    guesses = fitted.probabilities(data.features.numpy()).argmax(1)
    return float((guesses == data.labels.numpy()).mean())


def as_seen(seen: str, data: Labelled, seed: int) -> Labelled:
    """The clips as an input shows them, in the shape of the frames in order.

    `shuffled`: each clip's frames in an order that its id and `seed` decide; `middle`: the frame in
    the middle (of an even number the later one of two) at every step; `mean`: the mean over frames
    at every step.
    """
    if seen == IN_ORDER or not data.ids:
        return data
    clips = data.features
    if seen == "shuffled":
        orders = (np.random.default_rng([seed, 3, int(key(name), 16)]).permutation(clips.shape[1])
                  for name in data.ids)
        return replace(data, features=torch.stack([clip[order] for clip, order in zip(
            clips, orders, strict=True)]))
    step = clips[:, clips.shape[1] // 2] if seen == "middle" else clips.mean(1)
    return replace(data, features=step[:, None].expand_as(clips).contiguous())
