"""Everything that a finished study left behind, read and checked once."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from leanclips.clips import Clip, Role, has_pretraining, load_clips, of_role, tested_clips
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.records import (EPOCHS, HISTORY, IN_ORDER, LAST, PREDICTIONS, PUBLISH_AGAIN, REPORT,
                               RUN_AGAIN, SEEN_BY, RunResult, StageRecord, read_csv, read_record,
                               read_runs)
from leanclips.report.formats import several
from leanclips.study import CRNN, ORIGINALS, SOURCE, Holdout, Study, load_study
from leanclips.training import finetune, origins

# What answers are filed under: classifier, trained on, tested on, epoch, input.
Place = tuple[str, str, str, str, str]
OF_A_RUN = ("result.json", "history.csv", "predictions.csv.gz", "run.ipynb")


@dataclass(frozen=True)
class Encoded:
    """A study whose clips are encoded.

    `reports` holds the rows of records.REPORT with `variant`, the uncropped `originals` first;
    `target`, the quality target of the variant or of the one whose bytes it matches; `drift`, the
    cosine distance of the features from the source's, where it is known; `saving`, a share of the
    clip's bytes; `kept`, whether the bytes were left as they were.
    """

    layout: Layout
    study: Study
    clips: tuple[Clip, ...]
    reports: pd.DataFrame

    @property
    def compared(self) -> tuple[Clip, ...]:
        """The clips that every variant encodes: target and held-out."""
        return tuple(tested_clips(self.clips))

    @property
    def validates(self) -> bool:
        """Whether runs have validation clips, and so a best epoch."""
        return isinstance(self.study.protocol, Holdout)

    @property
    def tested(self) -> tuple[Clip, ...]:
        """The test clips: each is tested once for each seed."""
        return tuple(of_role(self.clips, Role.HELDOUT)) if self.validates else self.compared

    @property
    def recordings(self) -> list[str]:
        """The recording of each test clip."""
        return [clip.group for clip in self.tested]

    @property
    def source_encoder(self) -> str:
        """Which encoder wrote the source crops."""
        return read_record(self.layout.report_record(SOURCE), StageRecord).origin.machine["encoder"]

    @property
    def encodes(self) -> pd.DataFrame:
        """The reports of the target and held-out clips, in the order of clips.csv."""
        return self.reports[self.reports["role"] != Role.PRETRAIN]

    def report(self, variant: str) -> pd.DataFrame:
        """The rows of `encodes` of one variant."""
        return self.encodes.query("variant == @variant").reset_index(drop=True)


@dataclass(frozen=True)
class Results(Encoded):
    """A finished study.

    `runs` holds the result of each (variant, seed); `answers` which class was answered, as its
    place in `classes`, shape (seeds, test clips); `history` the columns variant, seed and
    records.HISTORY; `seconds` the wall time of each job by stage.
    """

    earlier: bool  # published, and made by an earlier version
    runs: dict[tuple[str, int], RunResult]
    answers: dict[Place, np.ndarray]
    history: pd.DataFrame
    pretrain: RunResult | None
    seconds: dict[str, tuple[float, ...]]
    machine: dict[str, str]

    @property
    def seed_count(self) -> str:
        """As prose says it: 1 seed, 10 seeds."""
        return several(len(self.study.finetuning.seeds), "seed")

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.runs.values())).classes

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the source's runs saw in place of the frames in order."""
        seen = {place[-1] for place in self.answers}
        return tuple(name for name in self.study.inputs if name in seen)

    @property
    def leaks(self) -> bool:
        """Whether the pretraining saw other clips of the recordings that scored it."""
        return self.pretrain is not None and self.pretrain.leaks_recordings


def load(layout: Layout) -> Results:
    """Read a finished study; StudyError names the first record that is missing or was made from
    something else than the study is now.
    """
    if not layout.work.is_dir():
        raise StudyError("the study has no records", layout.work, "run it with 'make study'")
    study = load_study(layout.settings.parent)
    encoded = read_encoded(layout, study, load_clips(layout, study))
    earlier = origins.check_records(layout, study, encoded.clips)
    names = list(product(study.all_variants, study.finetuning.seeds))
    if layout.is_published:
        published = read_runs(layout.of_all_runs[0])
        runs = {name: published[name] for name in names}
        history, answers = read_csv(layout.of_all_runs[1]), _published_answers(encoded)
    else:
        runs = {name: read_record(layout.run(*name) / "result.json", RunResult) for name in names}
        history, answers = _history(layout, runs), _answers(encoded, runs)
    pretrain = (read_record(layout.pretrain / "result.json", RunResult)
                if has_pretraining(study, encoded.clips) else None)
    machine = layout.work / "machine.json"
    return Results(
        **vars(encoded), earlier=earlier, runs=runs, answers=answers, history=history,
        pretrain=pretrain, seconds=_seconds(layout.stage_times),
        machine=json.loads(machine.read_text(encoding="utf-8")) if machine.is_file() else {})


def _history(layout: Layout, runs: dict[tuple[str, int], RunResult]) -> pd.DataFrame:
    """The epochs of the runs with a CRNN; others, which record none, only if none has one."""
    found = [name for name, run in runs.items() if CRNN in run.classifiers] or list(runs)
    return pd.concat([read_csv(layout.run(variant, seed) / "history.csv", HISTORY)
                      .assign(variant=variant, seed=seed) for variant, seed in found])


def _published_answers(encoded: Encoded) -> dict[Place, np.ndarray]:
    """The answers that data/publish.py wrote, complete."""
    study, path = encoded.study, encoded.layout.of_all_runs[2]
    wanted = {place for variant in study.all_variants for place in _places(study, variant)}
    try:
        with np.load(path) as file:
            answers, places, clips, seeds = (file[name] for name in (
                "answers", "places", "clips", "seeds"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        raise StudyError("is not a readable table of answers", path, PUBLISH_AGAIN) from None
    found = dict(zip(map(tuple, places.tolist()), answers.transpose(1, 2, 0), strict=True))
    if (wanted - set(found) or tuple(seeds) != study.finetuning.seeds
            or clips.tolist() != [clip.id for clip in encoded.tested]):
        raise StudyError("holds other answers than the study has", path, PUBLISH_AGAIN)
    return found


def read_encoded(layout: Layout, study: Study, clips: Sequence[Clip]) -> Encoded:
    """What is known once the clips are encoded."""
    reports = [_report(layout, study, clips, name) for name in (ORIGINALS, *study.encoded)]
    return Encoded(layout, study, tuple(clips), pd.concat(reports, ignore_index=True))


def records_of(layout: Layout) -> list[Path]:
    """The study's settings and clip table; and, as far as they are there, the records that the
    report reads and the notebooks.
    """
    if layout.is_published:
        return sorted(path for path in layout.work.rglob("*") if path.is_file())
    study = load_study(layout.settings.parent)
    backbone = study.backbone.name
    encoded = [of(variant) for variant in (*study.encoded, ORIGINALS)
               for of in (layout.report, layout.report_record, layout.control)]
    features = [of(backbone, variant) for variant in study.encoded
                for of in (layout.feature_index, layout.feature_record)]
    folders = [layout.run(variant, seed)
               for variant in study.all_variants for seed in study.finetuning.seeds]
    runs = [folder / name for folder in (layout.pretrain, *folders) for name in OF_A_RUN]
    times = sorted(layout.stage_times.rglob("*.tsv"))
    found = (*encoded, *features, *runs, *times, layout.work / "machine.json")
    return [layout.settings, layout.table, *(path for path in found if path.is_file())]


def _places(study: Study, variant: str) -> Iterator[Place]:
    """What a run of this variant has answered."""
    for classifier in study.classifiers_of(variant):
        picked = classifier == CRNN and isinstance(study.protocol, Holdout)
        for epoch in EPOCHS if picked else (LAST,):
            for tested in study.encoded:
                yield classifier, variant, tested, epoch, IN_ORDER
            for seen in finetune.inputs(study, variant):
                if classifier in SEEN_BY[seen]:
                    yield classifier, SOURCE, SOURCE, epoch, seen


def _answers(encoded: Encoded, runs: dict[tuple[str, int], RunResult]) -> dict[Place, np.ndarray]:
    """The answers to the test clips, complete, classifier by classifier."""
    study, found = encoded.study, defaultdict(list)
    how, wanted = ["classifier", "tested_on", "epoch", "input"], [c.id for c in encoded.tested]
    for (variant, seed), run in runs.items():
        path = encoded.layout.run(variant, seed) / "predictions.csv.gz"
        table = read_csv(path, PREDICTIONS).query("part == 'test'")
        if table.duplicated([*how, "clip"]).any():
            raise StudyError("holds a prediction twice", path, f"delete it and {RUN_AGAIN}")
        said = table.pivot(index=how, columns="clip", values="predicted").reindex(columns=wanted)
        for place in _places(study, variant):
            asked = (place[0], *place[2:])
            part = said.loc[asked] if asked in said.index else pd.Series(index=wanted, dtype=str)
            if absent := part.isna().sum():
                raise StudyError(f"lacks {absent} predictions ({', '.join(place)}, …)", path,
                                 f"delete it and {RUN_AGAIN}")
            found[place].append(pd.Categorical(part, categories=run.classes).codes)
    return {place: np.array(found[place])
            for place in sorted(found, key=lambda place: study.classifiers.index(place[0]))}


def _report(layout: Layout, study: Study, clips: Sequence[Clip], variant: str) -> pd.DataFrame:
    """The variant's report, with one whole row for each target and held-out clip."""
    path, features = layout.report(variant), layout.feature_index(study.backbone.name, variant)
    table = read_csv(path, REPORT).dropna(subset=["bytes_in", "bytes_out", "seconds"])
    rows = table["clip"].value_counts()
    if wrong := [clip.id for clip in tested_clips(clips) if rows.get(clip.id) != 1]:
        raise StudyError(f"has not one whole row for each clip ({wrong[0]}, …)", path,
                         f"delete it and {RUN_AGAIN}")
    drift = (read_csv(features, ("clip", "drift")).set_index("clip")["drift"]
             if variant in study.variants and features.is_file() else {})
    held_to = getattr(study.variants.get(variant), "bytes_of", variant)
    roles = {clip.id: str(clip.role) for clip in clips}
    table = table.set_index("clip").loc[[name for name in roles if name in rows]].reset_index()
    return table.assign(
        variant=variant, role=table["clip"].map(roles), drift=table["clip"].map(drift),
        target=getattr(study.variants.get(held_to), "target", np.nan),
        saving=1 - table["bytes_out"] / table["bytes_in"],
        kept=table["crf"].isna() & (table["reason"] != "external"))


def _seconds(folder: Path) -> dict[str, tuple[float, ...]]:
    """Wall seconds of each job, by stage: Snakemake's benchmark files, where there are any."""
    found = defaultdict(tuple)
    for path in sorted(folder.rglob("*.tsv")):
        stage = path.relative_to(folder).with_suffix("").parts[0]
        found[stage] += tuple(pd.read_csv(path, sep="\t")["s"].astype(float))
    return dict(found)
