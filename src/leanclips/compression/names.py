"""Where the files of a tree are delivered: no two in one place, each under its own name or nearly
so.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from leanclips.clips import VIDEO_SUFFIXES
from leanclips.compression.containers import delivered, suffixes
from leanclips.compression.walk import RECORDS, Tree
from leanclips.errors import StudyError

# Video files beyond those of a study's clips.
SUFFIXES = VIDEO_SUFFIXES | {".wmv", ".flv", ".ts", ".m2ts", ".mts", ".3gp", ".ogv", ".vob"}


def is_video(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def destinations(tree: Tree, root: Path, destination: Path,
                 codec: str | None) -> dict[Path, Path]:
    """Task.destination of each file. A video that might be delivered in the place of another file
    or of a folder (a.avi beside a.mp4) keeps its name whole, and what is delivered may add a
    suffix (a.avi.mp4). StudyError where that does not help.
    """
    short = {file: destination / file.relative_to(root) for file in tree.files}
    folders = {destination / RECORDS, *(destination / folder.relative_to(root)
                                        for folder in tree.folders)}
    chosen = dict(short)
    while met := _met(chosen, folders, codec):
        longer = [file for file in met if is_video(file) and chosen[file] == short[file]]
        if not longer:
            raise StudyError("would be delivered under the name of another file", met[0],
                             "rename one of them")
        chosen |= {file: short[file].with_name(file.name + file.suffix) for file in longer}
    return chosen


def _met(chosen: Mapping[Path, Path], folders: set[Path], codec: str | None) -> list[Path]:
    """The files that might be delivered in the place of another file or of a folder."""
    places = {file: places_of(file, place, codec) for file, place in chosen.items()}
    count = Counter(place for some in places.values() for place in some)
    return [file for file, some in places.items()
            if any(count[place] > 1 or place in folders or place.is_dir() for place in some)]


def places_of(file: Path, destination: Path, codec: str | None) -> set[Path]:
    """Where the result of a file may be delivered: as it is, or under another suffix."""
    endings = (file.suffix, *suffixes(file, codec)) if is_video(file) else (file.suffix,)
    return {delivered(file, destination, suffix) for suffix in endings}
