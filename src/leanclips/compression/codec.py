"""FFmpeg: the one place that knows its command lines."""

import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from leanclips.errors import StudyError

NEEDED = {"encoders": ("libx264", "libopenh264"), "filters": ("libvmaf",)}
GET_FFMPEG = ("reinstall imageio-ffmpeg with pip, or point IMAGEIO_FFMPEG_EXE to an FFmpeg "
              "with libx264, libopenh264 and libvmaf")


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


def _failure(stderr: str, where: Path) -> StudyError:
    lines = [line for line in stderr.splitlines() if line.strip()]
    if "No space left on device" in stderr:
        return StudyError("the disk is full", where, "free some space and start again")
    return StudyError(f"FFmpeg failed ({lines[-1].strip() if lines else 'no message'})", where,
                      "check that the clip plays, replace it or remove it from clips.csv")


def run(arguments: Iterable[object], where: Path, folder: Path | None = None) -> None:
    """Run FFmpeg in `folder`; StudyError about the file `where` if it fails."""
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-y", "-v", "error",
               *(str(part) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
    if done.returncode:
        raise _failure(done.stderr, where)


def encode_x264(source: Path, destination: Path, crf: float) -> None:
    """Re-encode the video of `source` by x264 (preset medium), copying audio and subtitles.

    Frame count, timestamps, size and pixel format stay. One thread: x264's output depends on
    its number of threads, and clips run side by side anyway.
    """
    run(["-i", source.resolve(), "-map", "0:v:0", "-map", "0:a?", "-c", "copy",
         "-c:v", "libx264", "-preset", "medium", "-crf", f"{crf:g}", "-threads", 1,
         "-fps_mode", "passthrough", "-fflags", "+bitexact", "-flags:v", "+bitexact",
         "-movflags", "+faststart", destination.resolve()], source)


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
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
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
        raise _failure(stderr.decode(errors="replace"), destination)
    return count


def vmaf_log(distorted: Path, reference: Path, folder: Path) -> Path:
    """Write VMAF NEG of each frame to a JSON log in `folder`; return its path.

    Frames are paired by their number, whatever the timestamps say.
    """
    by_number = "settb=1/1000,setpts=N*40"
    run(["-i", distorted.resolve(), "-i", reference.resolve(), "-lavfi",
         f"[0:v:0]{by_number}[d];[1:v:0]{by_number}[r];"
         "[d][r]libvmaf=model=version=vmaf_v0.6.1neg:log_fmt=json:log_path=vmaf.json:n_threads=1",
         "-fps_mode", "passthrough", "-f", "null", "-"], distorted, folder)
    return folder / "vmaf.json"
