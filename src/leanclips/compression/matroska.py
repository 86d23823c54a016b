"""Whether a Matroska or WebM file ends before it says so: decoders take its end for the clip's."""

from pathlib import Path
from typing import BinaryIO

HEADER, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def ends_early(path: Path) -> bool:
    """Whether the file is shorter than its one Segment. False where that states no size, as a live
    recording's does, and for other formats.
    """
    with path.open("rb") as file:
        if file.read(4) != HEADER:
            return False
        file.seek(_size(file) or 0, 1)
        if file.read(4) != SEGMENT:
            return False
        size = _size(file)
        return size is not None and file.tell() + size > path.stat().st_size


def _size(file: BinaryIO) -> int | None:
    """The size of an element: as many bytes as the first one has leading zeros, and itself. None
    where all its bits are ones: unknown.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    size = int.from_bytes(first + file.read(more)) & (1 << bits) - 1
    return None if size == (1 << bits) - 1 else size
