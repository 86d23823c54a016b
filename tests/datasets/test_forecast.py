"""The forecast of time and disk: each part is scaled from the clips and fits that were measured."""

from itertools import count

import pytest

from leanclips.clips import load_clips, tested_clips
from leanclips.datasets import forecast as module
from leanclips.datasets.forecast import SAMPLED, SEARCHED, forecast
from leanclips.errors import StudyError
from leanclips.report.formats import duration
from leanclips.study import load_study
from leanclips.workers import cores


@pytest.fixture
def opened(tiny_study):
    study = load_study(tiny_study.study)
    return tiny_study, study, load_clips(tiny_study, study)


@pytest.mark.slow
def test_every_part_is_scaled_to_the_whole_study(opened, monkeypatch):
    layout, study, clips = opened
    monkeypatch.setattr(module, "perf_counter", count().__next__)  # all that is timed takes 1 s
    before = sorted(layout.study.rglob("*"))
    said = forecast(*opened)
    tested = tested_clips(clips)
    times = len(tested) / len(tested[::-(-len(tested) // SAMPLED)])
    encoding = (1 + 1 + SEARCHED + 1) * times  # source, optimized, constant, originals
    features = 3 * times
    fits = 3 * (1 + 1 + study.finetuning.epochs)  # of three variants
    training = len(study.finetuning.seeds) * (2 * 3 + fits)
    for part, what in ((encoding, "to encode"), (features, "for features"), (training, "to train")):
        assert f"{duration(part / cores())} {what}" in said
    assert f"about {duration((encoding + features + training) / cores())}" in said
    assert sorted(layout.study.rglob("*")) == before


def test_a_clip_that_is_not_there_is_named(opened, tmp_path):
    with pytest.raises(StudyError, match="a/tape0_0.mp4"):
        forecast(*opened, tmp_path / "nowhere")
