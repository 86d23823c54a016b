"""Tables of records: what is written is what is read."""

import numpy as np
import pandas as pd

from leanclips.clips import Clip, Role
from leanclips.layout import Layout
from leanclips.recognition.features import load_features
from leanclips.records import read_csv, write_csv
from leanclips.study import Study


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = pd.DataFrame({"clip": ["001", "1e3"], "label": ["7", "07"], "seed": [1, 2],
                          "detail": [None, "12"]})
    write_csv(tmp_path / "table.csv", table)
    again = read_csv(tmp_path / "table.csv")
    assert again["clip"].tolist() == ["001", "1e3"] and again["label"].tolist() == ["7", "07"]
    assert again["seed"].tolist() == [1, 2] and again["detail"][1] == "12"


def test_the_features_of_clips_with_numbers_for_names_are_found(tmp_path):
    layout, study = Layout(tmp_path), Study(title="a")
    clips = [Clip(name, f"a/{name}.mp4", "a", name, Role.TARGET) for name in ("001", "002")]
    index = layout.feature_index(study.backbone.name, "source")
    write_csv(index, pd.DataFrame({"clip": ["001", "002"], "key": ["aa", "bb"]}))
    for place, key in enumerate(("aa", "bb")):
        path = layout.feature(study.backbone.name, key)
        path.parent.mkdir(parents=True)
        np.save(path, np.full((2, 3), place))
    assert load_features(layout, study, "source", clips).values[:, 0, 0].tolist() == [0, 1]
