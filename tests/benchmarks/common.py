"""What the benchmarks share: a study's clips, and how a table is shown."""

from importlib.metadata import version
from pathlib import Path

import pandas as pd

from leanclips.compression.ffmpeg import ffmpeg_version
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
