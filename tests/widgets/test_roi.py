"""Marking regions of interest: what the browser asks for, and what it is told."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from leanclips import clips as clips_module
from leanclips.clips import Clip, Role, Roi, read_table, write_table
from leanclips.widgets.roi import AT_ONCE, MOST_FRAMES, Preview, RoiMarker, suggest


@pytest.fixture(scope="module")
def footage(tmp_path_factory, make_clip) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    make_clip(folder / "wide.mp4", size=(96, 64), frames=20)
    make_clip(folder / "tall.mp4", size=(48, 80), frames=4, seed=1)
    make_clip(folder / "taller.mp4", size=(48, 96), frames=4, seed=2)
    make_clip(folder / "rotated.mp4", "rotated", size=(96, 64), frames=4)
    return folder


@pytest.fixture
def table(tmp_path) -> Path:
    """A table of a wide clip, two of one recording, a rotated one and a missing one."""
    write_table(tmp_path / "clips.csv", [
        Clip("wide", "wide.mp4", "run", "g1", Role.TARGET),
        Clip("tall", "tall.mp4", "walk", "g2", Role.HELDOUT, roi=Roi(4, 30, 32)),
        Clip("taller", "taller.mp4", "walk", "g2", Role.HELDOUT),
        Clip("rotated", "rotated.mp4", "walk", "g3", Role.HELDOUT),
        Clip("gone", "gone.mp4", "walk", "g4", Role.HELDOUT)])
    return tmp_path / "clips.csv"


class Told(list):
    """What a widget tells its script: (facts, buffers)."""

    def last(self, what: str) -> dict:
        return [facts for facts, _ in self if facts["what"] == what][-1]

    def names(self) -> list[str]:
        return [facts["what"] for facts, _ in self]


@pytest.fixture
def marker(table, footage):
    marker = RoiMarker(table, footage, read_table(table))
    marker.told = Told()
    marker.send = lambda facts, buffers: marker.told.append((facts, buffers))
    marker.ask("show")
    return marker


def rois(table: Path) -> dict[str, str]:
    return {clip.id: str(clip.roi or "") for clip in read_table(table)}


def frames(marker: RoiMarker) -> list[np.ndarray]:
    """All frames of the clip that is shown, asked for as the script does."""
    found = []
    while True:
        marker.ask("more", marker.current)
        facts, buffers = marker.told[-1]
        if facts["what"] != "frames" or not buffers:
            return found
        assert len(buffers) <= AT_ONCE
        found += [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                  for jpeg in buffers]


def test_opens_with_the_first_clip_unmarked(marker):
    assert marker.told.last("clip") == {"what": "clip", "id": "wide", "label": "run", "group": "g1"}
    assert marker.told.last("size")["largest"] == (16, 0, 64)
    assert marker.told.last("state") == {"what": "state", "roi": None, "place": 0, "clips": 5,
                                         "marked": 1}


def test_shows_every_frame_as_it_is_displayed(marker):
    assert [frame.shape for frame in frames(marker)] == [(64, 96, 3)] * 20
    marker.ask("show", "rotated")
    size = marker.told.last("size")
    assert (size["width"], size["height"], size["largest"]) == (64, 96, (0, 16, 64))
    assert {frame.shape for frame in frames(marker)} == {(96, 64, 3)}


def test_frames_of_a_clip_that_is_left_are_not_sent(marker):
    marker.ask("show", "tall")
    before = list(marker.told)
    marker.ask("more", "wide")
    assert marker.told == before


def test_a_long_clip_shows_evenly_spaced_frames(make_clip, tmp_path):
    preview = Preview(make_clip(tmp_path / "long.mp4", frames=2 * MOST_FRAMES + 1, size=(32, 32)))
    assert preview.every == 3
    assert len(list(preview.frames())) == 201


def test_a_square_is_saved_at_once_for_this_clip_alone(marker, table):
    before = table.read_text().splitlines()
    marker.ask("mark", "wide", 8, 2, 40)
    after = table.read_text().splitlines()
    assert rois(table)["wide"] == "8 2 40"
    assert [row for row in after if not row.startswith("wide,")] == [
        row for row in before if not row.startswith("wide,")]
    assert marker.told.last("state")["roi"] == (8, 2, 40)
    assert marker.told.last("state")["marked"] == 2
    assert marker.told.last("said")["text"] == "Saved: 8 2 40."


@pytest.mark.parametrize("square", [(40, 0, 64), (-1, 0, 32), (0, 0, 8), (0.5, 0, 32)])
def test_a_square_outside_the_frame_is_not_saved(marker, table, square):
    before = table.read_bytes()
    try:
        marker.ask("mark", "wide", *square)
        assert "lies outside" in marker.told.last("problem")["text"]
    except ValueError:
        pass  # the script never asks for it
    assert table.read_bytes() == before


def test_a_square_for_a_clip_that_is_left_is_not_saved(marker, table):
    before = table.read_bytes()
    marker.ask("show", "tall")
    marker.ask("mark", "wide", 8, 2, 40)
    assert table.read_bytes() == before


def test_a_failed_save_leaves_the_table_and_what_is_shown(marker, table, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    before = table.read_bytes()
    monkeypatch.setattr(clips_module, "write_text", full)
    marker.ask("mark", "wide", 8, 2, 40)
    assert "free some space" in marker.told.last("problem")["text"]
    assert table.read_bytes() == before
    marker.ask("undo")
    assert "nothing to undo" in marker.told.last("said")["text"]


def test_undo_takes_changes_back_one_by_one_and_shows_their_clips(marker, table):
    before = rois(table)
    marker.ask("mark", "wide", 8, 2, 40)
    marker.ask("mark", "wide", 8, 2, 32)
    marker.ask("show", "tall")
    marker.ask("mark", "tall")
    assert rois(table) == before | {"wide": "8 2 32", "tall": ""}
    marker.ask("show", "rotated")
    for clip, roi in (("tall", "4 30 32"), ("wide", "8 2 40"), ("wide", "")):
        marker.ask("undo")
        assert marker.current == clip and rois(table)[clip] == roi
    assert rois(table) == before
    marker.ask("undo")
    assert marker.told.last("said")["text"] == "There is nothing to undo."


def test_copies_the_square_of_the_recordings_previous_clip(marker, table):
    marker.ask("show", "taller")
    marker.ask("copy")
    assert rois(table)["taller"] == "4 30 32"
    marker.ask("show", "rotated")
    marker.ask("copy")
    assert "No earlier clip" in marker.told.last("said")["text"]
    assert rois(table)["rotated"] == ""


def test_next_unmarked_goes_round_and_ends(marker, table):
    seen = []
    for _ in range(4):
        marker.ask("unmarked")
        seen.append(marker.current)
    assert seen == ["taller", "rotated", "gone", "wide"]
    whole = [replace(clip, roi=Roi(0, 0, 16)) for clip in read_table(table)]
    marker.clips = whole
    marker.ask("unmarked")
    assert marker.told.last("said")["text"] == "Every clip has a square."
    assert marker.current == "wide"


def test_steps_stop_at_the_ends(marker):
    marker.ask("step", -1)
    assert marker.current == "wide"
    marker.ask("step", 1)
    assert marker.current == "tall"
    marker.ask("show", "gone")
    marker.ask("step", 1)
    assert marker.current == "gone"


def test_finds_clips_by_id_class_and_recording(marker):
    def found(text: str) -> list[str]:
        marker.ask("find", text)
        return [clip for clip, _ in marker.told.last("found")["clips"]]

    assert found("TALL") == ["tall", "taller"]
    assert found("g3") == ["rotated"]
    assert found("run") == ["wide"]
    assert found("nothing") == []


def test_a_missing_clip_is_a_sentence_and_cannot_be_marked(marker, table):
    before = table.read_bytes()
    marker.ask("show", "gone")
    assert "the clip is missing" in marker.told.last("problem")["text"]
    marker.ask("mark", "gone", 0, 0, 32)
    marker.ask("more", "gone")
    assert table.read_bytes() == before
    marker.ask("show", "wide")
    assert marker.told.names()[-3:] == ["clip", "state", "size"]


def test_a_square_that_does_not_fit_can_be_replaced(marker, table):
    write_table(table, [replace(clip, roi=Roi(0, 0, 90)) for clip in read_table(table)])
    marker.clips = read_table(table)
    marker.ask("show", "tall")
    assert "lies outside its 48×80 pixels" in marker.told.last("problem")["text"]
    marker.ask("mark", "tall", 0, 0, 48)
    assert rois(table)["tall"] == "0 0 48"


def test_a_table_changed_meanwhile_keeps_its_changes(marker, table):
    write_table(table, [replace(clip, roi=None, label="jump") for clip in read_table(table)])
    marker.ask("mark", "wide", 8, 2, 20)
    assert rois(table) == {"wide": "8 2 20", "tall": "", "taller": "", "rotated": "", "gone": ""}
    with table.open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"jump"}


def test_no_frame_is_part_of_the_widgets_state(marker):
    """What Jupyter may save with a notebook is the script and the style, whatever was shown."""
    before = marker.get_state()
    assert len(frames(marker)) == 20
    assert marker.get_state() == before


@pytest.mark.parametrize("x, y", [(0, 0), (70, 30), (110, 70)])
def test_motion_finds_a_moving_square(ffmpeg, tmp_path, x, y):
    """A square of 32 pixels that moves to the right by 16, over noise."""
    clip = tmp_path / "moving.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=192x108:r=25", "-f", "lavfi", "-i",
           "testsrc2=s=32x32:r=25", "-filter_complex",
           f"[0][1]overlay=x={x}+n:y={y},noise=alls=8:allf=t", "-frames:v", 17, "-c:v", "libx264",
           "-crf", 18, "-pix_fmt", "yuv420p", clip)
    preview = Preview(clip)
    list(preview.frames())
    found = suggest(preview.motion, 192, 108)
    assert found.x <= x + 6 and found.x + found.side >= x + 42
    assert found.y <= y + 6 and found.y + found.side >= y + 26
    assert found.side <= 72 and found.side % 2 == 0
    assert found.x >= 0 and found.x + found.side <= 192
    assert found.y >= 0 and found.y + found.side <= 108


def test_motion_everywhere_or_nowhere_suggests_nothing():
    assert suggest(np.zeros((1, 1)), 640, 360) is None
    assert suggest(np.full((90, 160), 7.0), 640, 360) is None


def test_motion_wider_than_any_square_suggests_the_largest_that_fits():
    motion = np.zeros((40, 160))
    motion[10:30, 20:140] = 1
    found = suggest(motion, 640, 160)
    assert found.side == 160 and found.y == 0
