"""How far features move: nothing for the same file, more for a coarser one."""

import numpy as np
import pytest

from leanclips.clips import load_clips
from leanclips.recognition import backbone
from leanclips.recognition.drift import FeatureDrift
from leanclips.recognition.features import cosine_distance
from leanclips.records import read_csv
from leanclips.study import Backbone, Sampling, load_study

SMALL = FeatureDrift(Backbone(name="efficientnet-lite0", size=64), Sampling(frames=4))


def test_the_cosine_distance_is_that_of_the_angle():
    a, b = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 2.0], [5.0, 0.0]])
    assert cosine_distance(a, b) == pytest.approx(0.5)
    assert cosine_distance(a, 7 * a) == pytest.approx(0)
    assert cosine_distance(a, -a) == pytest.approx(2)


def test_a_coarser_encode_moves_the_features_further(tmp_path, make_clip, ffmpeg):
    clip = make_clip(tmp_path / "clip.mp4", frames=12, size=(128, 96))
    found = [SMALL(clip, clip)]
    for crf in (28, 45):
        ffmpeg("-i", clip, "-c:v", "libx264", "-crf", crf, tmp_path / "made.mp4")
        found.append(SMALL(clip, tmp_path / "made.mp4"))
    assert found[0] == 0 < found[1] < found[2] < 1


def test_equal_frames_of_a_short_clip_go_through_the_network_once(tmp_path, make_clip, monkeypatch):
    clip, passed = make_clip(tmp_path / "clip.mp4", frames=5, size=(128, 96)), []
    whole = backbone.features
    monkeypatch.setattr(backbone, "features", lambda model, frames: passed.append(
        len(frames)) or whole(model, frames))
    assert FeatureDrift(SMALL.backbone, Sampling(frames=12))(clip, clip) == 0
    assert passed == [5, 5]


def test_its_fingerprint_tells_networks_and_frames_apart():
    other = FeatureDrift(Backbone(name="efficientnet-lite0", size=96), Sampling(frames=4))
    more = FeatureDrift(SMALL.backbone, Sampling(frames=5))
    assert len({SMALL.fingerprint, other.fingerprint, more.fingerprint}) == 3


def test_a_studys_features_say_how_far_each_clip_moved(finished_study):
    study, clips = load_study(finished_study.study), load_clips(finished_study)
    name = study.backbone.name
    assert "drift" not in read_csv(finished_study.feature_index(name, "source"))
    table = read_csv(finished_study.feature_index(name, "optimized")).set_index("clip")
    measure = FeatureDrift(study.backbone, study.sampling)
    for clip in [clip for clip in clips if clip.id in table.index][:3]:
        again = measure(finished_study.clip("source", clip.id),
                        finished_study.made_clip("optimized", clip.id))
        assert table.loc[clip.id, "drift"] == pytest.approx(again, abs=1e-3) and again > 0
