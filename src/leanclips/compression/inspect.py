"""What a video file holds, read in one pass: size, frames, times, tracks, and how it looks."""

import errno
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from math import log2
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type

from leanclips.errors import ClipError, StudyError

# One packet is one shown frame. Elsewhere packets may hold none (VP9's and AV1's hidden
# frames) or a packed pair (MPEG-4 in AVI), so the frames are decoded and counted.
PACKET_IS_FRAME = {"h264", "hevc", "mjpeg", "vp8", "prores", "dnxhd", "ffv1"}
VIDEO = "v:0"  # FFmpeg's name of the first video track
CLOCKED = ("mov", "matroska")  # the formats whose clocks begin at 0, others' anywhere
# What frames carry beside their pictures.
SIDES = {Type.SPHERICAL: "spherical metadata", Type.STEREO3D: "stereo metadata",
         Type.SEI_UNREGISTERED: "user-data SEI", Type.A53_CC: "closed captions"}
# The user data by which x264 and x265 name themselves.
BANNERS = {bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),
           bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e")}
# Tags that muxers write about themselves and their packets, and our own.
OF_THE_MUXER = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id",
                "duration", "bps", "number_of_frames", "number_of_bytes", "leanclips"}
REPLACE = "replace it by a good copy or take it out of the set"
# A cut, as FFmpeg's filter scdet finds it at 10 %: the levels of luma by which a frame differs from
# the one before, and by which that difference differs from the one before it.
CUT = 25.5


@dataclass(frozen=True)
class Probe:
    """A clip as it is shown: width and height after rotation."""

    width: int
    height: int
    frames: int
    fps: float  # as the container states it: J-HMDB states 30 and holds gaps
    seconds: float  # from the first frame's time to the end of the last: 1.6 for 40 such frames
    rotation: int  # degrees, counter-clockwise
    codec: str
    pixels: str  # FFmpeg's name of the pixel format


@dataclass(frozen=True)
class Looks:
    """What predicts a clip's CRF. The last four are in grey levels of luma."""

    qp: float | None  # the mean quantizer on H.264's scale, if the decoder exports it
    bits: float  # those of the video track for each pixel shown
    motion: float  # the mean change to the next frame
    detail: float  # the mean change to the next pixel
    grain: float  # the median second difference of three pixels
    contrast: float  # the standard deviation


@dataclass(frozen=True)
class Track:
    """An audio, subtitle or data track."""

    kind: str
    codec: str
    packets: str  # their hash
    times: tuple[float, ...]  # of the packets, in seconds from the first frame
    tick: float  # the unit of its times, in seconds
    trim: int  # how many samples at the end of the sound are to be left out


@dataclass(frozen=True)
class Inspection(Probe):
    """A clip that was decoded from end to end, and what else its file holds."""

    times: tuple[float, ...]  # of each frame in seconds, ascending, the first at 0
    tick: float  # the unit that the file counts frame times in, in seconds
    cuts: tuple[int, ...]  # the first frames of new scenes
    looks: Looks
    interlaced: bool
    aspect: float  # of a pixel
    colours: tuple[int, ...]  # range, primaries, transfer and matrix (ITU-T H.273)
    depth: int  # bits for each sample
    tracks: tuple[Track, ...]
    others: tuple[str, ...]  # what re-encoding would lose, in words
    chapters: tuple[tuple[float, str], ...]  # start in seconds from the first frame, and title
    container: str  # FFmpeg's name of the format
    start: float  # the first frame's time on the clock of the container, in seconds
    end: float  # when the last frame ends, in seconds from the first
    stated: float  # the same by the average rate that MP4 states; `end` elsewhere
    streams: tuple[tuple[str, str], ...]  # the video and the tracks for FFmpeg's -map, with names
    tags: dict[str, str]  # of the file and its tracks
    sides: dict[str, str]  # of the SIDES that its frames have, their hash
    mark: str  # what leanclips made this file for, if it did (see optimize.mark)


def probe(path: Path, whole: bool = False, least: int = 2) -> Probe:
    """Probe `path`; `whole` decodes every frame, which finds damage that packets do not show.

    StudyError where the file cannot be read, holds no video or has fewer than `least` frames.
    """
    with opened(path) as (container, video):
        shown = _Shown(path, video, whole or video.codec.canonical_name not in PACKET_IS_FRAME)
        for packet in container.demux(video):
            shown.add(packet)
        return shown.probe(container, least)


def inspect(path: Path, least: int = 1, look: bool = True) -> Inspection:
    """Decode a clip once. StudyError as `probe` raises it. Without a `look`, on all cores, and the
    cuts and looks are not those of the clip.
    """
    with opened(path) as (container, video):
        kept, lost = _tracks(container, video)
        ticks, digests, trims = defaultdict(list), defaultdict(sha256), Counter()
        shown, pictures = _Shown(path, video, whole=True), _Pictures(look)
        if look:  # on one core: with several, the quantizers differ from run to run
            video.codec_context.options = {"export_side_data": "venc_params"}
        else:
            video.thread_type = "AUTO"
        for packet in container.demux([video, *kept]):
            index, codec = packet.stream.index, _codec(packet.stream)
            if index == video.index:
                for frame in shown.add(packet):
                    pictures.add(frame, video.codec_context.sample_aspect_ratio)
            elif data := _payload(codec, bytes(packet)):
                digests[index].update(data)
                ticks[index].append(packet.pts if packet.pts is not None else packet.dts)
            if packet.has_sidedata("skip_samples"):  # at its beginning and at its end
                trims[index] = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[4:8],
                                              "little")
        found, context, shown_at = shown.probe(container, least), video.codec_context, shown.decoded
        start = min(_seconds(shown.ticks, video), default=0.0)
        if None not in shown_at:
            shown_at = (np.sort(shown_at) - min(shown_at)).tolist()
        tracks = []
        for stream in kept:
            codec, digest = _codec(stream), digests[stream.index].hexdigest()
            times = tuple(time - start for time in _seconds(ticks[stream.index], stream))
            # PCM has no packets of its own: containers cut it as they like, so it has one time.
            tracks.append(Track(stream.type, codec, digest, times[:1] if codec.startswith("pcm_")
                                else times, float(stream.time_base), trims[stream.index]))
        streams = [stream for stream in container.streams  # a timecode is written anew
                   if stream == video or stream in kept and _codec(stream) != "timecode"]
        seconds = _seconds(shown_at, video)
        end = max(seconds) + shown.last * float(video.time_base)
        return Inspection(
            **vars(found), times=tuple(seconds), tick=float(video.time_base),
            cuts=tuple(pictures.cuts), looks=pictures.looks(shown.bytes),
            interlaced=pictures.interlaced, aspect=float(video.sample_aspect_ratio or 1),
            colours=(_range(context.color_range), context.color_primaries, context.color_trc,
                     context.colorspace),
            depth=max(part.bits for part in shown.first.format.components),
            tracks=tuple(tracks), others=lost + tuple(
                f"another {what} from some frame on"  # where FFmpeg's filters begin anew
                for what, values in pictures.kinds.items() if len(values) > 1),
            chapters=tuple((float(chapter["start"] * chapter["time_base"]) - start,
                            chapter["metadata"].get("title", ""))
                           for chapter in container.chapters()),
            container=container.format.name, start=start, end=end,
            stated=found.frames / (found.fps or 25) if "mp4" in container.format.name else end,
            streams=tuple((VIDEO if stream == video else str(stream.index),
                           stream.metadata.get("name", "")) for stream in streams),
            tags=_tags(container, streams),
            sides={name: sha256(repr(sorted(values)).encode()).hexdigest()
                   for name, values in pictures.sides.items()},
            mark=next((value for name, value in container.metadata.items()
                       if name.lower() == "leanclips"), ""))


class _Shown:
    """The video packets of a clip, and its frames: all of them if `whole`, else the first ones."""

    def __init__(self, path: Path, video: av.VideoStream, whole: bool):
        self.path, self.video, self.whole, self.first = path, video, whole, None
        self.damaged = _ends_early(path)
        self.packets = self.bytes = 0
        self.ticks, self.spans, self.decoded, self.last = [], [], [], 0

    def add(self, packet: av.Packet) -> list[av.VideoFrame]:
        self.damaged |= packet.is_corrupt
        self.packets += packet.size > 0
        self.bytes += packet.size
        if packet.size > 0 and not packet.is_discard:
            self.ticks.append(packet.pts if packet.pts is not None else packet.dts)
            if packet.pts is not None:
                self.spans.append((packet.pts, packet.pts + (packet.duration or 0)))
        frames = packet.decode() if self.whole or self.first is None else []
        self.damaged |= any(frame.is_corrupt for frame in frames)
        self.first = self.first or next(iter(frames), None)
        self.decoded += [frame.pts for frame in frames]
        self.last = frames[-1].duration or 0 if frames else self.last  # frames come in order
        return frames

    def probe(self, container: av.container.InputContainer, least: int) -> Probe:
        frames = len(self.decoded if self.whole else self.ticks)
        # MP4 and MOV list every packet in their index: fewer of them means a cut file.
        if self.damaged or ("mp4" in container.format.name and self.packets < self.video.frames):
            raise ClipError("the clip is cut short or damaged", self.path, REPLACE)
        if self.first is None or frames == 0:
            raise ClipError("the clip holds no frame", self.path, REPLACE)
        if frames < least:
            raise ClipError(f"the clip has one frame only and needs at least {least}", self.path,
                            "replace it or take it out of the set")
        fps = float(self.video.average_rate or self.video.guessed_rate or 0)
        seconds = 0.0
        if len(self.spans) == frames:
            starts, ends = zip(*self.spans, strict=True)
            seconds = float((max(ends) - min(starts)) * self.video.time_base)
        rotation = int(self.first.rotation) % 360
        size = (self.first.width, self.first.height)[::-1 if rotation in (90, 270) else 1]
        return Probe(*size, frames, fps, seconds or frames / (fps or 25), rotation,
                     self.video.codec.canonical_name, self.first.format.name)


class _Pictures:
    """What the decoded frames look like."""

    def __init__(self, look: bool):
        self.quantizers, self.changes, self.textures, self.cuts = [], [], [], []
        self.frames, self.pixels, self.interlaced = 0, 0, False
        self.look, self.before = look, np.empty((0, 0))
        self.kinds, self.sides = defaultdict(set), defaultdict(set)

    def add(self, frame: av.VideoFrame, aspect: Fraction | None) -> None:
        self.frames += 1
        self.pixels += frame.width * frame.height
        self.interlaced |= frame.interlaced_frame
        for what, value in (
                ("size", (frame.width, frame.height)), ("pixel format", frame.format.name),
                ("pixel aspect", aspect or 1), ("colour range", _range(frame.color_range)),
                ("colour tags", (frame.color_primaries, frame.color_trc, frame.colorspace))):
            self.kinds[what].add(value)
        for side in frame.side_data:
            content = bytes(side) if side.type in SIDES else b""
            if content and content[:16] not in BANNERS:
                self.sides[SIDES[side.type]].add((self.frames, content))
        if self.look:
            self._look_at(frame)

    def _look_at(self, frame: av.VideoFrame) -> None:
        plane = frame.planes[0]  # some 64 rows of luma: enough to see a cut, and cheap
        step = max(4, frame.height // 64)
        # The line size of a picture that is stored bottom-up is negative.
        rows = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))
        luma, before = rows[:frame.height:step, :frame.width].astype(np.int16), self.before
        self.changes.append(float(np.abs(luma - before).mean()) if before.shape == luma.shape
                            else 0.0)
        self.before = luma
        if min(self.changes[-1], abs(self.changes[-1] - self.changes[-2:][0])) >= CUT:
            self.cuts.append(len(self.changes) - 1)
        slopes = np.diff(luma, axis=1)
        bends = np.abs(np.diff(slopes, axis=1))
        self.textures.append((np.abs(slopes).mean(), _median(bends), luma.std())
                             if bends.size else (0.0, 0.0, 0.0))
        found = frame.side_data.get(Type.VIDEO_ENC_PARAMS)
        if found is not None and found.nb_blocks:
            with suppress(RuntimeError):  # an interlaced frame's blocks come in pairs of rows
                mean = float(found.qp_map().mean())
                # Other codecs than H.264 (AV_VIDEO_ENC_PARAMS_H264, 1) export the step itself
                # (MPEG-4: twice its quantizer); its QP stands for a step of 2^((QP - 4) / 6).
                self.quantizers.append(mean if found.codec_type == 1
                                       else 4 + 6 * log2(max(mean, 1)))

    def looks(self, size: int) -> Looks:
        """`size` is that of the video track in bytes."""
        return Looks(float(np.mean(self.quantizers)) if self.quantizers else None,
                     8 * size / self.pixels, float(np.mean(self.changes[1:] or [0.0])),
                     *np.mean(self.textures or [(0.0, 0.0, 0.0)], axis=0).tolist())


def _median(values: np.ndarray) -> float:
    """np.median of small whole numbers, in a tenth of its time."""
    upto = np.bincount(values.ravel()).cumsum()
    return np.searchsorted(upto, [(values.size - 1) // 2, values.size // 2], "right").mean()


def _range(tag: int) -> int:
    """2 is full, 1 limited: also where nothing is said."""
    return 2 if tag == 2 else 1


def _codec(stream: av.stream.Stream) -> str:
    """The name of its format; a timecode track has none of its own."""
    if stream.type == "data":
        return "timecode" if "timecode" in stream.metadata else stream.name or ""
    return stream.codec.canonical_name


def _tags(container: av.container.InputContainer,
          streams: Sequence[av.stream.Stream]) -> dict[str, str]:
    """The tags of the file and of its tracks, by name."""
    found = {}
    for n, part in enumerate((container, *streams)):
        for name, value in part.metadata.items():
            name = name.lower()
            if (name.split("-")[0] in OF_THE_MUXER or name.startswith("_statistics")
                    or (name, value) == ("language", "und")):
                continue
            if n and name == "name":  # MP4's word for the title of a track
                name = "title"
            found[name + (f" of track {n}" if n else "")] = value
    return found


def _tracks(container: av.container.InputContainer,
            video: av.VideoStream) -> tuple[list[av.stream.Stream], tuple[str, ...]]:
    """The tracks that ffmpeg.encode carries along, in its order, and in words what it loses."""
    kept, lost, videos = [], [], 0
    for stream in container.streams:
        data = _codec(stream) if stream.type == "data" and "mp4" in container.format.name else ""
        if stream.disposition & av.stream.Disposition.attached_pic:
            lost.append("a cover picture")
        elif stream.type == "video":
            videos += 1
        elif data == "bin_data" and stream.frames == len(container.chapters()) > 0:
            continue  # MP4's track of chapters, which FFmpeg writes anew
        elif (stream.type in ("audio", "subtitle") and stream.codec_context is not None
              or data in ("timecode", "bin_data")):
            kept.append(stream)
        else:
            lost.append(f"{'an' if stream.type.startswith('a') else 'a'} {stream.type} track")
    if video.metadata.get("alpha_mode") == "1":  # WebM's, which decoders here leave out
        lost.append("an alpha channel")
    kept.sort(key=lambda stream: _codec(stream) == "timecode")  # FFmpeg writes it last
    return kept, ("two video tracks",) * (videos > 1) + tuple(lost)


def _payload(codec: str, data: bytes) -> bytes:
    """A packet less what containers add: the ADTS header of AAC, the empty end of mov_text."""
    if codec == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9:]
    return b"" if codec == "mov_text" and data == b"\0\0" else data


def _seconds(ticks: list[int | None], stream: av.stream.Stream) -> list[float]:
    if None in ticks:  # No times at all (a raw stream): the stated rate is all there is.
        return [n / float(getattr(stream, "average_rate", None) or 25) for n in range(len(ticks))]
    return (np.array(ticks, dtype=np.int64) * float(stream.time_base)).tolist()


def _ends_early(path: Path) -> bool:
    """Whether a Matroska or WebM file is shorter than its one Segment; decoders do not notice.

    The first byte of a size has as many leading zeros as bytes follow; all ones: it is unknown.
    """
    end = 0
    with path.open("rb") as file:
        for element in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # Matroska, Segment
            file.seek(end)
            if file.read(4) != element:
                return False
            first = file.read(1)
            more = 8 - first[0].bit_length() if first else 0
            all_ones = (1 << 7 * (more + 1)) - 1
            size = int.from_bytes(first + file.read(more)) & all_ones
            end = file.tell() + (size if size != all_ones else 0)
    return end > path.stat().st_size


def open_video(path: Path) -> av.container.InputContainer:
    """FFmpeg takes a relative name with a colon for a URL; a title may have any encoding."""
    return av.open(str(path.absolute()), metadata_errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream; ClipError where FFmpeg cannot read it."""
    if not path.is_file():
        raise ClipError("the clip is missing", path, "restore it or take it out of the set")
    if path.stat().st_size == 0:
        raise ClipError("the clip is empty (0 bytes)", path, REPLACE)
    try:
        with open_video(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ClipError("the file holds no video", path, REPLACE)
            if stream.codec_context is None:
                raise ClipError("the clip is of an unknown format", path, REPLACE)
            yield container, stream
    except av.error.FFmpegError as error:
        if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise StudyError(f"the clip cannot be read now ({error.strerror})", path,
                             "start again, with fewer --jobs") from None
        raise ClipError(f"the clip cannot be read ({error.strerror})", path, REPLACE) from None
