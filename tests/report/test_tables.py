"""Tables: what a page shows is what the records say."""

import pandas as pd
import pytest

from leanclips.clips import Clip, Role
from leanclips.report import tables, view
from leanclips.report.results import load


def cells(table, column):
    return [row[table.header.index(column)] for row in table.rows]


def test_accuracy_is_counted_by_hand(make_records):
    """Seed 1 gets 6 of 8 right everywhere, seed 2 all but one."""
    wrong = {1: (0, 1), 2: (5,)}
    results = load(make_records(right=lambda v, seed, c, t, place: place not in wrong[seed]))
    table = tables.accuracies(results, "last")
    assert cells(table, "Test, own kind") == ["75% / 81% / 88%"] * 9
    assert cells(table, "Validation") == ["51% / 52% / 52%"] * 9
    assert table.data["test_mean"].tolist() == [13 / 16] * 9
    assert len(tables.accuracies(results, "best").rows) == 3  # of the CRNN alone


def test_accuracy_on_other_inputs_is_counted_by_hand(make_records):
    """Seed 1 gets 6 of 8 right on the middle frame, seed 2 all but one; in order, all."""
    wrong = {1: (0, 1), 2: (5,)}
    table = tables.inputs(load(make_records(
        classifiers=["linear", "crnn"], right=lambda variant, seed, c, t, place:
        variant != "middle" or place not in wrong[seed])))
    last = [row for row in table.rows if row[2] == "last"]
    assert [(row[0], row[1], row[3]) for row in last] == [
        ("linear classifier", "frames in order", "100% / 100% / 100%"),
        ("linear classifier", "middle frame", "75% / 81% / 88%"),
        ("CRNN", "frames in order", "100% / 100% / 100%"),
        ("CRNN", "frames shuffled", "100% / 100% / 100%"),
        ("CRNN", "middle frame", "75% / 81% / 88%"), ("CRNN", "mean frame", "100% / 100% / 100%")]
    data = table.data.set_index(["classifier", "input", "epoch"])
    assert data.loc[("crnn", "middle", "best"), "difference"] == 13 / 16 - 1


def test_the_choices_go_from_large_to_small_and_say_how_each_is_encoded(of_some):
    table = tables.choices(of_some)
    assert table.rows[0][:4] == ("both", "–", "–", "129.4%")  # source and optimized together
    assert [row[:3] for row in table.rows[1:]] == [
        ("optimized", "H.264, adaptive", "93"), ("constant", "H.264, one CRF", "–")]
    rows = tables.differences(of_some).data.query("classifier == 'linear' and tested == 'own'")
    assert dict(zip(table.data["variant"], table.data["difference"], strict=True)) == dict(
        zip(rows["variant"], rows["difference"], strict=True))


def test_savings_count_target_and_heldout_clips_and_the_one_that_was_kept(results):
    table = tables.compression(results).data.set_index("variant")
    before = results.report("source")["bytes_out"]
    after = (0.25 * before).round()
    after[0] = before[0]
    assert table.loc["optimized", "bytes_in"] == before.sum()
    assert table.loc["optimized", "bytes_out"] == pytest.approx(after.sum(), abs=2)
    assert table.loc["optimized", "kept_no_gain"] == 1
    assert table.loc["constant", "saving_of_total"] == pytest.approx(0.74, abs=1e-4)


def test_a_control_is_held_against_the_target_of_the_variant_whose_bytes_it_matches(make_records):
    table = tables.quality(load(make_records(variants={
        "optimized": {"target": 94}, "constant": {"bytes_of": "optimized"},
        "vendor": {"folder": "theirs"}, "like-vendor": {"bytes_of": "vendor"}})))
    found = dict(zip(cells(table, "Encoded"), zip(cells(table, "Target"), cells(
        table, "Clips below target"), strict=True), strict=True))
    assert found == {"originals": ("–", "–"), "optimized": ("94.0", "15"), "vendor": ("–", "–"),
                     "constant": ("94.0", "16"), "like-vendor": ("–", "–")}


def test_each_classifier_is_told_what_the_study_can_see(results):
    """The variants' answers are the same here: nothing varies that a difference could hide in."""
    rows = tables.pairing(results).rows
    assert [row[0] for row in rows] == ["Linear classifier", "Temporal classifier", "CRNN"]
    assert {row[4:] for row in rows} == {("0.0", "8", "–", "0.0")}


def test_the_cross_matrix_has_a_cell_for_every_pair(results):
    table = tables.cross(results, "crnn")
    assert table.header[1:] == results.study.all_variants == tuple(row[0] for row in table.rows)
    assert len(table.data) == 9


def test_every_variant_has_a_row_that_leads_to_its_page_and_every_run_one_with_its_record(
        of_protocol):
    table = tables.runs(of_protocol)
    assert cells(table, "Variant")[-1] == "[constant](constant-runs)" and len(table.rows) == 3
    assert ("CRNN, validation" in table.header) == of_protocol.validates
    each = tables.runs_of(of_protocol, "constant")
    assert cells(each, "Record") == ["[JSON](constant-seed-01.json)",
                                     "[JSON](constant-seed-02.json)"]
    assert each.data["linear_test"].mean() == table.data["linear_test"].iloc[-1]


def test_every_table_is_written_beside_its_page(of_protocol, tmp_path):
    for name, table in view.View(of_protocol).tables.items():
        assert name == table.name
        table.write(tmp_path)
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(table.data)


def test_clips_of_a_variant_are_listed_by_saving(results):
    table = tables.per_clip(results, "optimized")
    assert table.data["saving"].is_monotonic_decreasing
    assert len(table.rows) == len(results.compared) and table.rows[-1][-1] == "no-gain"


def test_counts_give_clips_and_recordings_of_each_class():
    clips = [Clip("a1", "a", "run", "g1", Role.TARGET), Clip("a2", "b", "run", "g1", Role.TARGET),
             Clip("a3", "c", "run", "g2", Role.HELDOUT), Clip("b1", "d", "box", "g3",
                                                             Role.PRETRAIN)]
    table = tables.counts(clips)
    assert table.header == ("Class", "target", "heldout", "pretrain")
    assert table.rows == (("run", "2 (1)", "1 (1)", "–"), ("box", "–", "–", "1 (1)"))
