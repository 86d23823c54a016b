"""What the notebooks about clips show: counts, and a variant's encodes clip by clip."""

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from leanclips.analysis.formats import megabytes, number, percent, several
from leanclips.analysis.measures import savings
from leanclips.analysis.results import Results
from leanclips.analysis.tables import Table
from leanclips.clips import Clip, Role
from leanclips.layout import Layout
from leanclips.records import read_csv
from leanclips.study import ORIGINALS, Study


def counts(clips: Sequence[Clip]) -> Table:
    """Clips and recordings of each class, by role."""
    table = pd.DataFrame([(c.label, c.role.value, c.id, c.group) for c in clips],
                         columns=["class", "role", "clip", "recording"])
    data = table.groupby(["class", "role"], sort=True).nunique().rename(
        columns={"clip": "clips", "recording": "recordings"}).reset_index()
    roles = [role.value for role in (Role.TARGET, Role.HELDOUT, Role.PRETRAIN)
             if role.value in set(data["role"])]
    found = {(row["class"], row["role"]): f"{row['clips']} ({row['recordings']})"
             for row in data.to_dict("records")}
    rows = tuple((name, *(found.get((name, role), "–") for role in roles))
                 for name in dict.fromkeys(data["class"]))
    caption = (f"{several(len(clips), 'clip')} of {several(len(rows), 'class', 'classes')}: clips "
               "(recordings in brackets) of each class, by what they are for.")
    return Table("counts", caption, ("Class", *roles), rows, data)


def encoded(layout: Layout, study: Study, clips: Sequence[Clip]) -> Results:
    """What is known once the clips are encoded: the reports; what training leaves is None."""
    unknown = {field.name: None for field in fields(Results)}
    reports = {name: read_csv(layout.report(name)) for name in (*study.all_variants, ORIGINALS)}
    return Results(**unknown | {"layout": layout, "study": study, "clips": tuple(clips),
                                "reports": reports})


def per_clip(results: Results, variant: str) -> Table:
    """Each clip of a variant, the largest saving first."""
    report = results.report(variant)
    data = report.assign(saving=savings(report)).sort_values(
        "saving", ascending=False, kind="stable", ignore_index=True)
    rows = tuple((row["clip"], row["label"], megabytes(row["bytes_in"]),
                  megabytes(row["bytes_out"]), percent(row["saving"]), number(row["crf"], 2),
                  number(row["quality"], 1), row["reason"]) for row in data.to_dict("records"))
    return Table("per-clip", f"Each clip of {variant}, the largest saving first. Quality: VMAF "
                 "NEG, the 10th percentile of the worst second; 100 where the bytes were kept.",
                 ("Clip", "Class", "Source crop", variant.capitalize(), "Saved", "CRF", "Quality",
                  "Reason"), rows, data)
