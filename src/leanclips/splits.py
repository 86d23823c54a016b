"""Splits: whole recordings on one side, classes in proportion, exact counts where groups allow."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from leanclips.clips import Clip
from leanclips.study import Pretraining


def counts_by_class(sizes: dict[str, int], fraction: float) -> dict[str, int]:
    """How many clips of each class go aside so that the total is `round(fraction × all)`.

    Largest remainders, ties to the class first in alphabet; at least one, never all of a class.
    """
    total = round(fraction * sum(sizes.values()))
    exact = {label: fraction * size for label, size in sorted(sizes.items())}
    counts = {label: min(max(int(share), 1), sizes[label] - 1) for label, share in exact.items()}
    by_remainder = sorted(exact, key=lambda label: (counts[label] - exact[label], label))
    for label in by_remainder:
        if sum(counts.values()) < total and counts[label] < sizes[label] - 1:
            counts[label] += 1
    return counts


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


def group_split(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Ids of the clips set aside (about `fraction` of each class), no group on both sides.

    A group that spans classes counts for each of them. The split depends on the table and the
    seed alone, not on the order of rows. Each class needs two groups (see clips.check_roles).
    """
    rng = np.random.default_rng([seed, 1])
    by_class: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for clip in clips:
        by_class[clip.label][clip.group] += 1
    wanted = counts_by_class({label: sum(groups.values()) for label, groups in by_class.items()},
                             fraction)
    aside: dict[str, bool] = {}
    for label in sorted(by_class):
        open_groups = {name: n for name, n in by_class[label].items() if name not in aside}
        settled = {name: n for name, n in by_class[label].items() if name in aside}
        missing = wanted[label] - sum(n for name, n in settled.items() if aside[name])
        chosen: set[str] = set()
        if missing > 0 and len(open_groups) > 1:
            chosen = choose_groups(open_groups, missing, rng)
        elif missing > 0 and any(not aside[name] for name in settled):
            chosen = set(open_groups)  # One at most: a settled group stays to train on.
        aside.update({name: name in chosen for name in open_groups})
    return {clip.id for clip in clips if aside[clip.group]}


def random_split(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Ids of a random `fraction` of the clips: leaks recordings across the split."""
    ids = sorted(clip.id for clip in clips)
    chosen = np.random.default_rng([seed, 1]).permutation(ids)[: round(fraction * len(ids))]
    return {str(name) for name in chosen}


def pretraining_split(clips: Sequence[Clip], settings: Pretraining) -> set[str]:
    """Ids of the validation clips, by the protocol that the study names."""
    if settings.split == "official":
        return {clip.id for clip in clips if clip.fold == "validation"}
    split = group_split if settings.split == "group" else random_split
    return split(clips, settings.validation, settings.seed)
