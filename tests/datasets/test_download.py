"""A download goes on where it stopped, and its errors are one sentence."""

import errno
from types import SimpleNamespace

import pytest

from leanclips.datasets import download as module
from leanclips.datasets.download import disk_full_told, download
from leanclips.errors import StudyError

DATA = bytes(range(256)) * 20_000


def test_a_file_arrives_whole_and_shows_its_progress(tmp_path, server, capsys):
    server.files["a.zip"] = DATA
    download(server.url("a.zip"), tmp_path / "there" / "a.zip")
    assert (tmp_path / "there" / "a.zip").read_bytes() == DATA
    assert not list(tmp_path.rglob("*.part"))
    assert "downloading a.zip: 5/5 MiB" in capsys.readouterr().err


def test_an_interrupted_download_goes_on_from_there(tmp_path, server):
    server.files["a.zip"] = DATA
    server.stop_after = 1_500_000
    with pytest.raises(StudyError, match=r"the download stopped after 1500000 of 5120000 bytes; "
                                         r"run the same command again"):
        download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip.part").stat().st_size == 1_500_000
    assert not (tmp_path / "a.zip").exists()
    server.stop_after = None
    download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_server_that_cannot_resume_sends_all_of_it_again(tmp_path, server):
    server.files["a.zip"], server.resumes = DATA, False
    (tmp_path / "a.zip.part").write_bytes(b"other bytes")
    download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_part_that_is_complete_already_is_taken(tmp_path, server):
    server.files["a.zip"] = DATA
    (tmp_path / "a.zip.part").write_bytes(DATA)
    download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_removed(tmp_path, server):
    server.files["a.zip"] = DATA
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    with pytest.raises(StudyError, match="is not of this file and was removed"):
        download(server.url("a.zip"), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_missing_page_is_told_with_the_address(tmp_path, server):
    with pytest.raises(StudyError, match="none.zip: the server answers 404 .* --url"):
        download(server.url("none.zip"), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.zip", "no address", "gopher://x/a.zip"])
def test_an_address_that_leads_nowhere_is_told(tmp_path, url):
    with pytest.raises(StudyError, match="cannot be reached"):
        download(url, tmp_path / "a.zip")


def test_a_file_on_this_machine_will_do(tmp_path):
    (tmp_path / "here.zip").write_bytes(DATA)
    download((tmp_path / "here.zip").as_uri(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_disk_too_small_is_told_before_the_download(tmp_path, server, monkeypatch):
    server.files["a.zip"] = DATA
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(StudyError, match="the disk has 1 MiB free and 4 MiB are needed"):
        download(server.url("a.zip"), tmp_path / "a.zip")


def test_a_disk_that_fills_up_meanwhile_is_told(tmp_path):
    with pytest.raises(StudyError, match="the disk is full"), disk_full_told(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
