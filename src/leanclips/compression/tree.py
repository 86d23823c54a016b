"""A whole folder: every video optimized, the other files copied, all of them reported; and what
that would come to, from samples of a few of its clips, where nothing is written.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from glob import escape
from itertools import chain, cycle
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import pandas as pd

from leanclips.clips import VIDEO_SUFFIXES
from leanclips.compression.batch import ClipJob, Made, make, make_all
from leanclips.compression.contract import TAKEN, delivered, suffixes
from leanclips.compression.ffmpeg import MODELS, Encoding, cut, ffmpeg_version, filters_of
from leanclips.compression.inspect import inspect, probe
from leanclips.compression.optimize import Drift, Outcome, Reason, require_for
from leanclips.compression.quality import Goal
from leanclips.errors import ClipError, StudyError
from leanclips.files import key, only_one, remove_asides, write_text
from leanclips.records import TREE_REPORT, versions, write_csv
from leanclips.workers import end_if_imported_by_worker, run_all

# Video files beyond those of a study's clips.
SUFFIXES = VIDEO_SUFFIXES | {".wmv", ".flv", ".ts", ".m2ts", ".mts", ".3gp", ".ogv", ".vob"}
# What else shows moving pictures; raw streams state no times.
PICTURES = dict.fromkeys((".gif", ".apng", ".webp"), "a picture, which may be animated") | {
    suffix: f"a raw {name} stream without a container" for name, suffixes in {
        "H.264": (".h264", ".264", ".avc"), "HEVC": (".h265", ".265", ".hevc"), "AV1": (".obu",),
        "MPEG": (".m1v", ".m2v", ".mpv")}.items() for suffix in suffixes}
VERSIONS_OF = ("python", "leanclips", "numpy", "opencv-python", "av", "imageio-ffmpeg")
REPORTS = ("report.csv", "report.json")
# How playlists name files: lines and URIs (RFC 8216); attributes and base addresses (ISO 23009-1).
NAMED_IN = {".m3u8": re.compile(r'^([^#\s].*)$|URI="([^"]+)"', re.MULTILINE),
            ".mpd": re.compile(r'(?:media|initialization|sourceURL)="([^"]+)"|'
                               r"<BaseURL>([^<]+)</BaseURL>")}
MOST_CLIPS, SAMPLE_SECONDS = 5, 10.0  # of a plan
DETAILED = ("file", "sha256_in", "sha256", "bytes_in", "bytes_out", "reason", "detail", "drift")


@dataclass(frozen=True)
class Tree:
    """What a folder holds, symbolic links followed, leanclips' own files left out."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()  # broken links, pipes and such; links to a folder above


def walk(source: Path) -> Tree:
    """The tree below `source`, sorted. StudyError for what cannot be read."""
    files, folders, others = [], [], []
    for name, inner, entries in os.walk(source, followlinks=True, onerror=_cannot_be_read):
        here = Path(name)
        folders.append(here)
        back = {folder for folder in inner if (here / folder).is_symlink() and any(
            above.resolve().is_relative_to((here / folder).resolve())
            for above in (here, *here.parents) if above.is_relative_to(source))}
        inner[:] = [folder for folder in inner if folder not in back
                    and not (folder.startswith(".") and folder.endswith(".leanclips"))
                    and not folder.startswith(".aside-")]
        others += [here / folder for folder in back]
        for entry in entries:
            (files if (here / entry).is_file() else others).append(here / entry)
    if closed := [file for file in sorted(files) if not os.access(file, os.R_OK)]:
        _cannot_be_read(PermissionError(0, "permission denied", str(closed[0])))
    return Tree(tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(others)))


def _cannot_be_read(error: OSError) -> None:
    raise StudyError(f"cannot be read ({error.strerror})", error.filename,
                     "give yourself the right to read it, or move it away")


@dataclass(frozen=True)
class Place:
    """Where a run delivers: a tree into the folder `destination`, or a single clip as that file."""

    destination: Path
    single: bool

    @property
    def state(self) -> Path:
        """Records of what it delivered, beside it: inside, loaders would take it for a class."""
        place = self.destination.resolve()
        return place.with_name(f".{place.name}.leanclips")

    @property
    def folder(self) -> Path:
        """The folder of the delivered files."""
        return self.destination.parent if self.single else self.destination

    @property
    def reports(self) -> tuple[Path, ...]:
        folder = self.state if self.single else self.destination
        return tuple(folder / name for name in REPORTS)


@dataclass(frozen=True)
class Summary:
    """The result for a tree: its report and the totals."""

    report: Path
    files: int
    bytes_in: int
    bytes_out: int
    reasons: dict[str, int]
    left_out: tuple[Path, ...]  # Tree.others
    stale: tuple[Path, ...]  # delivered earlier, from files that the source does not hold any more


def optimize_tree(source: Path, destination: Path, goal: Goal, jobs: int,
                  encoding: Encoding = Encoding(), drift: Drift | None = None, *,
                  keep_names: bool = False, again: bool = False,
                  tell: Callable[[dict], object] = lambda _: None) -> Summary:
    """Optimize the file or tree `source` into the folder `destination`; a file, where that has the
    suffix of a video, into just that file.

    The same tree results: videos re-encoded or, with a reason, kept; other files copied; links
    followed. report.csv has a row for each file, report.json every zone and every encode as
    well. Finished files are known by their content and not made again. With `keep_names`, each file
    has its old name, suffix included, whatever container is in it. What leanclips made is kept,
    unless it is to be encoded `again`. StudyError for folders, files and FFmpegs that cannot be
    used; a video that cannot be decoded is kept and reported. `tell` gets the events of the book.
    """
    end_if_imported_by_worker()
    tree, place, encoding = ready(source, destination, goal, encoding, keep_names)
    root, folder, state = source if source.is_dir() else source.parent, place.folder, place.state
    with only_one(state / "lock", destination):
        names = [file.relative_to(root).as_posix() for file in tree.files]
        places = ({source: destination} if place.single else
                  {file: folder / name for file, name in zip(tree.files, names, strict=True)}
                  if keep_names else destinations(tree, root, folder, encoding.codec))
        copied = dict.fromkeys((file for file in tree.files if not is_video(file)),
                               Reason.NOT_VIDEO) | in_playlists(tree.files)
        # Records' names have one length. Beside a single file, another run may be at work.
        clip_jobs = [ClipJob(file, places[file], state / "files" / f"{key(name)}.json",
                             ("copy", copied[file],
                              *filter(None, [PICTURES.get(file.suffix.lower())]))
                             if file in copied else
                             ("optimize", goal, encoding, *["again"] * again),
                             None if file in copied else drift, lenient=True,
                             made_in=state if place.single else
                             places[file].parent if keep_names else None)
                     for file, name in zip(tree.files, names, strict=True)]
        claimed = _claim(clip_jobs, source if place.single else root, place, encoding.codec)
        for inner in tree.folders:
            (folder / inner.relative_to(root)).mkdir(parents=True, exist_ok=True)
        for report in place.reports:  # of the clips that this run is about to replace
            report.unlink(missing_ok=True)
        for file, name in zip(tree.files, names, strict=True):
            tell({"event": "file", "file": name, "bytes": file.stat().st_size})
        made = {}
        with closing(make_all(clip_jobs, jobs, "optimize")) as results:  # ends its workers
            for number, one in results:
                made[number] = _row(names[number], one, folder, tell), one.outcome
        rows, outcomes = zip(*(made[number] for number in range(len(names))), strict=True)
        table = pd.DataFrame(rows, columns=list(TREE_REPORT)).astype(
            dict.fromkeys(("frames", "width", "height", "zones"), "Int64"))
        report, details = place.reports
        write_csv(report, table)
        stale = sorted(name for name in claimed - {*table["delivered"], *REPORTS}
                       if (folder / name).exists())
        told = _details(rows, outcomes, goal, encoding, drift) | {"not_of_this_source": stale}
        write_text(details, json.dumps(told, indent=1) + "\n")
    summary = Summary(report, len(names), int(table["bytes_in"].sum()),
                      int(table["bytes_out"].sum()), dict(Counter(table["reason"])), tree.others,
                      tuple(folder / name for name in stale))
    tell({"event": "summary"} | asdict(summary))
    return summary


def ready(source: Path, destination: Path, goal: Goal, encoding: Encoding,
          keep_names: bool) -> tuple[Tree, Place, Encoding]:
    """What to do, where, in which container; StudyError before anything is written."""
    place = Place(destination, source.is_file() and is_video(destination)
                  and not destination.is_dir())
    tree = _tree(source, place)
    if any(map(is_video, tree.files)):
        require_for(goal, encoding)
    if place.single and not keep_names:
        encoding = replace(encoding, suffix=destination.suffix.lower())
        taken = [name for name, codecs in TAKEN.items() if encoding.codec in (None, *codecs)]
        if encoding.suffix not in taken:
            raise StudyError(f"a re-encoded clip cannot be a {encoding.suffix} file", destination,
                             f"end its name in {', '.join(taken)}, or add --keep-names")
    return tree, place, encoding


def _tree(source: Path, place: Place) -> Tree:
    destination = place.destination
    if not source.exists():
        raise StudyError("there is no such file or folder", source, "name the clips to optimize")
    if place.single:
        return Tree((source,))
    if destination.is_file():
        raise StudyError("is a file", destination, "name a folder for the optimized clips")
    one, inner = source.is_file(), destination.resolve()
    tree = Tree((source,)) if one else walk(source)
    if (inner == source.resolve().parent if one else
            any(inner.is_relative_to(folder.resolve()) for folder in tree.folders)):
        raise StudyError("the optimized clips would lie among their sources", destination,
                         "name a folder outside the source")
    if not tree.files:
        raise StudyError("the folder holds no file", source, "name the folder of the clips")
    for name in REPORTS:
        if not one and (source / name).exists():
            raise StudyError("has the name of a report that is written beside the clips",
                             source / name, "rename it")
    return tree


def _claim(clip_jobs: Sequence[ClipJob], source: Path, place: Place,
           codec: str | None) -> set[str]:
    """Note the names of the files that will be delivered, and remove what a killed run left beside
    them; all names noted so far. StudyError if one of the files is a source, or exists already and
    no run of leanclips has noted it, or if the folder holds the result of another source.
    """
    note, folder = place.state / "claimed.json", place.folder
    before = json.loads(note.read_text()) if note.exists() else {"source": "", "names": []}
    claimed = set(before["names"])
    # A source that is gone has another name now.
    if before["source"] != str(source.resolve()) and Path(before["source"] or "?").exists() and any(
            (folder / name).exists() for name in claimed):
        raise StudyError(f"holds the optimized clips of {before['source']}", place.destination,
                         "name another place")
    if not place.single:
        remove_asides({folder, *((folder / name).parent for name in claimed)})
    sources = {job.parent.resolve() for job in clip_jobs}
    places = {} if place.single else dict.fromkeys(place.reports, folder)
    for job in clip_jobs:
        places |= dict.fromkeys({job.destination} if job.made_in else
                                places_of(job.parent, job.destination, codec), job.parent)
    for path, file in places.items():
        if path.resolve() in sources:
            raise StudyError("would be delivered in place of a source", file,
                             "name another place for what is optimized")
        if path.exists() and path.relative_to(folder).as_posix() not in claimed:
            raise StudyError("is there already, and leanclips did not make it", path,
                             "name another place, or move that file away")
    claimed.update(path.relative_to(folder).as_posix() for path in places)
    write_text(note, json.dumps({"source": str(source.resolve()), "names": sorted(claimed)},
                                indent=1))
    return claimed


def _row(name: str, one: Made, folder: Path, tell: Callable[[dict], object]) -> dict[str, object]:
    """A file's row of the report; `tell` gets its events."""
    row = ({"file": name, "delivered": one.outcome.path.relative_to(folder).as_posix()}
           | one.row(scored=bool(one.outcome.crfs)))
    for sample in one.outcome.tries:
        tell({"event": "probe", "file": name} | asdict(sample))
    tell({"event": "result"} | {name: row[name] for name in TREE_REPORT if name in row})
    return row


def _details(rows: Sequence[dict], outcomes: Sequence[Outcome], goal: Goal, encoding: Encoding,
             drift: Drift | None) -> dict:
    """The settings, and each file with its zones and encodes."""
    return {
        "goal": asdict(goal), "encoding": asdict(encoding),
        "features": drift and drift.fingerprint,
        "versions": versions(VERSIONS_OF + ("torch", "torchvision") * bool(drift)) | {
            "ffmpeg": ffmpeg_version(), "filters": ", ".join(filters_of(goal.metric)),
            "vmaf model": MODELS.get(goal.metric)},
        "files": [{column: row[column] for column in DETAILED} | {
            "zones": [{"first_frame": start, "crf": crf, "quality": score}
                        for start, crf, score in zip(outcome.starts, cycle(outcome.crfs),
                                                     outcome.quality.zones, strict=False)],
            "encodes": [asdict(sample) for sample in outcome.tries],
        } for row, outcome in zip(rows, outcomes, strict=True)],
    }


def in_playlists(files: Sequence[Path]) -> dict[Path, Reason]:
    """Files that playlists (HLS, DASH) name: none can be exchanged alone or get another name."""
    found = set()
    for playlist in files:
        if (named := NAMED_IN.get(playlist.suffix.lower())) is None:
            continue
        text = playlist.read_text(encoding="utf-8", errors="replace")
        for name in filter(None, chain.from_iterable(named.findall(text))):
            pattern = re.sub(r"\$[^$]*\$", "*", escape(unquote(name.strip())))
            if not Path(pattern).is_absolute() and "://" not in pattern:
                found |= {path.resolve() for path in playlist.parent.glob(pattern)}
    return {file: Reason.IN_PLAYLIST for file in files if file.resolve() in found}


def is_video(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def destinations(tree: Tree, root: Path, destination: Path, codec: str | None) -> dict[Path, Path]:
    """The destination of each file's job. A video that might meet another file or a folder (a.avi
    beside a.mp4) keeps its whole name with a suffix (a.avi.mp4). StudyError if that does not help.
    """
    short = {file: destination / file.relative_to(root) for file in tree.files}
    folders = [destination / folder.relative_to(root) for folder in tree.folders]
    chosen = dict(short)
    while True:
        places = {file: places_of(file, place, codec) for file, place in chosen.items()}
        count = Counter(chain(folders, *places.values()))
        met = [file for file, some in places.items()
               if any(count[place] > 1 or place.is_dir() for place in some)]
        if not met:
            return chosen
        longer = [file for file in met if is_video(file) and chosen[file] == short[file]]
        if not longer:
            raise StudyError("would be delivered under the name of another file", met[0],
                             "rename one of them")
        chosen |= {file: short[file].with_name(file.name + file.suffix) for file in longer}


def places_of(file: Path, destination: Path, codec: str | None) -> set[Path]:
    """Where the result of a file may be delivered: as it is, or under another suffix."""
    endings = (file.suffix, *suffixes(file, codec)) if is_video(file) else (file.suffix,)
    return {delivered(file, destination, suffix) for suffix in endings}


@dataclass(frozen=True)
class Forecast:
    """What is expected of a clip."""

    file: str
    bytes_in: int
    bytes_out: int
    crf: float | None  # None where the original would be kept
    seconds: float  # of work, on one core
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is expected of some clips, and of the whole tree by the bytes of its videos."""

    clips: tuple[Forecast, ...]
    videos: int  # how many the tree holds
    bytes_in: int  # of all files
    bytes_out: int
    seconds: float  # with the given number of jobs


def plan(source: Path, destination: Path, goal: Goal, jobs: int, encoding: Encoding = Encoding(),
         drift: Drift | None = None, *, keep_names: bool = False, again: bool = False) -> Plan:
    """What `optimize_tree` should do, by videos from all over it; StudyError as it raises it."""
    tree, _, encoding = ready(source, destination, goal, encoding, keep_names)
    segments = in_playlists(tree.files)
    sizes = {file: file.stat().st_size for file in tree.files}
    videos = [file for file in tree.files if is_video(file) and file not in segments]
    root, how = source if source.is_dir() else source.parent, ("optimize", goal, encoding)
    clips = run_all(partial(forecast, root=root, how=(*how, *["again"] * again), drift=drift),
                    videos[::max(ceil(len(videos) / MOST_CLIPS), 1)], jobs, "plan")
    seen = sum(clip.bytes_in for clip in clips)
    times = sum(map(sizes.get, videos)) / max(seen, 1)
    saved = times * (seen - sum(clip.bytes_out for clip in clips))
    return Plan(tuple(clips), len(videos), sum(sizes.values()), round(sum(sizes.values()) - saved),
                times * sum(clip.seconds for clip in clips) / max(min(jobs, len(videos)), 1))


def forecast(file: Path, root: Path, how: tuple, drift: Drift | None) -> Forecast:
    """Optimize a sample of the clip, and take the whole for as many times as much."""
    size = file.stat().st_size
    with TemporaryDirectory(prefix="leanclips-") as name:
        folder = Path(name)
        sample, times = _sample(file, folder)
        begun = time.monotonic()
        outcome = make(ClipJob(sample, folder / "out" / file.name, folder / "record.json", how,
                               drift, lenient=True)).outcome
        return Forecast(file.relative_to(root).as_posix(), size,
                        round(size * outcome.bytes_out / max(outcome.bytes_in, 1)), outcome.crf,
                        round(times * (time.monotonic() - begun), 2), str(outcome.reason))


def _sample(file: Path, folder: Path) -> tuple[Path, float]:
    """A part of the clip, and how many times as long the clip is; the whole of a short clip."""
    with suppress(ClipError):
        long, sample = probe(file).seconds, folder / f"sample{file.suffix}"
        # From its middle; from its start, where a keyframe before does not suffice to decode it.
        for start in (long / 2 - SAMPLE_SECONDS / 2, 0) if long > 1.5 * SAMPLE_SECONDS else ():
            with suppress(ClipError):
                cut(file, sample, start, SAMPLE_SECONDS)
                return sample, long / inspect(sample).seconds
    return file, 1.0
