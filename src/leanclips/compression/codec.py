"""FFmpeg: the one place that knows its command lines."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from leanclips.errors import ClipError, StudyError

NEEDED = {"encoders": ("libx264", "libopenh264"), "filters": ("libvmaf",)}
GET_FFMPEG = ("reinstall imageio-ffmpeg with pip, or point IMAGEIO_FFMPEG_EXE to an FFmpeg "
              "with libx264, libopenh264 and libvmaf")
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP}  # a person or the system
QUIET = {"SVT_LOG": "1"}  # errors alone: what it tells of itself would stand before FFmpeg's reason
# What ails the machine or the folder; clips are decoded before FFmpeg gets them.
NOT_THE_CLIP = {os.strerror(number) for number in (
    errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EIO, errno.ENOENT, errno.EACCES,
    errno.EROFS, errno.EDQUOT)}


@cache
def ffmpeg() -> str:
    """Path of an FFmpeg that has every codec and filter leanclips uses."""
    try:
        exe = imageio_ffmpeg.get_ffmpeg_exe()
        for kind, names in NEEDED.items():
            listed = subprocess.run([exe, "-hide_banner", f"-{kind}"], capture_output=True,
                                    text=True, check=True).stdout.split()
            if missing := [name for name in names if name not in listed]:
                raise StudyError(f"this FFmpeg has no {missing[0]}", exe, GET_FFMPEG)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise StudyError(f"FFmpeg cannot run ({error})", "FFmpeg", GET_FFMPEG) from None
    return exe


@cache
def ffmpeg_version() -> str:
    """First line of `ffmpeg -version`, up to the copyright."""
    out = subprocess.run([ffmpeg(), "-version"], capture_output=True, text=True, check=True).stdout
    return out.splitlines()[0].split(" Copyright")[0]


def _failure(code: int, stderr: str, where: Path) -> StudyError:
    """ClipError unless the failure has nothing to do with the clip."""
    if code == 255 or -code in STOPS:  # FFmpeg ends with 255 where it heard the signal
        return StudyError("FFmpeg was stopped", where, "start again; use fewer --jobs if the "
                                                       "memory did not suffice")
    if "No space left on device" in stderr:
        return StudyError("the disk is full", where, "free some space and start again")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if told := [line for line in lines if any(why in line for why in NOT_THE_CLIP)]:
        return StudyError(f"FFmpeg failed ({told[0]})", where, "this may pass: start again, with "
                          "fewer --jobs if memory or open files did not suffice")
    if code < 0:  # it crashed on this clip
        lines.insert(0, signal.strsignal(-code) or f"signal {-code}")
    return ClipError(f"FFmpeg failed ({lines[0] if lines else 'no message'})", where,
                     "check that the clip plays, replace it or take it out of the set")


def _started(command: Sequence[str], **options: object) -> subprocess.Popen:
    """Start FFmpeg deaf to Ctrl-C: one that hears it while it opens a file says that the file is
    broken. Who waits for it hears Ctrl-C, and ends it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | QUIET, **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(arguments: Iterable[object], where: Path, folder: Path | None = None) -> None:
    """Run FFmpeg in `folder`; StudyError about the file `where` if it fails."""
    process = _started([ffmpeg(), "-hide_banner", "-nostdin", "-y", "-v", "error",
                        *(str(part) for part in arguments)], cwd=folder)
    try:
        _, stderr = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise _failure(process.returncode, stderr.decode(errors="replace"), where)


@dataclass(frozen=True)
class Codec:
    """A video format and how its encoder is asked for it: the scale of its CRF, best first.

    `first` is the CRF to try where nothing is known, `slope` what a CRF costs in headroom (see
    quality.Metric), `halving` how many halve the bytes (all measured on J-HMDB clips at VMAF NEG
    93). `pixels` are FFmpeg's names of the pixel formats that the encoder keeps. `zones`: it
    takes another CRF for each window.
    """

    lowest: float
    highest: float
    step: float
    first: float
    slope: float
    halving: float
    pixels: frozenset[str]
    zones: bool


_PLANAR = frozenset(f"yuv{full}{layout}p" for layout in (420, 422, 444) for full in ("", "j"))
CODECS = {
    "h264": Codec(1, 51, 0.1, 20, -1.0, 5.5, _PLANAR, True),
    "hevc": Codec(1, 51, 0.1, 19, -0.9, 5.8,
                  _PLANAR - {"yuvj422p", "yuvj444p"}, True),
    "av1": Codec(1, 63, 1, 27, -0.4, 11.5, frozenset({"yuv420p"}), False),
}


@dataclass(frozen=True)
class Setting:
    """How to encode: a format, and the CRF of each window of frames (one: the whole clip)."""

    codec: str
    crfs: tuple[float, ...]
    starts: tuple[int, ...] = (0,)

    def options(self) -> list[object]:
        """FFmpeg's options. One thread: the bytes depend on the number of threads, and clips run
        side by side anyway.

        A zone's bit rate factor 2^(-d/6) moves its quantizers by d: the same ones as encoding it
        at CRF + d (x264's and x265's ratecontrol; frame types stay where they are).
        """
        crf = min(self.crfs)
        zoned = f"zones={self._zones(crf)}" if len(set(self.crfs)) > 1 else ""
        if self.codec == "av1":
            return ["-c:v", "libsvtav1", "-preset", 6, "-crf", round(crf), "-svtav1-params", "lp=1"]
        if self.codec == "hevc":
            more = ":".join(filter(None, ("log-level=none:pools=none:frame-threads=1", zoned)))
            return ["-c:v", "libx265", "-preset", "medium", "-crf", f"{crf:g}", "-tag:v", "hvc1",
                    "-x265-params", more]
        return ["-c:v", "libx264", "-preset", "medium", "-crf", f"{crf:g}", "-threads", 1,
                *(["-x264-params", zoned] if zoned else [])]

    def _zones(self, crf: float) -> str:
        """x264's zones against `crf`; neighbours of one CRF are one zone."""
        firsts = [n for n in range(len(self.crfs)) if n == 0 or self.crfs[n] != self.crfs[n - 1]]
        ends = [self.starts[n] - 1 for n in firsts[1:]] + [10**7]
        return "/".join(f"{self.starts[n]},{end},b={2 ** ((crf - self.crfs[n]) / 6):.4f}"
                        for n, end in zip(firsts, ends, strict=True))


def encode(source: Path, destination: Path, setting: Setting) -> None:
    """Re-encode the first video track of `source`; audio and subtitles are copied.

    Frame count, timestamps, size, rotation, colour tags and pixel format stay.
    """
    run(["-noautorotate", "-i", source.resolve(), "-map", "0:v:0", "-map", "0:a?", "-map", "0:s?",
         "-c", "copy", *setting.options(), "-fps_mode", "passthrough", "-enc_time_base:v", "demux",
         "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart",
         destination.resolve()], source)


def encode_x264(source: Path, destination: Path, crf: float) -> None:
    """Re-encode `source` by x264 (preset medium) at one CRF."""
    encode(source, destination, Setting("h264", (crf,)))


def write_openh264(frames: Iterable, side: int, fps: float, destination: Path) -> int:
    """Encode BGR frames (side, side, 3) by OpenH264 as OpenCV's VideoWriter sets it up.

    OpenCV asks for `fps × width × height` bits per second (1 bit per pixel) and a keyframe
    every 12 frames, and leaves the rest to the encoder (modules/videoio, cap_ffmpeg_impl.hpp).
    Returns the number of frames written.
    """
    command = [ffmpeg(), "-hide_banner", "-y", "-v", "error",
               "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{side}x{side}",
               "-r", f"{fps:.6f}", "-i", "-",
               "-c:v", "libopenh264", "-b:v", str(round(fps * side * side)), "-g", "12",
               "-pix_fmt", "yuv420p", "-threads", "1", "-fps_mode", "passthrough",
               "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart",
               str(destination.resolve())]
    process = _started(command, stdin=subprocess.PIPE)
    count = 0
    try:
        for frame in frames:
            process.stdin.write(frame.tobytes())
            count += 1
    except BrokenPipeError:
        pass  # FFmpeg ended early; its own message below says why.
    except BaseException:
        process.kill()
        process.communicate()
        raise
    _, stderr = process.communicate()
    if process.returncode:
        raise _failure(process.returncode, stderr.decode(errors="replace"), destination)
    return count


def compare(distorted: Path, reference: Path, folder: Path, metric: str = "vmaf",
            height: int | None = None) -> None:
    """Write what FFmpeg measures of each frame into `folder`: scores.json, xpsnr.log.

    scores.json is libvmaf's log: VMAF NEG, the PSNR of each plane, and SSIM for metric `ssim`.
    Frames are paired by their number, whatever the timestamps say. `height`: both are turned as
    they are shown and scaled to it (bicubic) first.
    """
    turned = [] if height else ["-noautorotate"]
    ready = "settb=1/1000,setpts=N*40"
    ready += f",scale=-2:{height}:flags=bicubic" if height else ""
    ssim = "|name=float_ssim" if metric == "ssim" else ""
    libvmaf = (f"libvmaf=model=version=vmaf_v0.6.1neg:feature=name=psnr{ssim}:"
               "log_fmt=json:log_path=scores.json:n_threads=1")
    graph = f"[0:v:0]{ready}[d];[1:v:0]{ready}[r];"
    graph += (f"[d]split[d1][d2];[r]split[r1][r2];[d1][r1]{libvmaf},nullsink;"
              "[d2][r2]xpsnr=stats_file=xpsnr.log" if metric == "xpsnr" else f"[d][r]{libvmaf}")
    run([*turned, "-i", distorted.resolve(), *turned, "-i", reference.resolve(), "-lavfi",
         graph, "-fps_mode", "passthrough", "-f", "null", "-"], distorted, folder)
