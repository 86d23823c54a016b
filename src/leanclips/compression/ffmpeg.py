"""FFmpeg: the one place that starts it and knows its command lines."""

import errno
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from leanclips.compression.inspect import CLOCKED, VIDEO, Inspection
from leanclips.errors import ClipError, StudyError
from leanclips.files import folder_aside

GET_FFMPEG = ("reinstall imageio-ffmpeg with pip, or set IMAGEIO_FFMPEG_EXE to the path of "
              "another FFmpeg")
INSTEAD = {"libvmaf": "use --metric ssim with 'leanclips optimize', or ",
           "libsvtav1": "use another --codec, or ", "libx265": "use another --codec, or "}
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP}  # a person or the system
QUIET = {"SVT_LOG": "1"}  # SVT-AV1 prints errors only, so the first line is FFmpeg's reason
OPENH264, X264_FALLBACK = "libopenh264 (FFmpeg)", "libx264 (fallback)"
RAW_BGR = ("-f", "rawvideo", "-pix_fmt", "bgr24")
FIRST_TRACKS = ("-map", "0:v:0", "-map", "0:a?", "-map", "0:s?")
CARRYING = {"spherical metadata": ("-strict", "unofficial"), "user-data SEI": ("-udu_sei", 1),
            "closed captions": ("-a53cc", 1)}  # what FFmpeg carries if it is told to
# FFmpeg would write those of the source beside the new file's own.
NO_BRANDS = [part for name in ("major_brand", "minor_version", "compatible_brands")
             for part in ("-metadata", f"{name}=")]
BITEXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact")
SAME_FRAMES = ("-fps_mode", "passthrough", "-enc_time_base:v", "demux", *BITEXACT)
SUMS = ("-fps_mode", "passthrough", "-f", "framecrc")
KEYFRAME_INTERVAL = 12  # frames, of a crop
# SSIM is meant for about 256 lines; libvmaf averages pixels down to that by a whole factor.
SSIM_SIZE = "scale=w=iw/{0}:h=ih/{0}:flags=area".format("max(1\\,round(min(iw\\,ih)/256))")
MODELS = {"vmaf": "vmaf_v0.6.1neg", "vmaf1": "vmaf_v1.0.16_3d0h"}  # libvmaf's, by metric
PERFECT_DB = 60.0  # stands for the infinite PSNR of equal pictures
# Where FFmpeg logs each frame's score and the PSNR of its chroma planes, without libvmaf.
LOGGED = (("scores.log", r"(?:XPSNR y| Y): *(\S+)"), ("psnr.log", r"psnr\.u=(\S+)"),
          ("psnr.log", r"psnr\.v=(\S+)"))
# Faults of the machine or the folder; clips are decoded before FFmpeg gets them.
NOT_THE_CLIP = {os.strerror(number) for number in (
    errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EIO, errno.ENOENT, errno.EACCES,
    errno.EROFS, errno.EDQUOT)}


def ffmpeg() -> str:
    """Path of FFmpeg: IMAGEIO_FFMPEG_EXE, else the one that imageio-ffmpeg brings."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise StudyError(f"FFmpeg cannot run ({error})", "FFmpeg", GET_FFMPEG) from None


def ffmpeg_version() -> str:
    """First line of `ffmpeg -version`, up to the copyright."""
    return _printed(ffmpeg(), "-version").splitlines()[0].split(" Copyright")[0]


@cache
def _printed(exe: str, option: str) -> str:
    """What `exe` prints about itself."""
    try:
        return subprocess.run([exe, "-hide_banner", option], capture_output=True, text=True,
                              check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise StudyError(f"FFmpeg cannot run ({error})", exe, GET_FFMPEG) from None


def has(name: str) -> bool:
    """Whether FFmpeg lists `name` among its encoders or filters."""
    lines = (line.split() for option in ("-encoders", "-filters")
             for line in _printed(ffmpeg(), option).splitlines())
    return any(words[1:2] == [name] for words in lines)


def require(*names: str) -> None:
    """StudyError for the first of these encoders and filters that FFmpeg lacks."""
    for name in names:
        if not has(name):
            raise StudyError(f"this FFmpeg has no {name}", ffmpeg(),
                             f"{INSTEAD.get(name, '')}set IMAGEIO_FFMPEG_EXE to the path of an "
                             "FFmpeg that has it")


def filters_of(metric: str) -> tuple[str, ...]:
    """The filters that measure `metric` and chroma; SSIM is libvmaf's where that is there."""
    by_vmaf = metric in MODELS or metric == "ssim" and has("libvmaf")
    return ("libvmaf",) if by_vmaf else (metric, "psnr")


def smallest_scored(metric: str) -> int:
    """The least width and height that `metric` takes: below, libvmaf crashes or sees no banding."""
    return {"vmaf1": 216}.get(metric, 17 if filters_of(metric) == ("libvmaf",) else 0)


def _failure(code: int, stderr: str, where: Path) -> StudyError:
    """ClipError unless the failure has nothing to do with the clip."""
    if code == 255 or -code in STOPS:  # FFmpeg ends with 255 after a signal
        return StudyError("FFmpeg was stopped", where, "start again; use fewer --jobs if the "
                                                       "memory did not suffice")
    if "No space left on device" in stderr:
        return StudyError("the disk is full", where, "free some space and start again")
    # Without the part of FFmpeg that speaks: "[libx264 @ 0x55d0] ".
    lines = [line for line in (re.sub(r"^(\[[^\]]*\] *)+", "", line.strip())
                               for line in stderr.splitlines()) if line]
    if told := [line for line in lines if any(why in line for why in NOT_THE_CLIP)]:
        return StudyError(f"FFmpeg failed ({told[0]})", where, "this may pass: start again, with "
                          "fewer --jobs if memory or open files did not suffice")
    what = f"FFmpeg failed ({lines[0] if lines else 'without a message'})"
    if code < 0:
        what = f"FFmpeg crashed on it ({(signal.strsignal(-code) or f'signal {-code}').lower()})"
    return ClipError(what, where, "check that the clip plays, replace it or take it out of the set")


def run(arguments: Iterable[object], where: Path, folder: Path | None = None,
        frames: Iterable[np.ndarray] = ()) -> int:
    """Run FFmpeg in `folder`, with raw `frames` as its input "-"; return how many there were.

    StudyError about the file `where` if it fails. SIGINT is blocked in FFmpeg, which would report
    a broken file if it received it while opening one; this process handles it and ends FFmpeg.
    """
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | QUIET,
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    count = 0
    try:
        with suppress(BrokenPipeError):  # FFmpeg ended early; its message says why
            for frame in frames:
                process.stdin.write(frame.tobytes())
                count += 1
        _, stderr = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise _failure(process.returncode, stderr.decode(errors="replace"), where)
    return count


@dataclass(frozen=True)
class Codec:
    """A video format and its encoder, with the scale of its CRF."""

    encoder: str
    lowest: float
    highest: float
    step: float
    first: float  # the CRF to try if nothing is known
    slope: float  # what a CRF costs in headroom (see quality.Metric)
    halving: float  # how many CRF halve the bytes
    pixels: frozenset[str]  # FFmpeg's names of the pixel formats that the encoder keeps
    zones: bool  # whether each zone can have its own CRF
    presets: tuple[str, ...]  # from the fastest
    preset: str  # the default

    def at(self, crf: float) -> float:
        """The nearest CRF on the scale."""
        crf = round(round(crf / self.step) * self.step, 4)
        return float(min(max(crf, self.lowest), self.highest))


# `first`, `slope` and `halving` are measured on J-HMDB clips at VMAF NEG 93.
_X26 = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower",
        "veryslow")
_PLANAR = frozenset(f"yuv{full}{layout}p" for layout in (420, 422, 444) for full in ("", "j"))
CODECS = {
    "h264": Codec("libx264", 1, 51, 0.1, 20, -1.0, 5.5, _PLANAR, True, _X26, "medium"),
    "hevc": Codec("libx265", 1, 51, 0.1, 19, -0.9, 5.8, _PLANAR - {"yuvj422p", "yuvj444p"}, True,
                  _X26, "medium"),
    "av1": Codec("libsvtav1", 1, 63, 1, 27, -0.4, 11.5, frozenset({"yuv420p"}), False,
                 tuple(str(n) for n in range(13, -1, -1)), "6"),
}


@dataclass(frozen=True)
class Encoding:
    """How a clip is encoded, beside its CRF."""

    codec: str | None = None  # a name of CODECS; None: the clip's own of these, or H.264
    keyframes: float = 2.0  # the longest time from a keyframe to the next, in seconds
    preset: str | None = None  # the encoder's; None: Codec.preset
    suffix: str | None = None  # of the container; None: as contract.suffix_for has it


@dataclass(frozen=True)
class Span:
    """A run of a clip's frames that is encoded and scored by itself."""

    frames: int
    begins: float | None = None  # a time of the file's, just before the first frame seen; None:
    # its start
    before: int = 0  # how many frames are seen before the span's, for the motion that is scored,
    behind: int = 0  # and how many behind it
    keyframes: tuple[int, ...] = ()  # more keyframes than the first, which nothing refers across


def encode(source: Path, destination: Path, encoding: Encoding, fps: float,
           crfs: Sequence[float], starts: Sequence[int] = (0,), was: Inspection | None = None,
           mark: str = "", joined: tuple[Path, float] | None = None) -> None:
    """Re-encode the first video track of `source`, of `fps` frames a second; audio and subtitles
    are copied, and what else the inspection `was` found. `mark` is a tag of the new file.

    `crfs` holds the CRF of each zone of frames, which begin at `starts` (one: the whole clip).
    Frame count, timestamps, size, rotation, colour tags and pixel format stay. `joined` is a file
    of the video if that is encoded already, and the time of its first frame.
    """
    inputs, options = [], _encoder(encoding, fps, crfs, starts)
    if joined:
        inputs = ["-itsoffset", joined[1], "-i", joined[0].resolve()]
        options = ["-tag:v", "hvc1"] if encoding.codec == "hevc" else []
    maps = _carried(was, destination.suffix, bool(joined)) if was else FIRST_TRACKS
    run(["-noautorotate", "-i", source.resolve(), *inputs, *maps, "-c", "copy", *options,
         *SAME_FRAMES, "-map_metadata", 0, *NO_BRANDS, "-metadata", f"leanclips={mark}",
         "-movflags", "+faststart+use_metadata_tags", destination.resolve()], source)


def encode_span(source: Path, destination: Path, encoding: Encoding, fps: float,
                crfs: Sequence[float], starts: Sequence[int], span: Span) -> None:
    """Encode a span's video alone, to be joined without loss."""
    first = ["-vf", f"trim=start_frame={span.before}"]
    forced = "+".join(f"eq(n,{frame})" for frame in span.keyframes)
    first += ["-forced-idr", 1, "-force_key_frames", f"expr:{forced}"] if forced else []
    run(["-noautorotate", *_seek(span), "-i", source.resolve(), "-map", "0:v:0", *first,
         "-frames:v", span.frames, *_encoder(encoding, fps, crfs, starts, alone=False),
         *SAME_FRAMES, destination.resolve()], source)


def _seek(span: Span | None) -> list[object]:
    begins = span and span.begins
    return [] if begins is None else ["-seek_timestamp", 1, "-ss", f"{begins:.6f}"]


def _encoder(encoding: Encoding, fps: float, crfs: Sequence[float], starts: Sequence[int],
             alone: bool = True) -> list[object]:
    """The encoder's options; those of a span keep the headers free of its content."""
    codec, settings = encoding.codec, CODECS[encoding.codec]
    require(settings.encoder)
    crf = min(crfs)
    # Neighbours of one CRF are one zone. Its bit rate factor 2^(-d/6) moves its quantizers by d:
    # the same ones as encoding it at CRF + d (x264's and x265's ratecontrol; frame types stay).
    firsts = [n for n in range(len(crfs)) if n == 0 or crfs[n] != crfs[n - 1]]
    ends = [starts[n] - 1 for n in firsts[1:]] + [10**7]
    zones = "/".join(f"{starts[n]},{end},b={2 ** ((crf - crfs[n]) / 6):.4f}"
                     for n, end in zip(firsts, ends, strict=True))
    zoned = [f"zones={zones}"] if len(firsts) > 1 else []
    options = ["-c:v", settings.encoder, "-crf", f"{crf:g}", "-preset",
               encoding.preset or settings.preset, "-g", max(round(encoding.keyframes * fps), 1)]
    # One thread: the bytes depend on the number of threads.
    if codec == "av1":
        return [*options, "-svtav1-params", "lp=1"]
    if codec == "hevc":
        zoned += [] if alone else ["info=0"]
        return [*options, "-tag:v", "hvc1", "-x265-params",
                ":".join(["log-level=none:pools=none:frame-threads=1", *zoned])]
    zoned += [] if alone else ["stitchable=1"]
    return [*options, "-threads", 1, *(zoned and ["-x264-params", ":".join(zoned)])]


def _carried(was: Inspection, suffix: str, joined: bool) -> list[object]:
    """What carries the file's other contents along; its video is a second input's if `joined`."""
    options = []
    for n, (track, name) in enumerate(was.streams):  # FFmpeg reads a name and writes a title
        options += ["-map", f"{int(joined and track == VIDEO)}:{track}",
                    *(name and [f"-metadata:s:{n}", f"title={name}"])]
    if created := was.tags.get("creation_time"):  # FFmpeg reads two of them from its own files
        options += ["-metadata", f"creation_time={created}"]
    if was.container.startswith(CLOCKED):
        options.append("-copyts")
    for side in was.sides:
        options += CARRYING.get(side, ())
    if suffix.lower() != ".mkv" and np.ptp(np.diff([*was.times, was.end])) > 2 * was.tick + 1e-6:
        # MP4's length is the sum of the steps from packet to packet. B-frames shift the last ones
        # of an uneven clip, so its last packet is moved to where the sum is right.
        last, end = f"if(eq(N,{was.frames - 1})", f"(STARTDTS+{was.end:.6f}/TB)"
        options += ["-bsf:v", f"setts=pts=PTS:dts='{last},max(DTS,min(PTS,round({end}-DURATION))),"
                              f"DTS)':duration='{last},max(DURATION,round({end}-PTS)),DURATION)'"]
    return options


def cut(source: Path, destination: Path, start: float, seconds: float) -> None:
    """Copy about this part of a clip, from the keyframe before `start` on, with its tracks."""
    run(["-ss", f"{start:.3f}", "-i", source.resolve(), "-t", seconds, "-map", "0:v", "-map",
         "0:a?", "-map", "0:s?", "-c", "copy", "-avoid_negative_ts", "make_zero",
         destination.resolve()], source)


def crop_encoder() -> str:
    """The encoder of the source crops: OpenH264, or x264 where FFmpeg lacks that."""
    if has("libopenh264"):
        return OPENH264
    require("libx264")
    return X264_FALLBACK


def write_crop(frames: Iterable[np.ndarray], side: int, fps: float, destination: Path,
               encoder: str) -> int:
    """Encode BGR frames (side, side, 3) by OpenH264 as OpenCV's VideoWriter sets it up.

    OpenCV asks for `fps × width × height` bits per second (1 bit per pixel) and a keyframe
    every 12 frames, and leaves the rest to the encoder (modules/videoio, cap_ffmpeg_impl.hpp).
    `encoder` is that of `crop_encoder`; x264 gets the same. Returns the number of frames written.
    """
    name = (["libopenh264"] if encoder == OPENH264 else
            ["libx264", "-preset", "medium", "-bf", 0, "-sc_threshold", 0])
    return run([*RAW_BGR, "-s", f"{side}x{side}", "-r", f"{fps:.6f}", "-i", "-", "-c:v", *name,
                "-b:v", round(fps * side * side), "-g", KEYFRAME_INTERVAL, "-pix_fmt", "yuv420p",
                "-threads", 1, "-fps_mode", "passthrough", *BITEXACT, "-movflags", "+faststart",
                destination.resolve()], destination, frames=frames)


def compare(distorted: Path, reference: Path, metric: str, height: int | None,
            span: Span | None = None) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """The score of each frame (frames,) by `metric`, where "vmaf" is VMAF NEG and "vmaf1" VMAF v1,
    and the PSNR of its worse chroma plane (frames,) in dB.

    Frames are paired by number, whatever their timestamps. With a `height`, both clips are first
    rotated as they are shown and scaled to it (bicubic). FFmpeg's logs are kept temporarily beside
    `distorted`. StudyError if a clip cannot be decoded or a log cannot be read.

    The file of a `span` is compared with its place in the clip: its scores are those in the whole
    clip. Last come checksums of the pictures: of the span's, and of the clip's that were seen.
    """
    filters = filters_of(metric)
    require(*filters)
    rotation = [] if height else ["-noautorotate"]
    numbered = "settb=1/1000,setpts=N*40"
    ready = numbered + (f",scale=-2:{height}:flags=bicubic" if height else "")
    graph, outputs = f"[0:v:0]{ready}[d];[1:v:0]{ready}[r];", []
    if span:  # Motion is the reference's: what stands in for the neighbours does not matter.
        total = span.before + span.frames + span.behind
        pad = f"tpad=start={span.before}:stop={span.behind}:start_mode=clone:stop_mode=clone"
        graph = (f"[0:v:0]{numbered},split[a][x];[a]{pad},{ready}[d];"
                 f"[1:v:0]trim=end_frame={total},{numbered},split[b][y];[b]{ready}[r];")
        outputs = ["-map", "[x]", *SUMS, "0.crc", "-map", "[y]", *SUMS, "1.crc", "-map", "[s]"]
    if filters == ("libvmaf",):
        ssim = "|name=float_ssim" if metric == "ssim" else ""
        model = MODELS.get(metric, MODELS["vmaf"])
        graph += (f"[d][r]libvmaf=model=version={model}:feature=name=psnr{ssim}:"
                  f"log_fmt=json:log_path=scores.json:n_threads=1")
    else:
        size = SSIM_SIZE if metric == "ssim" else "null"
        graph += ("[d]split[d1][d2];[r]split[r1][r2];"
                  "[d1][r1]psnr,metadata=print:file=psnr.log,nullsink;"
                  f"[d2]{size}[d3];[r2]{size}[r3];[d3][r3]{metric}=stats_file=scores.log")
    with folder_aside(distorted.parent) as folder:
        run([*rotation, "-i", distorted.resolve(), *rotation, *_seek(span), "-i",
             reference.resolve(), "-filter_complex", graph + "[s]" * bool(span), *outputs,
             "-fps_mode", "passthrough", "-f", "null", "-"], distorted, folder)
        try:
            if filters == ("libvmaf",):
                frames = json.loads((folder / "scores.json").read_text())["frames"]
                names = "float_ssim" if ssim else "vmaf", "psnr_cb", "psnr_cr"
                found = np.array([[frame["metrics"][name] for frame in frames] for name in names])
            else:
                found = np.array([re.findall(pattern, (folder / log).read_text())
                                  for log, pattern in LOGGED], float).clip(max=PERFECT_DB)
            sums = [_sums(folder / f"{n}.crc") for n in range(2)] if span else []
        except (OSError, ValueError, KeyError):
            raise StudyError("FFmpeg's scores cannot be read (maybe the disk is full)",
                             distorted.parent, "free some space and start again") from None
    scores, *planes = found[:, span.before:span.before + span.frames] if span else found
    return scores, np.minimum(*planes), sums


def _sums(log: Path) -> list[int]:
    return [int(line.split(",")[-1], 16) for line in log.read_text().splitlines()
            if not line.startswith("#")]


def picture_sums(path: Path, height: int | None) -> list[int]:
    """A checksum of each picture of a clip, rotated as `compare` does it."""
    with folder_aside(path.parent) as folder:
        run([*([] if height else ["-noautorotate"]), "-i", path.resolve(), "-map", "0:v:0", *SUMS,
             "0.crc"], path, folder)
        return _sums(folder / "0.crc")
