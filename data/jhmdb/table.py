"""Makes this table: `python data/jhmdb/table.py CLIPS_FOLDER CLIPS.CSV [LISTS_FOLDER]`.

J-HMDB has 928 clips of 21 classes; four are the target, the other 17 serve pretraining. With the
folder of the official lists (splits.zip of the data set's site) the column fold says on which side
of the first official split a clip is, for `pretraining.split: official`.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from leanclips.clips import Clip, scan_folders, with_roles, write_table
from leanclips.compression.inspect import probe
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.study import Study
from leanclips.workers import progress

TARGET_CLASSES = ("climb_stairs", "jump", "run", "walk")
HELDOUT_PER_CLASS = 12
LIST = "_test_split1.txt"
FOLDS = {"1": "train", "2": "validation"}
GET_LISTS = "unpack the official splits.zip there"


def table(root: Path, study: Study | None = None, splits_folder: Path | None = None
          ) -> list[Clip]:
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


def choose_groups(sizes: dict[str, int], wanted: int, rng: np.random.Generator) -> set[str]:
    """A random set of groups whose clips number `wanted`, or come as near as any set can.

    Subset sum over the groups in random order: `reach[n]` holds the first set found with n clips.
    At least one group is chosen and one left.
    """
    order = [str(name) for name in rng.permutation(sorted(sizes))]
    reach: dict[int, tuple[str, ...]] = {0: ()}
    for group in order:
        for count, chosen in sorted(reach.items(), reverse=True):
            reach.setdefault(count + sizes[group], (*chosen, group))
    everything = sum(sizes.values())
    possible = [count for count in reach if 0 < count < everything]
    return set(reach[min(possible, key=lambda count: (abs(count - wanted), count))])


if __name__ == "__main__":
    write_table(Path(sys.argv[2]), table(Path(sys.argv[1]), None, *map(Path, sys.argv[3:4])))
