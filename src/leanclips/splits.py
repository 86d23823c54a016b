"""Splits: whole recordings on one side, classes in proportion, exact counts where groups allow."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from leanclips.clips import Clip
from leanclips.errors import StudyError
from leanclips.study import Pretraining

ATTEMPTS = 200
ONE_SIDED = 1e9  # clips: worse than any count


def counts_by_class(sizes: dict[str, int], fraction: float) -> dict[str, int]:
    """How many clips of each class go aside so that the total is `round(fraction × all)`.

    Largest remainders, ties to the class first in alphabet; at least one, never all of a class.
    """
    total = round(fraction * sum(sizes.values()))
    exact = {label: fraction * size for label, size in sorted(sizes.items())}
    counts = {label: min(max(int(share), 1), sizes[label] - 1) for label, share in exact.items()}
    while sum(counts.values()) < total:
        short = [label for label in counts if counts[label] < sizes[label] - 1]
        if not short:
            break
        counts[max(short, key=lambda label: exact[label] - counts[label])] += 1
    while sum(counts.values()) > total:  # small classes took their one
        above = [label for label in counts if counts[label] > 1]
        if not above:
            break
        counts[max(above, key=lambda label: counts[label] - exact[label])] -= 1
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

    A group that spans classes counts for each of them, and every class is on both sides. The
    split depends on the table and the seed alone, not on the order of rows. StudyError where no
    such split is found: too many groups span classes.

    Where groups span classes, what one class takes leaves others without their counts. So the
    classes that were missed most choose first in the next attempt ("squeaky wheel": Joslin &
    Clements, AAAI 1998), and the nearest attempt is taken.
    """
    rng = np.random.default_rng([seed, 1])
    groups: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for clip in clips:
        groups[clip.label][clip.group] += 1
    wanted = counts_by_class({label: sum(sizes.values()) for label, sizes in groups.items()},
                             fraction)
    spanning = len({clip.group for clip in clips}) < sum(map(len, groups.values()))
    order, nearest = sorted(groups), None
    for _ in range(ATTEMPTS if spanning else 1):
        aside = _groups_aside(groups, wanted, order, rng)
        if spanning:
            aside = _mended(groups, wanted, aside, rng)
        missed = {label: _missed(sizes, wanted[label], aside) for label, sizes in groups.items()}
        if nearest is None or sum(missed.values()) < sum(nearest[1].values()):
            nearest = aside, missed
        if not any(missed.values()):
            break
        order.sort(key=lambda label: (-missed[label], rng.random()))
    aside, missed = nearest
    worst = max(sorted(missed), key=lambda label: missed[label])
    if missed[worst] == ONE_SIDED:
        raise StudyError(f"the class '{worst}' cannot be both trained on and validated on",
                         "clips.csv", "its recordings hold clips of other classes too: add "
                         "recordings of that class, or correct the column group")
    return {clip.id for clip in clips if clip.group in aside}


def _groups_aside(groups: dict[str, dict[str, int]], wanted: dict[str, int],
                  order: Sequence[str], rng: np.random.Generator) -> set[str]:
    """One attempt: class by class in this order, each takes what it is short of from the groups
    that no class before it has settled.
    """
    settled: set[str] = set()
    aside: set[str] = set()
    for label in order:
        sizes = groups[label]
        open_groups = {name: n for name, n in sizes.items() if name not in settled}
        missing = wanted[label] - sum(n for name, n in sizes.items() if name in aside)
        if missing > 0 and len(open_groups) > 1:
            aside |= choose_groups(open_groups, missing, rng)
        elif missing > 0:
            aside |= set(open_groups)
        settled |= set(open_groups)
    return aside


def _mended(groups: dict[str, dict[str, int]], wanted: dict[str, int],
            aside: set[str], rng: np.random.Generator) -> set[str]:
    """`aside` with single groups moved to the other side as long as that comes nearer."""
    classes_of = defaultdict(list)
    for label, sizes in groups.items():
        for name in sizes:
            classes_of[name].append(label)

    def missed(name: str, aside: set[str]) -> float:
        return sum(_missed(groups[label], wanted[label], aside) for label in classes_of[name])

    while nearer := [name for name in sorted(classes_of)
                     if missed(name, aside ^ {name}) < missed(name, aside)]:
        aside = aside ^ {str(rng.choice(nearer))}
    return aside


def _missed(sizes: dict[str, int], wanted: int, aside: set[str]) -> float:
    """How many clips a class is away from its count; ONE_SIDED where one side has none."""
    there = [n for name, n in sizes.items() if name in aside]
    return abs(sum(there) - wanted) if 0 < len(there) < len(sizes) else ONE_SIDED


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
