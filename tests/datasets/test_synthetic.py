"""Rendered clips: what the table promises, and clips that depend on the seed and id alone."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanclips.clips import Clip, Role, check_roles, read_table, renderer
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.layout import Layout
from leanclips.study import Study, Synthetic, load_study

synthetic = renderer()
DRAWN = synthetic.drawing
DEMO = Layout(Path(__file__).parents[2] / "data" / "demo")


def test_the_demo_table_is_the_one_its_settings_make():
    clips, study = read_table(DEMO.table), load_study(DEMO.study)
    assert clips == synthetic.table(study.synthetic)
    check_roles(clips, study.protocol, DEMO.table)


def check_groups(clips: list[Clip]) -> None:
    """No group has two roles, and all of its classes have a few clips each."""
    groups = defaultdict(list)
    for clip in clips:
        groups[clip.group].append(clip)
    for members in groups.values():
        assert len({clip.role for clip in members}) == 1
        assert {clip.label for clip in members} == set(DRAWN.CLASSES)
        assert len(members) <= DRAWN.TAKES * len(DRAWN.CLASSES)


def check_roi(clip: Clip) -> None:
    x, y, side = clip.roi.x, clip.roi.y, clip.roi.side
    assert x % 2 == y % 2 == side % 2 == 0
    assert x >= 0 and y >= 0 and side >= 64
    assert x + side <= DRAWN.WIDTH and y + side <= DRAWN.HEIGHT


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 4))
def test_a_table_has_the_counts_and_no_group_in_two_roles(seed, target, heldout):
    clips = synthetic.table(Synthetic(target=target, heldout=heldout, seed=seed))
    assert Counter((clip.role, clip.label) for clip in clips) == {
        (role, label): count for label in DRAWN.CLASSES
        for role, count in ((Role.TARGET, target), (Role.HELDOUT, heldout))}
    assert len({clip.id for clip in clips}) == len(clips)
    check_groups(clips)
    for clip in clips:
        check_roi(clip)


def test_another_seed_makes_another_table():
    first, again, other = (synthetic.table(Synthetic(target=2, heldout=1, seed=seed))
                           for seed in (4, 4, 5))
    assert first == again != other


@pytest.mark.parametrize("label", DRAWN.CLASSES)
def test_frames_are_of_the_promised_size_and_move(label):
    images = list(DRAWN.frames(f"{label}-001", seed=2))
    assert len(images) == DRAWN.FRAMES
    assert {image.shape for image in images} == {(DRAWN.HEIGHT, DRAWN.WIDTH, 3)}
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    assert np.abs(images[0].astype(int) - images[10]).mean() > 2


@pytest.mark.parametrize("label", DRAWN.CLASSES)
def test_the_roi_covers_the_body_in_every_frame(label):
    for number in range(4):
        shot = DRAWN.shot(f"{label}-{number:03d}", seed=0)
        body = shot.points[:, :len(DRAWN.figure.BODY)]
        low, high = body.min(axis=(0, 1)), body.max(axis=(0, 1))
        x, y, side = shot.roi
        assert x <= low[0] and high[0] <= x + side and y <= low[1] and high[1] <= y + side


def test_two_takes_of_a_performer_differ():
    one, other = (next(DRAWN.frames(f"running-{n:03d}", seed=0)) for n in (6, 7))
    assert not np.array_equal(one, other)


def test_two_processes_render_the_same_bytes_as_one(tmp_path):
    layout = Layout(tmp_path)
    study = Study(title="a", synthetic=Synthetic(target=2, heldout=0))
    clips = synthetic.table(study.synthetic)
    synthetic.render_all(layout, study, clips, 2)
    assert len({file_sha256(layout.rendered / clip.file) for clip in clips}) == len(clips)
    for clip in clips[::4]:
        synthetic.render_clip(clip.id, tmp_path / "alone", 0)
        assert file_sha256(tmp_path / "alone" / clip.file) == file_sha256(
            layout.rendered / clip.file)


def test_a_clip_is_h264_video_as_its_row_says(tmp_path):
    synthetic.render_clip("dancing-000", tmp_path, 0)
    capture = cv2.VideoCapture(str(tmp_path / "dancing-000.mp4"))
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert fourcc in (b"h264", b"avc1")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == DRAWN.FRAMES
    assert capture.get(cv2.CAP_PROP_FPS) == DRAWN.FPS


def test_frames_are_written_as_they_are(tmp_path):
    frames = np.zeros((6, DRAWN.HEIGHT, DRAWN.WIDTH, 3), np.uint8)
    frames[:, :, :160, 0], frames[:, 120:, :, 2] = 255, 255  # red on the left, blue below
    for name in ("a.mp4", "b.mp4"):
        synthetic.write_frames(frames, tmp_path / name)
    shown = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[1].astype(int)  # BGR
    assert np.abs(shown[8, 8] - (0, 0, 255)).max() < 30
    assert np.abs(shown[200, 300] - (255, 0, 0)).max() < 30
    assert file_sha256(tmp_path / "a.mp4") == file_sha256(tmp_path / "b.mp4")


def test_frames_that_end_early_leave_nothing(tmp_path):
    def frames():
        yield np.zeros((DRAWN.HEIGHT, DRAWN.WIDTH, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_frames(frames(), tmp_path / "out" / "a.mp4")
    assert not list(tmp_path.glob("out/*"))


def test_a_rendered_clip_is_not_rendered_again_and_a_damaged_one_is(tmp_path):
    path = tmp_path / "dancing-000.mp4"
    synthetic.render_clip("dancing-000", tmp_path, 0)
    made, digest = path.stat().st_mtime_ns, file_sha256(path)
    synthetic.render_clip("dancing-000", tmp_path, 0)
    assert path.stat().st_mtime_ns == made
    path.write_bytes(path.read_bytes()[:1000])
    synthetic.render_clip("dancing-000", tmp_path, 0)
    assert file_sha256(path) == digest
    synthetic.render_clip("dancing-000", tmp_path, 1)
    assert file_sha256(path) != digest


def test_a_table_with_an_unknown_clip_is_refused(tmp_path):
    study = Study(title="a", synthetic=Synthetic(target=2, heldout=0))
    first, *others = synthetic.table(study.synthetic)
    for strange in ("flying-001", "running", "running-x"):
        with pytest.raises(StudyError, match="is not the table that the setting 'synthetic'"):
            synthetic.render_all(Layout(tmp_path), study, [replace(first, id=strange), *others], 1)


def test_a_clip_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((StudyError, OSError), match="file"):
        synthetic.render_clip("running-000", tmp_path / "file" / "clips", 0)
