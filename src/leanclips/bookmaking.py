"""Which studies the book shows, and whether it is up to date."""

from collections.abc import Iterator
from pathlib import Path

from leanclips.analysis import book, results
from leanclips.files import file_sha256, key, write_text
from leanclips.layout import ROOT, Layout

BOOK = ROOT / "book"
GENERATED = BOOK / "_generated"
PUBLISHED = Layout(ROOT / "data" / "jhmdb", "published")
SHOWN_LAST = BOOK / "_build" / "study.txt"
SHOWN = ("study.yml", "clips.csv", "clips/*/report.csv", "features/*/*.csv", "runs/**/*.json",
         "runs/**/*.csv", "runs/**/run.ipynb", "times/**/*.tsv", "machine.json")


def layouts(study: Path | None) -> list[Layout]:
    """The published study where it is committed, then the reader's own: the one shown last,
    where none is named.
    """
    shown = [PUBLISHED] if PUBLISHED.crosstest.is_file() else []
    study = study or _shown_last()
    return shown + ([Layout(study)] if study is not None else [])


def _shown_last() -> Path | None:
    """The reader's study that the book showed last, as long as its records are there."""
    study = Path(SHOWN_LAST.read_text(encoding="utf-8")) if SHOWN_LAST.is_file() else None
    return study if study is not None and Layout(study).crosstest.is_file() else None


def make_book(study: Path | None) -> tuple[Path, list[str]]:
    """Write the pages and build the book unless it stands already; its path and the headlines.

    Raises StudyError if a study is not finished, or the build fails.
    """
    stamp, page = BOOK / "_build" / "made-from.txt", BOOK / "_build" / "html" / "index.html"
    wanted = key([[path.name, file_sha256(path)] for path in _determining(layouts(study))])
    if not (page.is_file() and stamp.is_file() and stamp.read_text() == wanted):
        write_pages(study)
        book.build(BOOK)
        write_text(stamp, wanted)
    return page, [path.read_text().strip() for path in sorted(GENERATED.glob("*/headline.txt"))]


def write_pages(study: Path | None) -> None:
    """Write the book's source: pages, figures and tables, from the run records."""
    book.write_pages(BOOK, [results.load(layout) for layout in layouts(study)], GENERATED)
    if study is not None:
        write_text(SHOWN_LAST, str(study.resolve()))


def _determining(shown: list[Layout]) -> Iterator[Path]:
    """Every file that the book is made from: records, pages and the code that draws them."""
    for layout in shown:
        for pattern in SHOWN:
            yield from sorted({*layout.settings.parent.glob(pattern)} | {*layout.work.glob(pattern)})
    yield from sorted((ROOT / "src" / "leanclips" / "analysis").glob("*.py"))
    yield from sorted((ROOT / "tests" / "benchmarks").glob("*.csv"))
    yield from sorted(path for path in BOOK.rglob("*") if path.is_file() and not
                      {"_generated", "_build", "__pycache__"} & set(path.parts))
