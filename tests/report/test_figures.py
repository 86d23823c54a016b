"""Figures: the same bytes each time, for both themes, with words and numbers beside them."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from leanclips.records import read_csv, write_csv
from leanclips.report import figures, measures, view
from leanclips.report.display import THEMES
from leanclips.report.results import load


def test_a_figure_is_written_for_both_themes_with_its_numbers(of_protocol, tmp_path):
    found = view.View(of_protocol).figures
    assert {"frontier", "cross", "confusion", "quality", "learning"} == set(found)
    for name, figure in found.items():
        figure.write(tmp_path / name)
        points = [f"{name}-points.json"] if figure.points else []
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            f"{name}-dark.svg", f"{name}-light.svg", *points, f"{name}.csv"]
        assert len(pd.read_csv(tmp_path / name / f"{name}.csv")) == len(figure.data)
        light = (tmp_path / name / f"{name}-light.svg").read_text()
        ElementTree.fromstring(light)
        assert "http" not in re.sub(
            r'xmlns[^"]*"[^"]*"|<!DOCTYPE.*?>|<metadata>.*?</metadata>', "", light,
            flags=re.DOTALL)


def test_a_figure_has_a_caption_and_alt_text_in_plain_words(of_protocol):
    for figure in view.View(of_protocol).figures.values():
        for text in (figure.caption, figure.alt):
            assert text.endswith(".") and len(text) > 20 and "nan" not in text.lower()


SIZES = {"t93": {"target": 93}, "t85": {"target": 85}, "t70": {"target": 70},
         "c85": {"bytes_of": "t85"}, "av85": {"target": 85, "codec": "av1"}}


def test_the_frontier_has_a_line_for_each_way_to_encode(make_records, tmp_path):
    results = load(make_records(variants=SIZES))
    found, share = view.View(results), measures.share_of_source(results)["t93"]
    figure = found.figures["frontier"]
    figure.write(tmp_path)
    table = found.tables["differences"].data.query("tested == 'own'")
    assert len(figure.data) == len(table) and set(figure.data["way"]) == {
        "H.264, adaptive", "H.264, one CRF", "AV1, adaptive"}
    assert f"t93 at {share:.1%}" in figure.alt and "±5 points" in figure.caption
    points = pd.DataFrame(json.loads((tmp_path / "frontier-points.json").read_text()),
                          columns=["left", "top", "text"])
    assert len(points) == len(table) and points[["left", "top"]].stack().between(0, 100).all()
    rows = figure.data.reset_index(drop=True)
    assert all(row.variant in text for row, text in zip(
        rows.itertuples(), points["text"], strict=True))
    assert points["left"].corr(np.log(rows["share_of_source"])) > 0.999
    better = replace(figure.points, data=figure.points.data.eval("difference = difference + 0.01"))
    canvas = figure.draw(THEMES[0])
    low, high = (pd.DataFrame(each.on(canvas)) for each in (figure.points, better))
    assert (high[0] == low[0]).all() and (high[1] < low[1] - 1).all()  # percent from the top


def test_a_file_of_another_tool_is_a_way_of_its_own(make_records):
    study = load(make_records(variants=SIZES | {"vendor": {"folder": "theirs"}})).study
    assert figures.way_of(study, "vendor") == "vendor"


@pytest.mark.parametrize("make", [figures.frontier, figures.quality])
def test_two_drawings_of_the_same_records_have_equal_bytes(results, tmp_path, make):
    for name in ("one", "two"):
        make(results).write(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("margin, shown", [(0.05, "±5 points"), (0.004, "±0.4 points")])
def test_a_margin_is_told_as_it_is(make_records, margin, shown):
    assert shown in figures.frontier(load(make_records(margin=margin))).caption


def test_another_tools_files_stand_among_the_qualities(make_records):
    results = load(make_records(variants={"optimized": {"target": 93},
                                          "vendor": {"folder": "theirs"}}))
    figure = figures.quality(results)
    assert "vendor 93.2 (lowest 93.2)" in figure.alt
    assert (figure.data["variant"] == "vendor").sum() == len(results.compared)


@pytest.mark.filterwarnings("error")
def test_where_every_clip_kept_its_bytes_the_qualities_are_told_to_be_none(make_records, tmp_path):
    layout = make_records(variants={"optimized": {"target": 93}})
    table = read_csv(layout.report("optimized"))
    write_csv(layout.report("optimized"), table.assign(crf=None, reason="no-gain"))
    figure = figures.quality(load(layout))
    assert figure.alt == "Median quality: optimized none re-encoded."
    figure.write(tmp_path)


def test_learning_is_told_by_validation_accuracy_or_where_there_is_none_by_training(of_protocol):
    figure = figures.learning_curves(of_protocol)
    kind, last = ("validation", "53.0%") if of_protocol.validates else ("training", "100.0%")
    assert f"CRNN: {kind} accuracy" in figure.caption and f"optimized: {last}" in figure.alt


def test_alt_text_of_the_confusions_names_the_worst_or_says_there_is_none(make_records):
    never = load(make_records("never", right=lambda *_: True))
    assert "No clip is mistaken" in figures.confusion(never).alt
    walks = load(make_records("walks", right=lambda variant, seed, classifier, tested, place:
                              place < 4))
    assert "walk taken for jump, 100% of its clips" in figures.confusion(walks).alt


@pytest.mark.parametrize("make", [figures.frontier, figures.cross_matrix,
                                  figures.learning_curves, figures.quality])
def test_a_classifier_that_is_not_trained_on_every_variant_is_drawn(of_some, tmp_path, make):
    figure = make(of_some)
    figure.write(tmp_path)
    assert "nan" not in figure.alt
    if "classifier" in figure.data:
        drawn = figure.data.query("classifier == 'crnn'")
        assert "optimized" in set(drawn["variant"]) <= {"source", "optimized"}
