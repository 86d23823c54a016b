"""Splits keep recordings whole, classes in proportion and counts exact where groups allow."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import Clip, Role, of_role, read_table
from leanclips.errors import StudyError
from leanclips.splits import (choose_groups, counts_by_class, group_split, pretraining_split,
                              random_split)
from leanclips.study import Pretraining

SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=7).map(
    lambda sizes: {f"group {number}": size for number, size in enumerate(sizes)})
FRACTIONS = st.floats(0.05, 0.6)
SEEDS = st.integers(0, 50)


def clips_of(classes: dict[str, dict[str, int]]) -> list[Clip]:
    """Clips of classes with groups of these sizes."""
    return [Clip(f"{label}-{group}-{number}".replace(" ", "_"), "x", label, group, Role.TARGET)
            for label, groups in classes.items() for group, size in groups.items()
            for number in range(size)]


def own_groups(classes: list[dict[str, int]]) -> list[Clip]:
    """Each class with recordings of its own."""
    return clips_of({f"class{number}": {f"class{number}/{name}": size
                                        for name, size in groups.items()}
                     for number, groups in enumerate(classes)})


TABLES = st.lists(SIZES, min_size=1, max_size=4).map(own_groups)


@given(SIZES, st.integers(0, 40), SEEDS)
def test_chosen_groups_come_as_near_to_the_wanted_count_as_any_set_can(sizes, wanted, seed):
    chosen = choose_groups(sizes, wanted, np.random.default_rng(seed))
    every_set = [some for count in range(1, len(sizes)) for some in combinations(sizes, count)]
    nearest = min(abs(sum(sizes[name] for name in some) - wanted) for some in every_set)
    assert abs(sum(sizes[name] for name in chosen) - wanted) == nearest
    assert 0 < len(chosen) < len(sizes)


@given(TABLES, FRACTIONS, SEEDS)
def test_no_group_is_on_both_sides_and_every_class_is_on_each(clips, fraction, seed):
    aside = group_split(clips, fraction, seed)
    sides = [{clip for clip in clips if (clip.id in aside) == side} for side in (True, False)]
    assert not {clip.group for clip in sides[0]} & {clip.group for clip in sides[1]}
    for side in sides:
        assert {clip.label for clip in side} == {clip.label for clip in clips}


@given(st.lists(st.integers(2, 30), min_size=1, max_size=4), FRACTIONS, SEEDS)
def test_counts_are_exact_where_each_clip_is_a_group_of_its_own(sizes, fraction, seed):
    clips = own_groups([{str(number): 1 for number in range(size)} for size in sizes])
    wanted = counts_by_class({f"class{number}": size for number, size in enumerate(sizes)},
                             fraction)
    aside = group_split(clips, fraction, seed)
    for label, count in wanted.items():
        assert sum(clip.id in aside for clip in clips if clip.label == label) == count


@given(TABLES, FRACTIONS, SEEDS, st.randoms())
def test_the_order_of_rows_does_not_change_a_split(clips, fraction, seed, random):
    shuffled = random.sample(clips, len(clips))
    for split in (group_split, random_split):
        assert split(clips, fraction, seed) == split(shuffled, fraction, seed)


SPANNING = st.lists(st.dictionaries(st.sampled_from("uvwxyz"), st.integers(1, 3), min_size=2),
                    min_size=2, max_size=4).map(
    lambda classes: clips_of({f"class{n}": groups for n, groups in enumerate(classes)}))


def one_sided(clips: list[Clip], groups_aside: set[str]) -> bool:
    """Whether some class has all its clips on one side."""
    classes = {clip.label for clip in clips}
    return any({clip.label for clip in clips if (clip.group in groups_aside) == side} != classes
               for side in (True, False))


@given(SPANNING, FRACTIONS, SEEDS)
def test_groups_that_span_classes_stay_whole_and_every_class_is_on_both_sides(
        clips, fraction, seed):
    try:
        aside = group_split(clips, fraction, seed)
    except StudyError:
        names = sorted({clip.group for clip in clips})
        assert all(one_sided(clips, set(some)) for count in range(len(names))
                   for some in combinations(names, count))
        return
    groups = {clip.group for clip in clips if clip.id in aside}
    assert aside == {clip.id for clip in clips if clip.group in groups}
    assert not one_sided(clips, groups)


def test_classes_whose_recordings_cannot_be_divided_are_named():
    # Of three recordings two are on one side, and some class has just those two.
    clips = clips_of({"a": {"x": 1, "y": 1}, "b": {"y": 1, "z": 1}, "c": {"x": 1, "z": 1}})
    with pytest.raises(StudyError, match="class '[abc]' cannot be both trained on and validated"):
        group_split(clips, 0.3, seed=0)


@pytest.mark.parametrize("seed", range(1, 11))
def test_counts_are_exact_on_jhmdb_though_recordings_span_classes(seed):
    table = Path(__file__).parents[1] / "data" / "jhmdb" / "clips.csv"
    clips = of_role(read_table(table), Role.TARGET)
    wanted = counts_by_class(Counter(clip.label for clip in clips), 0.24)
    aside = group_split(clips, 0.24, seed)
    assert Counter(clip.label for clip in clips if clip.id in aside) == wanted


def test_a_class_left_with_one_open_group_still_gets_clips_to_validate_on():
    # b shares "shared" with a, where it stays to train on: only "own" can go aside.
    clips = clips_of({"a": {"shared": 9, "small": 1}, "b": {"shared": 3, "own": 1}})
    aside = group_split(clips, 0.1, seed=0)
    assert {clip.group for clip in clips if clip.id in aside} == {"small", "own"}


def test_other_seeds_give_other_splits():
    clips = own_groups([{str(number): 1 for number in range(20)}])
    assert len({frozenset(group_split(clips, 0.25, seed)) for seed in range(10)}) > 5


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(2, 40), min_size=1), FRACTIONS)
def test_counts_by_class_sum_to_the_fraction_with_at_least_one_on_each_side(sizes, fraction):
    counts = counts_by_class(sizes, fraction)
    assert all(1 <= counts[label] < sizes[label] for label in sizes)
    most = sum(size - 1 for size in sizes.values())
    assert sum(counts.values()) == min(max(round(fraction * sum(sizes.values())), len(sizes)), most)


def test_the_case_study_sets_38_of_160_clips_aside():
    assert counts_by_class(dict.fromkeys("abcd", 40), 0.24) == {"a": 10, "b": 10, "c": 9, "d": 9}


def test_pretraining_follows_the_protocol_that_the_study_names():
    clips = [Clip(f"{group}-{number}", "x", "a", group, Role.PRETRAIN,
                  fold="validation" if group == "g1" else "train")
             for group in ("g1", "g2", "g3", "g4") for number in range(5)]
    groups = {split: {name.split("-")[0] for name in
                      pretraining_split(clips, Pretraining(split=split, validation=0.25))}
              for split in ("official", "group", "random")}
    assert groups["official"] == {"g1"}
    assert len(groups["group"]) == 1
    assert len(groups["random"]) > 1
