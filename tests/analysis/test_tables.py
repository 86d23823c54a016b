"""Tables: what a page shows is what the records say."""

import pandas as pd
import pytest

from leanclips.analysis import formats, measures, tables
from leanclips.analysis.case_study import CASE_STUDY
from leanclips.analysis.results import load
from leanclips.analysis.statistics import Interval


def cells(table, column):
    return [row[table.header.index(column)] for row in table.rows]


def test_accuracy_is_counted_by_hand(make_records):
    """Seed 1 gets 6 of 8 right everywhere, seed 2 all but one."""
    wrong = {1: (0, 1), 2: (5,)}
    results = load(make_records(right=lambda v, seed, c, t, place: place not in wrong[seed]))
    table = tables.accuracies(results, "last")
    assert cells(table, "Held-out, own kind")[2:] == ["75% / 81% / 88%"] * 6
    assert cells(table, "Validation")[2:] == ["51% / 52% / 52%"] * 6
    assert table.data["heldout_mean"][2:].tolist() == [13 / 16] * 6


def test_the_case_studys_numbers_stand_beside_ours(results):
    table = tables.accuracies(results, "last")
    assert [row[:3] for row in table.rows[:2]] == [
        ("case study", "source", "56% / 65% / 69%"), ("case study", "optimized", "64% / 67% / 75%")]
    assert tables.case_study_cross().rows == (
        ("source", "65%, 53%", "62%, 50%"), ("optimized", "62%, 50%", "65%, 50%"))
    compression = tables.compression(results)
    assert cells(compression, "Case study") == ["24%", "67%", "–"]
    assert CASE_STUDY.saving_crops == 0.67


def test_savings_count_target_and_heldout_clips_and_the_one_that_was_kept(results):
    table = tables.compression(results).data.set_index("variant")
    before = results.report("source")["bytes_out"]
    after = (0.25 * before).round()
    after[0] = before[0]
    assert table.loc["optimized", "bytes_in"] == before.sum()
    assert table.loc["optimized", "bytes_out"] == pytest.approx(after.sum(), abs=2)
    assert table.loc["optimized", "kept_no_gain"] == 1
    assert table.loc["constant", "saving_of_total"] == pytest.approx(0.74, abs=1e-4)


def test_a_variant_that_fails_on_its_own_clips_is_worse_there_and_equivalent_on_source(
        make_records):
    results = load(make_records(margin=0.6, right=lambda variant, seed, classifier, tested, place:
                                tested != "constant"))
    found = {(c.variant, c.tested): str(c.verdict) for c in measures.comparisons(results)}
    assert found == {("optimized", "own"): "equivalent", ("optimized", "source"): "equivalent",
                     ("constant", "own"): "worse", ("constant", "source"): "equivalent"}


def test_pairing_takes_out_what_is_hard_for_both_sides(make_records):
    results = load(make_records(right=lambda variant, seed, classifier, tested, place: place % 4))
    found = measures.pairing(results, "crnn", "optimized")
    assert found.paired == 0 < found.unpaired and found.correlation is None


def test_seeds_that_are_lucky_for_one_variant_alone_correlate_negatively(make_records):
    results = load(make_records(seeds=(1, 2, 3), right=lambda variant, seed, *_:
                                (seed == 2) == (variant == "source")))
    assert measures.pairing(results, "crnn", "optimized").correlation == pytest.approx(-1)


def test_the_cross_matrix_has_a_cell_for_every_pair(results):
    table = tables.cross(results, "crnn")
    assert table.header[1:] == results.variants == tuple(row[0] for row in table.rows)
    assert len(table.data) == 9


def test_every_table_is_written_beside_its_page(results, tmp_path):
    table = tables.summary(results)
    table.write_csv(tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "summary.csv"), table.data,
                                  check_dtype=False)


@pytest.mark.parametrize("shown, expected", [
    (formats.percent(0.654), "65.4%"), (formats.percent(-0.0001), "0.0%"),
    (formats.points(0.0123), "+1.2"), (formats.points(-0.0123), "−1.2"),
    (formats.points(-0.0001), "0.0"), (formats.megabytes(12_756_633), "12.8 MB"),
    (formats.megabytes(2.05e9), "2.05 GB"), (formats.megabytes(999), "999 bytes"),
    (formats.duration(12.5), "12 s"), (formats.duration(600), "10 min"),
    (formats.duration(7260), "2 h 01 min"), (formats.about(8803), "8,800"),
    (formats.listing(["a", "b", "c"]), "a, b and c"), (formats.several(1, "clip"), "1 clip"),
    (formats.interval(Interval(-0.01, 0.02)), "−1.0 to +2.0"), (formats.within(0.05), "5"),
    (formats.within(0.07), "7"), (formats.within(0.025), "2.5"), (formats.within(0.004), "0.4"),
])
def test_numbers_are_printed_in_one_way(shown, expected):
    assert shown == expected


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_number_that_is_missing_is_never_printed(value):
    for show in (formats.percent, formats.points, formats.megabytes, formats.thousands):
        with pytest.raises(ValueError, match="missing"):
            show(value)
