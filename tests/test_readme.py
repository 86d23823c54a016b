"""The README says what the published records say."""

import re
from pathlib import Path

import pytest

from leanclips.report import results, view
from leanclips.report.book import PUBLISHED

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    return " ".join(text.split())


def test_the_answer_is_the_one_of_the_published_records():
    layout = next((one for one in PUBLISHED if one.settings.is_file()), None)
    if layout is None:
        pytest.skip("no records are published yet")
    shown = view.View(results.load(layout))
    assert shown.answer in plain(README) and shown.headline in plain(README)


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) < 150
    for link in re.findall(r"\]\(([^)#]+)\)|src(?:set)?=\"([^\"]+)\"", README):
        target = "".join(link)
        assert target.startswith("http") or (Path(__file__).parents[1] / target).exists(), target
