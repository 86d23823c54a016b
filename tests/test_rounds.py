"""Rounds and splits keep recordings whole, classes in proportion, counts exact where they can."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import Clip, Role, check_roles, of_role, read_table
from leanclips.errors import StudyError
from leanclips.rounds import (Round, counts_by_class, group_split, pretraining_leaks,
                              pretraining_split, random_split, rounds)
from leanclips.study import CrossValidation, Holdout, Pretraining, Study

JHMDB = Path(__file__).parents[1] / "data" / "jhmdb" / "clips.csv"

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
    clips = of_role(read_table(JHMDB), Role.TARGET)
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


def folds_of(clips: list[Clip], folds: int, seed: int) -> list[Round]:
    """The rounds; none where the clips make no study, or one fold would take a whole class."""
    protocol = CrossValidation(folds=folds)
    try:
        check_roles(clips, protocol, Path("clips.csv"))
        return rounds(clips, protocol, seed)
    except StudyError:
        return []


FOLDS = st.integers(2, 6)
# With as many recordings as folds in each class, no fold takes a whole class.
WIDE = st.lists(st.lists(st.integers(1, 3), min_size=6, max_size=9).map(
    lambda sizes: {f"group {number}": size for number, size in enumerate(sizes)}),
    min_size=2, max_size=4).map(own_groups)


def with_some_held_out(clips: list[Clip], every: int = 3) -> list[Clip]:
    """Every third clip held out: to cross-validation the two roles are one."""
    return [replace(clip, role=Role.HELDOUT) if number % every == 0 else clip
            for number, clip in enumerate(clips)]


@given(WIDE, FOLDS, SEEDS)
def test_every_clip_of_both_roles_is_tested_once_for_each_seed(clips, folds, seed):
    clips = with_some_held_out(clips)
    made = rounds(clips, CrossValidation(folds=folds), seed)
    assert [part.number for part in made] == list(range(1, folds + 1))
    assert Counter(clip.id for part in made for clip in part.test) == Counter(
        clip.id for clip in clips)
    for part in made:
        assert set(part.training) | set(part.test) == set(clips) and part.validation == ()
        assert not set(part.training) & set(part.test)


@given(st.one_of(WIDE, SPANNING), FOLDS, SEEDS)
def test_no_recording_is_trained_and_tested_on_in_one_round(clips, folds, seed):
    for part in folds_of(clips, folds, seed):
        assert not {clip.group for clip in part.training} & {clip.group for clip in part.test}
        assert {clip.label for clip in part.training} == {clip.label for clip in clips}


@given(WIDE, FOLDS, SEEDS, st.randoms())
def test_the_order_of_rows_does_not_change_the_rounds(clips, folds, seed, random):
    shuffled = random.sample(clips, len(clips))
    for protocol in (CrossValidation(folds=folds), Holdout()):
        whole, again = (rounds(with_some_held_out(sorted(table, key=lambda clip: clip.id)),
                               protocol, seed) for table in (clips, shuffled))
        assert whole == again
    mixed = rounds(shuffled, CrossValidation(folds=folds), seed)
    assert [part.sha256 for part in mixed] == [
        part.sha256 for part in rounds(clips, CrossValidation(folds=folds), seed)]


def test_classes_are_dealt_in_proportion():
    clips = own_groups([{str(number): 2 for number in range(10)},
                        {str(number): 1 for number in range(30)}])
    for part in rounds(clips, CrossValidation(folds=5), seed=4):
        assert Counter(clip.label for clip in part.test) == {"class0": 4, "class1": 6}


@pytest.mark.parametrize("protocol", [CrossValidation(folds=4), Holdout()])
def test_other_seeds_give_other_rounds_and_the_same_seed_the_same(protocol):
    clips = own_groups([{str(number): 1 for number in range(20)}] * 2)
    hashes = [tuple(part.sha256 for part in rounds(clips, protocol, seed)) for seed in range(8)]
    assert len(set(hashes)) == 8
    assert hashes[3] == tuple(part.sha256 for part in rounds(clips, protocol, 3))


def test_clips_for_pretraining_are_in_no_round():
    clips = own_groups([{str(number): 1 for number in range(6)}] * 2)
    extra = [replace(clip, id=f"p-{clip.id}", group=f"p-{clip.group}", role=Role.PRETRAIN)
             for clip in clips]
    for protocol in (CrossValidation(folds=3), Holdout()):
        assert rounds([*clips, *extra], protocol, 1) == rounds(clips, protocol, 1)


@given(st.lists(st.lists(st.integers(1, 2), min_size=2, max_size=3).map(
    lambda sizes: {f"group {number}": size for number, size in enumerate(sizes)}),
    min_size=2, max_size=5).map(own_groups), FOLDS, SEEDS)
def test_a_few_clips_of_each_class_make_rounds_or_are_told_in_a_sentence(clips, folds, seed):
    for part in folds_of(clips, folds, seed):
        assert {clip.label for clip in part.training} == {clip.label for clip in clips}


def test_a_fold_that_no_recording_falls_into_is_left_out():
    """Some recordings hold clips of both classes, so that they do not deal evenly."""
    clips = clips_of({"a": {"g0": 1, "g1": 2}, "b": {"g0": 3, "g2": 1, "g3": 2}})
    sizes = set()
    for seed in range(10):
        made = rounds(clips, CrossValidation(folds=4), seed)
        assert [part.number for part in made] == list(range(1, len(made) + 1))
        assert all(part.test for part in made)
        assert sorted(clip.id for part in made for clip in part.test) == sorted(
            clip.id for clip in clips)
        sizes.add(len(made))
    assert 3 in sizes


def test_a_class_whose_recordings_all_fall_into_one_fold_is_told():
    """Every recording of b is a part of one film."""
    clips = clips_of({"a": {f"tape{number}": 1 for number in range(4)}, "b": {"film": 3}})
    with pytest.raises(StudyError, match="clips.csv: all clips of the class 'b' are in one fold; "
                                         "set another number of protocol.folds"):
        rounds(clips, CrossValidation(folds=3), seed=1)


@given(TABLES, st.floats(0.05, 0.6), SEEDS)
def test_holdout_is_one_round_that_sets_target_clips_aside_and_tests_on_the_held_out_ones(
        clips, fraction, seed):
    heldout = [replace(clip, id=f"h-{clip.id}", group=f"h-{clip.group}", role=Role.HELDOUT)
               for clip in clips]
    part, = rounds([*clips, *heldout], Holdout(validation=fraction), seed)
    assert part.number == 1 and part.test == tuple(heldout)
    assert {clip.id for clip in part.validation} == group_split(clips, fraction, seed)
    assert sorted(clip.id for clip in (*part.training, *part.validation)) == sorted(
        clip.id for clip in clips)


@pytest.mark.parametrize("seed", range(1, 11))
def test_jhmdb_s_rounds_are_of_the_case_study_s_size(seed):
    clips = read_table(JHMDB)
    part, = rounds(clips, Holdout(validation=0.24), seed)
    assert (len(part.training) + len(part.validation), len(part.test)) == (112, 48)
    in_folds = rounds(clips, CrossValidation(), seed)
    assert sum(len(part.test) for part in in_folds) == 160
    # Recordings that span classes do not deal evenly.
    assert max(len(part.test) for part in in_folds) < 50


@pytest.mark.parametrize("split, leaks", [("official", False), ("group", False), ("random", True)])
def test_whether_the_pretraining_leaks_is_seen_in_its_split(split, leaks):
    clips = [Clip(f"{group}-{number}", "x", "a", group, Role.PRETRAIN,
                  fold="validation" if group == "g1" else "train")
             for group in ("g1", "g2", "g3", "g4") for number in range(5)]
    study = Study(title="a", pretraining=Pretraining(split=split, validation=0.25))
    assert pretraining_leaks(clips, study) == leaks
    assert not pretraining_leaks([], study)
    linear = study.model_copy(update={"classifiers": ("linear",)})
    assert not pretraining_leaks(clips, linear)  # nothing is pretrained


@pytest.mark.parametrize("folds", [("",) * 4, ("validation",) * 4])
def test_an_official_split_that_is_not_there_is_told(folds):
    clips = [Clip(f"a-{number}", "x", "a", f"g{number}", Role.PRETRAIN, fold=fold)
             for number, fold in enumerate(folds)]
    with pytest.raises(StudyError, match="the pretraining clips have no official split; fill the"):
        pretraining_split(clips, Pretraining(split="official"))
