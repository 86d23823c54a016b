"""A variant's clips for other programs: a folder per class, and a table of what is in it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from leanclips.clips import Clip, tested_clips
from leanclips.compression.stages import report_origin
from leanclips.errors import StudyError
from leanclips.files import file_sha256, folder_aside
from leanclips.layout import Layout, check_variant
from leanclips.records import RUN_AGAIN, StageRecord, check_origin, read_csv, read_record, write_csv
from leanclips.rounds import rounds
from leanclips.study import Study


def export(layout: Layout, study: Study, clips: Sequence[Clip], variant: str,
           folder: Path) -> pd.DataFrame:
    """Copy the target and held-out clips of `variant` to `folder`/<class>/<id>, whole or not at
    all, with the table that it returns, manifest.csv: `file`, `label`, `recording`, `fold` (the
    round, from 1, that tests the clip; under holdout, 0 for the clips to train on), the `seed` that
    dealt the folds (the study's first), `bytes`, `quality` (of the worst second; the source has
    none) and `sha256`. StudyError where something is in `folder` already, or where the clips are
    not those that the study, as it is now, makes.
    """
    check_variant(layout, study.encoded, variant)
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
        raise StudyError("holds something already", folder, "name a new folder")
    record, seed = layout.report_record(variant), study.finetuning.seeds[0]
    check_origin(record, read_record(record, StageRecord).origin,
                 report_origin(layout, study, clips, variant, reading=True))
    folds = {clip.id: part.number for part in rounds(clips, study.protocol, seed)
             for clip in part.test}
    report, rows = read_csv(layout.report(variant)).set_index("clip"), []
    with folder_aside(folder.absolute().parent) as aside:
        for clip in tested_clips(clips):
            made, of = layout.made_clip(variant, clip.id), report.loc[clip.id]
            copy = aside / "new" / clip.label / made.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, copy)
            if file_sha256(copy) != of["sha256"]:
                raise StudyError("the clip is not the one that its report tells of", made,
                                 RUN_AGAIN)
            rows.append({"file": f"{clip.label}/{made.name}", "label": clip.label,
                         "recording": clip.group, "fold": folds.get(clip.id, 0), "seed": seed,
                         "bytes": of["bytes_out"], "quality": of["quality"],
                         "sha256": of["sha256"]})
        write_csv(aside / "new" / "manifest.csv", table := pd.DataFrame(rows))
        os.replace(aside / "new", folder)
    return table
