"""A file or folder is whole or absent, whatever interrupts the writing; locks; hashes; keys."""

import errno
import os
import signal
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


def replace_by(path: Path, name: str) -> None:
    with replaced_folder(path) as aside:
        (aside / name).write_text(name)


def whole(path: Path) -> str:
    """The one file in the folder, which must hold its own name."""
    file, = path.iterdir()
    assert file.read_text() == file.name
    return file.name


def visible(folder: Path) -> list[str]:
    return [name for name in names(folder) if not name.endswith(".lock")]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        replace_by(path, name)
        assert whole(path) == name
    with pytest.raises(ValueError), replaced_folder(path) as aside:
        (aside / "half").touch()
        raise ValueError
    assert whole(path) == "new" and visible(tmp_path) == ["folder"]


@pytest.mark.parametrize("done_first", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupt_at_any_rename_leaves_the_old_folder_or_the_new_one(
        tmp_path, monkeypatch, call, done_first):
    path, calls = tmp_path / "folder", []
    replace_by(path, "old")

    def interrupted(*arguments, really=os.replace):
        calls.append(arguments)
        if len(calls) != call or done_first:
            really(*arguments)
        if len(calls) == call:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        replace_by(path, "new")
    assert whole(path) == ("old" if (call, done_first) < (2, True) else "new")
    replace_by(path, "newer")
    assert whole(path) == "newer" and visible(tmp_path) == ["folder"]


KILLED_AT_A_RENAME = """
import os, signal, sys
from pathlib import Path
from leanclips.files import replaced_folder
path, call, calls, really = Path(sys.argv[1]), int(sys.argv[2]), [], os.replace
def killed(*arguments):
    really(*arguments)
    calls.append(arguments)
    if len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
with replaced_folder(path) as aside:
    (aside / "new").write_text("new")
"""


@pytest.mark.parametrize("call, there", [(1, "old"), (2, "new"), (3, "new")])
def test_a_folder_survives_a_kill_between_the_renames(tmp_path, call, there):
    path = tmp_path / "folder"
    replace_by(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_AT_A_RENAME, path, str(call)])
    assert done.returncode == -signal.SIGKILL
    assert path.exists() == (call > 1)
    with replaced_folder(path):
        assert whole(path) == there  # put back before anything else happens
    remove_asides([tmp_path])
    assert visible(tmp_path) == ["folder"]


REPLACE_OFTEN = """
import sys
from pathlib import Path
from leanclips.files import replaced_folder
for _ in range(40):
    with replaced_folder(Path(sys.argv[1])) as aside:
        (aside / sys.argv[2]).write_text(sys.argv[2])
"""


def test_processes_that_replace_the_same_folder_do_not_collide(tmp_path):
    path = tmp_path / "folder"
    running = [subprocess.Popen([sys.executable, "-c", REPLACE_OFTEN, path, name])
               for name in ("one", "two")]
    assert [process.wait() for process in running] == [0, 0]
    assert whole(path) in ("one", "two") and visible(tmp_path) == ["folder"]


def test_two_writers_of_the_same_file_do_not_collide(tmp_path):
    path = tmp_path / "file.txt"
    with written_aside(path) as one, written_aside(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and names(tmp_path) == ["file.txt"]


def test_writing_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
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
from leanclips import cli
clip, out = Path(sys.argv[2]), Path(sys.argv[3])

def crop_it():
    from leanclips.compression import crop
    crop.crop(clip, None, out)

def keep_it():
    from leanclips.compression import optimize
    optimize.keep(clip, out, optimize.Reason.NO_GAIN)

def encode_it():
    from leanclips.compression import ffmpeg
    ffmpeg.encode(clip, out.parent.parent / out.name, ffmpeg.Encoding("h264"), 25, (1,))

def weights():
    import torch
    from leanclips.training import pretrain
    pretrain.save(out, {"weight": torch.zeros(200_000)})

def table():
    import pandas as pd
    from leanclips import records
    records.write_csv(out, pd.DataFrame({"clip": ["x" * 400_000]}))

cli.app = globals()[sys.argv[1]]
cli.main()
"""


@pytest.mark.parametrize("what, name", [
    ("crop_it", "a.mp4"), ("keep_it", "a.mp4"), ("encode_it", "a.mp4"),
    ("weights", "a.safetensors"), ("table", "a.csv")])
def test_a_full_disk_is_reported_in_one_sentence_and_leaves_no_partial_file(
        tmp_path, small_disk, make_clip, what, name):
    clip = make_clip(tmp_path / "clip.mp4", frames=60, size=(480, 360))
    assert clip.stat().st_size > 200_000
    done = subprocess.run([sys.executable, "-c", FILL, what, clip, small_disk / "out" / name],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("leanclips: ") and done.stderr.count("\n") == 1
    assert "disk is full" in done.stderr or "No space left" in done.stderr
    assert not list(small_disk.glob("out/*"))


def test_a_held_lock_is_refused_with_the_process_that_holds_it(tmp_path):
    lock = tmp_path / "deep" / "lock"
    for _ in range(2):  # it is free again afterwards
        with only_one(lock, tmp_path):
            with pytest.raises(StudyError, match=f"under way here .process {os.getpid()}."):
                with only_one(lock, tmp_path):
                    pass


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

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
    time.sleep(float(sys.argv[2]))
    Path(sys.argv[1]).with_name("done").touch()
"""


def hold(lock: Path, seconds: int) -> subprocess.Popen:
    """A process that holds the lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, lock, str(seconds)],
                             stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    return other


def test_a_lock_is_released_when_its_process_is_killed(tmp_path):
    lock = tmp_path / "lock"
    with hold(lock, 60) as other:
        with pytest.raises(StudyError, match=f"process {other.pid}"), only_one(lock, tmp_path):
            pass
        other.kill()
    with only_one(lock, tmp_path):
        pass


def test_waiting_for_a_lock_is_reported_and_ends_when_it_is_free(tmp_path, capsys):
    lock = tmp_path / "lock"
    with hold(lock, 1) as other:
        with only_one(lock, "my study", wait=True):
            assert (tmp_path / "done").exists()
    assert capsys.readouterr().err == (
        f"my study: another run is under way here (process {other.pid}); waiting for it.\n")
