"""Every clip goes through the backbone once, until its bytes or the settings change."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import Role, load_clips, of_role
from leanclips.errors import StudyError
from leanclips.recognition import backbone, features, precision
from leanclips.recognition.features import (Task, clip_features, frame_indices, frame_places,
                                            load_features, make_features, read_frames)
from leanclips.records import read_csv
from leanclips.study import Sampling, load_study

samplings = st.builds(Sampling, frames=st.integers(2, 60),
                      take=st.sampled_from(["uniform", "first", "every"]),
                      step=st.integers(1, 9))


@given(st.integers(1, 500), samplings)
def test_indices_ascend_lie_in_the_clip_and_are_as_many_as_asked(count, sampling):
    indices = frame_indices(count, sampling)
    assert indices.shape == (sampling.frames,)
    assert (np.diff(indices) >= 0).all() and 0 <= indices[0] and indices[-1] < count


@given(st.integers(1, 500), st.integers(2, 60))
def test_uniform_frames_lie_evenly_from_end_to_end(count, frames):
    indices = frame_indices(count, Sampling(frames=frames))
    gaps = np.diff(indices)
    assert gaps.max() - gaps.min() <= 1
    before, after = indices[0], count - 1 - indices[-1]
    assert abs(before - after) <= 1 and max(before, after) <= count / frames / 2
    if count == frames:
        assert list(indices) == list(range(count))


@given(st.integers(1, 100), st.integers(2, 40), st.integers(1, 9))
def test_first_and_every_kth_repeat_the_last_frame_of_a_short_clip(count, frames, step):
    first = frame_indices(count, Sampling(frames=frames, take="first", step=step))
    every = frame_indices(count, Sampling(frames=frames, take="every", step=step))
    assert list(first) == [min(n, count - 1) for n in range(frames)]
    assert list(every) == [min(n * step, count - 1) for n in range(frames)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_clip):
    return make_clip(tmp_path_factory.mktemp("features") / "clip.mp4", frames=9, size=(96, 64))


def test_the_frames_read_are_the_sampled_ones_in_rgb(clip):
    with av.open(str(clip)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    made = read_frames(clip, Sampling(frames=3), 32)
    assert made.shape == (3, 32, 32, 3) and made.dtype == np.uint8
    for picture, index in zip(made, (1, 4, 7), strict=True):
        blocks = whole[index].reshape(32, 2, 32, 3, 3).mean((1, 3))
        assert np.abs(blocks - picture).max() <= 1


def test_a_name_like_an_address_and_a_title_in_latin_1_are_read(tmp_path, clip, ffmpeg,
                                                                monkeypatch):
    ffmpeg("-i", clip, "-c", "copy", "-metadata", b"title=Caf\xe9", tmp_path / "named.avi")
    (tmp_path / "named.avi").rename(tmp_path / "12:30.avi")
    monkeypatch.chdir(tmp_path)
    assert len(read_frames(Path("12:30.avi"), Sampling(frames=3), 32)) == 3


def test_a_short_clip_gives_as_many_frames_and_repeats_some(clip):
    made = read_frames(clip, Sampling(frames=20, take="first"), 48)
    assert made.shape == (20, 48, 48, 3)
    assert all(np.array_equal(made[8], later) for later in made[9:])
    assert list(frame_places(made)) == [*range(9), *[8] * 11]


@pytest.mark.parametrize("kind", ["text", "empty"])
def test_a_file_without_frames_is_named(tmp_path, make_clip, kind):
    path = make_clip(tmp_path / "bad.mp4", kind)
    with pytest.raises(StudyError, match="bad.mp4: no frame can be decoded"):
        read_frames(path, Sampling(), 32)


@pytest.fixture
def task(tiny_study, clip):
    study = load_study(tiny_study.study)
    return made(clip, tiny_study, study.backbone, study.sampling)


def made(path, layout, settings, sampling):
    """The task that the stage makes."""
    return Task(path, layout, settings, sampling, tuple(backbone.fingerprint(settings)))


def test_a_worker_that_decodes_asks_for_no_device(task, monkeypatch):
    def refuse():
        raise AssertionError("the GPU was started")

    monkeypatch.setattr(precision.torch.cuda, "is_available", refuse)
    monkeypatch.setattr(precision.torch.cuda, "is_bf16_supported", refuse)
    monkeypatch.setattr(backbone, "precision", refuse)
    name, missing = features.to_compute(task)
    assert name and len(missing.places) == task.sampling.frames


def cached(task):
    """The files in the cache and when they changed."""
    folder = task.layout.feature(task.backbone.name, "xx").parents[1]
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_a_second_call_computes_nothing(task, monkeypatch):
    name = clip_features(task)
    before = cached(task)
    monkeypatch.setattr(backbone, "features", None)
    assert clip_features(task) == name and cached(task) == before == {f"{name}.npy": before[
        f"{name}.npy"]}


def test_the_same_frames_give_the_same_features_as_computing_each(task):
    """A clip shorter than the sampling is computed once for each different frame."""
    task = made(task.path, task.layout, task.backbone, Sampling(frames=20))
    values = np.load(task.layout.feature(task.backbone.name, clip_features(task)))
    frames = read_frames(task.path, task.sampling, task.backbone.size)
    plain = backbone.features(features.cached_model(task.backbone), frames)
    assert values.shape == plain.shape == (20, 1280) and values.dtype == np.float32
    assert np.abs(values - plain).max() < 0.05 * np.abs(plain).max()


def test_one_process_for_the_gpu_computes_what_the_workers_would(task, tmp_path, make_clip,
                                                                  monkeypatch):
    """Here on the CPU: the clips go through the backbone together."""
    monkeypatch.setattr(features, "CLIPS_AT_ONCE", 2)
    smaller = task.backbone.model_copy(update={"size": 40})
    tasks = [made(make_clip(tmp_path / f"{n}.mp4", frames=9, seed=n), task.layout,
                  smaller if n == 3 else task.backbone, task.sampling) for n in range(6)]
    one_by_one = [clip_features(each) for each in tasks]
    paths = [task.layout.feature(task.backbone.name, name) for name in one_by_one]
    wanted = [np.load(path) for path in paths]
    for path in paths[1:]:
        path.unlink()
    kept = paths[0].stat().st_mtime_ns
    assert features.features_by_gpu(tasks, 2, "features") == one_by_one
    for path, values in zip(paths, wanted, strict=True):
        np.testing.assert_allclose(np.load(path), values, rtol=0.05, atol=0.01)
    assert paths[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_damaged_cache_file_is_computed_again(task, content):
    path = task.layout.feature(task.backbone.name, clip_features(task))
    good = path.read_bytes()
    path.write_bytes(good[:-4] if content is None else content)
    clip_features(task)
    assert path.read_bytes() == good


def test_clip_sampling_and_backbone_each_have_a_part_in_the_key(task, tmp_path, make_clip):
    other = make_clip(tmp_path / "other.mp4", frames=9, size=(96, 64), seed=5)
    tasks = [task, made(other, task.layout, task.backbone, task.sampling),
             made(task.path, task.layout, task.backbone.model_copy(update={"size": 40}),
                  task.sampling),
             made(task.path, task.layout, task.backbone, Sampling(frames=5))]
    assert len({clip_features(one) for one in tasks}) == 4


def test_two_processes_at_once_compute_the_same(task):
    program = ("import sys; from pathlib import Path; from leanclips.layout import Layout; "
               "from leanclips.study import load_study; "
               "from leanclips.recognition.features import Task, clip_features; "
               "layout = Layout(Path(sys.argv[1])); study = load_study(layout.study); "
               "print(clip_features(Task(Path(sys.argv[2]), layout, study.backbone, "
               "study.sampling, tuple(sys.argv[3:]))))")
    both = [subprocess.Popen([sys.executable, "-c", program, task.layout.study, task.path,
                              *task.fingerprint], stdout=subprocess.PIPE, text=True)
            for _ in range(2)]
    names = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert names == {clip_features(task)} and len(cached(task)) == 1
    assert not list(task.layout.work.rglob(".aside-*"))


@pytest.fixture
def opened(finished_study):
    """Layout, settings and clips of a finished study."""
    return finished_study, load_study(finished_study.study), load_clips(finished_study)


@pytest.mark.parametrize("variant, fast, told", [("source", False, 1), ("optimized", False, 0),
                                                 ("source", True, 0)])
def test_a_cpu_without_bf16_is_told_once_in_a_run(opened, monkeypatch, capsys, variant, fast, told):
    monkeypatch.setattr(precision, "has_fast_bf16", lambda: fast)
    monkeypatch.setattr(features, "run_all", lambda function, tasks, *_: read_csv(
        layout.feature_index(study.backbone.name, variant))["key"])
    layout, study, clips = opened
    make_features(layout, study, clips, variant, 1)
    assert capsys.readouterr().err.count("features are computed in fp32, more slowly") == told


def test_a_changed_clip_alone_is_computed_again(opened, make_clip):
    layout, study, clips = opened
    index = layout.feature_index(study.backbone.name, "optimized")
    keys, before = read_csv(index).set_index("clip")["key"], set(layout.work.rglob("*.npy"))
    make_clip(layout.clip("optimized", "a-002"), frames=6, size=(80, 80), seed=77)
    make_features(layout, study, clips, "optimized", 1)
    after = read_csv(index).set_index("clip")["key"]
    assert list(keys.index[keys != after]) == ["a-002"]
    new = set(layout.work.rglob("*.npy")) - before
    assert new == {layout.feature(study.backbone.name, after["a-002"])}


def test_features_come_in_the_order_of_the_clips_asked_for(opened):
    layout, study, clips = opened
    chosen = of_role(clips, Role.TARGET)[::-1]
    loaded = load_features(layout, study, "source", chosen)
    assert loaded.ids == tuple(clip.id for clip in chosen)
    assert loaded.values.shape == (len(chosen), 4, 1280)
    one = load_features(layout, study, "source", chosen[2:3])
    np.testing.assert_array_equal(one.values, loaded.values[2:3])
    np.testing.assert_array_equal(loaded.of([chosen[2].id]), one.values)
    assert one.sha256 != loaded.sha256


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY"])
def test_missing_or_damaged_features_are_told_and_the_remedy_works(opened, content):
    layout, study, clips = opened
    index = layout.feature_index(study.backbone.name, "source")
    path = layout.feature(study.backbone.name, read_csv(index)["key"][0])
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match="source.csv: some features are missing or damaged; "
                                         "delete this file and run the study again"):
        load_features(layout, study, "source", clips)
    index.unlink()
    make_features(layout, study, clips, "source", 1)
    assert len(load_features(layout, study, "source", clips).ids) == len(clips)


def test_features_that_were_never_made_are_told(tiny_study):
    with pytest.raises(StudyError, match="source.csv: the table is not there yet"):
        load_features(tiny_study, load_study(tiny_study.study), "source", load_clips(tiny_study))
