"""J-HMDB: 928 clips of 21 classes; four are the target, the other 17 serve pretraining.

The table of data/jhmdb is made by `python -m leanclips.datasets.jhmdb CLIPS_FOLDER CLIPS.CSV`. With
the folder of the official lists (splits.zip of the same site) as a third argument, the column fold
says on which side of the first official split a clip is, for `pretraining.split: official`.
"""

import http.client
import shutil
import sys
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from leanclips.clips import Clip, read_table, scan_folders, with_roles, write_table
from leanclips.compression.inspect import probe
from leanclips.errors import StudyError
from leanclips.files import file_sha256, write_bytes
from leanclips.layout import ROOT, inside
from leanclips.rounds import choose_groups
from leanclips.workers import progress

OFFICIAL_URL = "http://files.is.tue.mpg.de/jhmdb/JHMDB_video.zip"
TABLE = ROOT / "data" / "jhmdb" / "clips.csv"
TARGET_CLASSES = ("climb_stairs", "jump", "run", "walk")
HELDOUT_PER_CLASS = 12
LIST = "_test_split1.txt"
FOLDS = {"1": "train", "2": "validation"}
GET_LISTS = "unpack the official splits.zip there"
AGAIN = "run the same command again"
MEBIBYTE = 1 << 20
SECONDS_TO_WAIT = 60


def table(root: Path, splits_folder: Path | None = None) -> list[Clip]:
    """The study's clips, from the folder `root` that holds J-HMDB's class folders."""
    folds = official_folds(splits_folder) if splits_folder else {}
    found, clips = scan_folders(root, None), []
    for clip in progress(found, len(found), "hashing"):
        path = root / clip.file
        recording = path.stem.rpartition(f"_{clip.label}_")[0] or path.stem
        clips.append(replace(clip, group=recording, frames=probe(path).frames,
                             sha256=file_sha256(path), fold=folds.get(clip.file, "")))
    if folds and (unknown := [clip.file for clip in clips if not clip.fold]):
        raise StudyError(f"{len(unknown)} clips are in none of the official lists, the first is "
                         f"{unknown[0]}", splits_folder, GET_LISTS)
    heldout = heldout_groups(clips)
    return with_roles(clips, {clip.id for clip in clips if clip.group in heldout},
                      {clip.label for clip in clips} - set(TARGET_CLASSES))


def official_folds(folder: Path) -> dict[str, str]:
    """`train` or `validation` for each file, by the first official split.

    Its lists are `<class>_test_split1.txt`; each line is a clip's name and 1 (train) or 2 (test),
    as the data set's README says (Jhuang et al., ICCV 2013).
    """
    folds = {}
    for path in sorted(folder.glob(f"*{LIST}")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            name, _, side = line.strip().rpartition(" ")
            if side in FOLDS:
                folds[f"{path.name.removesuffix(LIST)}/{name.strip()}"] = FOLDS[side]
            elif side:
                raise StudyError("is not a clip's name and 1 or 2", f"{path} line {number}",
                                 GET_LISTS)
    if not folds:
        raise StudyError(f"holds no list *{LIST}", folder, GET_LISTS)
    return folds


def heldout_groups(clips: Sequence[Clip]) -> set[str]:
    """Recordings to hold out: 12 clips of each target class, each recording in one such class.

    Many recordings are feature films with clips in target and in pretraining classes. Those
    with the fewest pretraining clips go first, and chance decides among equals: `run` has
    only 9 clips and `walk` 11 of recordings that no pretraining class uses.
    """
    rng = np.random.default_rng(0)
    uses: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        uses[clip.group][clip.label] += 1
    chosen: set[str] = set()
    for label in TARGET_CLASSES:
        levels: dict[int, dict[str, int]] = defaultdict(dict)
        for group, counts in uses.items():
            if counts.keys() & TARGET_CLASSES == {label}:
                levels[counts.total() - counts[label]][group] = counts[label]
        wanted = HELDOUT_PER_CLASS
        for _, sizes in sorted(levels.items()):
            if wanted > 0:
                every = sum(sizes.values()) <= wanted
                some = set(sizes) if every else choose_groups(sizes, wanted, rng)
                chosen |= some
                wanted -= sum(sizes[group] for group in some)
    return chosen


def fetch(folder: Path, clips: Sequence[Clip] | None = None, url: str = OFFICIAL_URL) -> int:
    """Put the clips (of data/jhmdb) into `folder`; returns how many were missing.

    A clip counts as present only with the SHA-256 that the table lists. The archive stays in
    `folder` until all of it is unpacked; a damaged or different one is removed.
    """
    clips = read_table(TABLE) if clips is None else clips
    missing = [clip for clip in progress(clips, len(clips), "checking")
               if not (path := inside(folder, clip.file)).is_file()
               or file_sha256(path) != clip.sha256]
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
                         f"{AGAIN}, or give another address with --url") from None
    archive.unlink()
    return len(missing)


def unpack(archive: Path, folder: Path, clips: Sequence[Clip]) -> None:
    """Copy `clips` out of the archive, found by `<class>/<name>.avi` in any folder of it.

    Names in the archive only select: what is written, and where, comes from the table.
    """
    with zipfile.ZipFile(archive) as packed:
        members = {"/".join(PurePosixPath(member.filename).parts[-2:]): member
                   for member in packed.infolist()}
        if lacking := [clip.file for clip in clips if clip.file not in members]:
            raise zipfile.BadZipFile(f"it lacks the clip {lacking[0]}")
        _need_space(folder, sum(members[clip.file].file_size for clip in clips))
        for clip in progress(clips, len(clips), "unpacking"):
            content = packed.read(members[clip.file])
            if sha256(content).hexdigest() != clip.sha256:
                raise zipfile.BadZipFile(f"its {clip.file} is not the clip that clips.csv lists, "
                                         "the SHA-256 differs")
            write_bytes(inside(folder, clip.file), content)


def download(url: str, path: Path) -> None:
    """Fetch `url` into `path`, resuming from the `.part` file that an interrupted try left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "leanclips"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=SECONDS_TO_WAIT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise StudyError(f"the server answers {error.code} {error.reason}", url,
                             "give the archive's present address with --url") from None
        # The part is as long as the file, or longer.
        if error.headers.get("Content-Range") != f"bytes */{have}":
            part.unlink()
            raise StudyError("the part fetched earlier is not of this file and was removed", url,
                             AGAIN) from None
        part.replace(path)
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StudyError(f"cannot be reached ({getattr(error, 'reason', error)})", url,
                         "check the network, or give another address with --url") from None
    with response:
        if response.status != 206:  # the server sends the whole file
            have = 0
        size = int(response.headers.get("Content-Length") or 0)
        _need_space(path.parent, size)
        chunks = iter(lambda: response.read(MEBIBYTE), b"")
        if size:
            chunks = progress(chunks, -(-size // MEBIBYTE), f"downloading {path.name}", "MiB")
        try:
            with part.open("ab" if have else "wb") as out:
                out.writelines(chunks)
        except (OSError, http.client.HTTPException) as error:
            raise StudyError(f"the download stopped ({error})", url, AGAIN) from None
    if size and part.stat().st_size < have + size:
        raise StudyError(f"the download stopped after {part.stat().st_size} of {have + size} bytes",
                         url, f"{AGAIN}, it goes on from there")
    part.replace(path)


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StudyError(f"the disk has {free // MEBIBYTE} MiB free and {size // MEBIBYTE} MiB "
                         "are needed", folder, f"free some space and {AGAIN}")


if __name__ == "__main__":
    write_table(Path(sys.argv[2]), table(Path(sys.argv[1]), *map(Path, sys.argv[3:4])))
