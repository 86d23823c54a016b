"""Download this study's clips from the official site and check every one. Resumes a download.

    python data/jhmdb/fetch.py
"""

import argparse
import http.client
import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from leanclips.clips import Clip, read_table
from leanclips.errors import StudyError, sentence
from leanclips.files import file_sha256, write_bytes
from leanclips.workers import progress

OFFICIAL_URL = "http://files.is.tue.mpg.de/jhmdb/JHMDB_video.zip"
TABLE = Path(__file__).with_name("clips.csv")
AGAIN = "run the same command again"
MEBIBYTE = 1 << 20
SECONDS_TO_WAIT = 60


def fetch(folder: Path, clips: Sequence[Clip] | None = None, url: str = OFFICIAL_URL) -> int:
    """Put the clips (of data/jhmdb) into `folder`; returns how many were missing.

    A clip counts as present only with the SHA-256 that the table lists. The archive stays in
    `folder` until all of it is unpacked; a damaged or different one is removed.
    """
    clips = read_table(TABLE) if clips is None else clips
    missing = [clip for clip in progress(clips, len(clips), "checking")
               if not (path := folder / clip.file).is_file()
               or file_sha256(path) != clip.sha256]
    if not missing:
        return 0
    archive = folder / "JHMDB_video.zip"
    if not archive.exists():
        download(url, archive)
    try:
        unpack(archive, folder, missing)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        archive.unlink()
        raise StudyError(f"the archive is not good ({error}) and was removed", url,
                         f"{AGAIN}, or give another address with --url") from None
    archive.unlink()
    return len(missing)


def unpack(archive: Path, folder: Path, clips: Sequence[Clip]) -> None:
    """Copy `clips` out of the archive, found by `<class>/<name>.avi` in any folder of it.

    Names in the archive only select: what is written, and where, comes from the table.
    """
    with zipfile.ZipFile(archive) as packed:
        members = {"/".join(PurePosixPath(member.filename).parts[-2:]): member
                   for member in packed.infolist()}
        if lacking := [clip.file for clip in clips if clip.file not in members]:
            raise zipfile.BadZipFile(f"it lacks the clip {lacking[0]}")
        _need_space(folder, sum(members[clip.file].file_size for clip in clips))
        for clip in progress(clips, len(clips), "unpacking"):
            content = packed.read(members[clip.file])
            if sha256(content).hexdigest() != clip.sha256:
                raise zipfile.BadZipFile(f"its {clip.file} is not the clip that clips.csv lists, "
                                         "the SHA-256 differs")
            write_bytes(folder / clip.file, content)


def download(url: str, path: Path) -> None:
    """Fetch `url` into `path`, resuming from the `.part` file that an interrupted try left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "leanclips"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=SECONDS_TO_WAIT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise StudyError(f"the server answers {error.code} {error.reason}", url,
                             "give the archive's present address with --url") from None
        # The part is as long as the file, or longer.
        if error.headers.get("Content-Range") != f"bytes */{have}":
            part.unlink()
            raise StudyError("the part fetched earlier is not of this file and was removed", url,
                             AGAIN) from None
        part.replace(path)
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StudyError(f"cannot be reached ({getattr(error, 'reason', error)})", url,
                         "check the network, or give another address with --url") from None
    with response:
        if response.status != 206:  # the server sends the whole file
            have = 0
        size = int(response.headers.get("Content-Length") or 0)
        _need_space(path.parent, size)
        chunks = iter(lambda: response.read(MEBIBYTE), b"")
        if size:
            chunks = progress(chunks, -(-size // MEBIBYTE), f"downloading {path.name}", "MiB")
        try:
            with part.open("ab" if have else "wb") as out:
                out.writelines(chunks)
        except (OSError, http.client.HTTPException) as error:
            raise StudyError(f"the download stopped ({error})", url, AGAIN) from None
    if size and part.stat().st_size < have + size:
        raise StudyError(f"the download stopped after {part.stat().st_size} of {have + size} bytes",
                         url, f"{AGAIN}, it goes on from there")
    part.replace(path)


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StudyError(f"the disk has {free // MEBIBYTE} MiB free and {size // MEBIBYTE} MiB "
                         "are needed", folder, f"free some space and {AGAIN}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?",
                        default=TABLE.with_name("clips"),
                        help="Where the clips go. Default: the folder clips beside this file.")
    parser.add_argument("--url", default=OFFICIAL_URL, help="Another place to download from.")
    chosen = parser.parse_args()
    try:
        fetch(chosen.folder, url=chosen.url)
    except (StudyError, OSError) as error:
        print(f"fetch.py: {sentence(error)}", file=sys.stderr)
        sys.exit(2)
    print(f"The clips are complete in {chosen.folder}.")


if __name__ == "__main__":
    main()
