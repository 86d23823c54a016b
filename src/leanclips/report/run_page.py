"""One run: what its notebook shows, and the executed notebook as a page of the book."""

import gzip
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd
from IPython.display import clear_output, display
from nbformat.v4 import new_markdown_cell, new_notebook

from leanclips.errors import StudyError
from leanclips.records import EPOCHS, IN_ORDER, LAST, RunResult, flat
from leanclips.report.display import Figure, Table, warnings
from leanclips.report.figures import CURVES, draw_learning
from leanclips.report.formats import heading, percent, several, told
from leanclips.study import CRNN
from leanclips.training.crnn import Epoch
from leanclips.training.pretrain import Run

RUN_PAGE = "{variant}-runs"  # beside the index of runs, with the records
RECORD = "{variant}-seed-{seed:02d}.json"
WIDGET = "application/vnd.jupyter.widget-view+json"
HIDDEN = "remove-cell"  # the tag of cells that a notebook needs and its page does not
PYTHON = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}


def scores(run: Run) -> Table:
    """Each classifier at its last epoch, and at the best one where there is one."""
    own, counts, rows = _own(run), run.result.rounds, []
    right = own["label"].eq(own["predicted"]).groupby(
        [own["classifier"], own["epoch"], own["part"]]).agg(["mean", "sum", "size"])
    cells = pd.Series(told(right, "{mean:percent} ({sum} of {size})"), right.index).unstack()
    cells = cells.reindex(columns=["validation", "test"])
    for classifier, rounds in run.result.classifiers.items():
        for epoch in EPOCHS if rounds[0].best else (LAST,):
            found = [getattr(one, epoch) for one in rounds]
            rows.append({"classifier": classifier, **cells.loc[classifier, epoch],
                         "which": "last" if epoch == LAST else "best on validation",
                         "epoch": ", ".join(str(one.epoch) for one in found if one.epoch) or None,
                         "training": sum(one.train_accuracy for one in found) / len(found)})
    return Table.of(
        "scores", f"Accuracy of {_who(run)}, in {several(len(counts), 'round')}. Training: "
        f"accuracy while training on {several(counts[0].training, 'clip')}; validation and test: "
        f"on clips of its own kind.{_warning(run)}", pd.DataFrame(rows),
        {"Classifier": "{classifier:heading}", "Epoch": "{which} ({epoch})",
         "Training": "{training:percent}", "Validation": "{validation}", "Test": "{test}"})


class Live:
    """Shows in a notebook's cell how the CRNN learns, until it has learnt (see crnn.train)."""

    due = 0.0

    def __call__(self, epochs: Sequence[Epoch], total: int) -> None:
        if len(epochs) == total:
            return clear_output()
        if (begun := time.monotonic()) >= self.due:
            lines = pd.DataFrame(epochs)[["epoch", *CURVES]].rename(columns=CURVES).dropna(
                axis=1).melt("epoch", var_name="part", value_name="accuracy")
            clear_output(wait=True)
            display(Figure("live", f"Accuracy of the CRNN after {len(epochs)} of {total} epochs.",
                           "Learning curves.", lines, lambda theme: draw_learning(
                               lines, "part", lines["part"].unique(), "Accuracy", theme)))
            self.due = begun + 5 * (time.monotonic() - begun)  # the rest is for the training


def curves(run: Run) -> Figure | None:
    """The CRNN's accuracy by epoch, mean over rounds, the best epoch ringed; None without one."""
    if CRNN not in run.result.classifiers:
        return None
    history = run.history[run.history["input"] == IN_ORDER].groupby("epoch")
    data = history[list(CURVES)].mean().dropna(axis=1).rename(columns=CURVES)
    best = run.result.classifiers[CRNN][0].best
    last = "; ".join(f"{name} {percent(value)}" for name, value in data.iloc[-1].items())
    picked = ring = ""
    if best:
        picked = f", validation {percent(best.validation_accuracy)} at epoch {best.epoch}"
        ring = " Ring: the epoch that is best on validation."
    lines = data.melt(var_name="part", value_name="accuracy", ignore_index=False).reset_index()
    return Figure("curves", f"Accuracy of the CRNN by epoch, {_who(run)}.{ring}{_warning(run)}",
                  f"Learning curves. At the last epoch: {last}{picked}.", lines,
                  lambda theme: draw_learning(lines, "part", data.columns, "Accuracy", theme, best))


def confusion(run: Run) -> Table:
    """How many clips of each class (rows) were taken for which (columns)."""
    names = list(run.result.classes)
    said, order = _judged(run), pd.MultiIndex.from_product([run.result.classifiers, names])
    counts = pd.crosstab([said["classifier"], said["label"]], said["predicted"]).reindex(
        index=order, columns=names, fill_value=0)
    rows = tuple((heading(classifier), label, *map(str, row))
                 for (classifier, label), *row in counts.itertuples(name=None))
    header = ("Classifier", "Class", *names)
    return Table("confusion", f"{_part(run)} clips of each class (rows), by the class they were "
                 f"recognized as (columns), last epoch.{_warning(run)}", header, rows,
                 pd.DataFrame(rows, columns=header))


def mistakes(run: Run) -> Table:
    """The clips that a classifier got wrong, with what it took them for."""
    names = list(run.result.classifiers)
    said = _judged(run).pivot(index=["clip", "label"], columns="classifier", values="predicted")
    said = said[names].rename_axis(None, axis=1).reset_index()
    right = said[names].eq(said["label"], axis=0)
    wrong = said.assign(**said[names].mask(right, "right"))[~right.all(axis=1)]
    return Table.of(
        "mistakes", f"{_part(run)} clips that a classifier got wrong at the last epoch: "
        f"{len(wrong)} of {len(said)}.{_warning(run)}", wrong,
        {"Clip": "{clip}", "Class": "{label}",
         **{f"{heading(name)} said": f"{{{name}}}" for name in names}})


def provenance(result: RunResult) -> Table:
    """The command that makes a run again, and what it was trained with and made from."""
    origin = result.origin
    rows = [("Made by", result.command),
            *((f"Setting {name}", value) for name, value in flat(origin.settings).items()),
            *((f"{name}, SHA-256", value) for name, value in origin.inputs.items()),
            *((f"Round {number}, SHA-256", f"{one.sha256} ({one.training} training, "
               f"{one.validation} validation, {one.test} test clips)")
              for number, one in enumerate(result.rounds, 1)),
            *((f"Computed with: {name}", value) for name, value in origin.machine.items()),
            *((f"{name}, version", value) for name, value in result.versions.items()),
            ("Key of the record", result.key)]
    shown = tuple((what, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
                  for what, value in rows)
    return Table("provenance", "What these numbers depend on.", ("What", "Value"), shown,
                 pd.DataFrame(shown, columns=["what", "value"]))


def _own(run: Run) -> pd.DataFrame:
    """Answers to clips of the run's own kind, frames in order."""
    said = run.predictions
    return said[(said["tested_on"] == run.result.own_kind) & (said["input"] == IN_ORDER)]


def _judged(run: Run) -> pd.DataFrame:
    """The last epoch's answers to the validation clips; without these, to the test clips."""
    said = _own(run)
    return said[(said["epoch"] == LAST) & (said["part"] == _part(run).lower())]


def _part(run: Run) -> str:
    return "Validation" if run.result.rounds[0].validation else "Test"


def _who(run: Run) -> str:
    return f"{run.result.variant}, seed {run.result.seed}"


def _warning(run: Run) -> str:
    return "".join(f" {line}" for line in warnings(run.result.synthetic, run.leaks))


def page(notebook: Path, title: str, intro: str, made_by: str) -> str:
    """The notebook as JSON with the page's own title and provenance around it, without its hidden
    cells. Without a notebook the page is its frame.
    """
    cells = executed(notebook).cells if notebook.is_file() else []
    shown = [cell for cell in cells if HIDDEN not in cell.metadata.get("tags", [])]
    first = new_markdown_cell(f"# {title}\n\n{intro}", id="page-title")
    last = new_markdown_cell(f"## Provenance\n\n{made_by}", id="page-provenance")
    return nbformat.writes(new_notebook(cells=[first, *shown, last], metadata=PYTHON)) + "\n"


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook without times, progress lines and widgets, which need a running kernel."""
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        notebook = nbformat.reads(text.decode("utf-8"), as_version=4)
        for part in (notebook, *notebook.cells):
            part.metadata.pop("papermill", None)
            part.metadata.pop("execution", None)
            if "outputs" in part:
                part.outputs = [one for one in part.outputs if one.get("name") != "stderr"
                                and WIDGET not in one.get("data", {})]
        return notebook
    except (ValueError, EOFError, AttributeError, KeyError, nbformat.ValidationError,
            gzip.BadGzipFile) as error:
        raise StudyError(f"is not a notebook ({error})", path,
                         "delete it and run the study again") from None
