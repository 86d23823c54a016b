"""Stage render: the clips of a synthetic study, each made once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import ne
from pathlib import Path

from leanclips.clips import Clip, Role, Roi, write_it_with
from leanclips.datasets import synthetic
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, remove_asides, write_text
from leanclips.layout import Layout
from leanclips.study import Study, Synthetic
from leanclips.workers import run_all

RECIPE = 1  # raise it when the renderer draws other pictures


@dataclass(frozen=True)
class Task:
    clip_id: str
    seed: int
    path: Path


def synthetic_table(settings: Synthetic) -> list[Clip]:
    """The clip table of a synthetic study: what its clips.csv must hold."""
    rows = synthetic.table(settings.seed, target=settings.target, heldout=settings.heldout,
                           pretrain=settings.pretrain)
    return [Clip(id=row["id"], file=row["file"], label=row["label"], group=row["group"],
                 role=Role(row["role"]), frames=row["frames"], roi=Roi.parse(row["roi"]))
            for row in rows]


def check_table(layout: Layout, settings: Synthetic, clips: Sequence[Clip]) -> None:
    """StudyError unless the table is the one that the settings make. Some ROIs may have been
    marked anew; where most differ, they are those of another seed.
    """
    wanted = synthetic_table(settings)
    rows, found = ([replace(clip, roi=None) for clip in table] for table in (wanted, clips))
    if found != rows or 2 * sum(map(ne, wanted, clips)) > len(wanted):
        raise StudyError("is not the table that the setting 'synthetic' of study.yml makes",
                         layout.table, write_it_with(layout))


def render_all(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Render the clips of the table that are not there yet, in `jobs` processes."""
    if study.synthetic is None:
        raise StudyError("the study is not synthetic", layout.settings,
                         "its clips are files: name their folder with --clips")
    check_table(layout, study.synthetic, clips)
    remove_asides((layout.rendered / clip.file).parent for clip in clips)
    run_all(render_clip, [Task(clip.id, study.synthetic.seed, layout.rendered / clip.file)
                          for clip in clips], jobs, "render")


def render_clip(task: Task) -> None:
    """Render one clip unless its record and its bytes show that it is there."""
    record = task.path.with_suffix(".sha256")
    recipe = key(RECIPE, task.clip_id, task.seed)
    if task.path.is_file() and record.is_file():
        if record.read_text() == f"{recipe} {file_sha256(task.path)}":
            return
    synthetic.render(task.clip_id, task.path, seed=task.seed)
    write_text(record, f"{recipe} {file_sha256(task.path)}")


if __name__ == "__main__":
    import sys

    from leanclips.clips import write_table
    from leanclips.study import load_study

    folder = Path(sys.argv[1])
    write_table(Layout(folder).table, synthetic_table(load_study(folder).synthetic))
