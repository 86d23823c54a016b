"""Sources that re-encoding does not make smaller: how many encodes does it take to know?

    python tests/benchmarks/no_gain.py FOLDER

Every 15th clip below the folder (of J-HMDB, say) is a source as it is and as H.264 at several
CRFs. Each is optimized alone, without earlier clips to learn from, and also searched to the end,
which tells whether there was a gain. Writes no_gain.csv beside this file (the book shows it) and
prints it.
"""

import tempfile
from functools import partial
from math import inf
from pathlib import Path

import pandas as pd
from common import every_nth, show

from leanclips.compression.ffmpeg import Encoding, encode
from leanclips.compression.inspect import probe
from leanclips.compression.optimize import Reason, optimize
from leanclips.compression.quality import Goal
from leanclips.workers import cores, run_all

HERE = Path(__file__).parent
AS_IT_IS = "as it is"
SOURCES = (AS_IT_IS, 14, 20, 26, 32)


def compare(clip: Path, kind: str | int) -> dict:
    """One clip as a source of this kind, optimized both ways."""
    with tempfile.TemporaryDirectory() as folder:
        source = clip
        if kind != AS_IT_IS:
            source = Path(folder) / "source.mp4"
            encode(clip, source, Encoding("h264"), probe(clip).fps, (float(kind),))
        ours = optimize(source, Goal(), Path(folder) / "ours.mp4")
        whole = optimize(source, Goal(share=inf), Path(folder) / "whole.mp4")
        most = Goal().share * ours.bytes_in
        gains = whole.reason in (Reason.OPTIMIZED, Reason.ABOVE) and whole.bytes_out <= most
        kept = ours.reason is Reason.NO_GAIN
        return {"source": kind if kind == AS_IT_IS else f"H.264, CRF {kind}",
                "bytes": ours.bytes_in, "gains": gains, "kept": kept,
                "encodes": len(ours.tries), "encodes_to_the_end": len(whole.tries),
                "bytes_given_up": ours.bytes_out - whole.bytes_out if gains and kept else 0}


def summed(kind: str, rows: pd.DataFrame) -> dict:
    """A line of the table. Given up: sources with a gain that were kept all the same."""
    none, gaining = rows[~rows["gains"]], rows[rows["gains"]]
    return {"source": kind, "clips": len(rows), "no_gain": len(none),
            "known_after_one": int((none["kept"] & (none["encodes"] == 1)).sum()),
            "encodes": none["encodes"].mean(),
            "encodes_to_the_end": none["encodes_to_the_end"].mean(),
            "given_up": int(gaining["kept"].sum()),
            "bytes_given_up": rows["bytes_given_up"].sum() / rows["bytes"].sum()}


def main() -> None:
    clips, out = every_nth(__doc__, 15, HERE)
    found = pd.DataFrame([row for kind in SOURCES for row in run_all(
        partial(compare, kind=kind), clips, cores(), f"source {kind}")])
    lines = [summed(kind, rows) for kind, rows in found.groupby("source", sort=False)]
    show(pd.DataFrame([*lines, summed("all", found)]).round(4), out / "no_gain.csv")


if __name__ == "__main__":
    main()
