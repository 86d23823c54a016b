"""Numbers are printed in one way everywhere."""

import pytest

from leanclips.report import formats


@pytest.mark.parametrize("shown, expected", [
    (formats.percent(0.654), "65.4%"), (formats.percent(-0.0001), "0.0%"),
    (formats.points(0.0123), "+1.2"), (formats.points(-0.0123), "−1.2"),
    (formats.points(-0.0001), "0.0"), (formats.megabytes(12_756_633), "12.8 MB"),
    (formats.megabytes(2.05e9), "2.05 GB"), (formats.megabytes(999), "999 bytes"),
    (formats.duration(12.5), "12 s"), (formats.duration(600), "10 min"),
    (formats.duration(7260), "2 h 01 min"), (formats.about(8803), "8,800"),
    (formats.listing(["a", "b", "c"]), "a, b and c"), (formats.several(1, "clip"), "1 clip"),
    (formats.within(0.05), "5"), (formats.within(0.07), "7"), (formats.within(0.025), "2.5"),
    (formats.within(0.004), "0.4"), (formats.in_words("linear"), "linear classifier"),
    (formats.in_words("crnn"), "CRNN"), (formats.in_words("mine"), "mine"),
    (formats.heading("temporal"), "Temporal classifier"),
])
def test_numbers_are_printed_in_one_way(shown, expected):
    assert shown == expected


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_number_that_is_missing_is_never_printed(value):
    for show in (formats.percent, formats.points, formats.megabytes, formats.thousands):
        with pytest.raises(ValueError, match="missing"):
            show(value)


def test_a_cell_is_filled_from_its_row_and_shows_a_dash_for_what_is_missing():
    row = {"name": "crnn", "share": 0.183, "bytes": 2e6, "none": None, "nan": float("nan")}
    shown = {"{name:heading}": "CRNN", "{share:width}": "18.3", "{share:.2f}": "0.18",
             "{bytes:size} of {share:percent}": "2.00 MB of 18.3%", "{none:points}": "–",
             "{nan:.1f} of {bytes}": "–"}
    for template, expected in shown.items():
        assert formats.fill(template, row) == expected
    with pytest.raises(KeyError):
        formats.fill("{unknown}", row)
