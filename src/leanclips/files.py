"""Files that are either whole or not there: write aside, then rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; on success it takes the place of `path`, else it goes.

    The name aside keeps the suffix (FFmpeg chooses a format by it) and lies in a folder
    of its own, so two processes that write the same file never meet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=".aside-", dir=path.parent))
    try:
        aside = folder / path.name
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def remove_asides(folder: Path) -> None:
    """Remove what a killed process left aside below `folder`."""
    for aside in folder.rglob(".aside-*"):
        shutil.rmtree(aside, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the bytes of `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(*parts: object) -> str:
    """Hex SHA-256 of JSON-serializable `parts`: the name of a result that they determine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
