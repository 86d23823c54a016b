"""How well do clips of one recording find each other, at which limit, and what else is found?

    python tests/benchmarks/same_scene.py jhmdb21=FOLDER ucf8=FOLDER

The studies of data/ name the clips below each folder and the recording of each. At each limit all
pairs of clips count whose likeness reaches it. A pair across recordings is right where the two
recordings show one place all the same: every such pair down to 0.70 was looked at (BY_EYE).
Writes same_scene.csv beside this file (the book shows it) and prints it.
"""

import argparse
from collections import Counter
from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
from common import show

from leanclips.datasets import scenes
from leanclips.study import load_study

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
LIMITS = (0.60, 0.65, 0.70, 0.75, 0.80)
BY_EYE = {frozenset(pair.split()) for pair in (
    "Basketball/g07 Basketball/g25", "Basketball/g17 Basketball/g21", "Biking/g16 Biking/g24",
    "Diving/g01 Diving/g14", "Diving/g02 Diving/g10", "Diving/g04 Diving/g07",
    "Diving/g07 Diving/g12", "Diving/g11 Diving/g15", "Diving/g12 Diving/g14",
    "Diving/g13 Diving/g17", "Diving/g16 Diving/g19", "Diving/g21 Diving/g23",
    "WalkingWithDog/g02 WalkingWithDog/g04", "WalkingWithDog/g12 WalkingWithDog/g13",
    "Jeff_Ritter_-_More_Distance Jeff_Ritter_-_Power_Drill",
    "ImprovingBasketballSkills-BasketballTeardropJumpShot "
    "ImprovingBasketballSkills-BasketballTurnaroundFadeAway")}


def rows(name: str, root: Path) -> list[dict]:
    """The table's rows for the clips of one study, whose names tell the recordings."""
    clips = run_path(str(DATA / name / "table.py"))["table"](root, load_study(DATA / name))
    seen, made = scenes.outlines([root / clip.file for clip in clips]), []
    groups = np.array([clip.group for clip in clips])
    alone = [clip.id for clip in clips]
    together = sum(count * (count - 1) // 2 for count in Counter(groups.tolist()).values())
    for limit in LIMITS:
        scenes.SAME = limit
        first, second, _ = (np.concatenate(part) for part in zip(
            *scenes.same_scene(seen, alone), strict=True))
        same = groups[first] == groups[second]
        eye = np.array([frozenset(pair) in BY_EYE for pair in zip(
            groups[first], groups[second], strict=True)], dtype=bool)
        found = Counter(scenes.joined(seen, alone))
        joined = scenes.joined(seen, groups.tolist())
        made.append({
            "set": name, "clips": len(clips), "recordings": len(set(groups)), "limit": limit,
            "pairs": len(same), "of_one_recording": int(same.sum()),
            "by_eye": int(eye.sum()), "wrong": int((~same & ~eye).sum()),
            "precision": float((same | eye).mean()),
            "recall": float(same.sum() / together),
            "linked": len({*first[same], *second[same]}) / sum(
                count for count in Counter(groups.tolist()).values() if count > 1),
            "largest": max(found.values()), "joined": len(set(joined))})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", help="a study of data/ and its folder, NAME=FOLDER")
    parser.add_argument("--out", type=Path, default=HERE, help="where the table goes")
    wanted = parser.parse_args()
    sets = dict(one.split("=", 1) for one in wanted.sets)
    table = pd.DataFrame([row for name, root in sets.items() for row in rows(name, Path(root))])
    show(table.round({"precision": 4, "recall": 4, "linked": 4}),
         wanted.out / "same_scene.csv")


if __name__ == "__main__":
    main()
