"""Marking regions of interest, as the browser's sliders would do it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from leanclips.clips import Clip, Role, Roi, read_table, write_table
from leanclips.widgets.roi import RoiMarker, marked


@pytest.fixture
def table(tmp_path, make_clip):
    """A table of a wide clip, a narrow one with a square and a rotated one, none hashed."""
    make_clip(tmp_path / "wide.mp4", size=(96, 64), frames=6)
    make_clip(tmp_path / "tall.mp4", size=(48, 80), frames=4, seed=1)
    make_clip(tmp_path / "rotated.mp4", "rotated", size=(96, 64), frames=4)
    write_table(tmp_path / "clips.csv", [
        Clip("wide", "wide.mp4", "run", "g1", Role.TARGET),
        Clip("tall", "tall.mp4", "walk", "g2", Role.HELDOUT, roi=Roi(4, 30, 32)),
        Clip("rotated", "rotated.mp4", "walk", "g3", Role.HELDOUT),
        Clip("gone", "gone.mp4", "walk", "g4", Role.HELDOUT)])
    return tmp_path / "clips.csv"


@pytest.fixture
def marker(table):
    return RoiMarker(table, table.parent, read_table(table))


def picture(marker: RoiMarker) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(marker.picture.value, np.uint8), cv2.IMREAD_COLOR)


def test_opens_with_the_largest_centred_square(marker):
    assert marker.roi == Roi(16, 0, 64)
    assert picture(marker).shape == (64, 96, 3)


def test_opens_with_the_saved_square(marker):
    marker.clip.value = "tall"
    assert marker.roi == Roi(4, 30, 32)
    assert "saved square" in marker.status.value


def test_shows_a_clip_as_it_is_displayed(marker):
    marker.clip.value = "rotated"
    assert picture(marker).shape == (96, 64, 3)
    assert marker.roi == Roi(0, 16, 64)


def test_the_square_never_leaves_the_frame(marker):
    marker.side.value = 32
    marker.x.value, marker.y.value = 1000, 1000
    assert marker.roi == Roi(64, 32, 32)
    marker.side.value = 64
    assert marker.roi == Roi(32, 0, 64)


def test_another_frame_is_another_picture(marker):
    before = marker.picture.value
    marker.frame.value = 5
    assert marker.picture.value != before
    marker.frame.value = 0
    assert marker.picture.value == before


def test_saving_changes_this_clip_alone(marker, table):
    before = {clip.id: clip for clip in read_table(table)}
    marker.side.value = 40
    marker.x.value, marker.y.value = 8, 2
    marker.save.click()
    after = {clip.id: clip for clip in read_table(table)}
    assert after.pop("wide").roi == Roi(8, 2, 40)
    before.pop("wide")
    assert after == before
    assert "Saved for wide: 8 2 40" in marker.status.value


def test_what_was_saved_shows_again(marker):
    marker.side.value = 40
    marker.save.click()
    marker.clip.value = "tall"
    marker.clip.value = "wide"
    assert marker.roi == Roi(16, 0, 40)


def test_the_largest_centred_square_is_saved_as_none(marker, table):
    marker.clip.value = "tall"
    marker.centre.click()
    assert marker.roi == Roi(0, 16, 48)
    marker.save.click()
    assert {clip.id: clip.roi for clip in read_table(table)}["tall"] is None


def test_a_missing_clip_is_a_sentence_and_cannot_be_saved(marker, table):
    before = table.read_bytes()
    marker.clip.value = "gone"
    assert "the clip is missing" in marker.status.value
    assert marker.save.disabled and marker.picture.value == b""
    marker.x.value = 3
    marker.centre.click()
    marker.clip.value = "wide"
    assert not marker.save.disabled and marker.roi == Roi(16, 0, 64)
    assert table.read_bytes() == before


def test_a_table_changed_meanwhile_keeps_its_changes(marker, table):
    write_table(table, [replace(clip, roi=None) for clip in read_table(table)])
    marker.side.value = 20
    marker.save.click()
    assert {clip.id: str(clip.roi or "") for clip in read_table(table)} == {
        "wide": "16 0 20", "tall": "", "rotated": "", "gone": ""}


def test_what_is_cut_away_is_dimmed_and_the_inside_is_not():
    frame = np.full((40, 60, 3), 200, np.uint8)
    shown = marked(frame, Roi(10, 5, 20))
    assert (shown[0, 0] == 80).all()
    assert (shown[15, 20] == 200).all()
    assert (frame == 200).all()
