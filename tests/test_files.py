"""A file is whole or not there, whatever ends the writing."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leanclips.errors import StudyError
from leanclips.files import (file_sha256, key, only_one, remove_asides, replaced_folder,
                             write_text, written_aside)

KILLED = """
import os, signal, sys
from pathlib import Path
from leanclips.files import written_aside
with written_aside(Path(sys.argv[1])) as aside:
    aside.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("old", "neü"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_writing_that_ends_early_leaves_the_old_file_and_nothing_else(tmp_path, end):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(end), written_aside(path) as aside:
        assert aside.suffix == ".txt" and aside.parent.parent == tmp_path
        aside.write_text("half of the n")
        raise end
    assert names(tmp_path) == ["file.txt"] and path.read_text() == "old"


def test_a_killed_process_leaves_the_old_file_and_a_folder_that_is_found_again(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, path])
    assert done.returncode == -9
    assert path.read_text() == "old"
    left = [name for name in names(path.parent) if name != "file.txt"]
    assert len(left) == 1 and left[0].startswith(".aside-")
    remove_asides([tmp_path])
    assert names(path.parent) == sorted(["file.txt", *left])  # another run's, maybe
    remove_asides([path.parent])
    assert names(path.parent) == ["file.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with replaced_folder(path) as aside:
            (aside / name).touch()
    assert names(path) == ["new"]
    with pytest.raises(ValueError), replaced_folder(path) as aside:
        (aside / "half").touch()
        raise ValueError
    assert names(path) == ["new"] and names(tmp_path) == ["folder"]


def test_two_who_write_the_same_file_never_meet(tmp_path):
    path = tmp_path / "file.txt"
    with written_aside(path) as one, written_aside(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and names(tmp_path) == ["file.txt"]


def test_nothing_written_is_an_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), written_aside(path):
        pass
    assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


def test_a_key_depends_on_every_part_and_on_nothing_else():
    parts = ["crop", 1, {"a": 1, "b": [2]}]
    assert key(*parts) == key("crop", 1, {"b": [2], "a": 1})
    assert len({key(*parts), key(*parts, 0), key("crop", "1", parts[2]), key(parts)}) == 4


def test_a_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


FILL = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import torch
from leanclips import cli, records
from leanclips.compression import codec, crop, optimize
from leanclips.recognition import features, runs
clip, out = Path(sys.argv[2]), Path(sys.argv[3])

def crop_it():
    crop.crop(clip, None, out)

def keep_it():
    optimize.keep(clip, out, (), optimize.Reason.NO_GAIN)

def encode_it():
    codec.encode_x264(clip, out.parent.parent / out.name, 1)

def features_of_it():
    features.save(out, np.zeros((100, 1280), np.float32))

def weights():
    last, best = ({"weight": torch.zeros(100_000)} for _ in range(2))
    runs.save(out, {"crnn": runs.Trained((), last, best)})

def table():
    records.write_csv(out, pd.DataFrame({"clip": ["x" * 400_000]}))

cli.app = globals()[sys.argv[1]]
cli.main()
"""


@pytest.mark.parametrize("what, name", [
    ("crop_it", "a.mp4"), ("keep_it", "a.mp4"), ("encode_it", "a.mp4"), ("features_of_it", "a.npy"),
    ("weights", "a.safetensors"), ("table", "a.csv")])
def test_a_full_disk_is_told_in_one_sentence_and_nothing_is_half_written(
        tmp_path, small_disk, make_clip, what, name):
    clip = make_clip(tmp_path / "clip.mp4", frames=60, size=(480, 360))
    assert clip.stat().st_size > 200_000
    done = subprocess.run([sys.executable, "-c", FILL, what, clip, small_disk / "out" / name],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("leanclips: ") and done.stderr.count("\n") == 1
    assert "disk is full" in done.stderr or "No space left" in done.stderr
    assert not list(small_disk.glob("out/*"))


def test_the_lock_goes_with_the_process_that_held_it(tmp_path):
    lock = tmp_path / "deep" / "lock"
    with only_one(lock, tmp_path):
        with pytest.raises(StudyError, match=f"under way here .process {os.getpid()}."):
            with only_one(lock, tmp_path):
                pass
    with only_one(lock, tmp_path), lock.open() as file:
        with pytest.raises(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StudyError, match="lock: its file system has no locks .No locks available"):
        with only_one(tmp_path / "lock", tmp_path):
            pass


HOLD = """
import sys, time
from pathlib import Path
from leanclips.files import only_one
with only_one(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(1)
    Path(sys.argv[1]).with_name("done").touch()
"""


def test_who_waits_for_the_lock_says_so_and_goes_on_when_it_is_free(tmp_path, capsys):
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with only_one(lock, "my study", wait=True):
            assert (tmp_path / "done").exists() and lock.read_text() == str(os.getpid())
    assert capsys.readouterr().err == (
        f"my study: another run is under way here (process {other.pid}); waiting for it.\n")
