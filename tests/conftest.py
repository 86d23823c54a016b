"""Small real clips of every odd kind, made on the spot, and the real ones where they are."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import nbformat
import pytest
from filelock import FileLock
from hypothesis import settings

from leanclips.layout import Layout

# OpenCV's pool of threads does not survive a fork, and PyTorch's loaders fork.
cv2.setNumThreads(1)
# A busy machine is no failure.
settings.register_profile("leanclips", deadline=None)
settings.load_profile("leanclips")
# Where a shell runs the tests in the background, what they start would not heed Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

H264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
MPEG4 = ["-c:v", "mpeg4", "-q:v", "4"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that the workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def ffmpeg(*arguments: object) -> None:
    """Run the FFmpeg that imageio-ffmpeg brings, without a word unless it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error"]
    command += [part if isinstance(part, bytes) else str(part) for part in arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make(path: Path, kind: str = "h264", *, frames: int = 12, size: tuple[int, int] = (64, 48),
         fps: int = 25, seed: int = 0) -> Path:
    """Make a clip at `path`; another `seed` gives other pictures.

    Kinds: h264, mpeg4, vfr (every third frame dropped), odd (one pixel wider and higher),
    one_frame, rotated (by 90°), audio, truncated, flipped (bytes changed in the middle),
    empty, text.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    if kind == "odd":
        width, height = width + 1 - width % 2, height + 1 - height % 2
    pictures = ["-f", "lavfi", "-i",
                f"testsrc2=r={fps},scale={width}:{height},hue=h={seed * 37},"
                f"noise=alls=8:all_seed={seed}"]
    length = ["-frames:v", 1 if kind == "one_frame" else frames]
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is not a video.\n")
    elif kind in ("mpeg4", "odd"):
        ffmpeg(*pictures, *length, *MPEG4, path)
    elif kind == "vfr":
        ffmpeg(*pictures, "-vf", "select=mod(n\\,3)", "-fps_mode", "vfr", *length, *H264, path)
    elif kind == "audio":
        ffmpeg(*pictures, "-f", "lavfi", "-i", "sine", "-shortest", *length, *H264, path)
    elif kind == "rotated":
        upright = make(path.with_name(f"upright-{path.name}"), frames=frames, size=size, fps=fps,
                       seed=seed)
        ffmpeg("-display_rotation", 90, "-i", upright, "-c", "copy", path)
        upright.unlink()
    else:
        ffmpeg(*pictures, *length, *H264, "-movflags", "+faststart", path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    if kind == "flipped":
        data = bytearray(path.read_bytes())
        middle = len(data) * 2 // 3
        data[middle:middle + 100] = bytes(byte ^ 0x5A for byte in data[middle:middle + 100])
        path.write_bytes(data)
    return path


@pytest.fixture(scope="session", name="ffmpeg")
def ffmpeg_fixture():
    """The function `ffmpeg` above, for all tests."""
    return ffmpeg


@pytest.fixture(scope="session")
def make_clip():
    """The function `make` above, for all tests."""
    return make


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """The folder of real clips beside the checkout; tests that want it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "clips"
    if not (folder / "hashes.csv").is_file():
        pytest.skip(f"no real clips: {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The files that `leanclips optimize` once got wrong, beside the checkout like the clips."""
    folder = Path(__file__).parents[2] / "shared" / "cases" / "optimizer"
    if not folder.is_dir():
        pytest.skip(f"no cases: {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def jhmdb_clips(shared_clips: Path) -> Path:
    """The root of J-HMDB's class folders."""
    return shared_clips / "jhmdb"


TINY = """\
title: Tiny
clips: {clips}
variants:
  optimized: {{target: 80}}
  constant: {{bytes_of: optimized}}
sampling: {{frames: 4}}
backbone: {{name: efficientnet-lite0, size: 32}}
network: {{embedding: [16, 16, 8], lstm_layers: 1, lstm_units: 8, decoder: [8]}}
protocol: {{kind: holdout, validation: 0.24}}
pretraining: {{epochs: 2, batch_size: 4}}
finetuning: {{epochs: 2, seeds: [1, 2]}}
margin: 0.1
"""


def make_class_folders(folder: Path, *, labels: str = "abcd", groups: int = 3) -> Path:
    """A class-per-folder tree of tiny clips: two of each recording."""
    for number, label in enumerate(labels):
        for group in range(groups):
            for take in range(2):
                make(folder / label / f"tape{group}_{take}.mp4", frames=6, size=(96, 80), fps=6,
                     seed=number * 31 + group * 7 + take)
    return folder


def new_tiny_study(folder: Path) -> Layout:
    """A small study in `folder`, not run yet: two target classes, two for pretraining."""
    from leanclips.datasets.own import new_study

    clips = make_class_folders(folder / "clips")
    study = folder / "tiny"
    study.mkdir(exist_ok=True)
    (study / "study.yml").write_text(TINY.format(clips=clips))
    new_study(study, clips, heldout=0.34, pretrain=("c", "d"))
    return Layout(study)


@pytest.fixture(scope="session", name="new_tiny_study")
def new_tiny_study_fixture():
    """The function `new_tiny_study` above, for all tests."""
    return new_tiny_study


@pytest.fixture
def tiny_study(tmp_path: Path) -> Layout:
    """A small study of its own, not run yet."""
    return new_tiny_study(tmp_path)


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id: str):
    """`once(name, make)`: a folder that `make(folder)` fills, made once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent

    def folder_made(name: str, make_it) -> Path:
        folder, marker = shared / name, shared / f"{name}.finished"
        with FileLock(shared / f"{name}.lock"):
            if not marker.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make_it(folder)
                marker.touch()
        return folder

    return folder_made


def train_all(layout: Layout) -> None:
    """Every run of the study, made in this process: without Snakemake, its notebooks empty."""
    from leanclips.clips import load_clips
    from leanclips.study import load_study
    from leanclips.training.finetune import finetune

    study = load_study(layout.study)
    for variant in study.all_variants:
        for seed in study.finetuning.seeds:
            finetune(layout, study, load_clips(layout, study), variant, seed)
            nbformat.write(nbformat.v4.new_notebook(), layout.run(variant, seed) / "run.ipynb")


@pytest.fixture(scope="session", name="train_all")
def train_all_fixture():
    """The function `train_all` above, for all tests."""
    return train_all


@pytest.fixture(scope="session")
def finished(once) -> Path:
    """The folder of a tiny study with all that its stages leave, made once for all workers, clip by
    clip. The runs of tests/test_pipeline.py, by Snakemake with two workers, end in the same.
    """
    def make_all_of_it(folder: Path) -> None:
        from leanclips.clips import load_clips
        from leanclips.compression.stages import make_variant
        from leanclips.pipeline import run
        from leanclips.study import ORIGINALS, load_study
        from leanclips.training.features import make_features
        from leanclips.training.pretrain import pretrain

        layout = new_tiny_study(folder)
        study = load_study(layout.study)
        clips = load_clips(layout, study)
        for variant in (*study.all_variants, ORIGINALS):
            make_variant(layout, study, clips, variant, jobs=1)
        for variant in study.all_variants:
            make_features(layout, study, clips, variant, jobs=1)
        pretrain(layout, study, clips)
        train_all(layout)
        run(layout)  # all is up to date: this marks it

    return once("finished", make_all_of_it) / "tiny"


@pytest.fixture
def finished_study(finished: Path, tmp_path: Path) -> Layout:
    """A private copy of a tiny study that has run to its end."""
    shutil.copytree(finished, tmp_path / "tiny")
    for path in (tmp_path / "tiny").rglob("result.json"):  # its command names the study
        stamp = path.stat()
        path.write_text(path.read_text().replace(str(finished), str(tmp_path / "tiny")))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return Layout(tmp_path / "tiny")
