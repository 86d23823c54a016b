"""Copies of a study's run records for the repository: numbers and plots, no clip, no weights."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat

from leanclips.analysis import figures, results, style
from leanclips.errors import StudyError
from leanclips.files import replaced_folder
from leanclips.layout import Layout

TABLES = ("study.yml", "clips/*/report.csv", "clips/*.control.json", "features/*/*.csv",
          "runs/crosstest.csv", "runs/views/*.csv", "runs/pretrain/*.json", "runs/pretrain/*.csv",
          "runs/*/seed-*/*.json", "runs/*/seed-*/*.csv", "runs/*/seed-*/run.ipynb",
          "times/**/*.tsv", "machine.json")


def publish(layout: Layout) -> int:
    """Replace `published` by copies of the records in `work`; return the number of files.

    They name the study as one in `data`, wherever it lies on this machine. Its settings and table
    are among them: later edits are not of these records. Raises StudyError if the study has not
    run to its end with the settings as they are.
    """
    if not layout.crosstest.is_file():
        raise StudyError("the study has not run to its end", layout.study, "run it first")
    folder, figure = layout.study.resolve(), figures.answer(results.load(layout))
    with replaced_folder(layout.published) as aside:
        shutil.copyfile(layout.table, aside / layout.table.name)
        count = 1
        for path in _records(layout.work):
            copy = aside / path.relative_to(layout.work)
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = _plain(path) if path.suffix == ".ipynb" else path.read_bytes()
            copy.write_bytes(content.replace(str(folder).encode(), f"data/{folder.name}".encode()))
            count += 1
        style.write(figure, aside)  # the README shows it
    return count


def _records(work: Path) -> Iterator[Path]:
    for pattern in TABLES:
        yield from sorted(work.glob(pattern))


def _plain(path: Path) -> bytes:
    """An executed notebook without its times and machine paths."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    return (nbformat.writes(notebook) + "\n").encode()
