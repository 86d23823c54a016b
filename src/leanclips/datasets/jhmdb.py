"""J-HMDB: 928 clips of 21 classes; four are the target, the other 17 serve pretraining.

The table of data/jhmdb is made by `python -m leanclips.datasets.jhmdb HASHES.CSV CLIPS.CSV`. With
the folder of the official lists (splits.zip of the same site) as a third argument, the column fold
says on which side of the first official split a clip is, for `pretraining.split: official`.
"""

import csv
import shutil
import sys
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from leanclips.clips import Clip, Role, read_table, write_table
from leanclips.compression.probe import probe
from leanclips.datasets.download import disk_full_told, download, need_space
from leanclips.errors import StudyError
from leanclips.files import file_sha256, written_aside
from leanclips.layout import inside
from leanclips.progress import progress
from leanclips.splits import choose_groups

OFFICIAL_URL = "http://files.is.tue.mpg.de/jhmdb/JHMDB_video.zip"
TABLE = Path(__file__).parents[3] / "data" / "jhmdb" / "clips.csv"
TARGET_CLASSES = ("climb_stairs", "jump", "run", "walk")
HELDOUT_PER_CLASS = 12
FOLDS = {"1": "train", "2": "validation"}
GET_LISTS = "unpack the official splits.zip there"
SPLIT_SEED = 0


def table(source: Path, splits_folder: Path | None = None, split: int = 1) -> list[Clip]:
    """The study's clips, from a list of hashes or from the folder that holds the class folders.

    The list has the columns file, class, frames and sha256. `splits_folder` holds the official
    lists, of which there are three (`split`).
    """
    rows = _listed(source) if source.is_file() else _found(source)
    folds = official_folds(splits_folder, split) if splits_folder else {}
    if folds and (unknown := sorted({row["file"] for row in rows} - set(folds))):
        raise StudyError(f"{len(unknown)} clips are in none of the official lists, the first is "
                         f"{unknown[0]}", splits_folder, GET_LISTS)
    for row in rows:
        row["group"] = group_of(PurePosixPath(row["file"]).stem, row["class"])
    rows.sort(key=lambda row: row["file"])
    heldout = heldout_groups(rows)
    counters: Counter[str] = Counter()
    clips = []
    for row in rows:
        label = row["class"]
        counters[label] += 1
        role = Role.PRETRAIN
        if label in TARGET_CLASSES:
            role = Role.HELDOUT if row["group"] in heldout else Role.TARGET
        clips.append(Clip(f"{label}-{counters[label]:03d}", row["file"], label, row["group"],
                          role, int(row["frames"]), row["sha256"],
                          fold=folds.get(row["file"], "")))
    return clips


def official_folds(folder: Path, split: int = 1) -> dict[str, str]:
    """`train` or `validation` for each file, as an official split has it.

    Its lists are `<class>_test_split<n>.txt`; each line is a clip's name and 1 (train) or 2 (test),
    as the data set's README says (Jhuang et al., ICCV 2013). StudyError where they are missing or
    other than that.
    """
    end = f"_test_split{split}.txt"
    folds = {}
    for path in sorted(folder.glob(f"*{end}")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            name, _, side = line.strip().rpartition(" ")
            if side not in FOLDS:
                raise StudyError("is not a clip's name and 1 or 2", f"{path} line {number}",
                                 GET_LISTS)
            folds[f"{path.name.removesuffix(end)}/{name.strip()}"] = FOLDS[side]
    if not folds:
        raise StudyError(f"holds no list *{end}", folder, GET_LISTS)
    return folds


def heldout_groups(rows: list[dict[str, str]]) -> set[str]:
    """Recordings to hold out: 12 clips of each target class, each recording in one such class.

    Many recordings are feature films with clips in target and in pretraining classes. Those
    with the fewest pretraining clips go first, and chance decides among equals: `run` has
    only 9 clips and `walk` 11 of recordings that no pretraining class uses.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    uses: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        uses[row["group"]][row["class"]] += 1
    chosen: set[str] = set()
    for label in TARGET_CLASSES:
        levels: dict[int, dict[str, int]] = defaultdict(dict)
        for group, counts in uses.items():
            if [name for name in counts if name in TARGET_CLASSES] == [label]:
                levels[counts.total() - counts[label]][group] = counts[label]
        wanted = HELDOUT_PER_CLASS
        for _, sizes in sorted(levels.items()):
            some = set(sizes)
            if sum(sizes.values()) > wanted:
                some = choose_groups(sizes, wanted, rng)
            chosen |= some
            wanted -= sum(sizes[group] for group in some)
            if wanted <= 0:
                break
    return chosen


def group_of(name: str, label: str) -> str:
    """The recording: a file's name before the last `_<class>_`."""
    return name.rpartition(f"_{label}_")[0] or name


def fetch(folder: Path, clips: Sequence[Clip] | None = None, url: str = OFFICIAL_URL) -> int:
    """Put the clips (of data/jhmdb) into `folder`; returns how many were not there yet.

    A clip counts as there only with the SHA-256 that the table lists. The archive lies in
    `folder` until all of it is unpacked; a damaged or different one is removed.
    """
    clips = read_table(TABLE) if clips is None else clips
    missing = [clip for clip in progress(clips, len(clips), "checking")
               if not _is_good(folder, clip)]
    if not missing:
        return 0
    archive = folder / "JHMDB_video.zip"
    if not archive.exists():
        download(url, archive)
    try:
        unpack(archive, folder, missing)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        archive.unlink()
        raise StudyError(f"the archive is not good ({error}) and was removed", url,
                         "run the same command again, or give another address with --url"
                         ) from None
    archive.unlink()
    return len(missing)


def unpack(archive: Path, folder: Path, clips: Sequence[Clip]) -> None:
    """Copy `clips` out of the archive, found by `<class>/<name>.avi`, wherever that lies in it.

    Names in the archive only select: what is written, and where, comes from the table.
    """
    with zipfile.ZipFile(archive) as packed, disk_full_told(folder):
        members = {"/".join(PurePosixPath(member.filename).parts[-2:]): member
                   for member in packed.infolist()}
        for clip in clips:
            if clip.file not in members:
                raise zipfile.BadZipFile(f"it lacks the clip {clip.file}")
        need_space(folder, sum(members[clip.file].file_size for clip in clips))
        for clip in progress(clips, len(clips), "unpacking"):
            with (written_aside(inside(folder, clip.file)) as aside,
                  packed.open(members[clip.file]) as source):
                with aside.open("wb") as out:
                    shutil.copyfileobj(source, out)
                if clip.sha256 and file_sha256(aside) != clip.sha256:
                    raise zipfile.BadZipFile(f"its {clip.file} is not the clip that clips.csv "
                                             "lists, the SHA-256 differs")


def _is_good(folder: Path, clip: Clip) -> bool:
    path = inside(folder, clip.file)
    return path.is_file() and (not clip.sha256 or file_sha256(path) == clip.sha256)


def _listed(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{**row, "file": row["file"].removeprefix("jhmdb/")} for row in rows]


def _found(root: Path) -> list[dict[str, str]]:
    paths = sorted(root.glob("*/*.avi"))
    if not paths:
        raise StudyError("holds no class folders with .avi files", root,
                         "name the folder that holds J-HMDB's class folders")
    return [{"file": f"{path.parent.name}/{path.name}", "class": path.parent.name,
             "frames": str(probe(path).frames), "sha256": file_sha256(path)}
            for path in progress(paths, len(paths), "hashing")]


if __name__ == "__main__":
    write_table(Path(sys.argv[2]), table(Path(sys.argv[1]), *map(Path, sys.argv[3:4])))
