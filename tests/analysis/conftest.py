"""A finished study made of invented numbers: small, but with every file that a run leaves."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from leanclips import records
from leanclips.analysis.results import Results, load
from leanclips.clips import Clip, Role, write_table
from leanclips.layout import Layout
from leanclips.study import load_study

CLASSES = ("jump", "walk")
SHARE = {"source": 1.0, "optimized": 0.25, "constant": 0.26, "originals": 0.7,
         "vendor": 0.4, "like-vendor": 0.4}
REASON = {"source": "crop", "constant": "constant", "like-vendor": "constant",
          "vendor": "external"}


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


def result(name: str, variant: str, seed: int, synthetic: bool, leaks: bool) -> records.RunResult:
    def score(epoch: int, accuracy: float) -> records.EpochScore:
        return records.EpochScore(epoch=epoch, train_accuracy=1.0, validation_accuracy=accuracy)

    each = {classifier: records.ClassifierResult(
        trainable_parameters=parameters, last=score(3, 0.5 + seed / 100),
        best=score(2, 0.6 + seed / 100))
        for classifier, parameters in (("crnn", 9_000_000), ("linear", 5000))}
    return records.RunResult(
        study=name, variant=variant, seed=seed, synthetic=synthetic, leaks_recordings=leaks,
        classes=CLASSES, train_clips=6, validation_clips=2, split_sha256="1" * 64,
        features_sha256="2" * 64, backbone="efficientnet-lite2", backbone_sha256="3" * 64,
        versions={"python": "3.11", "torch": "2.11"},
        command=f"papermill finetune.ipynb out.ipynb -p variant {variant} -p seed {seed}",
        classifiers=each)


def history() -> pd.DataFrame:
    rows = [(classifier, epoch, 1 / epoch, 1.0, 1 / epoch, 0.5 + epoch / 100)
            for classifier in records.CLASSIFIERS for epoch in (1, 2, 3)]
    return pd.DataFrame(rows, columns=records.HISTORY)


def notebook() -> nbformat.NotebookNode:
    """With what an executed one may hold: output, progress on stderr, a widget, math."""
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%"}
    outputs = [new_output("stream", name="stdout", text="done\n"),
               new_output("stream", name="stderr", text="clips: 3/4\n"),
               new_output("display_data", data=widget),
               new_output("display_data", data={"text/plain": "shown"})]
    return new_notebook(cells=[new_markdown_cell("# Fine-tuning\n\nThe loss is $-\\log p$."),
                               new_code_cell("# not a heading\nrun()", outputs=outputs)])


def predictions(clips: list[Clip], variants: tuple[str, ...], seeds: tuple[int, ...],
                right: Callable[..., bool]) -> pd.DataFrame:
    heldout = [clip for clip in clips if clip.role == Role.HELDOUT]
    rows = [(variant, seed, classifier, epoch, tested, clip.id, clip.label,
             clip.label if right(variant, seed, classifier, tested, place)
             else CLASSES[1 - CLASSES.index(clip.label)])
            for variant in variants for seed in seeds for classifier in records.CLASSIFIERS
            for epoch in records.EPOCHS for tested in variants
            for place, clip in enumerate(heldout)]
    return pd.DataFrame(rows, columns=records.CROSSTEST)


def view_predictions(clips: list[Clip], seed: int, right: Callable[..., bool]) -> pd.DataFrame:
    heldout = [clip for clip in clips if clip.role == Role.HELDOUT]
    rows = [(view, seed, classifier, epoch, clip.id, clip.label,
             clip.label if right(view, seed, classifier, "source", place)
             else CLASSES[1 - CLASSES.index(clip.label)])
            for view, known in records.VIEWS.items() for classifier in known
            for epoch in records.EPOCHS for place, clip in enumerate(heldout)]
    return pd.DataFrame(rows, columns=records.VIEW_PREDICTIONS)


def mostly_right(variant: str, seed: int, classifier: str, tested: str, place: int) -> bool:
    return (place + seed) % 4 != 0


@pytest.fixture
def make_records(tmp_path: Path) -> Callable[..., Layout]:
    """Call it to write a study's records; returns their Layout."""
    def make(name: str = "tiny", kind: str = "work", synthetic: bool = False,
             leaks: bool = False, seeds: tuple[int, ...] = (1, 2), pretrain: bool = True,
             right: Callable[..., bool] = mostly_right, **settings: object) -> Layout:
        layout = Layout(tmp_path / "data" / name, kind)
        layout.settings.parent.mkdir(parents=True, exist_ok=True)
        settings = {"title": f"A {name} study", "finetuning": {"seeds": list(seeds)}, **settings}
        if synthetic:
            settings["synthetic"] = {}
        layout.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
        clips = [c for c in table_of_clips() if pretrain or c.role != Role.PRETRAIN]
        write_table(layout.table, clips)
        variants = load_study(layout.settings.parent).all_variants
        for variant in (*variants, "originals"):
            records.write_csv(layout.report(variant), report(clips, variant))
        for variant in variants:
            for seed in seeds:
                folder = layout.run(variant, seed)
                records.write_result(folder / "result.json",
                                     result(name, variant, seed, synthetic, False))
                records.write_csv(folder / "history.csv", history())
                nbformat.write(notebook(), folder / "run.ipynb")
        if pretrain:
            records.write_result(layout.pretrain / "result.json",
                                 result(name, "pretrain", 0, synthetic, leaks))
            records.write_csv(layout.pretrain / "history.csv", history())
        records.write_csv(layout.crosstest, predictions(clips, variants, seeds, right))
        for seed in seeds:
            records.write_csv(layout.views(seed), view_predictions(clips, seed, right))
        times = layout.stage_times / "finetune" / "source-1.tsv"
        times.parent.mkdir(parents=True)
        times.write_text("s\th:m:s\n12.5\t0:00:12\n", encoding="utf-8")
        return layout

    return make


@pytest.fixture
def results(make_records: Callable[..., Layout]) -> Results:
    return load(make_records())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
