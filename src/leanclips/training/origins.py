"""The stages of a study in order, and whether what each left is what it would make now."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from leanclips.clips import Clip, has_pretraining
from leanclips.compression.stages import report_origin, report_whole
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.records import (RUN_AGAIN, Origin, RunResult, StageRecord, check_origin, found,
                               read_record, read_runs)
from leanclips.study import ORIGINALS, Study, encode_stage
from leanclips.training.features import features_origin, features_whole
from leanclips.training.finetune import features_of_all, run_origin, run_whole
from leanclips.training.pretrain import MODEL, pretrain_origin


@dataclass(frozen=True)
class Stage:
    """A stage with its record: `origin(reading)` is what it would be made from now, `whole` says
    whether all that it left beside the record is there.
    """

    name: str
    record: Path
    kind: type
    origin: Callable[[bool], Origin]
    whole: Callable[[], bool]

    @property
    def is_current(self) -> bool:
        """Whether the record is what the stage would make now, on this machine."""
        record = found(self.record, self.kind)
        try:
            return record is not None and record.key == self.origin(False).key and self.whole()
        except (StudyError, OSError):  # an earlier stage is missing
            return False


def stages(layout: Layout, study: Study, clips: Sequence[Clip]) -> Iterator[Stage]:
    """Every stage of the study that leaves a record, each after those that it builds on."""
    opened, backbone = (layout, study, clips), study.backbone.name
    for variant in (*study.encoded, ORIGINALS):
        yield Stage(encode_stage(variant), layout.report_record(variant), StageRecord,
                    partial(report_origin, *opened, variant),
                    partial(report_whole, layout, variant))
    for variant in study.encoded:
        yield Stage(f"features-{variant}", layout.feature_record(backbone, variant), StageRecord,
                    partial(features_origin, *opened, variant),
                    partial(features_whole, layout, study, variant))
    if has_pretraining(study, clips):
        yield Stage("pretrain", layout.pretrain / "result.json", RunResult,
                    partial(pretrain_origin, *opened), (layout.pretrain / MODEL).is_file)
    features = cache(partial(features_of_all, *opened))  # read once for all runs
    for variant in study.all_variants:
        for seed in study.finetuning.seeds:
            yield run_stage(*opened, variant, seed, features)


def run_stage(layout: Layout, study: Study, clips: Sequence[Clip], variant: str, seed: int,
              features: Callable[[], dict[str, str]] | None = None) -> Stage:
    """The stage of one run; for `features` see `run_origin`."""
    folder = layout.run(variant, seed)
    return Stage(f"finetune-{variant}-{seed}", folder / "result.json", RunResult,
                 lambda reading: run_origin(layout, study, clips, variant, seed, reading, features),
                 lambda: run_whole(folder, study) and (folder / "run.ipynb").is_file())


def check_records(layout: Layout, study: Study, clips: Sequence[Clip]) -> bool:
    """StudyError that names the first record that is missing, or was made from something else than
    the study is now. Weights, original clips and this machine are not compared: published records
    are read without them. But all records of a kind must come from one kind of machine.

    Published records may be those of an earlier version, with another recipe and other settings to
    choose from; returns whether any is.
    """
    machines: dict[str, dict[str, str]] = {}
    earlier = False
    runs = read_runs(layout.of_all_runs[0]) if layout.is_published else {}
    runs = {f"finetune-{variant}-{seed}": run for (variant, seed), run in runs.items()}
    for stage in stages(layout, study, clips):
        record = runs.get(stage.name) or read_record(stage.record, stage.kind)
        if record.key != record.origin.key:
            raise StudyError("its key does not fit its settings", stage.record,
                             "it was edited by hand: restore it, or run the study again")
        then, now = record.origin, stage.origin(True)
        if layout.is_published and then.recipe != now.recipe:
            earlier = True
            both = then.settings.keys() & now.settings.keys()
            now, then = (origin.model_copy(update={"recipe": then.recipe, "settings": {
                name: value for name, value in origin.settings.items() if name in both}})
                for origin in (now, then))
        check_origin(stage.record, then, now)
        machine = {"the recipe": str(then.recipe)} | then.machine
        first = machines.setdefault(stage.name.partition("-")[0], machine)
        if other := [name for name in first | machine if first.get(name) != machine.get(name)]:
            raise StudyError(f"was computed with {other[0]} {machine.get(other[0])}, other records "
                             f"with {first.get(other[0])}", stage.record, RUN_AGAIN)
    return earlier
