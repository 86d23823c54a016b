"""The clips of the book's page "See it": of each class of the demo the one with the fewest bytes.

    python tests/benchmarks/see.py data/demo

The study has to be encoded. Its source, optimized and constant clips are copied to
book/_static/see as they are, with `clips.json`: the bytes and scores of each, and the score of
each frame against the source's. A picture per clip (WebP) shows the three side by side, at the
frame that is worst in the optimized one; the page shows it where no script runs.
"""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from leanclips.clips import load_clips
from leanclips.compression.ffmpeg import compare
from leanclips.compression.inspect import inspect
from leanclips.files import write_bytes, write_text
from leanclips.layout import ROOT, Layout
from leanclips.report.results import Encoded, read_encoded
from leanclips.study import SOURCE, load_study

SEE = ROOT / "book" / "_static" / "see"
VARIANTS = (SOURCE, "optimized", "constant")
METRIC, QUALITY = "vmaf", 90  # of the scores; of the pictures (WebP)
FACTS = ["variant", "bytes_out", "quality", "reason"]


def smallest(encoded: Encoded) -> list[str]:
    """Of each class the clip whose three files have the fewest bytes together."""
    rows = encoded.encodes.query("variant in @VARIANTS")
    total = rows.groupby(["label", "clip"], sort=False)["bytes_out"].sum()
    return [clip for _, clip in total.groupby("label", sort=False).idxmin()]


def frame(path: Path, number: int) -> np.ndarray:
    """One frame as it is, (height, width, 3) uint8 BGR."""
    video = cv2.VideoCapture(str(path))
    return [video.read()[1] for _ in range(number + 1)][-1]


def facts(encoded: Encoded, clip_id: str, out: Path) -> dict:
    """What the page says of a clip, whose files and picture are put into `out`."""
    files = {name: encoded.layout.made_clip(name, clip_id) for name in VARIANTS}
    curves = {name: compare(path, files[SOURCE], METRIC, None)[0].round(2).tolist()
              for name, path in files.items() if name != SOURCE}
    worst = int(np.argmin(curves["optimized"]))
    picture = np.hstack([frame(path, worst) for path in files.values()])
    done, packed = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    assert done
    write_bytes(out / f"{clip_id}.webp", packed.tobytes())
    for name, path in files.items():
        shutil.copyfile(path, out / f"{clip_id}-{name}.mp4")
    rows = encoded.encodes.query("clip == @clip_id").set_index("variant", drop=False)
    rows = rows.loc[list(VARIANTS)]
    clip, label = inspect(files[SOURCE]), rows["label"].iloc[0]
    return {"id": clip_id, "label": label, "width": clip.width, "height": clip.height,
            "times": np.round(clip.times, 4).tolist(), "worst": worst, "curves": curves,
            "reports": json.loads(rows[FACTS].to_json(orient="records"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, help="the demo, encoded")
    parser.add_argument("--out", type=Path, default=SEE, help="where the clips go")
    wanted = parser.parse_args()
    layout, study = Layout(wanted.study), load_study(wanted.study)
    encoded = read_encoded(layout, study, load_clips(layout, study))
    wanted.out.mkdir(parents=True, exist_ok=True)
    for path in wanted.out.iterdir():
        path.unlink()
    clips = [facts(encoded, clip, wanted.out) for clip in smallest(encoded)]
    write_text(wanted.out / "clips.json", "[\n" + ",\n".join(map(json.dumps, clips)) + "\n]\n")


if __name__ == "__main__":
    main()
