"""Rendered clips: the table's promises, and clips that depend on the seed and id alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanclips.datasets import synthetic
from leanclips.errors import StudyError

KEYS = {"id", "file", "label", "group", "role", "frames", "fps", "roi"}


def _check(rows: list[dict], target: int, heldout: int, pretrain: int) -> None:
    wanted = {("target", label): target for label in synthetic.TARGET_CLASSES}
    wanted |= {("heldout", label): heldout for label in synthetic.TARGET_CLASSES}
    wanted |= {("pretrain", label): pretrain for label in synthetic.PRETRAIN_CLASSES}
    counts = Counter((row["role"], row["label"]) for row in rows)
    assert counts == Counter({key: count for key, count in wanted.items() if count})
    assert len({row["id"] for row in rows}) == len(rows)
    roles, labels, sizes = defaultdict(set), defaultdict(set), Counter()
    for row in rows:
        assert set(row) == KEYS
        assert row["file"] == f"{row['id']}.mp4"
        roles[row["group"]].add(row["role"])
        labels[row["group"]].add(row["label"])
        sizes[row["group"]] += 1
    assert all(len(found) == 1 for found in roles.values())
    assert all(size <= synthetic.TAKES * len(labels[group]) for group, size in sizes.items())


def _check_region(row: dict) -> None:
    x, y, side = map(int, row["roi"].split())
    assert x % 2 == y % 2 == side % 2 == 0
    assert x >= 0 and y >= 0 and side >= 64
    assert x + side <= synthetic.WIDTH and y + side <= synthetic.HEIGHT


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 4), st.integers(0, 3))
def test_table_has_the_counts_and_no_group_in_two_roles(
    seed: int, target: int, heldout: int, pretrain: int
) -> None:
    rows = synthetic.table(seed, target=target, heldout=heldout, pretrain=pretrain)
    _check(rows, target, heldout, pretrain)
    for row in rows:
        _check_region(row)


def test_same_arguments_give_the_same_table() -> None:
    first = synthetic.table(4, target=2, heldout=1, pretrain=1)
    assert first == synthetic.table(4, target=2, heldout=1, pretrain=1)
    assert first != synthetic.table(5, target=2, heldout=1, pretrain=1)


@pytest.mark.parametrize("label", synthetic.TARGET_CLASSES + synthetic.PRETRAIN_CLASSES)
def test_frames_are_full_size_bgr_and_move(label: str) -> None:
    row = {"id": f"{label}-001"}
    images = list(synthetic.frames(row, seed=2))
    assert len(images) == synthetic.FRAMES
    assert {image.shape for image in images} == {(synthetic.HEIGHT, synthetic.WIDTH, 3)}
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    assert np.abs(images[0].astype(int) - images[10]).mean() > 2


def test_takes_share_the_group_and_differ() -> None:
    first, second = (synthetic.scene_of(f"running-{n:03d}", seed=0) for n in (6, 7))
    assert first.group == second.group and first.take != second.take
    one, other, next_group = (
        next(iter(synthetic.frames(f"running-{n:03d}", seed=0))) for n in (6, 7, 8)
    )
    assert not np.array_equal(one, other)
    assert not np.array_equal(other, next_group)


@pytest.mark.parametrize("label", synthetic.TARGET_CLASSES)
def test_roi_covers_the_movement(label: str) -> None:
    """Every joint of every frame is inside the marked square."""
    for number in range(4):
        scene = synthetic.scene_of(f"{label}-{number:03d}", seed=0)
        actor, _ = synthetic._performance(scene)
        x, y, side = synthetic._region(scene)
        low, high = actor.points.min(axis=(0, 1)), actor.points.max(axis=(0, 1))
        assert x <= low[0] and high[0] <= x + side and y <= low[1] and high[1] <= y + side


def test_render_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    row = synthetic.table(3, target=1, heldout=0, pretrain=0)[0]
    synthetic.render(row, tmp_path / "a.mp4", seed=3)
    synthetic.render(row["id"], tmp_path / "b.mp4", seed=3)
    synthetic.render(row, tmp_path / "c.mp4", seed=4)
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b and a != c
    assert b"ftyp" in a[:16]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize("clip", ["flying-001", "running", "running-", "running-x"])
def test_unknown_ids_are_refused(clip: str) -> None:
    with pytest.raises(StudyError, match="is not the id of a rendered clip"):
        synthetic.scene_of(clip, seed=0)


def test_a_clip_that_ffmpeg_cannot_write_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a.mp4"
    with pytest.raises(StudyError, match="a.mp4: FFmpeg cannot write the clip .*No such file"):
        synthetic.render("running-000", path, seed=0)
