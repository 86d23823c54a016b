"""Fetch one archive over HTTP, going on where an earlier try stopped."""

import errno
import http.client
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from leanclips.errors import StudyError
from leanclips.progress import progress

MEBIBYTE = 1 << 20
SECONDS_TO_WAIT = 60


def download(url: str, path: Path) -> None:
    """Fetch `url` into `path`; a `.part` file beside it keeps what an interrupted try got."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(_request(url, have), timeout=SECONDS_TO_WAIT)
    except HTTPError as error:
        if error.code == 416 and have:  # Nothing lies beyond what is here: it may be all of it.
            _take_if_whole(part, path, error.headers.get("Content-Range", ""), url)
            return
        raise StudyError(f"the server answers {error.code} {error.reason}", url,
                         "give the archive's present address with --url") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StudyError(f"cannot be reached ({_reason(error)})", url,
                         "check the network, or give another address with --url") from None
    with response:
        if response.status != 206:  # The server sends everything, from the start.
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total:
            need_space(path.parent, total - have)
        with part.open("ab" if have else "wb") as out, disk_full_told(path.parent):
            for chunk in _shown(_chunks(response, url), total, have, path.name):
                out.write(chunk)
    size = part.stat().st_size
    if total and size < total:
        raise StudyError(f"the download stopped after {size} of {total} bytes", url,
                         "run the same command again, it goes on from there")
    part.replace(path)


def need_space(folder: Path, size: int) -> None:
    """StudyError where `size` bytes more do not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StudyError(f"the disk has {free // MEBIBYTE} MiB free and {size // MEBIBYTE} MiB "
                         "are needed", folder, "free some space and run the same command again")


@contextmanager
def disk_full_told(folder: Path) -> Iterator[None]:
    """Turn the error of a disk that fills up meanwhile into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StudyError("the disk is full", folder,
                         "free some space and run the same command again") from None


def _request(url: str, have: int) -> Request:
    headers = {"User-Agent": "leanclips"}
    if have:
        headers["Range"] = f"bytes={have}-"
    return Request(url, headers=headers)


def _take_if_whole(part: Path, path: Path, content_range: str, url: str) -> None:
    if content_range == f"bytes */{part.stat().st_size}":
        part.replace(path)
        return
    part.unlink()
    raise StudyError("the part fetched earlier is not of this file and was removed", url,
                     "run the same command again")


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read(MEBIBYTE):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise StudyError(f"the download stopped ({_reason(error)})", url,
                         "run the same command again, it goes on from there") from None


def _shown(chunks: Iterable[bytes], total: int | None, have: int, name: str) -> Iterable[bytes]:
    if not total:
        return chunks
    return progress(chunks, -(-(total - have) // MEBIBYTE), f"downloading {name}", "MiB")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)
