"""Files that are either whole or not there: write aside, then rename."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from leanclips.errors import StudyError


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent` that goes in the end, with all that is still in it.

    What is written there moves to its place in `parent` by a rename, and two processes that
    write the same file never meet.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".aside-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; on success it takes the place of `path`, else it goes.

    The name aside keeps the suffix: FFmpeg chooses a format by it.
    """
    with folder_aside(path.parent) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place on success.

    The old one stays until the new one is whole, and is removed once that is in its place.
    """
    with folder_aside(path.parent) as aside:
        (aside / "new").mkdir()
        yield aside / "new"
        if path.exists():
            os.replace(path, aside / "old")
        os.replace(aside / "new", path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def remove_asides(folders: Iterable[Path]) -> None:
    """Remove what a killed process left aside in `folders`. Not below them: there another run may
    be at work.
    """
    for folder in set(folders):
        for aside in folder.glob(".aside-*"):
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def only_one(lock: Path, what: object, wait: bool = False) -> Iterator[None]:
    """Hold `lock` for one process at a time; the system lets go of it whenever that ends.

    Where `what` is being worked on already: wait for the other process and say so, or StudyError
    that names it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = f"another run is under way here (process {file.read()})"
            if not wait:
                raise StudyError(other, what, "wait for it, or stop it") from None
            print(f"{what}: {other}; waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise StudyError(f"its file system has no locks ({error.strerror})", lock,
                             "name a folder on another one") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the bytes of `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(*parts: object) -> str:
    """Hex SHA-256 of JSON-serializable `parts`: the name of a result that they determine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
