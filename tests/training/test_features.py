"""Every clip goes through the backbone once, until its bytes or the settings change."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import Role, of_role
from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.records import StageRecord, read_csv, read_record
from leanclips.study import Backbone, Sampling, Study
from leanclips.training import backbone, features
from leanclips.training.features import (FeatureDrift, FeatureJob, clip_features,
                                         cosine_distance, feature_drift, features_of,
                                         frame_indices, load_features, make_features, read_frames,
                                         seen)
from leanclips.training.machine import Compute, compute

FP32, BF16 = Compute("cpu", "fp32"), Compute("cpu", "bf16")
LITE = Backbone(name="efficientnet-lite0", size=32)

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
    different, places = seen(clip, Sampling(frames=20, take="first"), 48)
    assert list(places) == [*range(9), *[8] * 11] and np.array_equal(different[places], made)


@pytest.mark.parametrize("kind", ["text", "empty"])
def test_a_file_without_frames_is_named(tmp_path, make_clip, kind):
    path = make_clip(tmp_path / "bad.mp4", kind)
    with pytest.raises(StudyError, match="bad.mp4: no frame can be decoded"):
        read_frames(path, Sampling(), 32)


@pytest.fixture
def job(tmp_path, clip):
    return made(clip, Layout(tmp_path), LITE, Sampling(frames=4))


def made(path, layout, settings, sampling, where=FP32):
    """The job that the stage makes."""
    return FeatureJob(path, layout, settings, where, sampling)


def test_a_worker_that_decodes_asks_for_no_device(job, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the GPU was started")

    monkeypatch.setattr(torch.cuda, "is_available", refuse)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", refuse)
    monkeypatch.setattr(backbone, "load", refuse)
    assert job.key and not job.is_done and len(job.seen()[1]) == job.sampling.frames


def cached(job):
    """The files in the cache and when they changed."""
    folder = job.layout.feature(job.backbone.name, "xx").parents[1]
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_a_second_call_computes_nothing(job, monkeypatch):
    name = clip_features(job)
    before = cached(job)
    monkeypatch.setattr(backbone, "features", None)
    assert clip_features(job) == name and cached(job) == before
    assert set(before) == {f"{name}.npy"}


def test_the_same_frames_give_the_same_features_as_computing_each(job):
    """A clip shorter than the sampling is computed once for each different frame."""
    job = made(job.path, job.layout, job.backbone, Sampling(frames=20))
    values = np.load(job.layout.feature(job.backbone.name, clip_features(job)))
    frames = read_frames(job.path, job.sampling, job.backbone.size)
    plain = backbone.features(features.cached_model(job.backbone, FP32), frames)
    assert values.shape == plain.shape == (20, 1280) and values.dtype == np.float32
    np.testing.assert_allclose(values, plain, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(
        values, features_of(job.path, job.sampling, job.backbone, FP32))


def test_one_process_for_the_gpu_computes_what_the_workers_would(job, tmp_path, make_clip,
                                                                  monkeypatch):
    """Here on the CPU: the clips go through the backbone together."""
    monkeypatch.setattr(features, "CLIPS_AT_ONCE", 2)
    smaller = job.backbone.model_copy(update={"size": 40})
    jobs = [made(make_clip(tmp_path / f"{n}.mp4", frames=9, seed=n), job.layout,
                 smaller if n == 3 else job.backbone, job.sampling) for n in range(6)]
    one_by_one = [clip_features(each) for each in jobs]
    paths = [job.layout.feature(job.backbone.name, name) for name in one_by_one]
    wanted = [np.load(path) for path in paths]
    for path in paths[1:]:
        path.unlink()
    kept = paths[0].stat().st_mtime_ns
    assert features.features_by_gpu(jobs, "features") == one_by_one
    for path, values in zip(paths, wanted, strict=True):
        np.testing.assert_allclose(np.load(path), values, rtol=1e-3, atol=1e-3)
    assert paths[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_damaged_cache_file_is_computed_again(job, content):
    path = job.layout.feature(job.backbone.name, clip_features(job))
    good = path.read_bytes()
    path.write_bytes(good[:-4] if content is None else content)
    clip_features(job)
    assert path.read_bytes() == good


def test_clip_sampling_backbone_and_precision_each_have_a_part_in_the_key(job, tmp_path,
                                                                           make_clip):
    other = make_clip(tmp_path / "other.mp4", frames=9, size=(96, 64), seed=5)
    jobs = [job, made(other, job.layout, job.backbone, job.sampling),
            made(job.path, job.layout, job.backbone.model_copy(update={"size": 40}),
                 job.sampling),
            made(job.path, job.layout, job.backbone, Sampling(frames=5)),
            made(job.path, job.layout, job.backbone, job.sampling, BF16)]
    assert len({clip_features(one) for one in jobs}) == 5


@pytest.mark.slow
def test_two_processes_at_once_compute_the_same(job):
    program = ("import sys; from pathlib import Path; from leanclips.layout import Layout; "
               "from leanclips.study import Backbone, Sampling; "
               "from leanclips.training.features import FeatureJob, clip_features; "
               "from leanclips.training.machine import Compute; "
               "print(clip_features(FeatureJob(Path(sys.argv[2]), Layout(Path(sys.argv[1])), "
               "Backbone(name='efficientnet-lite0', size=32), Compute('cpu', 'fp32'), "
               "Sampling(frames=4))))")
    both = [subprocess.Popen([sys.executable, "-c", program, job.layout.study, job.path],
                             stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert names == {clip_features(job)} and len(cached(job)) == 1
    assert not list(job.layout.work.rglob(".aside-*"))


def test_the_record_beside_the_index_names_settings_content_and_machine(done):
    layout, study, _ = done
    record = read_record(layout.feature_record(study.backbone.name, "optimized"), StageRecord)
    origin = record.origin
    assert record.key == origin.key
    assert origin.settings["backbone"]["size"] == 32 and origin.settings["sampling"]["frames"] == 4
    assert "weights" not in origin.settings["backbone"]  # they count by their content
    assert set(origin.inputs) == {"the clips of source", "the clips of optimized", "the weights"}
    assert (origin.machine["device"], origin.machine["precision"]) == (
        compute(study).device, compute(study).precision)
    assert origin.machine["torch"] == torch.__version__.partition("+")[0] or (
        origin.machine["torch"] == torch.__version__)


def test_a_changed_clip_alone_is_computed_again(copied, make_clip):
    layout, study, clips = copied
    index = layout.feature_index(study.backbone.name, "optimized")
    keys, before = read_csv(index).set_index("clip")["key"], set(layout.work.rglob("*.npy"))
    make_clip(layout.clip("optimized", "a-002"), frames=6, size=(80, 80), seed=77)
    make_features(layout, study, clips, "optimized", 1)
    after = read_csv(index).set_index("clip")["key"]
    assert list(keys.index[keys != after]) == ["a-002"]
    new = set(layout.work.rglob("*.npy")) - before
    assert new == {layout.feature(study.backbone.name, after["a-002"])}


def test_features_come_in_the_order_of_the_clips_asked_for(done):
    layout, study, clips = done
    chosen = of_role(clips, Role.TARGET)[::-1]
    loaded = load_features(layout, study, clips, "source", chosen)
    assert loaded.ids == tuple(clip.id for clip in chosen)
    assert loaded.values.shape == (len(chosen), 4, 1280)
    one = load_features(layout, study, clips, "source", chosen[2:3])
    np.testing.assert_array_equal(one.values, loaded.values[2:3])
    np.testing.assert_array_equal(loaded.of([chosen[2].id]), one.values)


def test_missing_or_damaged_features_are_told_and_the_remedy_works(copied):
    layout, study, clips = copied
    index = layout.feature_index(study.backbone.name, "source")
    path = layout.feature(study.backbone.name, read_csv(index)["key"][0])
    good = path.read_bytes()
    for content in (b"", b"\x93NUMPY", None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(StudyError, match="source.csv: some features are missing or damaged; "
                                             "delete this file and run the study again"):
            load_features(layout, study, clips, "source", clips)
    index.unlink()
    make_features(layout, study, clips, "source", 1)
    assert len(load_features(layout, study, clips, "source", clips).ids) == len(clips)
    assert path.read_bytes() == good


@pytest.mark.parametrize("changed, difference", [
    ({"sampling": Sampling(frames=5)}, "sampling.frames was 4 and is 5"),
    ({"backbone": Backbone(name="efficientnet-lite0", size=40)}, "backbone.size was 32 and is 40")])
def test_features_of_other_settings_are_refused_in_one_sentence(done, changed, difference):
    layout, study, clips = done
    with pytest.raises(StudyError, match=f"source.json: .*: {difference}; run the study again"):
        load_features(layout, study.model_copy(update=changed), clips, "source", clips)


def test_features_that_were_never_made_are_told(done):
    layout, study, clips = done
    other = study.model_copy(update={"backbone": Backbone(name="efficientnet-lite2", size=32)})
    with pytest.raises(StudyError, match="efficientnet-lite2/source.json: the record is not there"):
        load_features(layout, other, clips, "source", clips)


DRIFT = FeatureDrift(Backbone(name="efficientnet-lite0", size=64), Sampling(frames=4))


def test_the_cosine_distance_is_that_of_the_angle():
    a, b = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 2.0], [5.0, 0.0]])
    assert cosine_distance(a, b) == pytest.approx(0.5)
    assert cosine_distance(a, 7 * a) == pytest.approx(0)
    assert cosine_distance(a, -a) == pytest.approx(2)


def test_a_coarser_encode_moves_the_features_further(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", frames=12, size=(128, 96))
    found = [DRIFT(clip, clip)]
    for crf in (28, 45):
        ffmpeg("-i", clip, "-c:v", "libx264", "-crf", crf, tmp_path / "made.mp4")
        found.append(DRIFT(clip, tmp_path / "made.mp4"))
    assert found[0] == 0 < found[1] < found[2] < 1


def test_equal_frames_of_a_short_clip_go_through_the_network_once(tmp_path, make_clip, monkeypatch):
    clip, passed = make_clip(tmp_path / "clip.mp4", frames=5, size=(128, 96)), []
    whole = backbone.features
    monkeypatch.setattr(backbone, "features", lambda model, frames: passed.append(
        len(frames)) or whole(model, frames))
    assert FeatureDrift(DRIFT.backbone, Sampling(frames=12))(clip, clip) == 0
    assert passed == [5, 5]


def test_the_fingerprint_of_the_drift_tells_networks_frames_and_precisions_apart():
    others = [FeatureDrift(Backbone(name="efficientnet-lite0", size=96), Sampling(frames=4)),
              FeatureDrift(DRIFT.backbone, Sampling(frames=5)),
              FeatureDrift(DRIFT.backbone, DRIFT.sampling, BF16)]
    assert len({one.fingerprint for one in (DRIFT, *others)}) == 4


def test_the_drift_is_computed_as_this_machine_does_it_best():
    assert feature_drift().compute == compute(Study(title="a"))


def test_a_studys_features_say_how_far_each_clip_moved(done):
    layout, study, clips = done
    name = study.backbone.name
    assert "drift" not in read_csv(layout.feature_index(name, "source"))
    table = read_csv(layout.feature_index(name, "optimized")).set_index("clip")
    measure = FeatureDrift(study.backbone, study.sampling, compute(study))
    for clip in [clip for clip in clips if clip.id in table.index][:2]:
        again = measure(layout.clip("source", clip.id), layout.made_clip("optimized", clip.id))
        assert table.loc[clip.id, "drift"] == pytest.approx(again, abs=1e-3) and again > 0
