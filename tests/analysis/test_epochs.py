"""The page about costs says what the measured epochs say, whichever way they fall."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from leanclips.analysis import benchmarks, book, epochs, style

TEMPLATES = Path(__file__).parents[2] / "book"
SIZES = {"source": 30_000_000, "optimized": 12_000_000}


def measured(seconds, noise=0.1):
    """storage.csv with these medians, {link: (source, optimized)}; None is the local folder."""
    return pd.DataFrame([
        {"variant": variant, "link_mbit": link, "epochs": 3, "clips": 160,
         "bytes": SIZES[variant], "seconds": middle, "min": middle - noise,
         "max": middle + noise, "clips_per_s": round(160 / middle, 2),
         "decoded_frames_per_s": round(5600 / middle, 1)}
        for link, both in seconds.items()
        for variant, middle in zip(SIZES, both, strict=True)])


def alone(network_seconds, decode=(2000.0, 2500.0)):
    rows = [{"step": "decode", "of": variant, "frames_per_s": rate, "min": rate - 100,
             "max": rate + 100, "epoch_frames": 5600, "epoch_seconds": 5600 / rate}
            for variant, rate in zip(SIZES, decode, strict=True)]
    rate = 4480 / network_seconds
    return pd.DataFrame([*rows, {"step": "network", "of": "lite2", "frames_per_s": rate,
                                 "min": rate, "max": rate, "epoch_frames": 4480,
                                 "epoch_seconds": network_seconds}])


SLOW_LINK = {50: (6.0, 4.0), 200: (4.05, 4.0), None: (4.0, 3.95)}


def test_a_gain_on_the_slow_link_only_is_told_as_that():
    data = measured(SLOW_LINK)
    assert epochs.conclusion(data) == (
        "The optimized clips made an epoch faster at 50 Mbit/s; at 200 Mbit/s and from a local "
        "folder no gain is shown.")
    assert epochs.gains(data) == [
        "At 50 Mbit/s: 4.0 s instead of 6.0 s, 1.50 times as fast.",
        "At 200 Mbit/s: 4.0 s against 4.0 s; the 3 epochs of each overlap, so no difference is "
        "shown.",
        "From a local folder: 4.0 s against 4.0 s; the 3 epochs of each overlap, so no "
        "difference is shown."]


def test_a_gain_everywhere_is_told_as_that():
    assert epochs.conclusion(measured({50: (6, 4), None: (5, 3)})) == (
        "The optimized clips made an epoch faster at 50 Mbit/s and from a local folder: on every "
        "link measured.")


def test_no_gain_and_a_loss_are_told_too():
    data = measured({200: (4.0, 4.1), None: (4.0, 5.0)})
    assert epochs.conclusion(data) == (
        "No link showed an epoch over the optimized clips to be faster.")
    assert epochs.gains(data)[1] == "From a local folder: 5.0 s instead of 4.0 s, 25.0% more."


def test_a_gain_within_the_noise_is_none():
    data = measured({50: (6.0, 4.0), None: (4.0, 3.95)}, noise=1.0)
    assert "No link showed" in epochs.conclusion(data)


def test_without_both_variants_nothing_is_compared():
    data = measured(SLOW_LINK)
    assert epochs.gains(data[data["variant"] == "source"]) == []


def test_the_link_binds_where_it_takes_longer_than_all_the_rest():
    data = measured(SLOW_LINK)
    shown = [(row.variant, row.link_mbit) for row in epochs.rows(data)
             if epochs.bound_by(data, row) == "link"]
    assert shown == [("source", 50)]
    assert epochs.break_even(data) == ("The link alone takes longer than the workers need below "
                                       "60 Mbit/s for source and 24 Mbit/s for optimized.")
    assert epochs.freedom(data) == [
        "From 200 Mbit/s on, no link was shown to slow the epochs over source clips.",
        "From 50 Mbit/s on, no link was shown to slow the epochs over optimized clips."]
    slow = measured({50: (6, 6), 200: (5, 5), None: (4, 4)})
    assert epochs.freedom(slow)[0] == "Every link slowed the epochs over source clips."


@pytest.mark.parametrize(("seconds", "told"), [
    (100, "takes 2 min for the frames of an epoch on this machine, longer than any"),
    (5, "and the clips set the pace only for source at 50 Mbit/s."),
    (1, "shorter than any of the epochs above: the clips set the pace.")])
def test_what_sets_the_pace_is_what_takes_longest(seconds, told):
    verdict, fed = epochs.pace(measured(SLOW_LINK), alone(seconds))
    assert told in verdict
    assert "feed 1,120 frames/s of source and 1,134 frames/s of optimized" in fed


def test_decoding_is_faster_only_where_it_was_every_time():
    assert epochs.decoding(alone(9)) == ("Optimized clips decode 1.25 times as fast as source "
                                         "clips.")
    assert "not shown" in epochs.decoding(alone(9, decode=(2000.0, 2100.0)))
    assert epochs.decoding(alone(9).iloc[1:]) == ""


@pytest.fixture
def render(results, tmp_path):
    """The page about costs, made with these tables beside the templates."""
    def made(**tables):
        shutil.copytree(TEMPLATES, tmp_path / "book",
                        ignore=shutil.ignore_patterns("_build", "_generated"))
        (tmp_path / "tests" / "benchmarks").mkdir(parents=True)
        for name, table in tables.items():
            table.to_csv(tmp_path / "tests" / "benchmarks" / f"{name}.csv", index=False)
        book.write_pages(tmp_path / "book", [results], tmp_path / "out")
        return (tmp_path / "out" / "costs.md").read_text()
    return made


def test_the_page_stands_without_any_measurement(render):
    page = render()
    assert page.startswith("# Costs") and "##" not in page


def test_the_page_has_a_section_for_all_that_was_measured(render, tmp_path):
    page = render(storage=measured(SLOW_LINK), steps=alone(100), features=pd.DataFrame(
        [("lite2", "plain", 10.0, 1.0, None)],
        columns=["backbone", "method", "frames_per_s", "ratio_to_plain", "share_of_gemm"]))
    assert "**The optimized clips made an epoch faster at 50 Mbit/s; at 200" in page
    assert "reads no video at all" in page and "the network sets the pace" in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## An epoch that reads video", "## The network and the decoder alone", "## Features"]
    for name in ("storage.csv", "storage-light.svg", "storage-dark.svg"):
        assert (tmp_path / "out" / "figures" / name).is_file()
    assert (tmp_path / "out" / "tables" / "steps.csv").is_file()


def test_the_figure_tells_its_numbers(tmp_path):
    figure = epochs.figure(measured(SLOW_LINK))
    style.write(figure, tmp_path)
    assert "source at 50 Mbit/s 6.0 s" in figure.alt and figure.caption.endswith(".")


def test_the_table_says_what_each_row_waits_for(tmp_path):
    measured(SLOW_LINK).to_csv(tmp_path / "storage.csv", index=False)
    table = benchmarks.read(tmp_path)["storage"]
    assert table.rows[0] == ("source", "50 Mbit/s", "30.0 MB", "6.00 s", "5.90 to 6.10 s",
                             "4.80 s", "26.7", "933", "link")
    assert table.rows[-1][1] == "local" and table.rows[-1][-1] == "workers"
