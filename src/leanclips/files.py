"""Files and folders that are whole or absent: write aside, then rename. Locks, hashes, keys."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from leanclips.errors import StudyError


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """Yield a new temporary folder in `parent`, removed at the end.

    It is on the same file system as `parent`, so that a finished file moves there by a rename.
    Each caller gets its own, so that two processes can write the same file at once.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".aside-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success the file there replaces `path`, else it is removed."""
    with folder_aside(path.parent) as folder:
        yield folder / path.name  # with its suffix, by which FFmpeg chooses the format
        os.replace(folder / path.name, path)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; on success it replaces the folder `path`.

    Between the two renames the old folder is `.<name>.old`. If the process ends there, the next
    call puts it back. A lock keeps two processes from renaming at the same time.
    """
    lock, old = path.with_name(f".{path.name}.lock"), path.with_name(f".{path.name}.old")
    with folder_aside(path.parent) as aside:
        with only_one(lock, path, wait=True):
            _settle(path, old, aside / "left")
        (aside / "new").mkdir()
        yield aside / "new"
        with only_one(lock, path, wait=True):
            _settle(path, old, aside / "left-since")
            try:
                if path.exists():
                    os.replace(path, old)
                os.replace(aside / "new", path)
            finally:
                _settle(path, old, aside / "old")


def _settle(path: Path, old: Path, waste: Path) -> None:
    """Put `old` back where `path` is missing; otherwise move it to `waste`."""
    if old.exists():
        os.replace(old, waste if path.exists() else path)


def like(source: Path, path: Path) -> None:
    """Give `path` the times of `source`, and no right that `source` does not give."""
    old = source.stat()
    path.chmod(path.stat().st_mode & old.st_mode)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def remove_asides(folders: Iterable[Path]) -> None:
    """Remove temporary folders that killed processes left in `folders`."""
    for folder in set(folders):
        for aside in folder.glob(".aside-*"):  # not below: another run may be at work there
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def only_one(lock: Path, what: object, wait: bool = False) -> Iterator[None]:
    """Hold `lock` for one process at a time; the system releases it when the process ends.

    If another process holds it: raise StudyError with its id, or say so and `wait`. The id of the
    holder is in a file beside the lock, because Windows lets nobody read a locked file.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    holder, file_lock = lock.with_name(f"{lock.name}.pid"), FileLock(lock)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        other = "another run is under way here"
        with suppress(OSError):
            other += f" (process {holder.read_text()})"
        if not wait:
            raise StudyError(other, what, "wait for it, or stop it") from None
        print(f"{what}: {other}; waiting for it.", file=sys.stderr, flush=True)
        file_lock.acquire()
    except OSError as error:
        raise StudyError(f"its file system has no locks ({error.strerror})", lock,
                         "name a folder on another one") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        file_lock.release()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the bytes of `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(*parts: object) -> str:
    """Hex SHA-256 of JSON-serializable `parts`, the name of the result that they determine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
