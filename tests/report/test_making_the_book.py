"""Which studies the book shows, when it is built again, and two readers who build it at once."""

import multiprocessing
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from leanclips.errors import StudyError
from leanclips.files import only_one
from leanclips.layout import Layout
from leanclips.report import book
from leanclips.report.display import THEMES, Figure

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def figures_stay_undrawn(monkeypatch):
    """They are tested elsewhere, and take seconds."""
    def write(figure: Figure, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (f"{figure.name}.csv", *(f"{figure.name}-{one.name}.svg" for one in THEMES)):
            (folder / name).write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')

    monkeypatch.setattr(Figure, "write", write)


@pytest.fixture
def small(tmp_path) -> Path:
    """A book whose pages hold a title only, with measurements and code beside it."""
    folder = tmp_path / "top" / "book"
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, folder / name)
    for name in ("_config.yml", "_toc.yml", "measured.yml"):
        shutil.copy(ROOT / "book" / name, folder)
    for page in (*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "study").rglob("*.md")):
        name = page.relative_to(ROOT / "book")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n" if page.stem != "_run" else "")
    shutil.copytree(ROOT / "tests" / "benchmarks", tmp_path / "top" / "tests" / "benchmarks",
                    ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in ("study.py", "clips.py", "report/tables.py", "training/crnn.py"):
        module = tmp_path / "top" / "src" / "leanclips" / name
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text("x = 1\n")
    return folder


@pytest.fixture
def published(tmp_path) -> tuple[Layout, ...]:
    """Where published records would be."""
    return tuple(Layout(tmp_path / "data" / name, "published") for name in ("real", "other"))


@pytest.fixture
def unbuilt(monkeypatch):
    """The pages are written, and the book is not built of them, which takes seconds."""
    monkeypatch.setattr(book, "build", lambda folder: folder)


def names(layouts) -> list[str]:
    return [layout.study.name for layout in layouts]


def test_a_fresh_copy_shows_the_published_study_alone(small, published, make_records):
    make_records("real", kind="published")
    assert names(book.shown(None, small, published)) == ["real"]
    make_records("other", kind="published")
    assert names(book.shown(None, small, published)) == ["real", "other"]


def test_without_a_study_the_one_shown_last_stays(small, published, make_records, monkeypatch,
                                                  tmp_path, unbuilt):
    make_records("real", kind="published")
    for name in ("demo", "mine"):
        make_records(name, seeds=(1,))
    assert names(book.shown(tmp_path / "data" / "demo", small, published)) == ["real", "demo"]
    monkeypatch.chdir(tmp_path / "data")
    book.make_book(Path("mine"), small, published)
    monkeypatch.chdir("/")
    assert names(book.shown(None, small, published)) == ["real", "mine"]
    assert (small / "_generated" / "mine" / "index.md").is_file()


def test_a_study_whose_records_are_gone_is_not_shown_again(small, published, make_records, unbuilt):
    layout = make_records("mine", seeds=(1,))
    book.make_book(layout.study, small, published)
    shutil.rmtree(layout.work)
    assert book.shown(None, small, published) == []


def test_nothing_to_show_is_one_sentence(small, published):
    with pytest.raises(StudyError, match="there is no finished study to show; run one with"):
        book.make_book(None, small, published)


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("part", [
    "src/leanclips/study.py", "src/leanclips/clips.py", "src/leanclips/report/tables.py",
    "src/leanclips/training/crnn.py", "tests/benchmarks/storage.csv", "book/limits.md",
    "book/study/results.md", "book/_config.yml", "book/_ext/leanclips_book.py",
    "book/_static/custom.css"])
def test_a_change_of_code_measurements_or_pages_makes_the_book_stale(small, part, make_records):
    layouts = [make_records(seeds=(1,))]
    before = book.fingerprint(layouts, small)
    assert book.fingerprint(layouts, small) == before
    change(small.parent / part)
    assert book.fingerprint(layouts, small) != before


@pytest.mark.parametrize("record", [
    "study.yml", "clips.csv", "work/clips/source/report.csv", "work/clips/optimized/report.json",
    "work/clips/originals/report.csv", "work/runs/pretrain/result.json",
    "work/runs/pretrain/history.csv", "work/runs/source/seed-01/result.json",
    "work/runs/source/seed-01/history.csv", "work/runs/source/seed-01/predictions.csv.gz",
    "work/runs/source/seed-01/run.ipynb", "work/times/finetune/source-1.tsv",
    "work/clips/constant.control.json", "work/features/efficientnet-lite2/optimized.csv",
    "work/features/efficientnet-lite2/optimized.json", "work/machine.json"])
def test_a_changed_or_new_record_makes_the_book_stale(small, record, make_records):
    layout = make_records(seeds=(1,))
    before, path = book.fingerprint([layout], small), layout.study / record
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    change(path)
    assert book.fingerprint([layout], small) != before


def test_a_study_that_was_moved_makes_the_book_stale(small, make_records, tmp_path):
    layout = make_records(seeds=(1,))
    before = book.fingerprint([layout], small)
    layout.study.parent.rename(tmp_path / "elsewhere")
    moved = Layout(tmp_path / "elsewhere" / layout.study.name)
    assert book.fingerprint([moved], small) != before  # its pages hold commands that name it


def test_what_is_not_shown_does_not_make_the_book_stale(small, make_records):
    layout = make_records(seeds=(1,))
    before = book.fingerprint([layout], small)
    for path in (small / "_build" / "made-from.txt", small / "_generated" / "index.md",
                 small / "._build.lock", layout.study / "notes.txt",
                 layout.run("source", 9) / "result.json", layout.work / "run.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert book.fingerprint([layout], small) == before


def in_processes(count: int, work, *arguments: object) -> list[multiprocessing.Process]:
    context = multiprocessing.get_context("fork")  # what the fixtures have changed holds there
    started = [context.Process(target=work, args=arguments) for _ in range(count)]
    for process in started:
        process.start()
    return started


def test_a_second_process_waits_for_the_first(small, published, make_records, unbuilt):
    layout = make_records(seeds=(1,))
    with only_one(small / "_build" / "book.lock", "the test"):
        other, = in_processes(1, book.make_book, layout.study, small, published)
        time.sleep(1)
        assert other.is_alive() and not (small / "_generated").exists()
    other.join(60)
    assert other.exitcode == 0 and (small / "_generated" / "_toc.yml").is_file()


@pytest.mark.slow
def test_two_processes_at_once_both_end_with_a_whole_book_that_is_built_once(
        small, published, make_records, capfd):
    layout = make_records(seeds=(1,))
    for process in in_processes(2, book.make_book, layout.study, small, published):
        process.join(300)
        assert process.exitcode == 0
    page = small / "_build" / "html" / "index.html"
    written = page.stat().st_mtime_ns
    assert "waiting for it" in capfd.readouterr().err
    again, headlines = book.make_book(None, small, published)
    assert again == page and page.stat().st_mtime_ns == written
    assert len(headlines) == 2 and "A tiny study" in headlines[0]
    assert headlines[1].startswith("Recommended: ")
    change(small.parent / "src" / "leanclips" / "study.py")
    book.make_book(None, small, published)
    assert page.stat().st_mtime_ns > written


@pytest.mark.parametrize("given, asked", [
    ([], "leanclips book"), (["STUDY=data/mine"], 'leanclips book "data/mine"')])
def test_make_book_names_a_study_only_if_told(given, asked):
    # As from a shell, though 'make test' may run this.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "--dry-run", "book", *given], cwd=ROOT, text=True,
                          capture_output=True, env=outside)
    assert done.stdout.splitlines()[-1].strip().endswith(asked)
