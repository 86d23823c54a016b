"""Figures: the same bytes each time, for both themes, with words and numbers beside them."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.analysis import compression_figures, figures, measures, order, style
from leanclips.analysis.results import load

ALL = [figures.answer, figures.accuracy_spread, figures.differences, figures.cross_matrix,
       figures.confusion, figures.learning_curves, compression_figures.overview,
       compression_figures.savings, compression_figures.quality, compression_figures.clip_sizes,
       order.figure]


@pytest.mark.parametrize("make", ALL)
def test_a_figure_is_written_for_both_themes_with_its_numbers(results, tmp_path, make):
    figure = make(results)
    style.write(figure, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{figure.name}-dark.svg", f"{figure.name}-light.svg", f"{figure.name}.csv"]
    assert len(pd.read_csv(tmp_path / "out" / f"{figure.name}.csv")) == len(figure.data)
    light = (tmp_path / "out" / f"{figure.name}-light.svg").read_text()
    ElementTree.fromstring(light)
    assert "http" not in re.sub(r'xmlns[^"]*"[^"]*"|<!DOCTYPE.*?>|<metadata>.*?</metadata>', "",
                                light, flags=re.DOTALL)


@pytest.mark.parametrize("make", ALL)
def test_a_figure_has_a_caption_and_alt_text_in_plain_words(results, make):
    figure = make(results)
    for text in (figure.caption, figure.alt):
        assert text.endswith(".") and len(text) > 20 and "nan" not in text.lower()


@pytest.mark.parametrize("make", [figures.answer, compression_figures.savings])
def test_two_drawings_of_the_same_records_have_equal_bytes(results, tmp_path, make):
    for name in ("one", "two"):
        style.write(make(results), tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_variant_keeps_its_colour_whichever_others_are_shown():
    colours = style.colours(["source", "optimized", "constant"])
    assert colours["source"] == style.colours(["source"])["source"]
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize("margin, shown", [(0.05, "±5 points"), (0.004, "±0.4 points")])
def test_a_margin_is_told_as_it_is(make_records, margin, shown):
    assert shown in figures.differences(load(make_records(margin=margin))).caption


def test_another_tools_files_stand_among_the_qualities(make_records):
    results = load(make_records(variants={"optimized": {"target": 93},
                                          "vendor": {"folder": "theirs"}}))
    figure = compression_figures.quality(results)
    assert "vendor 93.2 (lowest 93.2)" in figure.alt
    assert (figure.data["variant"] == "vendor").sum() == len(results.compared)


@pytest.mark.filterwarnings("error")
def test_where_every_clip_kept_its_bytes_the_qualities_are_told_to_be_none(make_records, tmp_path):
    layout = make_records(variants={"optimized": {"target": 93}})
    table = pd.read_csv(layout.report("optimized"))
    table.assign(crf=None, reason="no-gain").to_csv(layout.report("optimized"), index=False)
    figure = compression_figures.quality(load(layout))
    assert figure.alt == "Median quality: optimized none re-encoded."
    style.write(figure, tmp_path)


def test_chance_is_the_share_of_the_largest_class(results):
    assert measures.chance(results) == 0.5
    jumps = next(clip for clip in results.heldout if clip.label == "walk")
    more = replace(results, clips=tuple(replace(clip, label="jump") if clip == jumps else clip
                                        for clip in results.clips))
    assert measures.chance(more) == 5 / 8
    for make in (figures.answer, order.figure):
        assert "chance (62%)" in make(more).caption
    assert "chance 62.5%" in order.sentences(more)[-1]


def test_alt_text_of_the_confusions_names_the_worst_or_says_there_is_none(make_records):
    never = load(make_records("never", right=lambda *_: True))
    assert "No clip is mistaken" in figures.confusion(never).alt
    walks = load(make_records("walks", right=lambda variant, seed, classifier, tested, place:
                              place < 4))
    assert "walk taken for jump" in figures.confusion(walks).alt


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.3))
def test_spreading_apart_keeps_order_distance_and_centre(positions, gap):
    moved = figures.spread_apart(positions, gap)
    order = np.argsort(positions, kind="stable")
    assert (np.diff(moved[order]) >= gap - 1e-9).all()
    assert moved.mean() == pytest.approx(np.mean(positions), abs=1e-9)


def test_positions_already_apart_stay_where_they_are():
    assert figures.spread_apart([0.9, 0.1, 0.5], 0.1).tolist() == [0.9, 0.1, 0.5]
