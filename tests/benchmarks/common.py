"""What the benchmarks share: a study's clips, and how a table is shown."""

import argparse
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from leanclips.compression.ffmpeg import ffmpeg_version
from leanclips.compression.tree import is_video
from leanclips.files import write_text
from leanclips.workers import description

VERSIONS_OF = ("leanclips", "av", "torch")


def compared(clips: Path) -> list[Path]:
    """The MP4 clips below a folder, sorted; of a study's variant the target and held-out ones."""
    table, paths = clips.resolve().parents[2] / "clips.csv", sorted(clips.rglob("*.mp4"))
    if not table.is_file():
        return paths
    roles = pd.read_csv(table)
    wanted = set(roles[roles["role"] != "pretrain"]["id"])
    return [path for path in paths if path.stem in wanted]


def every_nth(description: str, every: int, where: Path) -> tuple[list[Path], Path]:
    """The clips that a benchmark's command line asks for, and the folder of its table; by default
    every `every`-th clip, and `where`.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("clips", type=Path, help="a folder of video files")
    parser.add_argument("--every", type=int, default=every, help="take every N-th clip")
    parser.add_argument("--out", type=Path, default=where, help="where the table goes")
    wanted = parser.parse_args()
    clips = sorted(filter(is_video, wanted.clips.rglob("*")))[::wanted.every]
    if not clips:
        parser.error(f"{wanted.clips} holds no video files")
    return clips, wanted.out


def show(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Write a table and the machine that it was measured on as CSV, whole or not at all, and print
    it.
    """
    table = table.assign(machine=where())
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    print(f"\n{path.stem}\n{table.to_string(index=False)}", flush=True)
    return table


def where() -> str:
    """The computer and the versions that a table is of, in words."""
    told = description()
    return (f"{told['cpu']}, {told['cores']} cores, {told['system']}; "
            + ", ".join(f"{name} {version(name)}" for name in VERSIONS_OF)
            + f", {ffmpeg_version()}")
