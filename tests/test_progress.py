"""Long work says how far it is: a bar for a person, plain lines for a log file."""

import re

import pytest

from leanclips import progress as module
from leanclips.progress import progress


def test_a_log_file_gets_plain_lines_and_the_last_one_always(capsys):
    assert list(progress(iter("abc"), 3, "crop")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"crop: 3/3 clips, [\d.]+/s, 0 s left\n", err)


def test_lines_come_as_often_as_agreed(capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    list(progress(range(4), 4, "training", "epochs"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"training: {n}/4 epochs" for n in (1, 2, 3, 4)]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), 3, "crop")) == [0, 1, 2]
    err = capsys.readouterr().err
    assert "crop: 100%" in err and "\r" in err and "3/3" in err


def test_work_that_fails_half_way_says_so_itself(capsys):
    def work():
        yield 1
        raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        list(progress(work(), 2, "crop"))
