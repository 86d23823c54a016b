"""Runs the Snakefile: which stage runs when is Snakemake's business, how is the stages'.

Keys decide what is up to date (training/origins.py). A run begins by marking the stages whose
records match (layout.done); Snakemake runs the others, in the order of their marks.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from leanclips.clips import Clip, load_clips, renderer
from leanclips.errors import StudyError
from leanclips.files import only_one, write_text
from leanclips.layout import ROOT, Layout
from leanclips.study import Study, load_study
from leanclips.workers import cores, description, kill_children

LONG_AGO = 10 ** 9  # seconds: before anything that a stage of this run marks
RUN_OF = "LEANCLIPS_RUN_OF"  # the study, in a stage's environment


def remember_clips(layout: Layout, clips: Path | None) -> None:
    """Note where the user's clips lie, for this run and later ones."""
    if clips is None:
        return
    if not clips.is_dir():
        raise StudyError("there is no such folder", clips, "name the folder that holds the clips")
    write_text(layout.clips_root_note, f"{clips.resolve()}\n")


def run(layout: Layout, jobs: int | None = None, targets: Sequence[str] = (),
        wait: bool = False) -> None:
    """Bring the study up to date: do what is missing or does not match, up to the stages `targets`
    (default: all). StudyError when a stage fails, which has said why by then, and where another run
    of the study is under way, unless this one is to `wait` for it.
    """
    study = load_study(layout.study)
    clips = load_clips(layout, study)
    if {"{", "}"} & set(str(layout.study.resolve())):
        raise StudyError("the path holds a brace, which marks a wildcard for Snakemake",
                         layout.study.resolve(), "move the study to a folder without one")
    with only_one(layout.work / "run.lock", layout.study, wait):
        if not (machine := layout.work / "machine.json").is_file():
            write_text(machine, json.dumps(description(), indent=2) + "\n")
        current = mark_done(layout, study, clips)
        names = list(current)
        if unknown := set(targets) - set(names):
            raise StudyError(f"there is no stage '{min(unknown)}'", "--until",
                             f"use one of {', '.join(names)}")
        last = max(names.index(name) for name in targets or names)
        if all(current[name] for name in names[:last + 1]):
            return
        wanted = [str(layout.done(name).absolute()) for name in targets or names]
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
                   "--directory", str(layout.work), "--cores", str(jobs or cores()),
                   "--rerun-triggers", "mtime", "--nolock", "--rerun-incomplete",
                   "--keep-incomplete", "--quiet", "all", "--", *wanted]
        # This environment's programs, activated or not.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = os.environ | {"PATH": path, "PYTHON": sys.executable,
                                    RUN_OF: str(layout.study.resolve())}
        before = signal.signal(signal.SIGTERM, _end_with_children)
        try:
            code = subprocess.run(command, env=environment).returncode
        finally:
            signal.signal(signal.SIGTERM, before)
    if code < 0 or code == 130:
        raise KeyboardInterrupt
    if code:
        raise StudyError("the run stopped", layout.study,
                         "see the message above; what is finished is kept, so start it again "
                         "when that is mended")


def mark_done(layout: Layout, study: Study, clips: Sequence[Clip]) -> dict[str, bool]:
    """Mark the stages that are up to date. Whether each one is, by its name, in their order."""
    from leanclips.training.origins import stages

    shutil.rmtree(layout.done(""), ignore_errors=True)
    layout.done("").mkdir(parents=True)
    current = {stage.name: stage.is_current for stage in stages(layout, study, clips)}
    if study.synthetic is not None:
        current = {"render": renderer().is_rendered(layout, study, clips)} | current
    for place, (name, done) in enumerate(current.items()):
        if done:
            layout.done(name).touch()
            os.utime(layout.done(name), (LONG_AGO + place,) * 2)  # in the order of the stages
    return current


def _end_with_children(*_: object) -> None:
    """End, with this process, the stages that Snakemake started."""
    kill_children()
    sys.exit(128 + signal.SIGTERM)


def is_stage_of(layout: Layout) -> bool:
    """Whether this process is a stage that a run of the study has started."""
    return os.environ.get(RUN_OF) == str(layout.study.resolve())
