"""Clips of one scene are told from others, and recordings of one scene are joined, no others."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.datasets import scenes
from leanclips.datasets.scenes import FRAMES, SAME, joined, outlines, same_scene


def looks(*which: int) -> np.ndarray:
    """Outlines of clips that show these scenes, each in one of their frames alone."""
    rng = np.random.default_rng(1)
    of_scene = rng.normal(size=(20, 128))
    made = rng.normal(size=(len(which), FRAMES, 128))
    for n, scene in enumerate(which):
        made[n, n % FRAMES] = of_scene[scene]
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float32)


def pairs(*arguments) -> list[tuple[int, int]]:
    return sorted((int(a), int(b)) for first, second, likeness in same_scene(*arguments)
                  for a, b, how in zip(first, second, likeness, strict=True) if how >= SAME)


@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_each_pair_across_recordings_is_found_once_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(scenes, "BLOCK", block)
    seen = looks(0, 1, 0, 2, 1, 0)
    assert pairs(seen, "abcdef") == [(0, 2), (0, 5), (1, 4), (2, 5)]
    assert pairs(seen, "abadea") == [(1, 4)]
    assert joined(seen, "abcdef") == list("abadba")


def test_linked_recordings_become_one_of_the_first_name():
    assert joined(looks(0, 1, 1, 2, 2, 3), ["c", "c", "b", "b", "a", "d"]) == [*"aaaaa", "d"]
    assert joined(looks(0, 1), ["a", "b"]) == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcdefgh")), min_size=1))
def test_two_clips_of_one_group_or_scene_are_in_one_recording(clips):
    which, groups = zip(*clips, strict=True)
    found = joined(looks(*which), groups)
    for other in (which, groups):
        assert all(found[a] == found[b] for a in range(len(clips)) for b in range(len(clips))
                   if other[a] == other[b])


def test_an_empty_picture_and_a_broken_file_are_like_nothing(tmp_path, ffmpeg, make_clip):
    for n in range(2):
        ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x64,noise=alls=2", "-frames:v", 4, "-pix_fmt",
               "yuv420p", tmp_path / f"{n}.mp4")
        make_clip(tmp_path / f"broken{n}.mp4", "text")
    seen = outlines(sorted(tmp_path.glob("*.mp4")))
    assert seen.shape == (4, FRAMES, 128) and not pairs(seen, "abcd")


def test_black_bars_are_no_likeness(tmp_path, ffmpeg):
    for n, scene in enumerate(("mandelbrot=s=96x72", "smptebars=s=96x72")):
        ffmpeg("-f", "lavfi", "-i", scene, "-vf", "pad=96:96:0:12", "-frames:v", 4, "-pix_fmt",
               "yuv420p", tmp_path / f"{n}.mp4")
    assert not pairs(outlines(sorted(tmp_path.glob("*.mp4"))), "ab")


def test_a_clip_of_one_keyframe_is_looked_at_all_along(tmp_path, ffmpeg):
    """One begins with the bars and ends as the other: only its later frames are like."""
    bars, picture = "smptebars=s=64x64:d=0.5", "testsrc=s=64x64:d=0.5"
    ffmpeg("-f", "lavfi", "-i", bars, "-f", "lavfi", "-i", picture, "-filter_complex",
           "[0][1]concat", "-x264-params", "scenecut=0:keyint=999", "-pix_fmt", "yuv420p",
           tmp_path / "both.mp4")
    ffmpeg("-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", tmp_path / "picture.mp4")
    assert pairs(outlines([tmp_path / "both.mp4", tmp_path / "picture.mp4"]), "ab") == [(0, 1)]


def test_real_clips_of_a_recording_are_found(jhmdb_clips: Path):
    pushes = sorted((jhmdb_clips / "push").glob("*.avi"))[::2]
    names = [path.name.partition("_push_")[0] for path in pushes]
    found = pairs(outlines(pushes), [path.name for path in pushes])
    assert found and all(names[a] == names[b] for a, b in found)
