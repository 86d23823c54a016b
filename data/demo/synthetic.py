"""Stage render: the clips of a synthetic study, drawn from its seed (leanclips render data/demo).

`python data/demo/synthetic.py STUDY` writes the study's table.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from operator import ne
from pathlib import Path

import drawing
import numpy as np

from leanclips.clips import Clip, Role, Roi, write_it_with, write_table
from leanclips.compression.ffmpeg import BITEXACT, RAW_BGR, run
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, remove_asides, write_text, written_aside
from leanclips.layout import Layout
from leanclips.study import Study, Synthetic, load_study
from leanclips.workers import run_all


def table(settings: Synthetic) -> list[Clip]:
    """The clip table of a synthetic study: what its clips.csv must hold.

    The held-out clips start with a new group, so an odd number of target clips leaves one out.
    """
    first = -(-settings.target // drawing.TAKES) * drawing.TAKES
    numbers = {Role.TARGET: range(settings.target),
               Role.HELDOUT: range(first, first + settings.heldout)}
    return [Clip(clip_id := f"{label}-{number:03d}", f"{clip_id}.mp4", label,
                 f"g{number // drawing.TAKES:03d}", role, drawing.FRAMES,
                 roi=Roi(*drawing.shot(clip_id, settings.seed).roi))
            for role in numbers for label in drawing.CLASSES for number in numbers[role]]


def check_table(layout: Layout, settings: Synthetic, clips: Sequence[Clip]) -> None:
    """StudyError unless the table is the one that the settings make. Some ROIs may have been
    marked anew; where most differ, they are those of another seed.
    """
    wanted = table(settings)
    rows, found = ([replace(clip, roi=None) for clip in one] for one in (wanted, clips))
    if found != rows or 2 * sum(map(ne, wanted, clips)) > len(wanted):
        raise StudyError("is not the table that the setting 'synthetic' of study.yml makes",
                         layout.table, write_it_with(layout))


def render_all(layout: Layout, study: Study, clips: Sequence[Clip], jobs: int) -> None:
    """Render the clips of the table that are not there yet, in `jobs` processes."""
    if study.synthetic is None:
        raise StudyError("the study is not synthetic", layout.settings,
                         "its clips are files: name their folder with --clips")
    check_table(layout, study.synthetic, clips)
    remove_asides([layout.rendered])
    run_all(partial(render_clip, folder=layout.rendered, seed=study.synthetic.seed),
            [clip.id for clip in clips], jobs, "render")


def is_rendered(layout: Layout, study: Study, clips: Sequence[Clip]) -> bool:
    """Whether every clip of the table is there, as the seed makes it."""
    return all(_is_there(layout.rendered / clip.file, study.synthetic.seed) for clip in clips)


def _record(path: Path, seed: int) -> str:
    return f"{key(drawing.RECIPE, path.stem, seed)} {file_sha256(path)}"


def _is_there(path: Path, seed: int) -> bool:
    record = path.with_suffix(".sha256")
    return path.is_file() and record.is_file() and record.read_text() == _record(path, seed)


def render_clip(clip_id: str, folder: Path, seed: int) -> None:
    """Render one clip unless its record and its bytes show that it is there."""
    path = folder / f"{clip_id}.mp4"
    if not _is_there(path, seed):
        write_frames(drawing.frames(clip_id, seed), path)
        write_text(path.with_suffix(".sha256"), _record(path, seed))


def write_frames(frames: Iterable[np.ndarray], destination: Path) -> None:
    """Encode the drawn RGB frames by x264 into an MP4, whole or not at all."""
    with written_aside(destination) as aside:
        run([*RAW_BGR, "-s", f"{drawing.WIDTH}x{drawing.HEIGHT}", "-r", drawing.FPS, "-i", "-",
             "-c:v", "libx264", "-preset", "fast", "-crf", 17, "-pix_fmt", "yuv420p", "-threads", 1,
             *BITEXACT, "-map_metadata", -1, "-f", "mp4", aside.absolute()], destination,
            frames=(frame[..., ::-1] for frame in frames))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_table(Layout(folder).table, table(load_study(folder).synthetic))
