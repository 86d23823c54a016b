"""The book: templates filled from the records and built as HTML."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jinja2
import yaml
from scipy.stats import binomtest

from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, only_one, replaced_folder, write_text
from leanclips.layout import ROOT, Layout, short_name
from leanclips.records import RunResult, write_record
from leanclips.report import formats, results, run_page, tables, view
from leanclips.report.display import SYNTHETIC, Figure, Table, markdown
from leanclips.report.measures import literature
from leanclips.report.results import Results, records_of
from leanclips.report.run_page import RECORD, RUN_PAGE
from leanclips.report.statistics import RESAMPLES

BOOK = ROOT / "book"
# The first one that is there answers the book's question.
PUBLISHED = tuple(Layout(ROOT / "data" / name, "published")
                  for name in ("jhmdb21", "ucf8", "jhmdb"))

COPIED = ("_config.yml", "_static", "_ext")
FILTERS = ("about", "duration", "heading", "in_words", "listing", "megabytes", "percent",
           "points", "several", "thousands")
MADE = {"_generated", "_build", "__pycache__"}
LAST_STUDY, STAMP = "_build/study.txt", "_build/made-from.txt"
HASH = re.compile(r"\b[0-9a-f]{64}\b")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def make_book(study: Path | None, book: Path = BOOK,
              published: Sequence[Layout] = PUBLISHED) -> tuple[Path, list[str]]:
    """Write the pages and build the book unless it is up to date; its first page, and the
    headlines with the recommendation of the reader's own study.

    `study` is the reader's own, by default the one shown last. Of two processes the second one
    waits. Raises StudyError if a study is not finished, or the build fails.
    """
    stamp, page = book / STAMP, book / "_build" / "html" / "index.html"
    with only_one(book / "_build" / "book.lock", book, wait=True):
        layouts = shown(study, book, published)
        made_from = fingerprint(layouts, book)
        if not (page.is_file() and stamp.is_file() and stamp.read_text() == made_from):
            loaded = [results.load(layout) for layout in layouts]
            stamp.unlink(missing_ok=True)
            render(book, loaded, book / "_generated")
            if study is not None:
                write_text(book / LAST_STUDY, str(study.resolve()))
            build(book)
            write_text(stamp, made_from)
        said = [path for name in ("headline", "recommendation")
                for path in sorted((book / "_generated").glob(f"*/{name}.txt"))]
        return page, [path.read_text(encoding="utf-8").strip() for path in said]


def shown(study: Path | None, book: Path = BOOK,
          published: Sequence[Layout] = PUBLISHED) -> list[Layout]:
    """The studies in the book: the published ones that this copy has, then the reader's own."""
    last = book / LAST_STUDY
    if study is None and last.is_file():
        before = Layout(Path(last.read_text(encoding="utf-8")))
        study = before.study if any(before.work.glob("runs/*/seed-*/result.json")) else None
    own = [] if study is None else [Layout(study)]
    return [*(layout for layout in published if layout.settings.is_file()), *own]


def fingerprint(layouts: Sequence[Layout], book: Path = BOOK) -> str:
    """A hash of all that the book is made from: records, pages, measurements and code."""
    root = book.parent
    found = [(layout.study.parent, path) for layout in layouts for path in records_of(layout)]
    for folder, pattern in ((root / "src" / "leanclips", "*"),
                            (root / "tests" / "benchmarks", "*.csv"), (book, "*")):
        found += [(root, path) for path in sorted(folder.rglob(pattern))
                  if path.is_file() and not path.name.startswith(".")
                  and not MADE & set(path.relative_to(root).parts)]
    return key([short_name(layout) for layout in layouts],
               [[path.relative_to(base).as_posix(), file_sha256(path)] for base, path in found])


def render(book: Path, studies: Sequence[Results], out: Path) -> None:
    """Fill the templates of `book` into `out`, all of what `build` needs.

    The landing page speaks of the first study. `out/<slug>` has each study's
    headline.txt, and recommendation.txt of the reader's own. `out` is replaced, whole or not at
    all.
    """
    if not studies:
        raise StudyError("there is no finished study to show", book,
                         "run one with 'make study', or name its folder")
    views = [view.View(found) for found in studies]
    with replaced_folder(out) as aside:
        for name in COPIED:
            copy = shutil.copytree if (book / name).is_dir() else shutil.copyfile
            copy(book / name, aside / name)
        pages = Pages(book, views)
        for name in ("_toc.yml", *(path.name for path in book.glob("*.md"))):
            write_text(aside / name, pages.render(name))
        for table in pages.measured.values():
            table.write(aside / "tables")
        for one in views:
            _write_study(pages, one, book / "study", aside / one.slug)


def _write_study(pages: "Pages", one: view.View, templates: Path, folder: Path) -> None:
    for figure in one.figures.values():
        figure.write(folder / "figures")
    for table in one.tables.values():
        table.write(folder / "tables")
    for path in templates.rglob("[!_]*.md"):
        name = path.relative_to(templates).as_posix()
        write_text(folder / name, pages.render(f"study/{name}", one))
    for (variant, seed), run in one.results.runs.items():
        write_record(folder / "runs" / RECORD.format(variant=variant, seed=seed), run)
        if seed != one.study.finetuning.seeds[0]:
            continue
        text = run_page.page(one.results.layout.run_notebook(variant, seed),
                             markdown(f"{one.title}: runs of {variant}"),
                             pages.render("study/runs/_run.md", one, run=run), provenance(run))
        write_text(folder / "runs" / f"{RUN_PAGE.format(variant=variant)}.ipynb", text)
    write_text(folder / "headline.txt", one.headline + "\n")
    if not one.published:
        write_text(folder / "recommendation.txt", "\n".join(one.recommendation))


class Pages:
    """The templates and what they may quote; a value that is missing is an error."""

    def __init__(self, book: Path, views: Sequence[view.View]):
        self.measured = tables.measured(book)
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(book), undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
        self.environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        self.environment.filters.update(
            md=markdown, **{name: getattr(formats, name) for name in FILTERS})
        self.environment.globals.update(
            studies=list(views), main=views[0], notes=notes, provenance=provenance,
            figure=partial(block, "figures"), table=partial(block, "tables"), cell=tables.cell,
            measured=self.measured, resamples=RESAMPLES, run_page=RUN_PAGE,
            case=literature("case_study"), ucf_101=literature("ucf_101"),
            binomtest=binomtest, commit=commit, synthetic=SYNTHETIC,
            see=json.loads((book / "_static" / "see" / "clips.json").read_text(encoding="utf-8")),
            citation=yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")))

    def render(self, template: str, one: view.View | None = None, **values: object) -> str:
        try:
            return self.environment.get_template(template).render(s=one, **values)
        except (jinja2.TemplateError, ValueError, LookupError) as error:
            raise StudyError(f"the page cannot be written ({error})", template,
                             "run the study again; if that does not help, correct the template"
                             ) from error


def block(folder: str, one: view.View | None, which: str | Table | Figure) -> str:
    """For the templates: a table or figure of a study by its name, or one that belongs to none."""
    if one is None:
        return which.markdown(f"/{folder}")
    return getattr(one, folder)[which].markdown(f"/{one.slug}/{folder}")


def notes(one: view.View) -> str:
    """What must stand wherever the study's numbers show."""
    return "\n".join(f":::{{warning}}\n{markdown(line)}\n:::\n"
                     for line in (*one.warnings, one.restated) if line)


def commit(path: Path = ROOT) -> str:
    """The last commit of what is at `path`, and its day; empty where git does not know it."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h (%cs)", "--", str(path)]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git
        return ""


def provenance(run: RunResult) -> str:
    """What a run was made from, and the command that makes it again."""
    table = run_page.provenance(run)
    rows = replace(table, rows=table.rows[1:]).markdown()  # the command has a block of its own
    shown = HASH.sub(r"`\g<0>`", rows)
    return f"{shown}\n\nMade by:\n\n```bash\n{run.command}\n```\n"


def build(book: Path = BOOK) -> Path:
    """Build `book/_generated` into `book/_build/html`; the path of its index.html.

    It is built elsewhere first, so a failed build leaves the last good book. Its StudyError ends
    with what the log says.
    """
    source, target = book / "_generated", book / "_build" / "html"
    if not (source / "_toc.yml").is_file():
        raise StudyError("there are no pages to build", source, "run a study with 'make study'")
    with replaced_folder(target) as html, tempfile.TemporaryDirectory() as scratch:
        call = "from jupyter_book.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", call, "build", "-W", "-n", "--keep-going", "--all",
             "--path-output", scratch, str(source)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, "PYTHONHASHSEED": "0"})
        built = Path(scratch) / "_build" / "html"
        if done.returncode or not (built / "index.html").is_file():
            log = ANSI.sub("", done.stdout)
            write_text(target.parent / "build.log", log)
            lines = [line.strip() for line in log.splitlines() if line.strip()]
            problems = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines
            raise StudyError(f"the book did not build: {' / '.join(problems[-4:])}", source,
                             f"correct what {target.parent / 'build.log'} names, then 'make book'")
        shutil.copytree(built, html, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".buildinfo", "reports"))
    return target / "index.html"
