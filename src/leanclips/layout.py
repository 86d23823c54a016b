"""File names of a study: the one place that knows where things lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leanclips.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layout:
    """Paths below a study's folder; `records` is `work`, or `published` for committed records.

    Published records come with the settings and the table that they were made with. Their tables
    are gzipped, and all runs of the study are in three files and a notebook for each variant.
    """

    study: Path
    records_name: str = "work"

    @property
    def settings(self) -> Path:
        return self._described / "study.yml"

    @property
    def table(self) -> Path:
        return self._described / "clips.csv"

    @property
    def _described(self) -> Path:
        return self.work if self.is_published else self.study

    @property
    def work(self) -> Path:
        return self.study / self.records_name

    @property
    def published(self) -> Path:
        return self.study / "published"

    @property
    def is_published(self) -> bool:
        return self.records_name != "work"

    @property
    def clips_root_note(self) -> Path:
        """Remembers where the user's clips lie, once told."""
        return self.work / "clips-root.txt"

    @property
    def rendered(self) -> Path:
        return self.work / "clips" / "rendered"

    def clip(self, variant: str, clip_id: str) -> Path:
        return self.work / "clips" / variant / f"{clip_id}.mp4"

    def made_clip(self, variant: str, clip_id: str) -> Path:
        """The clip's file, which an earlier stage has made; StudyError if it is not there."""
        path = self.clip(variant, clip_id)
        if not path.is_file():  # another tool's file may have another suffix
            path = next((other for other in sorted(path.parent.glob("*.*"))
                         if other.stem == clip_id and other.suffix != ".json"), path)
        if not path.is_file():
            raise StudyError("the clip is missing", path, "delete report.csv beside it, if that "
                             "is there, and run the study again")
        return path

    def done(self, stage: str) -> Path:
        """Marks, for Snakemake, that a stage is up to date; made anew for each run."""
        return self.work / "done" / stage

    def clip_record(self, variant: str, clip_id: str) -> Path:
        return self.work / "clips" / variant / f"{clip_id}.json"

    def report(self, variant: str) -> Path:
        return self._table(self.work / "clips" / variant / "report.csv")

    def report_record(self, variant: str) -> Path:
        return self.report(variant).with_name("report.json")

    def control(self, variant: str) -> Path:
        """How a constant variant's CRF was found."""
        return self.work / "clips" / f"{variant}.control.json"

    def feature_index(self, backbone: str, variant: str) -> Path:
        return self._table(self.work / "features" / backbone / f"{variant}.csv")

    def feature_record(self, backbone: str, variant: str) -> Path:
        return self.feature_index(backbone, variant).with_name(f"{variant}.json")

    def _table(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.gz") if self.is_published else path

    def feature(self, backbone: str, key: str) -> Path:
        return self.work / "features" / backbone / "cache" / key[:2] / f"{key}.npy"

    @property
    def pretrain(self) -> Path:
        return self.work / "runs" / "pretrain"

    def run(self, variant: str, seed: int) -> Path:
        return self.work / "runs" / variant / f"seed-{seed:02d}"

    def run_notebook(self, variant: str, seed: int) -> Path:
        """The executed notebook of a run; published is that of each variant's first seed."""
        published = self.work / "runs" / f"{variant}.ipynb.gz"
        return published if self.is_published else self.run(variant, seed) / "run.ipynb"

    @property
    def of_all_runs(self) -> tuple[Path, Path, Path]:
        """Published: the records, the CRNN's epochs and the answers of all runs."""
        folder = self.work / "runs"
        return folder / "records.jsonl.gz", folder / "histories.csv.gz", folder / "answers.npz"

    @property
    def stage_times(self) -> Path:
        return self.work / "times"


def with_records(study: Path) -> Layout:
    """The study's own records; where it was not run here but records are published, those."""
    own, published = Layout(study), Layout(study, "published")
    return published if published.work.is_dir() and not own.work.is_dir() else own


def short_name(layout: Layout) -> str:
    """The study's folder as a command names it: relative to the top of leanclips if inside."""
    folder = layout.study.resolve()
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else str(folder)


def check_variant(layout: Layout, known: Sequence[str], variant: str) -> None:
    """StudyError, naming the known ones, unless `variant` is one of them."""
    if variant not in known:
        raise StudyError(f"there is no variant '{variant}'", layout.settings,
                         f"use one of {', '.join(known)}")
