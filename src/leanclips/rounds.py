"""The protocol's rounds: which clips a run trains, validates and tests on.

Whole recordings stay on one side, classes in proportion. All depends on the clip table, the
settings and the seed, not on the variant, so that runs of one seed pair up.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leanclips.clips import (Clip, Role, has_pretraining, leaks_recordings, of_role,
                             pretraining_clips, tested_clips)
from leanclips.errors import StudyError
from leanclips.files import key
from leanclips.study import Holdout, Pretraining, Protocol, Study

LEAKS = ("The split of the pretraining leaks recordings: it is validated on other clips of "
         "recordings that it is trained on, so that validation accuracy is too high. The clips "
         "that the runs are tested on are not touched by this.")

ATTEMPTS = 200
ONE_SIDED = 1e9  # for a class with clips on one side only: worse than any number of clips


@dataclass(frozen=True)
class Round:
    """One training and its test. `validation` is empty in cross-validation."""

    number: int
    training: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]

    @property
    def sha256(self) -> str:
        """A hash of which clip is where."""
        return key(*(sorted(clip.id for clip in part)
                     for part in (self.training, self.validation, self.test)))


def rounds(clips: Sequence[Clip], protocol: Protocol, seed: int) -> list[Round]:
    """The rounds of one run: one for `holdout`, one for each fold of `cross-validation` that
    recordings fall into. No recording is both trained and tested on in a round (`check_roles` has
    seen to the held-out ones), and each clip to test on is in one round. StudyError where a class
    would be missing among the training clips.
    """
    if isinstance(protocol, Holdout):
        target = of_role(clips, Role.TARGET)
        aside = group_split(target, protocol.validation, seed)
        return [Round(1, *divided(target, aside), tuple(of_role(clips, Role.HELDOUT)))]
    return _folds(tested_clips(clips), protocol.folds, seed)


def _folds(clips: Sequence[Clip], folds: int, seed: int) -> list[Round]:
    from sklearn.model_selection import StratifiedGroupKFold

    dealt = sorted(clips, key=lambda clip: clip.id)  # the order of rows must not count
    labels, groups = [clip.label for clip in dealt], [clip.group for clip in dealt]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class of fewer clips than folds is no problem
        warnings.simplefilter("ignore", UserWarning)
        parts = [test for _, test in splitter.split(dealt, labels, groups)
                 if len(test)]  # with few recordings a fold may get none
    made = []
    for number, part in enumerate(parts, 1):
        training, test = divided(clips, {dealt[n].id for n in part})
        if missing := set(labels) - {clip.label for clip in training}:
            raise StudyError(f"all clips of the class '{min(missing)}' are in one fold",
                             "clips.csv", "set another number of protocol.folds in study.yml, or "
                             "add recordings of that class")
        made.append(Round(number, training, (), test))
    return made


def divided(clips: Sequence[Clip], aside: set[str]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """(the other clips, the clips whose ids are in `aside`)."""
    return (tuple(clip for clip in clips if clip.id not in aside),
            tuple(clip for clip in clips if clip.id in aside))


def counts_by_class(sizes: dict[str, int], fraction: float) -> dict[str, int]:
    """How many clips of each class go aside so that the total is `round(fraction × all)`.

    Largest remainders, ties to the class first in alphabet; at least one, never all of a class.
    """
    total = round(fraction * sum(sizes.values()))
    exact = {label: fraction * size for label, size in sorted(sizes.items())}
    counts = {label: min(max(int(share), 1), sizes[label] - 1) for label, share in exact.items()}
    while lacking := total - sum(counts.values()):
        step = 1 if lacking > 0 else -1  # down where small classes took their one
        free = [label for label in counts if 0 < counts[label] + step < sizes[label]]
        if not free:
            break
        counts[max(free, key=lambda label: step * (exact[label] - counts[label]))] += step
    return counts


def group_split(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Ids of the clips set aside (about `fraction` of each class): no group is on both sides, each
    class is. StudyError where no such split is found: too many groups span classes.

    Each attempt goes through the groups in random order and sets a group aside if that brings its
    classes nearer to their counts; the nearest attempt is taken.
    """
    rng = np.random.default_rng([seed, 1])
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        groups[clip.group][clip.label] += 1
    total = Counter(clip.label for clip in clips)
    wanted, names = counts_by_class(total, fraction), sorted(groups)

    def missed(found: Mapping[str, int], labels: Iterable[str]) -> dict[str, float]:
        """How many clips each class is away from its count."""
        return {label: abs(found[label] - wanted[label]) if 0 < found[label] < total[label]
                else ONE_SIDED for label in labels}

    nearest, least = set(), missed(Counter(), total)
    for _ in range(ATTEMPTS):
        aside, found = set(), Counter()
        for name in (names[n] for n in rng.permutation(len(names))):
            after = {label: found[label] + size for label, size in groups[name].items()}
            if sum(missed(after, after).values()) < sum(missed(found, after).values()):
                aside.add(name)
                found.update(groups[name])
        now = missed(found, total)
        if sum(now.values()) < sum(least.values()):
            nearest, least = aside, now
        if not any(least.values()):
            break
    worst = max(sorted(least), key=least.get)
    if least[worst] == ONE_SIDED:
        raise StudyError(f"the class '{worst}' cannot be both trained on and validated on",
                         "clips.csv", "it has one recording, or its recordings hold clips of other "
                         "classes too: add recordings, or correct the column group")
    return {clip.id for clip in clips if clip.group in nearest}


def random_split(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Ids of a random `fraction` of the clips: leaks recordings across the split."""
    ids = sorted(clip.id for clip in clips)
    mixed = np.random.default_rng([seed, 1]).permutation(ids).tolist()
    return set(mixed[:round(fraction * len(ids))])


def pretraining_leaks(clips: Sequence[Clip], study: Study) -> bool:
    """Whether clips of one recording are on both sides of the pretraining's split.

    The clips decide, not the split's name: `official` leaks where the fold column mixes
    recordings. False without pretraining.
    """
    chosen = pretraining_clips(clips)
    return has_pretraining(study, clips) and leaks_recordings(
        chosen, pretraining_split(chosen, study.pretraining))


def pretraining_split(clips: Sequence[Clip], settings: Pretraining) -> set[str]:
    """Ids of the validation clips; StudyError where the table has no official split."""
    if settings.split == "official":
        aside = {clip.id for clip in clips if clip.fold == "validation"}
        if not 0 < len(aside) < len(clips):
            raise StudyError("the pretraining clips have no official split", "clips.csv",
                             "fill the fold column with train and validation, or set "
                             "pretraining.split to group in study.yml")
        return aside
    split = group_split if settings.split == "group" else random_split
    return split(clips, settings.validation, settings.seed)
