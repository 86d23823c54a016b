"""The book: templates filled from the records, then built by Jupyter Book."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
import yaml

from leanclips.analysis import benchmarks, epochs, formats, notebooks, style, tables, view
from leanclips.analysis.case_study import CASE_STUDY, OFFICIAL_SPLIT, RANDOM_SPLIT, SIBLINGS
from leanclips.analysis.display import SYNTHETIC
from leanclips.analysis.results import Results
from leanclips.analysis.statistics import RESAMPLES, clips_per_arm, standard_error, wilson
from leanclips.errors import StudyError
from leanclips.files import replaced_folder, write_text
from leanclips.leaks import LEAKS
from leanclips.records import RunResult

# The once-only pages and those of each study, with their short names for the sidebar.
ONCE = {"case-study": "The case study", "comparing": "How we compare",
        "optimizer": "Compression: the optimizer", "costs": "Costs: time and storage",
        "rerun": "Run it again",
        "your-clips": "Your own clips", "limits": "Limits", "tried": "What did not help",
        "references": "References"}
PER_STUDY = {"index": "The answer", "data": "The clips", "compression": "What compression saves",
             "network": "Network and protocol", "results": "Accuracy in full",
             "cross": "Cross matrix", "time": "Is time needed?", "runs/index": "Every run",
             "cost": "What it cost"}
COPIED = ("_config.yml", "_static", "_ext")
LOG_LINES = 4
ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|$#~])")
NUMBER = re.compile(r"[+−?]?\s?[\d?]")


def write_pages(book_dir: Path, studies: Sequence[Results], out: Path) -> None:
    """Render the templates of `book_dir` into `out`, a complete source tree for `build`.

    The first study is the one that the landing page speaks of. `out/<slug>/headline.txt`
    holds each study's answer in one sentence. `out` is replaced, whole or not at all.
    """
    if not studies:
        raise StudyError("there is no finished study to show", out, "run one with 'make study'")
    views = [view.make(results) for results in studies]
    with replaced_folder(out) as aside:
        for name in COPIED:
            _copy(book_dir / name, aside / name)
        pages = Pages(book_dir, views)
        for name in ("index", *ONCE):
            write_text(aside / f"{name}.md", pages.render(f"{name}.md"))
        for table in (tables.case_study_cross(), *pages.measured.values()):
            table.write_csv(aside / "tables")
        for figure in pages.drawn.values():
            style.write(figure, aside / "figures")
        for one in views:
            _write_study(pages, one, aside / one.slug)
        write_text(aside / "_toc.yml", yaml.safe_dump(contents(views), sort_keys=False))


def build(book_dir: Path) -> Path:
    """Build `book_dir/_generated` into `book_dir/_build/html`; the path of its index.html.

    Built aside, so a failed build leaves the last good book; StudyError ends with its log.
    """
    source, target = book_dir / "_generated", book_dir / "_build" / "html"
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
            raise StudyError(f"the book did not build: {_telling(log)}", source,
                             f"mend what {target.parent / 'build.log'} names, then 'make book'")
        shutil.copytree(built, html, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".buildinfo", "reports"))
    return target / "index.html"


def _telling(log: str) -> str:
    """What a failed build's log ends with: its warnings, else its last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    problems = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return " / ".join((problems or lines)[-LOG_LINES:])


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _write_study(pages: "Pages", one: view.View, folder: Path) -> None:
    for figure in one.figures.values():
        style.write(figure, folder / "figures")
    for table in one.tables.values():
        table.write_csv(folder / "tables")
    for name in PER_STUDY:
        write_text(folder / f"{name}.md", pages.render(f"study/{name}.md", one))
    for (variant, seed), run in one.results.runs.items():
        text = notebooks.page(one.results.notebook(variant, seed),
                              f"{markdown(variant)}, seed {seed}",
                              pages.render("study/runs/run.md", one, run=run), provenance(run))
        write_text(folder / "runs" / f"{tables.run_page(variant, seed)}.ipynb", text)
    write_text(folder / "headline.txt", one.headline + "\n")


def contents(views: Sequence[view.View]) -> dict:
    """The table of contents: once-only pages around one part per study."""
    def once(caption: str, *names: str) -> dict:
        return {"caption": caption, "chapters": [{"file": name, "title": ONCE[name]}
                                                 for name in names]}

    return {"format": "jb-book", "root": "index", "parts": [
        once("The question", "case-study", "comparing"), *(_part(one) for one in views),
        once("Measured", "optimizer", "costs"),
        once("Do it yourself", "rerun", "your-clips"),
        once("Notes", "limits", "tried", "references")]}


def _part(one: view.View) -> dict:
    chapters = [{"file": f"{one.slug}/{name}", "title": title}
                for name, title in PER_STUDY.items()]
    runs = next(chapter for chapter in chapters if chapter["file"].endswith("/runs/index"))
    runs["sections"] = [{"file": f"{one.slug}/runs/{tables.run_page(variant, seed)}"}
                        for variant, seed in one.results.runs]
    return {"caption": one.part, "chapters": chapters}


def markdown(text: object) -> str:
    """Text that Markdown shows as it is."""
    return MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


class Pages:
    """The templates, with what they may say; a value that is missing is an error."""

    def __init__(self, book_dir: Path, views: Sequence[view.View]):
        self.measured = benchmarks.read(book_dir.parent / "tests" / "benchmarks")
        self.drawn = {name: epochs.figure(self.measured[name].data)
                      for name in ("storage",) if name in self.measured}
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(book_dir), undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
        self.environment.filters.update(
            md=markdown, percent=formats.percent, points=formats.points, spread=formats.spread,
            megabytes=formats.megabytes, duration=formats.duration, listing=formats.listing,
            thousands=formats.thousands, classifier_name=formats.classifier_name,
            about=formats.about, capitalized=formats.capitalized)
        self.environment.globals.update(
            studies=list(views), main=views[0], figure=figure_block, table=table_block,
            notes=notes, provenance=provenance, resamples=RESAMPLES, measured=self.measured,
            drawn=self.drawn, epochs=epochs, benchmarks=benchmarks, **case_study_numbers())

    def render(self, template: str, one: view.View | None = None, **values: object) -> str:
        try:
            chosen = self.environment.get_template(template)
            return chosen.render(s=one, **values)
        except (jinja2.TemplateError, ValueError) as error:
            raise StudyError(f"the page cannot be written ({error})", template,
                             "run the study again; if that does not help, mend the template"
                             ) from error


def case_study_numbers() -> dict[str, object]:
    """The published numbers and what follows from them."""
    source, optimized = (values for _, values in CASE_STUDY.validation)
    clips = CASE_STUDY.validation_clips_implied
    return {
        "case": CASE_STUDY, "case_cross": tables.case_study_cross(), "case_source": source,
        "case_optimized": optimized, "case_error": standard_error(source.mean, clips),
        "case_wilson": wilson(source.mean * clips, clips),
        "case_clips_apart": (optimized.mean - source.mean) * clips,
        "case_clips_needed": clips_per_arm(source.mean, optimized.mean - source.mean),
        "random_split": RANDOM_SPLIT, "official_split": OFFICIAL_SPLIT, "siblings": SIBLINGS}


def figure_block(one: view.View | None, which: str | style.Figure) -> str:
    """A figure in both themes, with its caption, alt text and CSV; see `table_block`."""
    figure = one.figures[which] if isinstance(which, str) else which
    folder = f"/{one.slug}/figures" if one and isinstance(which, str) else "/figures"
    path = f"{folder}/{figure.name}"
    return (f"```{{themed-figure}} {path}\n:alt: {json.dumps(figure.alt, ensure_ascii=False)}\n\n"
            f"{markdown(figure.caption)} [Numbers (CSV)]({path}.csv)\n```")


def table_block(one: view.View | None, which: str | tables.Table) -> str:
    """A table with its caption and CSV; one that belongs to no study is given itself."""
    table = one.tables[which] if isinstance(which, str) else which
    folder = f"/{one.slug}/tables" if one and isinstance(which, str) else "/tables"
    head = [markdown(cell) for cell in table.header]
    rows = [[cell if cell.startswith("[") else markdown(cell) for cell in row]
            for row in table.rows]
    numeric = [all(NUMBER.match(row[column]) or row[column] == "–" for row in rows)
               for column in range(len(head))]
    rule = ["--:" if right else ":--" for right in numeric]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
    return (f"```{{table}} {markdown(table.caption)} [CSV]({folder}/{table.name}.csv)\n"
            + "\n".join(lines) + "\n```")


def notes(one: view.View) -> str:
    """What must stand wherever the study's numbers show."""
    blocks = []
    if one.results.synthetic:
        blocks.append(f":::{{note}}\n{SYNTHETIC}\n:::\n")
    if one.results.leaks:
        blocks.append(f":::{{warning}}\n{LEAKS}\n:::\n")
    return "\n".join(blocks)


def provenance(run: RunResult) -> str:
    """What a run was made of, and the command that makes it again."""
    hashes = {"Backbone weights": run.backbone_sha256, "Features": run.features_sha256,
              "Split": run.split_sha256}
    rows = {"Backbone": markdown(run.backbone), "Seed": run.seed,
            "Precision of training": f"{run.precision}, on {run.device}",
            **{f"{name}, SHA-256": f"`{value}`" for name, value in hashes.items()},
            **{f"{markdown(name)}, version": markdown(value)
               for name, value in run.versions.items()}}
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return ("\n".join(["| What | Value |", "|---|---|", *lines])
            + f"\n\nMade by:\n\n```bash\n{run.command}\n```\n")
