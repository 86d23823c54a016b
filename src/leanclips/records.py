"""What a run leaves behind: the schema of result.json and of the tables beside it.

The files hold no date and no duration, so two equal runs leave equal bytes.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from leanclips.errors import StudyError
from leanclips.files import write_text, written_aside

CLASSIFIERS = ("crnn", "linear")
EPOCHS = ("last", "best")
# What may stand in place of a clip's frames in order, and whom it can make a difference to: the
# linear classifier takes the mean over frames itself, whatever their order.
VIEWS = {"shuffled": ("crnn",), "middle": CLASSIFIERS, "mean": ("crnn",)}
VERSIONS_OF = ("leanclips", "numpy", "opencv-python", "torch", "torchvision", "av",
               "imageio-ffmpeg")

# Columns of the tables, in order.
HISTORY = ("classifier", "epoch", "train_loss", "train_accuracy", "validation_loss",
           "validation_accuracy")
PREDICTIONS = ("classifier", "epoch", "clip", "label", "predicted")
VIEW_PREDICTIONS = ("view", "seed", *PREDICTIONS)
CROSSTEST = ("variant", "seed", "classifier", "epoch", "tested_on", "clip", "label", "predicted")
REPORT = ("clip", "role", "label", "seconds", "frames", "width", "height", "fps", "bytes_in",
          "bytes_out", "crf", "quality", "quality_mean", "chroma", "encodes", "reason", "detail",
          "sha256", "probes")
TREE_REPORT = ("file", "delivered", "seconds", "frames", "width", "height", "fps", "bytes_in",
               "bytes_out", "crf", "quality", "quality_mean", "chroma", "windows", "drift",
               "encodes", "reason", "detail", "sha256_in", "sha256")

# What stays text even where it looks like a number: the clip 001 of the class 7.
TEXT_COLUMNS = {"clip": str, "label": str, "predicted": str, "variant": str, "tested_on": str,
                "classifier": str, "role": str, "reason": str, "sha256": str, "key": str,
                "detail": str, "probes": str}


class Record(BaseModel):
    """Written once, read by the analysis."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EpochScore(Record):
    """Accuracies are fractions of clips."""

    epoch: int
    train_accuracy: float
    validation_accuracy: float


class ClassifierResult(Record):
    """`last` is the last epoch; `best` the first one of the highest validation accuracy."""

    trainable_parameters: int
    last: EpochScore
    best: EpochScore


class RunResult(Record):
    """result.json of one training: `variant` is `pretrain` for the pretraining run."""

    schema_version: Literal[1] = 1
    study: str
    variant: str
    seed: int
    synthetic: bool
    leaks_recordings: bool = False
    classes: tuple[str, ...]
    train_clips: int
    validation_clips: int
    split_sha256: str
    features_sha256: str
    backbone: str
    backbone_sha256: str
    precision: str = "fp32"  # of the CRNN's products in training; its weights are fp32
    device: str = "cpu"  # where the CRNN learned: cuda only together with its backbone
    versions: dict[str, str]
    command: str
    classifiers: dict[str, ClassifierResult]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}}


def write_result(path: Path, result: RunResult) -> None:
    """Write result.json, whole or not at all."""
    write_text(path, result.model_dump_json(indent=2) + "\n")


def read_result(path: Path) -> RunResult:
    """Read result.json; StudyError where it is missing or not of this schema."""
    try:
        return RunResult.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError("the run has no result yet", path, "run the study first") from None
    except ValueError:
        raise StudyError("is not a result of this version", path,
                         "delete it and run the study again") from None


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with written_aside(path) as aside:
        table.to_csv(aside, index=False, lineterminator="\n", errors="backslashreplace")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table; StudyError where it is missing."""
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=TEXT_COLUMNS)
    except FileNotFoundError:
        raise StudyError("the table is not there yet", path, "run the study first") from None
