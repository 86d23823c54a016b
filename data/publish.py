"""Copy a study's run records (no clips, no weights) to its folder `published`.

    python data/publish.py data/jhmdb
"""

import argparse
import gzip
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import nbformat
import numpy as np

from leanclips.errors import StudyError, sentence
from leanclips.files import replaced_folder, write_bytes, written_aside
from leanclips.layout import Layout
from leanclips.records import write_csv
from leanclips.report import figures, run_page
from leanclips.report.results import Results, load, records_of


def publish(layout: Layout) -> int:
    """Replace `published` by the records in `work`, in few and small files; return how many.

    Numbers and a notebook of each variant, no clips, no weights, no probabilities. Settings and
    clip table are among them, so that later edits of the study do not change what was published.
    Texts name the study as one in `data`, wherever it lies on this machine. Raises StudyError if
    the study is not finished, or a record was made from something else than the study is now.
    """
    found = load(layout)
    with replaced_folder(layout.published) as aside:
        pack(found, aside)
        replace(figures.frontier(found), points=None).write(aside)  # for the README
    return len(records_of(Layout(layout.study, layout.published.name)))


def pack(found: Results, folder: Path) -> None:
    """Write the records of a study to `folder` as they are published."""
    layout, aside = found.layout, Layout(folder.parent, folder.name)
    first, variants = found.study.finetuning.seeds[0], found.study.all_variants
    notebooks = {layout.run_notebook(name, first): aside.run_notebook(name, first)
                 for name in variants}
    of_runs = {layout.work / "runs" / name for name in variants}
    for path in records_of(layout):
        name = path.relative_to(layout.work) if layout.work in path.parents else Path(path.name)
        table = path.suffix == ".csv" and name.parts[0] in ("clips", "features")
        target = notebooks.get(path, folder / (f"{name}.gz" if table else name))
        if path in notebooks or of_runs.isdisjoint(path.parents):
            content = _of_any_machine(path, layout.study)
            write_bytes(target, gzip.compress(content, mtime=0) if target.suffix == ".gz"
                        else content)
    write_runs(replace(found, runs={
        name: run.model_copy(update={"command": _anywhere(run.command, layout.study)})
        for name, run in found.runs.items()}), aside)


def write_runs(results: Results, published: Layout) -> None:
    """All runs as they are published: without probabilities and answers to validation clips.

    `answers.npz` (NumPy) holds `answers` (clips, places, seeds), the numbers of `classes`, with
    their `clips`, `seeds` and `places`: classifier, trained on, tested on, epoch, input. Answers to
    one clip, most of them equal, are side by side, so that they take little room.
    """
    records, histories, answers = published.of_all_runs
    lines = "".join(f"{run.model_dump_json()}\n" for run in results.runs.values())
    write_bytes(records, gzip.compress(lines.encode(), mtime=0))
    write_csv(histories, results.history)
    arrays = {"answers": np.stack(list(results.answers.values())).transpose(2, 0, 1),
              "places": list(results.answers), "clips": [clip.id for clip in results.tested],
              "seeds": results.study.finetuning.seeds, "classes": results.classes}
    with written_aside(answers) as aside, ZipFile(aside, "w") as file:
        for name, values in arrays.items():
            array = io.BytesIO()
            np.save(array, np.ascontiguousarray(values))
            file.writestr(ZipInfo(f"{name}.npy"), array.getvalue(), ZIP_LZMA)  # without a date


def _of_any_machine(path: Path, study: Path) -> bytes:
    """The file without paths of this machine; a notebook also without times and progress."""
    if path.suffix == ".ipynb":
        return _anywhere(nbformat.writes(run_page.executed(path)) + "\n", study).encode()
    if path.suffix == ".json":
        return _anywhere(path.read_text(encoding="utf-8"), study).encode()
    return path.read_bytes()


def _anywhere(text: str, study: Path) -> str:
    """A text that names the study as one in `data`, wherever it lies."""
    here = json.dumps(str(study.resolve()), ensure_ascii=False)[1:-1]
    return text.replace(here, f"data/{study.resolve().name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", metavar="STUDY", type=Path, help="A folder with a study.yml.")
    layout = Layout(parser.parse_args().study)
    try:
        print(f"{publish(layout)} files are in {layout.published}.")
    except (StudyError, OSError) as error:
        print(f"publish.py: {sentence(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
