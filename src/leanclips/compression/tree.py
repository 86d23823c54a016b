"""A whole folder: every video in it made as small as it gets, the rest copied, all reported."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from leanclips.compression.batch import Made, Task, make_all
from leanclips.compression.codec import ffmpeg_version
from leanclips.compression.names import destinations, is_video, places_of
from leanclips.compression.optimize import Drift, Outcome
from leanclips.compression.quality import Goal
from leanclips.compression.walk import RECORDS, Tree, walk
from leanclips.errors import StudyError
from leanclips.files import key, only_one, remove_asides, write_text
from leanclips.records import TREE_REPORT, versions, write_csv

CLAIMED = "claimed"  # in RECORDS: the names of all that leanclips delivers here
REPORTS = ("report.csv", "report.json")
WHOLE = ("frames", "width", "height", "windows")


@dataclass(frozen=True)
class Summary:
    """What became of a tree: its reports and their totals. `left_out` are links that lead
    nowhere or back, and what else is neither a file nor a folder.
    """

    report: Path
    files: int
    bytes_in: int
    bytes_out: int
    reasons: dict[str, int]
    left_out: tuple[Path, ...] = ()


def optimize_tree(source: Path, destination: Path, goal: Goal, jobs: int,
                  codec: str | None = None, drift: Drift | None = None) -> Summary:
    """Optimize the file or tree `source` into the folder `destination`.

    The same tree results: videos re-encoded or, with a reason, kept; other files copied; links
    followed. report.csv has a row for each file, report.json every window and every encode as
    well. Finished files are known by their content and not made again. Raises StudyError for
    folders that cannot be used and for files that may not be opened; a video that cannot be
    decoded is kept and reported.
    """
    tree = _tree(source, destination)
    with only_one(destination / RECORDS / "lock", destination):
        return _optimize_tree(tree, source, destination, goal, jobs, codec, drift)


def _optimize_tree(tree: Tree, source: Path, destination: Path, goal: Goal,
                   jobs: int, codec: str | None, drift: Drift | None) -> Summary:
    remove_asides([destination, destination / RECORDS])
    root = source if source.is_dir() else source.parent
    tasks = _tasks(tree, root, destination, goal, codec, drift)
    _claim(tasks, destination, codec)
    for folder in tree.folders:
        (destination / folder.relative_to(root)).mkdir(parents=True, exist_ok=True)
    for name in REPORTS:  # of what this run is about to replace
        (destination / name).unlink(missing_ok=True)
    made = make_all(tasks, jobs, "optimize")
    names = [file.relative_to(root).as_posix() for file in tree.files]
    table = pd.DataFrame([_row(name, destination, one)
                          for name, one in zip(names, made, strict=True)],
                         columns=list(TREE_REPORT))
    table = table.astype({name: "Int64" for name in WHOLE})
    write_csv(destination / "report.csv", table)
    write_text(destination / "report.json", json.dumps(
        _details(names, made, goal, codec, drift), indent=1) + "\n")
    return Summary(destination / "report.csv", len(names), int(table["bytes_in"].sum()),
                   int(table["bytes_out"].sum()), dict(Counter(table["reason"])), tree.others)


def _tree(source: Path, destination: Path) -> Tree:
    if not source.exists():
        raise StudyError("there is no such file or folder", source, "name the clips to optimize")
    if destination.is_file():
        raise StudyError("is a file", destination, "name a folder for the optimized clips")
    one, inner = source.is_file(), destination.resolve()
    tree = Tree((source,)) if one else walk(source)
    if (inner == source.resolve().parent if one else
            any(inner.is_relative_to(folder.resolve()) for folder in tree.folders)):
        raise StudyError("the optimized clips would lie among their sources", destination,
                         "name a folder outside the source")
    if not tree.files:
        raise StudyError("the folder holds no file", source, "name the folder of the clips")
    for name in REPORTS:
        if not one and (source / name).exists():
            raise StudyError("has the name of a report that is written beside the clips",
                             source / name, "rename it")
    return tree


def _tasks(tree: Tree, root: Path, destination: Path, goal: Goal, codec: str | None,
           drift: Drift | None) -> list[Task]:
    """A task for each file. Its record has a name of one length, whatever the file's."""
    tasks = []
    for file, place in destinations(tree, root, destination, codec).items():
        how, moved = ((("optimize", goal, codec), drift) if is_video(file) else (("copy",), None))
        name = key(file.relative_to(root).as_posix())
        record = destination / RECORDS / "files" / f"{name}.json"
        tasks.append(Task(file, place, record, how, moved, lenient=True))
    return tasks


def _claim(tasks: Sequence[Task], destination: Path, codec: str | None) -> None:
    """Note the names of what is about to be delivered. StudyError where one of them is a source,
    or is there already and no run of leanclips has claimed it: it is not leanclips' to replace.
    """
    note = destination / RECORDS / CLAIMED
    claimed = set(json.loads(note.read_text())) if note.exists() else set()
    sources = {task.parent.resolve() for task in tasks}
    places = {destination / name: destination for name in REPORTS}
    for task in tasks:
        places |= dict.fromkeys(places_of(task.parent, task.destination, codec), task.parent)
    for path, file in places.items():
        if path.resolve() in sources:
            raise StudyError("would be delivered in place of a source", file,
                             "name another folder for the optimized clips")
        if path.exists() and path.relative_to(destination).as_posix() not in claimed:
            raise StudyError("is there already, and leanclips did not make it", path,
                             "name an empty folder, or move that file away")
    claimed.update(path.relative_to(destination).as_posix() for path in places)
    write_text(note, json.dumps(sorted(claimed), indent=1))


def _row(name: str, destination: Path, made: Made) -> tuple:
    outcome, facts = made.outcome, made.facts
    shown = ((None,) * 5 if facts is None else
             (round(facts.seconds, 4), facts.frames, facts.width, facts.height,
              round(facts.fps, 4)))
    quality = outcome.quality
    scores = ((quality.worst, quality.mean, quality.chroma, len(quality.windows))
              if outcome.crfs else (None,) * 4)
    return (name, outcome.path.relative_to(destination).as_posix(), *shown, outcome.bytes_in,
            outcome.bytes_out, outcome.crf, *scores, outcome.drift, len(outcome.tries),
            str(outcome.reason), outcome.detail, made.sha256_in, made.sha256)


def _details(names: Sequence[str], made: Sequence[Made], goal: Goal, codec: str | None,
             drift: Drift | None) -> dict:
    return {
        "goal": asdict(goal), "codec": codec or "as the source",
        "features": drift and drift.fingerprint,
        "versions": versions() | {"ffmpeg": ffmpeg_version(), "vmaf model": "vmaf_v0.6.1neg"},
        "files": [{
            "file": name, "sha256_in": one.sha256_in, "sha256": one.sha256,
            "bytes_in": one.outcome.bytes_in, "bytes_out": one.outcome.bytes_out,
            "reason": str(one.outcome.reason), "detail": one.outcome.detail,
            "drift": one.outcome.drift,
            "windows": [{"first_frame": start, "crf": crf, "quality": score}
                        for start, crf, score in zip(
                            one.outcome.starts, _each(one.outcome), one.outcome.quality.windows,
                            strict=True)] if one.outcome.crfs else [],
            "encodes": [asdict(sample) for sample in one.outcome.tries],
        } for name, one in zip(names, made, strict=True)],
    }


def _each(outcome: Outcome) -> tuple[float, ...]:
    """The CRF of each window."""
    many = len(outcome.starts) if len(outcome.crfs) == 1 else 1
    return outcome.crfs * many
