"""What the distance of keyframes costs and gives: bytes, decoding, and getting at any frame.

    python tests/benchmarks/keyframes.py FOLDER

Every 25th clip below the folder (of UCF-101, say) is encoded in each codec with keyframes at most
so many seconds apart, at one CRF for each codec. Then all its frames are decoded, and ten frames
are fetched in random order from the open file: the decoder begins at the keyframe before. One
thread, one file at a time. Writes keyframes.csv beside this file (the book shows it) and prints it.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import av
import numpy as np
import pandas as pd
from common import every_nth, show

from leanclips.compression.ffmpeg import Encoding, encode
from leanclips.compression.inspect import probe

HERE = Path(__file__).parent
CRFS = {"h264": 20, "hevc": 19, "av1": 27}  # where the optimizer begins
SECONDS = (0.5, 1, 2, 4, 10)
FETCHED = 10


def reading(path: Path, seed: int) -> tuple[int, float, list[float]]:
    """How many frames the file has, the seconds that decoding them takes, and those of each random
    frame.
    """
    start = time.perf_counter()
    with av.open(path) as container:
        container.streams.video[0].thread_type = "NONE"
        times = [frame.pts for frame in container.decode(video=0)]
    decoding = time.perf_counter() - start
    fetching = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for wanted in np.random.default_rng(seed).choice(times, FETCHED):
            start = time.perf_counter()
            container.seek(int(wanted), stream=stream)
            next(frame for frame in container.decode(stream) if frame.pts >= wanted).to_ndarray(
                format="rgb24")
            fetching.append(time.perf_counter() - start)
    return len(times), decoding, fetching


def read_all(codec: str, distance: float | None, paths: Sequence[Path]) -> dict:
    """A row of the table; `distance` None stands for the source."""
    frames, decoding, fetching = zip(*(reading(path, n) for n, path in enumerate(paths)),
                                     strict=True)
    return {"codec": codec, "keyframes": distance, "clips": len(paths),
            "bytes": sum(path.stat().st_size for path in paths),
            "frames_per_s": sum(frames) / sum(decoding),
            "random_ms": 1000 * median(ms for one in fetching for ms in one)}


def main() -> None:
    clips, out = every_nth(__doc__, 25, HERE)
    rows = [read_all("source", None, clips)]
    with tempfile.TemporaryDirectory() as folder:
        for codec, crf in CRFS.items():
            for distance in SECONDS:
                made = [Path(folder) / f"{n}.mp4" for n in range(len(clips))]
                for clip, path in zip(clips, made, strict=True):
                    encode(clip, path, Encoding(codec, distance), probe(clip).fps, (crf,))
                rows.append(read_all(codec, distance, made))
    table = pd.DataFrame(rows)
    longest = table.groupby("codec")["bytes"].transform("last")  # of the longest distance
    table["bytes_over_longest"] = (table["bytes"] / longest).round(4)
    show(table.round({"frames_per_s": 0, "random_ms": 2}), out / "keyframes.csv")


if __name__ == "__main__":
    main()
