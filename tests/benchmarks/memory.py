"""Peak memory of optimizing one long file, all its processes together.

    python tests/benchmarks/memory.py

Makes ten minutes of moving test pictures with noise and optimizes them: in 1080p with few frames,
and small with those of 25 a second (every frame of 1080p at that rate, encoded and scored a few
times, takes hours). Memory may grow with the size of a frame or with their number. Prints the
largest sum of the processes' proportional set sizes (PSS), sampled four times a second. Writes
memory.csv beside this file.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
from common import show

from leanclips.compression.ffmpeg import run

HERE = Path(__file__).parent
MINUTES = 10
CASES = ((1920, 1080, 1), (320, 180, 25))  # width, height, frames per second


def make_long(path: Path, width: int, height: int, fps: float, minutes: float) -> None:
    pictures = f"testsrc2=s={width}x{height}:r={fps},noise=alls=6:allf=t"
    run(["-f", "lavfi", "-i", pictures, "-t", minutes * 60, "-c:v", "libx264", "-preset",
         "ultrafast", "-crf", 14, "-pix_fmt", "yuv420p", path], path)


def memory(process: psutil.Process) -> int:
    """Bytes that the process and its children hold together."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            pass  # it has just ended
    return total


def measure(width: int, height: int, fps: float, minutes: float = MINUTES) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "long.mp4"
        make_long(clip, width, height, fps, minutes)
        command = [sys.executable, "-m", "leanclips.cli", "optimize", str(clip),
                   str(Path(folder) / "out"), "--jobs", "1"]
        process, peak = psutil.Popen(command), 0
        while process.poll() is None:
            peak = max(peak, memory(process))
            time.sleep(0.25)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        report = pd.read_csv(Path(folder) / "out" / "report.csv").iloc[0]
    return {"width": width, "height": height, "minutes": minutes, "fps": fps,
            "frames": report["frames"], "peak_gb": round(peak / 1e9, 3),
            "encodes": report["encodes"], "reason": report["reason"]}


def main() -> None:
    show(pd.DataFrame([measure(*case) for case in CASES]), HERE / "memory.csv")


if __name__ == "__main__":
    main()
