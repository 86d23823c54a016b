"""A finished study made of invented numbers: small, but with every file that a run leaves."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from leanclips import records
from leanclips.clips import Clip, Role, write_table
from leanclips.layout import ROOT, Layout
from leanclips.records import EPOCHS, IN_ORDER, LAST, SEEN_BY
from leanclips.report.results import Results, load
from leanclips.rounds import rounds
from leanclips.study import CRNN, SOURCE, Holdout, Study, load_study

PUBLISH = run_path(str(ROOT / "data" / "publish.py"))
CLASSES = ("jump", "walk")
SHARE = {"source": 1.0, "optimized": 0.25, "constant": 0.26, "originals": 0.7,
         "vendor": 0.4, "like-vendor": 0.4, "t95": 0.5, "t93": 0.4, "t85": 0.2, "t70": 0.1,
         "hevc85": 0.05, "av85": 0.06, "c93": 0.4, "c85": 0.2}
REASON = {"source": "crop", "constant": "constant", "like-vendor": "constant", "c93": "constant",
          "c85": "constant",
          "vendor": "external"}
PARAMETERS = {"linear": 5000, "temporal": 10_000, "crnn": 9_000_000}
HOLDOUT = {"kind": "holdout", "validation": 0.24}
FOLDS = {"kind": "cross-validation", "folds": 2}
# The CRNN on some variants only, and a variant trained on two others.
SOME = {"variants": {"optimized": {"target": 93}, "constant": {"bytes_of": "optimized"},
                     "both": {"together": ["source", "optimized"]}},
        "crnn_variants": ["source", "optimized"], "protocol": FOLDS}


@pytest.fixture(autouse=True)
def invented_records_are_taken_for_true(monkeypatch):
    """What records were made from is checked in tests/training; these were made from nothing."""
    monkeypatch.setattr("leanclips.training.origins.check_records", lambda *of: None)


def table_of_clips() -> list[Clip]:
    """Per class 4 target clips, two to a recording, and 4 held-out ones of a recording each; 2
    classes to pretrain on.
    """
    def some(label: str, role: Role, count: int) -> list[Clip]:
        each = 1 if role == Role.HELDOUT else 2
        return [Clip(f"{label}-{role}-{i}", f"{label}/{role}{i}.avi", label,
                     f"{label}/{role}{i // each}", role) for i in range(count)]

    clips = [clip for label in CLASSES for role in (Role.TARGET, Role.HELDOUT)
             for clip in some(label, role, 4)]
    return clips + [clip for label in ("clap", "wave") for clip in some(label, Role.PRETRAIN, 4)]


def report(clips: list[Clip], variant: str) -> pd.DataFrame:
    """1000 bytes more for each clip than for the one before; one clip keeps its bytes."""
    rows = []
    for place, clip in enumerate(clips):
        before = 100_000 + 1000 * place
        after, crf, quality = round(SHARE[variant] * before), 25.5, 93.25
        reason = REASON.get(variant, "optimized")
        if variant == "source":
            crf = quality = None
        elif variant == "vendor":  # measured, but who knows how it was encoded
            crf = None
        elif reason == "optimized" and place == 0:
            after, crf, quality, reason = before, None, 100.0, "no-gain"
        rows.append((clip.id, str(clip.role), clip.label, 1.5, 45, 240, 240, 30.0, before, after,
                     crf, quality, quality, 45.0, 2, reason, None, "ab" * 32,
                     "24:1:92; 25.5:2:93"))
    return pd.DataFrame(rows, columns=records.REPORT)


def epochs(study: Study, classifier: str) -> tuple[str, ...]:
    return EPOCHS if classifier == CRNN and isinstance(study.protocol, Holdout) else (LAST,)


def result(name: str, variant: str, seed: int, study: Study, clips: list[Clip],
           leaks: bool) -> records.RunResult:
    """Validation accuracy is half, and a hundredth more for each seed; the best a tenth more."""
    pretraining = variant == "pretrain"
    validated = pretraining or isinstance(study.protocol, Holdout)
    made = rounds(clips, study.protocol, seed)[:1 if pretraining else None]

    def of_round(classifier: str) -> records.RoundResult:
        def score(epoch: int, accuracy: float) -> records.EpochScore:
            return records.EpochScore(epoch=epoch, train_accuracy=1.0, validation_accuracy=(
                accuracy + seed / 100 if validated else None))

        trained = classifier == CRNN
        return records.RoundResult(
            trainable_parameters=PARAMETERS[classifier], last=score(3 if trained else 0, 0.5),
            best=score(2, 0.6) if trained and validated else None,
            regularization=None if trained else 0.1)

    together = {} if pretraining or study.parts(variant) == (variant,) else {
        "together": list(study.parts(variant))}
    origin = records.Origin(
        recipe=1, settings={"epochs": 3, "network": {"decoder": [512, 256]}} | together,
        inputs={"the features": "2" * 64}, machine={"device": "cpu", "precision": "fp32"})
    endpoint = study.primary_endpoint
    return records.RunResult(
        study=name, variant=variant, seed=seed, key=origin.key, origin=origin,
        stated=records.Stated(margin=study.margin, **endpoint.model_dump()),
        synthetic=study.synthetic is not None, leaks_recordings=leaks, classes=CLASSES,
        rounds=tuple(records.RoundClips(training=len(one.training), test=len(one.test),
                                        validation=len(one.validation), sha256="1" * 64)
                     for one in made),
        versions={"python": "3.11", "torch": "2.11"},
        command=f"papermill finetune.ipynb out.ipynb -p variant {variant} -p seed {seed}",
        classifiers={c: tuple(of_round(c) for _ in made)
                     for c in ((CRNN,) if pretraining else study.classifiers_of(variant))})


def history(study: Study, variant: str, count: int) -> pd.DataFrame:
    """The training accuracy is 1; the validation accuracy grows by a hundredth each epoch."""
    seen = (IN_ORDER, *(study.inputs if variant == SOURCE else ()))
    validated = isinstance(study.protocol, Holdout)
    rows = [(number, name, epoch, 1 / epoch, 1.0, *(
        (1 / epoch, 0.5 + epoch / 100) if validated else (None, None)))
        for number in range(1, count + 1) for name in seen for epoch in (1, 2, 3)]
    return pd.DataFrame(rows, columns=records.HISTORY)


def notebook() -> nbformat.NotebookNode:
    """With what an executed one may hold: output, progress on stderr, a widget, math."""
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%"}
    outputs = [new_output("stream", name="stdout", text="done\n"),
               new_output("stream", name="stderr", text="clips: 3/4\n"),
               new_output("display_data", data=widget),
               new_output("display_data", data={"text/plain": "shown"})]
    return new_notebook(cells=[new_markdown_cell("The loss is $-\\log p$."),
                               new_code_cell("# not a heading\nrun()", outputs=outputs)])


def predictions(study: Study, clips: list[Clip], variant: str, seed: int,
                right: Callable[..., bool]) -> pd.DataFrame:
    """`right(variant or input, seed, classifier, tested on, place of the test clip)`."""
    made = rounds(clips, study.protocol, seed)
    places = {clip.id: place for place, clip in enumerate(
        clip for clip in clips if any(clip in one.test for one in made))}

    def asked() -> Iterator[tuple]:
        for one in made:
            for classifier in study.classifiers_of(variant):
                for epoch in epochs(study, classifier):
                    yield from (("validation", one.number, classifier, epoch, IN_ORDER,
                                 study.own_kind(variant), clip) for clip in one.validation)
                    for tested in study.encoded:
                        yield from (("test", one.number, classifier, epoch, IN_ORDER, tested,
                                     clip) for clip in one.test)
                    for name in study.inputs if variant == SOURCE else ():
                        if classifier in SEEN_BY[name]:
                            yield from (("test", one.number, classifier, epoch, name, SOURCE,
                                         clip) for clip in one.test)

    rows = []
    for part, number, classifier, epoch, seen, tested, clip in asked():
        who = variant if seen == IN_ORDER else seen
        is_right = right(who, seed, classifier, tested, places.get(clip.id, 0))
        said = clip.label if is_right else CLASSES[1 - CLASSES.index(clip.label)]
        shares = [0.75 if name == said else 0.25 for name in CLASSES]
        rows.append((part, number, classifier, epoch, seen, tested, clip.id, clip.label, said,
                     *shares))
    return pd.DataFrame(rows, columns=[*records.PREDICTIONS, *(f"p: {n}" for n in CLASSES)])


def mostly_right(variant: str, seed: int, classifier: str, tested: str, place: int) -> bool:
    return (place + seed) % 4 != 0


def published(layout: Layout) -> Layout:
    """The records as they are published, and nothing else."""
    PUBLISH["pack"](load(layout), layout.published)
    shutil.rmtree(layout.work)
    layout.settings.unlink()
    layout.table.unlink()
    return Layout(layout.study, "published")


@pytest.fixture
def make_records(tmp_path: Path) -> Callable[..., Layout]:
    """Call it to write a study's records; returns their Layout."""
    def make(name: str = "tiny", kind: str = "work", synthetic: bool = False,
             leaks: bool = False, seeds: tuple[int, ...] = (1, 2), pretrain: bool = True,
             right: Callable[..., bool] = mostly_right, protocol: dict | None = None,
             **settings: object) -> Layout:
        layout = Layout(tmp_path / "data" / name)
        layout.settings.parent.mkdir(parents=True, exist_ok=True)
        settings = {"title": f"A {name} study", "finetuning": {"seeds": list(seeds)},
                    "protocol": protocol or HOLDOUT, **settings}
        if synthetic:
            settings["synthetic"] = {}
        layout.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
        study = load_study(layout.settings.parent)
        clips = [c for c in table_of_clips() if pretrain or c.role != Role.PRETRAIN]
        write_table(layout.table, clips)
        for variant in (*study.encoded, "originals"):
            records.write_csv(layout.report(variant), report(clips, variant))
            origin = records.Origin(recipe=1, settings={}, inputs={},
                                    machine={"encoder": "libopenh264 (FFmpeg)"})
            records.write_record(layout.report_record(variant),
                                 records.StageRecord(key=origin.key, origin=origin))
        for variant in study.all_variants:
            for seed in seeds:
                folder = layout.run(variant, seed)
                done = result(name, variant, seed, study, clips, False)
                records.write_record(folder / "result.json", done)
                records.write_csv(folder / "history.csv", history(study, variant,
                                                                  len(done.rounds)))
                records.write_csv(folder / "predictions.csv.gz",
                                  predictions(study, clips, variant, seed, right))
                nbformat.write(notebook(), folder / "run.ipynb")
        if pretrain and CRNN in study.classifiers:
            records.write_record(layout.pretrain / "result.json",
                                 result(name, "pretrain", 0, study, clips, leaks))
            records.write_csv(layout.pretrain / "history.csv", history(study, "pretrain", 1))
        times = layout.stage_times / "finetune" / "source-1.tsv"
        times.parent.mkdir(parents=True, exist_ok=True)
        times.write_text("s\th:m:s\n12.5\t0:00:12\n", encoding="utf-8")
        return published(layout) if kind == "published" else layout

    return make


@pytest.fixture
def results(make_records: Callable[..., Layout]) -> Results:
    """The case study's protocol: 8 held-out clips are the test clips."""
    return load(make_records())


@pytest.fixture(params=["holdout", "cross-validation"])
def of_protocol(request, make_records: Callable[..., Layout]) -> Results:
    """A study of either protocol."""
    return load(make_records(protocol=HOLDOUT if request.param == "holdout" else FOLDS))


@pytest.fixture
def of_some(make_records: Callable[..., Layout]) -> Results:
    """A study with the CRNN on some variants only, and a variant trained on two others; right are
    only runs on optimized clips, and those trained on both.
    """
    return load(make_records(**SOME, right=lambda variant, seed, classifier, tested, place:
                             "both" in variant or tested == "optimized"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
