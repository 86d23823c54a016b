"""Every file and folder of a tree, in the same order on every machine."""

import os
from dataclasses import dataclass
from pathlib import Path

from leanclips.errors import StudyError

RECORDS = ".leanclips"


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, symbolic links followed, leanclips' own left out. `others` are
    neither files nor folders (broken links, pipes) or lead back to a folder above them.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def walk(source: Path) -> Tree:
    """The tree below `source`. StudyError for what cannot be read."""
    files, folders, others = [], [], []
    for name, inner, entries in os.walk(source, followlinks=True, onerror=_cannot_be_read):
        here = Path(name)
        folders.append(here)
        back = {folder for folder in inner if _leads_back(here / folder, source)}
        inner[:] = [folder for folder in inner if folder != RECORDS and folder not in back
                    and not folder.startswith(".aside-")]
        others += [here / folder for folder in back]
        for entry in entries:
            (files if (here / entry).is_file() else others).append(here / entry)
    if closed := [file for file in sorted(files) if not os.access(file, os.R_OK)]:
        _cannot_be_read(PermissionError(0, "permission denied", str(closed[0])))
    return Tree(tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(others)))


def _leads_back(folder: Path, source: Path) -> bool:
    """Whether this is a link to a folder that it lies in, by whatever way it was come to."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(above.resolve().is_relative_to(target) for above in folder.parents
               if above.is_relative_to(source))


def _cannot_be_read(error: OSError) -> None:
    raise StudyError(f"cannot be read ({error.strerror})", error.filename,
                     "give yourself the right to read it, or move it away")
