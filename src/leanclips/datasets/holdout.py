"""Roles for clips that have none yet: recordings are held out whole, classes pretrained on."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from leanclips.clips import Clip, with_roles
from leanclips.errors import StudyError
from leanclips.splits import choose_groups, counts_by_class, group_split

SPLIT_SEED = 0
SPLITS_TRIED = 20


def hold_out(scanned: list[Clip], root: Path, fraction: float, pretrain: set[str]) -> list[Clip]:
    """Hold out whole recordings of each target class, leaving at least two to train on."""
    if unknown := pretrain - {clip.label for clip in scanned}:
        raise StudyError(f"holds no class '{min(unknown)}' to pretrain on", root,
                         f"name some of {', '.join(sorted({clip.label for clip in scanned}))}")
    target = [clip for clip in scanned if clip.label not in pretrain]
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in target:
        sizes[clip.label][clip.group] += 1
    for label, groups in sorted(sizes.items()):
        if len(groups) < 3:
            raise StudyError(f"the class '{label}' has only {len(groups)} recording(s) and needs "
                             "3: to train on, to validate on and to hold out", root,
                             "add clips, or tell recordings apart by --group-pattern")
    if len({clip.group for clip in target}) < sum(map(len, sizes.values())):
        return with_roles(scanned, _heldout_of_spanning(target, root, fraction), pretrain)
    wanted = counts_by_class({label: groups.total() for label, groups in sizes.items()}, fraction)
    rng = np.random.default_rng(SPLIT_SEED)
    heldout: set[str] = set()
    for label, groups in sorted(sizes.items()):
        stays = max(sorted(groups), key=lambda name: groups[name])
        others = {name: size for name, size in groups.items() if name != stays}
        heldout |= choose_groups(others, wanted[label], rng)
    return with_roles(scanned, {clip.id for clip in target if clip.group in heldout}, pretrain)


def _heldout_of_spanning(target: list[Clip], root: Path, fraction: float) -> set[str]:
    """Ids to hold out where recordings hold clips of several classes: a recording is held out
    for all of them, and each class keeps two.
    """
    for seed in range(SPLIT_SEED, SPLIT_SEED + SPLITS_TRIED):
        try:
            heldout = group_split(target, fraction, seed)
        except StudyError:
            continue
        kept: dict[str, set[str]] = defaultdict(set)
        for clip in target:
            if clip.id not in heldout:
                kept[clip.label].add(clip.group)
        if all(len(groups) > 1 for groups in kept.values()):
            return heldout
    raise StudyError("no choice of recordings to hold out leaves each class two to train on: too "
                     "many recordings hold clips of several classes", root,
                     "add recordings, or tell them apart by another --group-pattern")
