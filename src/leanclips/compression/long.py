"""A long file: its scenes encoded and scored side by side on all cores, and joined without loss.

A short excerpt of each scene shows how hard it is; some pieces, spread evenly, and one of each
scene tell what that means for the whole; then every other piece is encoded once, and those that
miss the target (or lie far above it) again. A part is scored with the frames around it,
so its scores are those in the whole; checksums prove that seeking led to the right frames and that
the joined file shows the pictures that were scored.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import av
import numpy as np

from leanclips.compression.ffmpeg import (CODECS, PERFECT_DB, Encoding, Span, compare, encode,
                                          encode_span, ffmpeg_version, filters_of, picture_sums)
from leanclips.compression.inspect import CLOCKED, Inspection, open_video
from leanclips.compression.quality import Goal, Quality, Timeline, judge
from leanclips.compression.search import MOST_TRIALS, Guess, Trial, best, next_crfs
from leanclips.files import file_sha256, key, remove_asides, write_text, written_aside
from leanclips.workers import progress

RECIPE = 2  # raise it when a change in this module makes other parts from the same inputs
# Shorter files have too few pieces to learn from, and a pool of clips keeps the cores busy.
LONG_SECONDS = 20.0
PART_SECONDS = 8.0  # of frames encoded by one FFmpeg
ROUNDING = 0.01  # seconds
SEEN_BEFORE, SEEN_BEHIND = 2, 1  # frames around a part that its scores depend on
EXCERPT_SECONDS, FLATTERED = 0.5, 1.0  # of a scene; zones take so many CRF less than it seems to
SAMPLED = 8  # one of so many pieces is encoded before the others
# The deviation of a forecast in CRF, and what that weighs against what is measured.
USUAL_ERROR, ERROR_WEIGHT = 0.7, 4
NEAR_SECONDS, APART = 8.0, 0.3  # how far zones of a scene are alike, and how much they differ
# With these two, a minute of joined J-HMDB scenes took 1.7 times the work of one encode and scoring.
# Surer: less work, more bytes.
SURE = 1.7  # deviations of the forecast that a zone is aimed above the target
PAYS = 0.12  # share of a piece's bytes that encoding it again has to save
HOPELESS = 1.1  # an original is kept where the samples take so many times the bytes allowed

Crfs = tuple[float, ...]


class CannotBeCut(Exception):
    """The file has to be encoded whole."""


@dataclass(frozen=True)
class Piece:
    """Some zones of a clip between two keyframes, which can be exchanged alone."""

    frames: slice
    zones: slice
    bytes_in: int


@dataclass(frozen=True)
class Part:
    """Neighbouring pieces encoded together; the lists are in the order of the frames shown."""

    path: Path
    start: int  # the clip's frame that is its first
    scores: list[float]
    chroma: list[float]  # PSNR
    sums: list[int]  # checksums of the pictures
    sizes: list[int]  # in bytes
    order: list[int]  # which frame each packet holds
    seen: list[int]  # checksums of the source's frames that it was compared to


@dataclass(frozen=True)
class Work:
    """What all pieces of a file have in common."""

    source: Path
    was: Inspection
    times: Timeline
    goal: Goal
    encoding: Encoding
    state: Path  # the folder of finished parts
    jobs: int  # how many of them are made side by side
    pieces: tuple[Piece, ...]
    begins: float  # the time of the first frame in the file that is delivered, in seconds
    beside: int  # bytes of the file that are not its video's
    names: dict[str, str]  # what the track says of itself
    key: str
    seen: dict[int, int] = field(default_factory=dict)  # checksums of the source's frames


Tried = dict[Trial, Part]  # the encodes of a piece, the best one last, and what holds them


@contextmanager
def until_done(state: Path) -> Iterator[None]:
    """Remove the finished parts once their file is delivered; an error leaves them for a rerun."""
    yield
    shutil.rmtree(state, ignore_errors=True)


def lasts_long(source: Path) -> bool:
    """Whether the container says that the file is a long one."""
    try:
        with open_video(source) as container:
            return (container.duration or 0) / 1e6 > LONG_SECONDS
    except (av.error.FFmpegError, OSError):
        return False


def prepare(source: Path, was: Inspection, times: Timeline, goal: Goal, encoding: Encoding,
            state: Path, jobs: int) -> Work:
    """The work on a long file; CannotBeCut where a file is short, or has to be encoded whole.

    XPSNR depends on more than the frames around a part. Drift is that of a whole file, so it can be
    reported of a joined one, but steers the search of one encoded whole only. What frames carry
    beside their pictures would be lost in parts.
    """
    if (was.sides or was.times[-1] < LONG_SECONDS or goal.drift is not None
            or filters_of(goal.metric) != ("libvmaf",)):
        raise CannotBeCut
    with open_video(source) as container:
        video, start = container.streams.video[0], (container.start_time or 0) / 1e6
        sizes = [size for _, size in sorted(
            (packet.pts, packet.size) for packet in container.demux(video)
            if packet.pts is not None and not packet.is_discard)]
        names = dict(video.metadata)
    if len(sizes) != was.frames:  # a packet is no frame: about their mean
        sizes = [sum(sizes) // was.frames] * was.frames
    remove_asides([state])
    return Work(source, was, times, goal, encoding, state, jobs,
                tuple(_pieces(was, times, encoding, sizes)),
                was.start - (0 if was.container.startswith(CLOCKED) else start),
                max(source.stat().st_size - sum(sizes), 0), names,
                key(RECIPE, file_sha256(source), ffmpeg_version(), goal.metric, goal.height,
                    encoding.codec, encoding.keyframes))


def _pieces(was: Inspection, times: Timeline, encoding: Encoding,
            sizes: Sequence[int]) -> Iterator[Piece]:
    """A piece lasts at most from one keyframe to the next, and ends with its scene."""
    longest = (min(encoding.keyframes, PART_SECONDS) if CODECS[encoding.codec].zones
               else PART_SECONDS / 2)
    starts, cuts = [zone.start for zone in times.zones], set(was.cuts)
    ends = [*was.times, was.end]
    edges = [0]
    for n, frame in enumerate(starts[1:], 1):
        lasts = ends[times.zones[n].stop] - ends[starts[edges[-1]]]
        if frame in cuts or lasts > longest + ROUNDING:
            edges.append(n)
    for zone, after in pairwise([*edges, len(starts)]):
        frames = slice(starts[zone], times.zones[after - 1].stop)
        yield Piece(frames, slice(zone, after), sum(sizes[frames]))


def search_long(work: Work, guess: Guess, most: float, folder: Path,
                suffix: str) -> dict[Trial, tuple[Path | None, Quality]]:
    """Encode the file in at most `most` bytes at the CRFs that hold its goal, into `folder`.

    Returns the states of the whole that were tried with their quality, and the file of the last
    one, if that is well. CannotBeCut where its pieces cannot be told apart or joined.
    """
    tried: list[Tried] = [{} for _ in work.pieces]
    look = _look(work, guess)
    for what, some in zip(("samples", "scenes", "rest"), _waves(work), strict=True):
        wanted = _forecast(work, guess, look, tried)
        quality = _add(work, tried, {n: _crfs(work, n, wanted) for n in some}, what)
        if early := _hopeless(work, guess, tried, most):
            return {early: (None, quality)}
    states = dict([_settled(work, tried)])
    for turn in range(2, MOST_TRIALS + 1):
        todo = {n: crfs for n, piece in enumerate(tried)
                if (crfs := _again(list(piece), guess, turn == MOST_TRIALS))}
        last = list(states)[-1]
        if not todo or last.worst < 0 and last.bytes > most:
            break
        _add(work, tried, todo, f"round {turn}")
        states |= [_settled(work, tried)]
    held = best(states)
    if held is None or held.bytes > most:
        return {trial: (None, quality) for trial, (quality, _) in states.items()}
    quality, parts = states[held]
    path = _joined(work, parts, folder, suffix)
    missed = {trial: (None, quality) for trial, (quality, _) in states.items() if trial.worst < 0}
    return missed | {replace(held, bytes=path.stat().st_size): (path, quality)}


def _add(work: Work, tried: Sequence[Tried], todo: dict[int, Crfs], what: str) -> Quality:
    """Encode some pieces at these CRFs; the quality of all pieces' newest encodes."""
    made = _make_all(work, todo, what)
    newest = {n: list(piece.values())[-1] for n, piece in enumerate(tried) if piece} | made
    quality = _judged(work, newest)
    for n, part in made.items():
        size = sum(part.sizes[_within(work, n, part)])
        tried[n][Trial(todo[n], size, _room(work, n, quality))] = part
    return quality


def _settled(work: Work, tried: Sequence[Tried]) -> tuple[Trial, tuple[Quality, list[Part]]]:
    """The whole of each piece's best encode, which becomes its last one."""
    chosen = [best(piece) or list(piece)[-1] for piece in tried]
    parts = [piece.pop(trial) for piece, trial in zip(tried, chosen, strict=True)]
    quality = _judged(work, dict(enumerate(parts)))
    ends = [replace(trial, headroom=_room(work, n, quality))  # a second may span two pieces
            for n, trial in enumerate(chosen)]
    for piece, trial, part in zip(tried, ends, parts, strict=True):
        piece[trial] = part
    whole = Trial(tuple(crf for trial in ends for crf in trial.crfs),
                  sum(trial.bytes for trial in ends) + work.beside, quality.headroom)
    return whole, (quality, parts)


def _joined(work: Work, parts: Sequence[Part], folder: Path, suffix: str) -> Path:
    """The whole file, once its pictures have been found to be those that were scored."""
    path, video = folder / f"joined{suffix}", folder / "video.mp4"
    _join(work, parts, video)
    encode(work.source, path, work.encoding, work.was.fps, (1,), was=work.was,
           mark=work.goal.mark, joined=(video, work.begins))
    video.unlink()
    scored = [told for n, part in enumerate(parts) for told in part.sums[_within(work, n, part)]]
    if picture_sums(path, work.goal.height) != scored:
        raise CannotBeCut("the joined file shows other pictures")
    return path


def _look(work: Work, guess: Guess) -> np.ndarray:
    """The CRF of each zone, as an excerpt from the middle of its scene (of PART_SECONDS) tells."""
    zones, at = work.times.zones, np.array(work.was.times)
    starts, most = [zone.start for zone in zones], max(round(EXCERPT_SECONDS * work.was.fps), 1)
    scenes = _scenes(work, starts)
    since = at[starts] - at[np.array([0, *work.was.cuts])[scenes]]
    group = np.unique([scenes, since // PART_SECONDS], axis=1, return_inverse=True)[1].ravel()
    middles = [int(np.median(np.flatnonzero(group == n))) for n in range(group.max() + 1)]
    spare = [max(zones[n].stop - zones[n].start - most, 0) // 2 for n in middles]
    part = replace(work, pieces=tuple(
        Piece(slice(zones[n].start + some, zones[n].stop - some), slice(n, n + 1), 0)
        for n, some in zip(middles, spare, strict=True)))
    crf = guess.codec.at(guess.crf)
    seen = _judged(part, _make_all(part, dict.fromkeys(range(len(middles)), (crf,)), "first look"))
    rooms = np.array(seen.headroom)[middles][group]
    return crf - FLATTERED + (rooms - guess.tolerance / 2) / -guess.slope


def _waves(work: Work) -> tuple[list[int], list[int], list[int]]:
    """The pieces in the order of their encoding: an even sample tells how the first look compares
    to the whole, then one of each scene what is special there, then come the others.
    """
    scenes = _scenes(work, [piece.frames.start for piece in work.pieces])
    evenly = list(range(min(SAMPLED // 2, len(scenes) - 1), len(scenes), SAMPLED))
    _, firsts = np.unique(scenes, return_index=True)
    one_each = [n for n in firsts.tolist() if scenes[n] not in scenes[evenly]]
    return evenly, one_each, [n for n in range(len(scenes)) if n not in evenly + one_each]


def _scenes(work: Work, frames: Sequence[int]) -> np.ndarray:
    """The number of the scene that each of these frames belongs to."""
    return np.searchsorted(work.was.cuts, frames, side="right")


def _forecast(work: Work, guess: Guess, look: np.ndarray, tried: Sequence[Tried]) -> np.ndarray:
    """The CRF for each zone: what the first look tells, corrected by the trials so far, of the
    file and of its scene; on the safe side by some of its deviation.
    """
    known = [(zone, crf + (room - guess.tolerance / 2) / -guess.slope)
             for piece, one in zip(work.pieces, tried, strict=True) for trial in list(one)[:1]
             for zone, crf, room in zip(range(piece.zones.start, piece.zones.stop), trial.crfs,
                                        trial.headroom, strict=True)]
    if not known:
        return look
    zones, right = np.array([zone for zone, _ in known]), np.array([crf for _, crf in known])
    level = (right - look[zones]).mean()
    off = right - look[zones] - level
    error = np.sqrt((off @ off + ERROR_WEIGHT * USUAL_ERROR ** 2) / (len(off) + ERROR_WEIGHT))
    starts = [zone.start for zone in work.times.zones]
    scenes = _scenes(work, starts)
    at = np.array(work.was.times)[starts]
    near = (np.exp(-np.abs(at[:, None] - at[zones]) / NEAR_SECONDS)
            * (scenes[:, None] == scenes[zones]))
    told = near.sum(axis=1)
    doubt = error * np.sqrt(APART / (told + APART) + APART)
    return look + level + near @ off / (told + APART) - SURE * doubt


def _hopeless(work: Work, guess: Guess, tried: Sequence[Tried], most: float) -> Trial | None:
    """The samples as a trial of the whole, if they tell that it takes far more than `most`."""
    some = [(piece, next(iter(one))) for piece, one in zip(work.pieces, tried, strict=True) if one]
    right = sum(trial.bytes * 2 ** ((fmean(trial.headroom) - guess.tolerance / 2) / guess.slope
                                    / guess.codec.halving) for _, trial in some)
    whole = work.beside + right * (sum(piece.bytes_in for piece in work.pieces)
                                   / max(sum(piece.bytes_in for piece, _ in some), 1))
    if whole <= HOPELESS * most:
        return None
    return Trial(tuple(crf for _, trial in some for crf in trial.crfs), round(whole),
                 tuple(room for _, trial in some for room in trial.headroom))


def _again(curve: Sequence[Trial], guess: Guess, at_last: bool) -> Crfs | None:
    """The CRFs to encode a piece again at; None if it is well as it is. The last ones of a piece
    that misses are low enough for it to be well in all likelihood.
    """
    last = curve[-1]
    if last.worst >= 0 and (at_last or len(curve) > 1):
        return None
    if at_last:
        return tuple(guess.codec.at(crf - (1 - 2 * min(room, 0)) / -guess.slope)
                     for crf, room in zip(last.crfs, last.headroom, strict=True))
    crfs = next_crfs(curve, guess)
    left = fmean(2 ** ((was - now) / guess.codec.halving)
                 for was, now in zip(last.crfs, crfs, strict=True))
    if last.worst >= 0 and 1 - left < PAYS or crfs in [trial.crfs for trial in curve]:
        return None
    return crfs


def _crfs(work: Work, n: int, wanted: np.ndarray) -> Crfs:
    """The CRFs of a piece's zones; all of them the least where the codec has no zones."""
    codec = CODECS[work.encoding.codec]
    crfs = tuple(codec.at(crf) for crf in wanted[work.pieces[n].zones])
    return crfs if codec.zones else (min(crfs),) * len(crfs)


def _room(work: Work, n: int, quality: Quality) -> Crfs:
    """The headroom of a piece's zones; all of them the least where they have one CRF."""
    rooms = quality.headroom[work.pieces[n].zones]
    return rooms if CODECS[work.encoding.codec].zones else (min(rooms),) * len(rooms)


def _within(work: Work, n: int, part: Part) -> slice:
    """The frames of a piece in a part that holds it."""
    frames = work.pieces[n].frames
    return slice(frames.start - part.start, frames.stop - part.start)


def _judged(work: Work, parts: dict[int, Part]) -> Quality:
    """The quality of these encodes of some pieces; what lies between is taken as perfect."""
    scores, chroma = np.full(work.times.frames, 100.0), np.full(work.times.frames, PERFECT_DB)
    for n, part in parts.items():
        frames, own = work.pieces[n].frames, _within(work, n, part)
        scores[frames], chroma[frames] = part.scores[own], part.chroma[own]
    return judge(scores, chroma, work.times, work.goal)


def _make_all(work: Work, todo: dict[int, Crfs], what: str) -> dict[int, Part]:
    """Encode and score some pieces at these CRFs: neighbours together, as many as last
    PART_SECONDS, and these parts side by side, the longest first.

    CannotBeCut unless all parts saw the same source: each sees a little of its neighbours, and
    the first one begins with the file, so each lies where it should.
    """
    at, runs, zoned = work.was.times, [], CODECS[work.encoding.codec].zones
    for n in sorted(todo):
        frames = work.pieces[n].frames
        if (zoned and runs and work.pieces[runs[-1][-1]].frames.stop == frames.start
                and at[frames.stop - 1] - at[work.pieces[runs[-1][0]].frames.start]
                <= PART_SECONDS):
            runs[-1].append(n)
        else:
            runs.append([n])
    runs.sort(key=lambda run: work.pieces[run[0]].frames.start - work.pieces[run[-1]].frames.stop)
    with ThreadPoolExecutor(work.jobs) as pool:  # where one part fails, no other one is begun
        made = list(progress(pool.map(partial(_make, work, todo), runs), len(runs),
                             f"{work.source.name}: {what}", "parts"))
    for part in made:
        for frame, told in enumerate(part.seen, part.start - min(part.start, SEEN_BEFORE)):
            if work.seen.setdefault(frame, told) != told:
                raise CannotBeCut(f"seeking leads to other pictures at frame {frame}")
    return {n: part for run, part in zip(runs, made, strict=True) for n in run}


def _make(work: Work, todo: dict[int, Crfs], run: Sequence[int]) -> Part:
    """One part, unless an earlier run of the program has made it: its record is written last."""
    was, encoding = work.was, work.encoding
    pieces, at = [work.pieces[n] for n in run], was.times
    start, end = pieces[0].frames.start, pieces[-1].frames.stop
    zones = work.times.zones[pieces[0].zones.start:pieces[-1].zones.stop]
    crfs = tuple(crf for n in run for crf in todo[n])
    before = min(start, SEEN_BEFORE)
    seen_from = start - before
    begins = was.start + (at[seen_from] + at[seen_from - 1]) / 2 if seen_from else None
    span = Span(end - start, begins, before, min(len(at) - end, SEEN_BEHIND),
                tuple(piece.frames.start - start for piece in pieces[1:]))
    starts = tuple(max(zone.start - start, 0) for zone in zones)
    name = key(work.key, start, vars(span), starts, crfs, encoding.preset)
    path, record = work.state / f"{name}.mp4", work.state / f"{name}.json"
    if record.exists():
        return Part(path, start, **json.loads(record.read_text()))
    with written_aside(path) as aside:
        encode_span(work.source, aside, encoding, was.fps, crfs, starts, span)
        scores, chroma, (sums, seen) = compare(aside, work.source, work.goal.metric,
                                               work.goal.height, span)
        order, sizes = _packets(aside)
    if not len(scores) == len(sums) == len(sizes) == span.frames:
        raise CannotBeCut(f"{len(sums)} frames of {span.frames} from {start} on")
    if len(seen) != span.before + span.frames + span.behind:
        raise CannotBeCut(f"{len(seen)} frames of the source from {seen_from} on")
    facts = {"scores": scores.tolist(), "chroma": chroma.tolist(), "sums": sums, "sizes": sizes,
             "order": order, "seen": seen}
    write_text(record, json.dumps(facts))
    return Part(path, start, **facts)


def _packets(path: Path) -> tuple[list[int], list[int]]:
    """Which frame each packet holds, and the bytes of each frame."""
    with open_video(path) as container:
        found = [(packet.pts, packet.size) for packet in container.demux(video=0) if packet.size]
    times, sizes = zip(*found, strict=True)
    shown = np.argsort(times)
    return np.argsort(shown).tolist(), np.array(sizes)[shown].tolist()


def _join(work: Work, parts: Sequence[Part], path: Path) -> None:
    """Put the pieces' video into one file, with the times of the source's frames."""
    was, tick = work.was, Fraction(work.was.tick).limit_denominator(10**7)
    shown = np.round(np.array(was.times) / was.tick).astype(int)
    ends = [*shown[1:], max(round(was.end / was.tick), shown[-1] + 1)]
    order = [part.start + frame for n, part in enumerate(parts) for frame in part.order
             if work.pieces[n].frames.start <= part.start + frame < work.pieces[n].frames.stop]
    late = max(n - frame for n, frame in enumerate(order))  # packets before their frame's turn
    with av.open(str(path), "w") as out, open_video(parts[0].path) as first:
        headers = first.streams.video[0].codec_context.extradata
        stream = out.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.time_base = tick
        stream.metadata.update(work.names)
        for n, (frame, packet) in enumerate(_taken(work, parts)):
            if packet.stream.codec_context.extradata != headers:
                raise CannotBeCut("its encodes differ in their headers")
            packet.stream, packet.time_base = stream, tick
            packet.pts = int(shown[frame])
            # The first ones come as early as makes up for what the last ones are late: so the
            # file is as long as its frames, in MP4 by the average rate too.
            packet.dts = int(shown[n - late] if n >= late else
                             shown[0] + shown[n - late - 1] - shown[-1])
            packet.duration = int(ends[frame] - shown[frame])
            out.mux(packet)


def _taken(work: Work, parts: Sequence[Part]) -> Iterator[tuple[int, av.Packet]]:
    """Each packet with its frame, piece for piece; each piece's first one has to be a keyframe."""
    for piece, part in zip(work.pieces, parts, strict=True):
        with open_video(part.path) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for frame, packet in zip(part.order, packets, strict=True):
                frame += part.start
                if frame == piece.frames.start and not packet.is_keyframe:
                    raise CannotBeCut(f"frame {frame} became no keyframe")
                if piece.frames.start <= frame < piece.frames.stop:
                    yield frame, packet
