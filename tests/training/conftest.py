"""A tiny study that the stages have made in this process, without Snakemake or notebooks."""

import shutil
from pathlib import Path

import pytest
import torch

from leanclips.clips import load_clips
from leanclips.layout import Layout
from leanclips.study import load_study

CROSS_VALIDATION = "protocol: {kind: cross-validation, folds: 3}"


def opened(layout: Layout) -> tuple:
    """Layout, settings and clips of a study, as every stage takes them."""
    study = load_study(layout.study)
    return layout, study, load_clips(layout, study)


@pytest.fixture(autouse=True)
def one_thread():
    """Whatever a stage sets: more threads fight on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished_in_folds(once, finished, train_all) -> Path:
    """The same study under cross-validation."""
    def make_runs(folder: Path) -> None:
        layout = Layout(folder / "tiny")
        shutil.copytree(finished, layout.study)
        settings = layout.settings.read_text()
        layout.settings.write_text(
            settings.replace("protocol: {kind: holdout, validation: 0.24}", CROSS_VALIDATION))
        train_all(layout)

    return once("trained-in-folds", make_runs) / "tiny"


@pytest.fixture
def done(finished):
    """Layout, settings and clips of the finished study, to read only."""
    return opened(Layout(finished))


@pytest.fixture
def done_in_folds(finished_in_folds):
    """Layout, settings and clips of the study under cross-validation, to read only."""
    return opened(Layout(finished_in_folds))


@pytest.fixture
def copied(finished_study):
    """Layout, settings and clips of a private copy of the finished study."""
    return opened(finished_study)
