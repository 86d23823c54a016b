"""Everything that a finished study left behind, read and checked once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from leanclips import records
from leanclips.analysis.formats import several
from leanclips.clips import Clip, Role, of_role, pretraining_clips, read_table
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import ORIGINALS, SOURCE, Constant, Optimized, Study, load_study

RUN_AGAIN = "run the study again ('make study STUDY=…'); it redoes only what is missing"
SHOWN_ONLY = ("title", "about", "margin", "clips")


@dataclass(frozen=True)
class Results:
    """A study and its records.

    `reports` holds a table (records.REPORT) for each variant and for `originals`;
    `runs` the result of each (variant, seed); `history` the columns variant, seed and
    records.HISTORY; `crosstest` the columns of records.CROSSTEST and `correct`;
    `seconds` the wall time of each job by stage; `drift` the cosine distance of each variant's
    features from the source's, clip by clip; `views` the columns of records.VIEW_PREDICTIONS,
    None where the records come without them. The pretraining pair is None together.
    """

    layout: Layout
    study: Study
    clips: tuple[Clip, ...]
    reports: dict[str, pd.DataFrame]
    runs: dict[tuple[str, int], records.RunResult]
    history: pd.DataFrame
    crosstest: pd.DataFrame
    correct: np.ndarray
    pretrain: records.RunResult | None
    pretrain_history: pd.DataFrame | None
    seconds: dict[str, tuple[float, ...]]
    machine: dict[str, str]
    drift: dict[str, pd.Series]
    views: pd.DataFrame | None

    @property
    def name(self) -> str:
        return self.layout.study.resolve().name

    @property
    def is_published(self) -> bool:
        return self.layout.is_published

    @property
    def variants(self) -> tuple[str, ...]:
        return self.study.all_variants

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.study.finetuning.seeds

    @property
    def seed_count(self) -> str:
        """As prose says it: 1 seed, 10 seeds."""
        return several(len(self.seeds), "seed")

    @property
    def synthetic(self) -> bool:
        return self.study.synthetic is not None

    @property
    def leaks(self) -> bool:
        """Whether any training saw other clips of a recording that scored it."""
        runs = [*self.runs.values(), *([self.pretrain] if self.pretrain else [])]
        return any(run.leaks_recordings for run in runs)

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.runs.values())).classes

    @property
    def compared(self) -> tuple[Clip, ...]:
        """The clips that every variant encodes: target and held-out."""
        return tuple(of_role(self.clips, Role.TARGET, Role.HELDOUT))

    @property
    def heldout(self) -> tuple[Clip, ...]:
        return tuple(of_role(self.clips, Role.HELDOUT))

    def report(self, variant: str) -> pd.DataFrame:
        """The rows of the target and held-out clips, in the order of clips.csv."""
        table = self.reports[variant].set_index("clip")
        return table.loc[[clip.id for clip in self.compared]].reset_index()

    def notebook(self, variant: str, seed: int) -> Path:
        """The run's executed notebook; records may come without it."""
        return self.layout.run(variant, seed) / "run.ipynb"


def load(layout: Layout) -> Results:
    """Read a finished study; StudyError names the first thing missing and the remedy."""
    if not layout.work.is_dir():
        raise StudyError("the study has no records", layout.work, "run it with 'make study'")
    study = load_study(layout.settings.parent)
    _check_unchanged(layout)
    clips = tuple(read_table(layout.table))
    reports = {name: _report(layout.report(name), name, clips)
               for name in (*study.all_variants, ORIGINALS)}
    grid = [(variant, seed) for variant in study.all_variants for seed in study.finetuning.seeds]
    runs = {(variant, seed): records.read_result(layout.run(variant, seed) / "result.json")
            for variant, seed in grid}
    crosstest = _crosstest(layout, study, clips)
    right = (crosstest["label"] == crosstest["predicted"]).to_numpy()
    pretrained = bool(pretraining_clips(clips))
    return Results(
        layout=layout, study=study, clips=clips, reports=reports, runs=runs,
        history=_histories(layout, grid), crosstest=crosstest,
        correct=right.reshape(len(study.all_variants), len(study.finetuning.seeds),
                              len(records.CLASSIFIERS), len(records.EPOCHS),
                              len(study.all_variants), -1).astype(float),
        pretrain=records.read_result(layout.pretrain / "result.json") if pretrained else None,
        pretrain_history=_table(layout.pretrain / "history.csv", records.HISTORY)
        if pretrained else None,
        seconds=_seconds(layout.stage_times), machine=_machine(layout.work / "machine.json"),
        drift=_drift(layout, study), views=_views(layout, study, clips))


def _check_unchanged(layout: Layout) -> None:
    """StudyError where the settings are not those of the records; what only the book shows may
    differ.
    """
    if not layout.is_published and layout.ran_with.is_file():
        now, then = ({name: value for name, value in yaml.safe_load(path.read_text("utf-8")).items()
                      if name not in SHOWN_ONLY} for path in (layout.settings, layout.ran_with))
        if now != then:
            changed = min(name for name in now.keys() | then.keys()
                          if now.get(name) != then.get(name))
            raise StudyError(f"the setting '{changed}' has changed since the study ran",
                             layout.settings, RUN_AGAIN)


def targets(study: Study) -> dict[str, float]:
    """The quality target of each optimized variant."""
    return {name: variant.target for name, variant in study.variants.items()
            if isinstance(variant, Optimized)}


def controls(study: Study) -> dict[str, str]:
    """The constant variants, each with the optimized one whose bytes it matches."""
    return {name: variant.bytes_of for name, variant in study.variants.items()
            if isinstance(variant, Constant)}


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A record table, with all its columns."""
    try:
        table = records.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise StudyError(f"is not a readable table ({error})", path,
                         f"delete it and {RUN_AGAIN}") from None
    if missing := [name for name in columns if name not in table]:
        raise StudyError(f"has no column {', '.join(missing)}", path,
                         f"delete it and {RUN_AGAIN}")
    return table


def _report(path: Path, variant: str, clips: tuple[Clip, ...]) -> pd.DataFrame:
    table = _table(path, records.REPORT)
    roles = tuple(Role) if variant == SOURCE else (Role.TARGET, Role.HELDOUT)
    wanted = {clip.id for clip in of_role(clips, *roles)}
    if absent := sorted(wanted - set(table["clip"])):
        raise StudyError(f"has no row for {len(absent)} clips ({absent[0]}, …)", path, RUN_AGAIN)
    if table["clip"].duplicated().any():
        raise StudyError("names a clip twice", path, f"delete it and {RUN_AGAIN}")
    if table[["bytes_in", "bytes_out", "seconds"]].isna().any(axis=None):
        raise StudyError(f"lacks bytes or seconds of a clip of {variant}", path,
                         f"delete it and {RUN_AGAIN}")
    return table


def _histories(layout: Layout, grid: list[tuple[str, int]]) -> pd.DataFrame:
    parts = [_table(layout.run(variant, seed) / "history.csv", records.HISTORY)
             .assign(variant=variant, seed=seed) for variant, seed in grid]
    return pd.concat(parts, ignore_index=True)


def _crosstest(layout: Layout, study: Study, clips: tuple[Clip, ...]) -> pd.DataFrame:
    """The cross test, complete: every run, classifier and epoch on every variant's clips."""
    table = _table(layout.crosstest, records.CROSSTEST)  # its epochs are `last` and `best`
    keys = ["variant", "seed", "classifier", "epoch", "tested_on", "clip"]
    table = table[table["variant"].isin(study.all_variants)
                  & table["tested_on"].isin(study.all_variants)
                  & table["seed"].isin(study.finetuning.seeds)]
    wanted = pd.MultiIndex.from_product(
        [study.all_variants, study.finetuning.seeds, records.CLASSIFIERS, records.EPOCHS,
         study.all_variants, [clip.id for clip in of_role(clips, Role.HELDOUT)]], names=keys)
    indexed = table.set_index(keys)
    if not indexed.index.is_unique:
        raise StudyError("holds a prediction twice", layout.crosstest,
                         f"delete it and {RUN_AGAIN}")
    absent = wanted.difference(indexed.index)
    if len(absent):
        variant, seed, *_ = absent[0]
        raise StudyError(f"lacks {len(absent)} predictions ({variant}, seed {seed}, …)",
                         layout.crosstest, RUN_AGAIN)
    return indexed.loc[wanted].reset_index()


def _views(layout: Layout, study: Study, clips: tuple[Clip, ...]) -> pd.DataFrame | None:
    """The views' predictions, complete and in order; None where there is none of them."""
    if study.finetuning.finetune_backbone:
        return None
    paths = [layout.views(seed) for seed in study.finetuning.seeds]
    if not any(path.is_file() for path in paths):
        return None
    table = pd.concat([_table(path, records.VIEW_PREDICTIONS) for path in paths])
    heldout = [clip.id for clip in of_role(clips, Role.HELDOUT)]
    wanted = [(view, seed, classifier, epoch, clip) for view, known in records.VIEWS.items()
              for seed in study.finetuning.seeds for classifier in known
              for epoch in records.EPOCHS for clip in heldout]
    indexed = table.set_index(list(records.VIEW_PREDICTIONS[:5]))
    if len(table) != len(wanted) or set(indexed.index) != set(wanted):
        raise StudyError("the predictions are not those of this study's seeds and clips",
                         paths[0].parent, f"delete the folder and {RUN_AGAIN}")
    return indexed.loc[wanted].reset_index()


def _seconds(folder: Path) -> dict[str, tuple[float, ...]]:
    """Wall seconds of each job, by stage: Snakemake's benchmark files, where there are any."""
    found: dict[str, list[float]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        stage = path.relative_to(folder).with_suffix("").parts[0]
        found.setdefault(stage, []).extend(pd.read_csv(path, sep="\t")["s"].astype(float))
    return {stage: tuple(times) for stage, times in found.items()}


def _drift(layout: Layout, study: Study) -> dict[str, pd.Series]:
    """By variant, where the features' index was kept."""
    found = {}
    for variant in study.variants:
        path = layout.feature_index(study.backbone.name, variant)
        if path.is_file():
            found[variant] = _table(path, ("clip", "drift")).set_index("clip")["drift"]
    return found


def _machine(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {str(name): str(value) for name, value in json.loads(path.read_text("utf-8")).items()}
