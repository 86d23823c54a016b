"""Which studies the book shows: the published one, and the reader's, named or shown last."""

import os
import subprocess
from pathlib import Path

import pytest

from leanclips import bookmaking
from leanclips.layout import Layout

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Writes the pages and tells the names of the studies on them; book and studies are others."""
    written = []
    monkeypatch.setattr(bookmaking, "PUBLISHED", Layout(tmp_path / "real", "published"))
    monkeypatch.setattr(bookmaking, "SHOWN_LAST", tmp_path / "book" / "_build" / "study.txt")
    monkeypatch.setattr(bookmaking.results, "load", lambda layout: layout.study.name)
    monkeypatch.setattr(bookmaking.book, "write_pages",
                        lambda book, studies, out: written.append(studies))
    for layout in (bookmaking.PUBLISHED, Layout(tmp_path / "mine"), Layout(tmp_path / "demo")):
        layout.crosstest.parent.mkdir(parents=True)
        layout.crosstest.touch()

    def write(study=None):
        bookmaking.write_pages(study)
        return written[-1]
    return write


def test_a_fresh_clone_shows_the_published_study_alone(shown):
    assert shown() == ["real"]


def test_without_a_study_the_one_shown_last_stays(shown, tmp_path, monkeypatch):
    assert shown(tmp_path / "demo") == ["real", "demo"]
    monkeypatch.chdir(tmp_path)
    assert shown(Path("mine")) == ["real", "mine"]
    monkeypatch.chdir("/")
    assert shown() == ["real", "mine"]


def test_a_study_whose_records_are_gone_is_not_shown_again(shown, tmp_path):
    shown(tmp_path / "mine")
    Layout(tmp_path / "mine").crosstest.unlink()
    assert shown() == ["real"]


@pytest.mark.parametrize("given, asked", [
    ([], "leanclips book"), (["STUDY=data/mine"], 'leanclips book "data/mine"')])
def test_make_book_names_a_study_only_if_told(given, asked):
    # As from a shell, though 'make test' may run this.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "--dry-run", "book", *given], cwd=ROOT, text=True,
                          capture_output=True, env=outside)
    assert done.stdout.splitlines()[-1].strip().endswith(asked)
