"""Every classifier of every run is tested once on each held-out clip of each variant."""

from itertools import product

import numpy as np
import pytest
from safetensors.numpy import load_file

from leanclips.clips import Role, load_clips, of_role
from leanclips.errors import StudyError
from leanclips.recognition.crosstest import crosstest
from leanclips.recognition.features import load_features
from leanclips.records import CROSSTEST, read_csv
from leanclips.study import load_study


@pytest.fixture
def opened(finished_study):
    """Layout, settings and clips of a finished study."""
    return finished_study, load_study(finished_study.study), load_clips(finished_study)


def test_every_combination_is_there_once_with_its_label(opened):
    layout, study, clips = opened
    table = read_csv(layout.crosstest)
    heldout = {clip.id: clip.label for clip in of_role(clips, Role.HELDOUT)}
    wanted = set(product(study.all_variants, study.finetuning.seeds, ("crnn", "linear"),
                         ("last", "best"), study.all_variants, heldout))
    rows = list(table[list(CROSSTEST[:6])].itertuples(index=False, name=None))
    assert tuple(table.columns) == CROSSTEST
    assert len(rows) == len(wanted) and set(rows) == wanted
    assert list(table["label"]) == [heldout[clip] for clip in table["clip"]]
    assert set(table["predicted"]) <= {"a", "b"}


@pytest.mark.parametrize("tested_on", ["source", "constant"])
@pytest.mark.parametrize("epoch", ["last", "best"])
def test_the_predictions_are_those_that_the_weights_give(opened, tested_on, epoch):
    """The baseline computed apart, in plain NumPy."""
    layout, study, clips = opened
    heldout = of_role(clips, Role.HELDOUT)
    weights = load_file(layout.run("optimized", 2) / "model.safetensors")
    mean, std, matrix, bias = (weights[f"linear.{epoch}.{name}"]
                               for name in ("mean", "std", "head.weight", "head.bias"))
    values = load_features(layout, study, tested_on, heldout).values.mean(axis=1)
    scores = (values - mean) / std @ matrix.T + bias
    table = read_csv(layout.crosstest).query(
        "variant == 'optimized' and seed == 2 and classifier == 'linear' "
        f"and epoch == '{epoch}' and tested_on == '{tested_on}'")
    assert list(table["clip"]) == [clip.id for clip in heldout]
    assert list(table["predicted"]) == list(np.array(["a", "b"])[scores.argmax(1)])


@pytest.mark.parametrize("jobs", [1, 2])
def test_testing_again_leaves_the_same_bytes_with_any_number_of_workers(opened, jobs):
    layout = opened[0]
    before = layout.crosstest.read_bytes()
    crosstest(*opened, jobs)
    assert layout.crosstest.read_bytes() == before


def test_a_run_that_is_missing_is_named(opened):
    layout = opened[0]
    (layout.run("constant", 1) / "result.json").unlink()
    with pytest.raises(StudyError, match="result.json: the run has no result yet"):
        crosstest(*opened, 1)
