"""Is time needed: what a page says of the views is what their records say."""

import pytest

from leanclips.analysis import order, tables
from leanclips.analysis.results import load
from leanclips.analysis.statistics import Verdict
from leanclips.errors import StudyError


def only(*failing):
    """All right but the views of these names."""
    return lambda variant, seed, classifier, tested, place: variant not in failing


def cells(table, column):
    return [row[table.header.index(column)] for row in table.rows]


def test_accuracy_is_counted_by_hand(make_records):
    """Seed 1 gets 6 of 8 right on the middle frame, seed 2 all but one; in order, all."""
    wrong = {1: (0, 1), 2: (5,)}
    table = order.table(load(make_records(right=lambda variant, seed, c, t, place:
                                          variant != "middle" or place not in wrong[seed])))
    assert list(zip(cells(table, "Classifier"), cells(table, "Sees"), cells(table, "Held-out"),
                    strict=True)) == [
        ("CRNN", "frames in order", "100% / 100% / 100%"),
        ("CRNN", "frames shuffled", "100% / 100% / 100%"),
        ("CRNN", "middle frame", "75% / 81% / 88%"), ("CRNN", "mean frame", "100% / 100% / 100%"),
        ("linear classifier", "frames in order", "100% / 100% / 100%"),
        ("linear classifier", "middle frame", "75% / 81% / 88%")]
    data = table.data.set_index(["classifier", "view", "epoch"])
    assert data.loc[("crnn", "middle", "best"), "difference"] == 13 / 16 - 1
    assert cells(table, "Verdict")[::4] == ["–", "–"]


def test_in_order_is_the_source_run_on_its_own_clips(make_records):
    results = load(make_records(right=lambda v, seed, c, tested, place: tested == v == "source"))
    in_order = [one for one in order.all_seen(results) if one.view == order.ORDERED]
    assert [one.spread.mean for one in in_order] == [1, 1]
    assert tables.summary(results).data.heldout[0] == 1


@pytest.mark.parametrize("failing, said", [
    (("shuffled",), "for the CRNN, the order of the frames helps, more than one frame changes"),
    (("source",), "for the CRNN, the order of the frames harms, more than one frame harms"),
    ((), "for the CRNN, the order of the frames changes the accuracy by less than 60 points, "),
    (("middle",), "for the linear classifier, more than one frame helps."),
    (("mean",), "and more than the mean of the frames helps; for the linear classifier")])
def test_the_headline_falls_as_the_numbers_do(make_records, failing, said):
    # Eight recordings can show equivalence within 60 points.
    assert said in order.headline(load(make_records(right=only(*failing), margin=0.6)))


def test_an_interval_that_reaches_both_ways_is_undecided(make_records):
    results = load(make_records(right=lambda variant, seed, c, t, place:
                                variant != "shuffled" or place > 0))
    assert order.seen(results, "shuffled", "crnn").verdict == Verdict.UNDECIDED
    assert "the order of the frames may or may not help (undecided)" in order.headline(results)


@pytest.mark.parametrize("failing, said", [
    ((), "with the CRNN and linear classifier it tells these classes apart, at least in part"),
    (("middle",), "leaves open whether it tells these classes apart at all")])
def test_a_single_frame_is_held_against_chance(make_records, failing, said):
    *_, last = order.sentences(load(make_records(right=only(*failing))))
    assert said in last and "chance 50.0%" in last


def test_the_sentences_and_the_figure_give_the_tables_numbers(results):
    lines = " ".join(order.sentences(results))
    for row in order.table(results).data.query("epoch == 'last'").itertuples():
        assert tables.percent(row.mean) in lines
    assert order.figure(results).data["mean"].tolist() == order.table(results).data.query(
        "epoch == 'last'")["mean"].tolist()


def test_records_that_are_not_this_studys_are_an_error(make_records):
    layout = make_records()
    path = layout.views(2)
    text = path.read_text()
    path.write_text(text.replace("mean,2,", "mean,3,"))
    with pytest.raises(StudyError, match="views: the predictions are not those of this study"):
        load(layout)
    path.write_text(text + text.splitlines(keepends=True)[-1])
    with pytest.raises(StudyError, match="views: the predictions are not those of this study"):
        load(layout)
    path.unlink()
    with pytest.raises(StudyError, match="seed-02.csv: the table is not there yet; run the study"):
        load(layout)
