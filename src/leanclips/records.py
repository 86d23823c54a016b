"""What a stage leaves behind, and the keys that say what it was made from.

A key is a hash of the content that a record was made from, the settings that it used and the
version of its recipe. A stage makes anew what does not match; what reads records refuses a mixture.
No file holds a date or a duration, so two equal runs leave equal bytes.
"""

import gzip
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd
from pydantic import JsonValue

from leanclips.errors import StudyError
from leanclips.files import key, write_text, written_aside
from leanclips.study import Strict

RUN_AGAIN = "run the study again ('make study STUDY=…'); it redoes only what does not match"
PUBLISH_AGAIN = "publish the study again"
LAST, BEST = EPOCHS = ("last", "best")
IN_ORDER = "in-order"
# What a classifier may see in place of the frames in order, where that differs for it: the linear
# classifier takes the mean over frames itself, and the temporal one does where nothing moves.
SEEN_BY = {"shuffled": ("temporal", "crnn"), "middle": ("linear", "temporal", "crnn"),
           "mean": ("crnn",)}
VERSIONS_OF = ("leanclips", "python", "numpy", "scikit-learn", "opencv-python", "torch",
               "torchvision", "av", "imageio-ffmpeg")

# Columns of the tables, in order. PREDICTIONS is followed by a column for each class, named
# "p: <class>": the probability that the classifier gives it.
HISTORY = ("round", "input", "epoch", "train_loss", "train_accuracy", "validation_loss",
           "validation_accuracy")
PREDICTIONS = ("part", "round", "classifier", "epoch", "input", "tested_on", "clip", "label",
               "predicted")
REPORT = ("clip", "role", "label", "seconds", "frames", "width", "height", "fps", "bytes_in",
          "bytes_out", "crf", "quality", "quality_mean", "chroma", "encodes", "reason", "detail",
          "sha256", "probes")
TREE_REPORT = ("file", "delivered", "seconds", "frames", "width", "height", "fps", "bytes_in",
               "bytes_out", "crf", "quality", "quality_mean", "chroma", "zones", "drift",
               "encodes", "reason", "detail", "sha256_in", "sha256")

# What stays text even where it looks like a number: the clip 001 of the class 7.
TEXT_COLUMNS = dict.fromkeys(("clip", "label", "predicted", "variant", "tested_on", "classifier",
                              "role", "reason", "sha256", "key", "detail", "probes"), str)


class Record(Strict):
    """Written once, read by later stages and the report."""


class Origin(Record):
    """What a record was made from.

    `settings` are those it used, readable; `inputs` the hashes of the content it was made from;
    `machine` the versions and the device that its numbers depend on. `recipe` goes up when a change
    of the code makes other results from the same inputs.
    """

    recipe: int
    settings: dict[str, JsonValue]
    inputs: dict[str, str]
    machine: dict[str, str] = {}

    @property
    def key(self) -> str:
        return key(self.model_dump(mode="json"))

    def difference(self, now: "Origin") -> str:
        """The first difference in words ("epochs was 25 and is 2"); empty if there is none.

        What `now` does not tell of inputs and machine is not compared: published records are read
        without the original clips, on other computers.
        """
        known = {name: value for name, value in self.inputs.items() if name in now.inputs}
        pairs = [({"the recipe": self.recipe}, {"the recipe": now.recipe}),
                 (flat(self.settings), flat(now.settings)), (_named(known), _named(now.inputs)),
                 (self.machine if now.machine else {}, now.machine)]
        for then, wanted in pairs:
            for name in [*wanted, *(name for name in then if name not in wanted)]:
                if then.get(name) != wanted.get(name):
                    return f"{name} was {_told(then.get(name))} and is {_told(wanted.get(name))}"
        return ""


def flat(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Nested settings by their dotted names."""
    return pd.json_normalize(settings, sep=".").to_dict("records")[0]


def _named(inputs: Mapping[str, str]) -> dict[str, str]:
    return {f"the content of {name}": value[:12] for name, value in inputs.items()}


def _told(value: JsonValue) -> str:
    return "absent" if value is None else str(value)


class StageRecord(Record):
    """The record beside a stage's table: `<table>.json`."""

    key: str
    origin: Origin


class EpochScore(Record):
    """Accuracies are fractions of clips; None where there are no validation clips."""

    epoch: int
    train_accuracy: float
    validation_accuracy: float | None


class RoundResult(Record):
    """How one classifier learned in one round.

    `last` is the CRNN's last epoch, or the whole fit of the other classifiers (epoch 0); `best` the
    first epoch of the highest validation accuracy, None without validation clips.
    `regularization` is the C that logistic regression was given.
    """

    trainable_parameters: int
    last: EpochScore
    best: EpochScore | None = None
    regularization: float | None = None


class RoundClips(Record):
    """How many clips a round trains, validates and tests on, and the hash of which."""

    training: int
    validation: int
    test: int
    sha256: str


class Stated(Record):
    """What was fixed before the run: the equivalence margin and the primary endpoint."""

    margin: float
    classifier: str
    variant: str
    tested_on: str


class RunResult(Record):
    """result.json of one run; `variant` is `pretrain` for the pretraining.

    `origin.settings` holds epochs, batch size, learning rate, network, sampling, protocol and
    precision. `classifiers` holds one result for each round.
    """

    schema_version: Literal[2] = 2
    study: str
    variant: str
    seed: int
    key: str
    origin: Origin
    stated: Stated
    synthetic: bool
    leaks_recordings: bool = False
    classes: tuple[str, ...]
    rounds: tuple[RoundClips, ...]
    versions: dict[str, str]
    command: str
    classifiers: dict[str, tuple[RoundResult, ...]]

    @property
    def own_kind(self) -> str:
        """The variant whose clips are of the run's own kind (study.Together has none)."""
        return self.origin.settings.get("together", [self.variant])[-1]


def versions(names: Sequence[str] = VERSIONS_OF) -> dict[str, str]:
    """Versions of what the numbers depend on; those that are not installed are left out."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = platform.python_version() if name == "python" else version(name)
    return found


R = TypeVar("R", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, whole or not at all."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record; StudyError where it is missing or not of this version."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError("the record is not there yet", path, "run the study first") from None
    except ValueError:
        raise StudyError("is not a record of this version", path, RUN_AGAIN) from None


def read_runs(path: Path) -> dict[tuple[str, int], RunResult]:
    """The published records of all runs, by variant and seed."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
        runs = [RunResult.model_validate_json(line) for line in lines]
    except (ValueError, EOFError, OSError):
        raise StudyError("holds no records of this version", path, PUBLISH_AGAIN) from None
    return {(run.variant, run.seed): run for run in runs}


def found(path: Path, kind: type[R]) -> R | None:
    """The record at `path`, if there is one of this version."""
    try:
        return read_record(path, kind)
    except (StudyError, OSError):
        return None


def check_origin(path: Path, then: Origin, now: Origin) -> None:
    """StudyError unless the record at `path` is what the study, as it is now, would make.

    The machine may be another one: published records are read everywhere.
    """
    if why := then.difference(now):
        raise StudyError(f"was made from something else than the study is now: {why}", path,
                         RUN_AGAIN)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all; as gzip without a date where the name says so."""
    compression = {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
    with written_aside(path) as aside:
        table.to_csv(aside, index=False, lineterminator="\n", errors="backslashreplace",
                     compression=compression)


def read_csv(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or these columns of it; StudyError where one is missing or cannot be read."""
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=TEXT_COLUMNS,
                           usecols=columns)
    except FileNotFoundError:
        raise StudyError("the table is not there yet", path, "run the study first") from None
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise StudyError(f"is not a readable table ({error})", path,
                         f"delete it and {RUN_AGAIN}") from None
