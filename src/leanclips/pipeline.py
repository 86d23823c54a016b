"""Runs the Snakefile: which stage runs when is Snakemake's business, how is the stages'."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from leanclips.clips import load_clips
from leanclips.errors import StudyError
from leanclips.files import only_one, write_text
from leanclips.layout import ROOT, Layout
from leanclips.study import load_study
from leanclips.workers import cores, kill_children

RUN_OF = "LEANCLIPS_RUN_OF"  # the study, in a stage's environment
STAGES = ("render", "crop", "originals", "pretrain", "crosstest")  # the rules without wildcards


def remember_clips(layout: Layout, clips: Path | None) -> None:
    """Note where the user's clips lie, for this run and later ones."""
    if clips is None:
        return
    if not clips.is_dir():
        raise StudyError("there is no such folder", clips, "name the folder that holds the clips")
    write_text(layout.clips_root_note, f"{clips.resolve()}\n")


def run(layout: Layout, jobs: int | None = None, targets: Sequence[str] = (),
        wait: bool = False) -> None:
    """Bring the study up to date: do what is missing or out of date, up to `targets`.

    `targets` are names of STAGES or files; the default is everything up to the book's pages.
    Raises StudyError when a stage fails (the stage has said why by then), and where another run
    of the study is under way, unless it is to `wait` for it.
    """
    load_study(layout.study)
    load_clips(layout)
    if {"{", "}"} & set(str(layout.study.resolve())):
        raise StudyError("the path holds a brace, which marks a wildcard for Snakemake",
                         layout.study.resolve(), "move the study to a folder without one")
    for target in targets:
        if target not in STAGES and os.sep not in target:
            raise StudyError(f"there is no stage '{target}'", "--until",
                             f"use {', '.join(STAGES)}, or the path of a file that a stage makes")
    with only_one(layout.work / "run.lock", layout.study, wait):
        _note_machine(layout)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
                   "--directory", str(layout.work), "--cores", str(jobs or cores()),
                   "--nolock", "--rerun-incomplete", "--keep-incomplete"]
        environment = _environment(layout)
        with _children_end_too():
            code = subprocess.run([*command, "--quiet", "all", "--", *targets],
                                  env=environment).returncode
        if code < 0 or code == 130:
            raise KeyboardInterrupt
        if code:
            _tell_what_cannot_be_planned([*command, "--dry-run"], targets, environment)
    if code:
        raise StudyError("the run stopped", layout.study,
                         "see the message above; what is finished is kept, so start it again "
                         "when that is mended")


def _tell_what_cannot_be_planned(command: list[str], targets: Sequence[str],
                                 environment: dict[str, str]) -> None:
    """Snakemake's own errors (a file that no stage makes, say), which a quiet run keeps to itself.

    A dry run meets them again, and no stage that failed: that one has said why itself.
    """
    dry = subprocess.run([*command, "--quiet", "host", "progress", "reason", "rules",
                          "--", *targets], env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    if dry.returncode:
        print(dry.stdout.split("Building DAG of jobs...\n")[-1].strip(), file=sys.stderr)


@contextmanager
def _children_end_too() -> Iterator[None]:
    """Whoever ends this process (SIGTERM) means the stages that Snakemake started as well."""
    def end(*_: object) -> None:
        kill_children()
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_stage_of(layout: Layout) -> bool:
    """Whether this process is a stage that a run of the study has started."""
    return os.environ.get(RUN_OF) == str(layout.study.resolve())


def _environment(layout: Layout) -> dict[str, str]:
    """Children know whose stages they are, and find this environment's programs, whether or not
    it is activated.
    """
    programs = str(Path(sys.executable).parent)
    return os.environ | {"PATH": programs + os.pathsep + os.environ.get("PATH", ""),
                         "PYTHON": sys.executable, RUN_OF: str(layout.study.resolve())}


def _note_machine(layout: Layout) -> None:
    path = layout.work / "machine.json"
    if not path.is_file():
        write_text(path, json.dumps(machine(), indent=2) + "\n")


def machine() -> dict[str, object]:
    """What a reader has to know of this computer to make sense of its times."""
    return {"cores": cores(), "cpu": _cpu_name(), "system": platform.system()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
