"""What the notebook of one run shows: tables and a figure made from its records."""

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from leanclips.analysis.display import SYNTHETIC
from leanclips.analysis.figures import title
from leanclips.analysis.formats import classifier_name, percent, several
from leanclips.analysis.style import Figure, Theme, colours, legend_above, panels, percent_axis
from leanclips.analysis.tables import Table
from leanclips.leaks import LEAKS
from leanclips.recognition.runs import Run
from leanclips.records import EPOCHS, EpochScore

EPOCH_NAMES = {"last": "last", "best": "best on validation"}
PARTS = {"training": "train_accuracy", "validation": "validation_accuracy"}


def scores(run: Run) -> Table:
    """Both classifiers at both epochs."""
    result, rows, data = run.result, [], []
    for name, classifier in result.classifiers.items():
        for epoch in EPOCHS:
            score: EpochScore = getattr(classifier, epoch)
            right = round(score.validation_accuracy * result.validation_clips)
            rows.append((title(name), f"{EPOCH_NAMES[epoch]} ({score.epoch})",
                         percent(score.train_accuracy), percent(score.validation_accuracy),
                         f"{right} of {result.validation_clips}"))
            data.append({"classifier": name, "which": epoch, **score.model_dump()})
    caption = (f"Accuracy of {_who(run)}: {several(result.train_clips, 'training clip')} "
               "(accuracy while training), "
               f"{several(result.validation_clips, 'validation clip')}.{_warning(run)}")
    return Table("scores", caption, ("Classifier", "Epoch", "Training", "Validation", "Right"),
                 tuple(rows), pd.DataFrame(data))


def curves(run: Run) -> Figure:
    """Accuracy by epoch, the picked epoch ringed."""
    told = "; ".join(
        f"{classifier_name(name)}: {percent(score.last.validation_accuracy)} of the validation "
        f"clips at the last epoch, {percent(score.best.validation_accuracy)} at epoch "
        f"{score.best.epoch}" for name, score in run.result.classifiers.items())
    return Figure("curves", f"Accuracy by epoch of {_who(run)}. Ring: the epoch that validation "
                  f"picks.{_warning(run)}", f"Learning curves. {told}.", run.history,
                  lambda theme: _draw_curves(run, theme))


def _draw_curves(run: Run, theme: Theme) -> Canvas:
    canvas, axes = panels(1, len(run.result.classifiers), 2.6, sharey=True)
    colour = colours(tuple(PARTS))
    for ax, (name, classifier) in zip(axes, run.result.classifiers.items(), strict=True):
        history = run.history[run.history["classifier"] == name]
        for (part, column), line in zip(PARTS.items(), ("--", "-"), strict=True):
            ax.plot(history["epoch"], history[column], line, color=colour[part], label=part)
        ax.plot(classifier.best.epoch, classifier.best.validation_accuracy, "o", markersize=9,
                markerfacecolor="none", markeredgecolor=theme.ink, label="picked")
        ax.set(title=title(name), xlabel="Epoch", ylim=(-0.03, 1.03))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].set_ylabel("Accuracy")
    percent_axis(axes[0].yaxis)
    legend_above(canvas, axes[0], 3)
    return canvas


def confusion(run: Run) -> Table:
    """How many validation clips of each class (rows) were taken for which (columns)."""
    names = list(run.result.classes)
    counts = pd.concat({classifier: pd.crosstab(part["label"], part["predicted"])
                        .reindex(index=names, columns=names, fill_value=0)
                        for classifier, part in _last(run).groupby("classifier", sort=False)})
    rows = tuple((title(classifier), label, *(str(count) for count in row))
                 for (classifier, label), row in zip(counts.index, counts.to_numpy(), strict=True))
    data = counts.rename_axis(["classifier", "label"]).rename_axis(None, axis=1).reset_index()
    return Table("confusion", "Validation clips of each class (rows), by the class they were "
                 f"recognized as (columns), last epoch.{_warning(run)}",
                 ("Classifier", "Class", *names), rows, data)


def mistakes(run: Run) -> Table:
    """The validation clips that a classifier got wrong, with what it took them for."""
    data = _last(run).pivot(index=["clip", "label"], columns="classifier", values="predicted")
    data = data[list(run.result.classifiers)].reset_index().rename_axis(None, axis=1)
    wrong = data[list(run.result.classifiers)].ne(data["label"], axis=0).any(axis=1)
    found = data[wrong].reset_index(drop=True)
    rows = tuple((row["clip"], row["label"], *("right" if row[name] == row["label"] else row[name]
                                              for name in run.result.classifiers))
                 for row in found.to_dict("records"))
    caption = (f"Validation clips that a classifier got wrong at the last epoch: {len(rows)} of "
               f"{run.result.validation_clips}.{_warning(run)}")
    header = ("Clip", "Class", *(f"{title(name)} said" for name in run.result.classifiers))
    return Table("mistakes", caption, header, rows, found)


def provenance(run: Run) -> Table:
    """What the run was made of, and the command that makes it again."""
    result = run.result
    rows = (("Made by", result.command), ("Backbone", result.backbone),
            ("Backbone weights, SHA-256", result.backbone_sha256),
            ("Features, SHA-256", result.features_sha256),
            ("Split, SHA-256", result.split_sha256), ("Seed", str(result.seed)),
            ("Precision of training", f"{result.precision}, on {result.device}"),
            *((f"{name}, version", number) for name, number in result.versions.items()))
    return Table("provenance", "What these numbers depend on.", ("What", "Value"), rows,
                 pd.DataFrame(rows, columns=["what", "value"]))


def _last(run: Run) -> pd.DataFrame:
    return run.predictions[run.predictions["epoch"] == "last"]


def _who(run: Run) -> str:
    return f"{run.result.variant}, seed {run.result.seed}"


def _warning(run: Run) -> str:
    told = [SYNTHETIC] * run.result.synthetic + [LEAKS] * run.leaks
    return "".join(f" {sentence}" for sentence in told)
