"""The book's pages: every number from the records, both studies by the same code."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_markdown_cell, new_notebook

from leanclips.analysis import book, notebooks, order, style, view
from leanclips.analysis.formats import percent
from leanclips.analysis.results import load
from leanclips.errors import StudyError
from leanclips.records import write_csv

TEMPLATES = Path(__file__).parents[2] / "book"
OURS = re.compile(r"\d[\d.]*\s?(%|points|MB)")


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Renders studies into a folder and returns it; figures, tested elsewhere, stay undrawn."""
    def undrawn(figure, folder):
        write_csv(folder / f"{figure.name}.csv", figure.data)
        for theme in style.THEMES:
            (folder / f"{figure.name}-{theme.name}.svg").write_text(
                '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')

    monkeypatch.setattr(style, "write", undrawn)

    def render(*studies, name="_generated"):
        book.write_pages(TEMPLATES, studies, tmp_path / name)
        return tmp_path / name
    return render


def all_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_pages_numbers_are_those_of_the_csv_beside_it(pages, results):
    out = pages(results)
    table = pd.read_csv(out / "tiny" / "tables" / "summary.csv")
    shown = (out / "tiny" / "index.md").read_text()
    for row in table.itertuples():
        assert f"| {row.variant} | " in shown and percent(row.heldout) in shown
    headline = (out / "tiny" / "headline.txt").read_text().strip()
    assert book.markdown(headline) in shown
    assert percent(table.share_of_source[1], 0) in headline


def test_a_changed_record_changes_the_prose(pages, make_records):
    before = pages(load(make_records("before", margin=0.6)), name="one")
    few = pages(load(make_records("few")), name="few")
    after = pages(load(make_records("after", right=lambda variant, *_: variant != "optimized")),
                  name="two")
    assert "equivalent within" in (before / "before" / "headline.txt").read_text()
    assert "8 held-out recordings are too few" in (few / "few" / "headline.txt").read_text()
    assert "worse" in (after / "after" / "headline.txt").read_text()


def test_too_few_recordings_for_any_difference_are_told(pages, make_records, monkeypatch):
    monkeypatch.setattr("leanclips.analysis.view.FEWEST_TO_DIFFER", 9)
    results = load(make_records(right=lambda variant, seed, c, t, place:
                                variant != "optimized" or place > 0))
    headline = (pages(results) / "tiny" / "headline.txt").read_text()
    assert "undecided, for 8 held-out recordings are too few to tell a difference" in headline


def test_what_pairing_did_is_told_as_it_was(pages, make_records):
    def told(name, right):
        return (pages(load(make_records(name, seeds=(1, 2, 3), right=right)), name=f"{name}-book")
                / "comparing.md").read_text()

    assert "is mostly lucky for the other" in told("one", lambda variant, seed, *_: seed == 2)
    assert "need not be for the other" in told("two", lambda variant, seed, *_:
                                               (seed == 2) == (variant == "source"))


VENDOR = {"variants": {"optimized": {"target": 93}, "vendor": {"folder": "theirs"},
                       "like-vendor": {"bytes_of": "vendor"}}}


def test_another_tools_files_and_a_control_of_their_bytes_are_told(pages, make_records):
    out = pages(load(make_records(**VENDOR)))
    shown = (out / "tiny" / "compression.md").read_text()
    assert "*like-vendor*: CRF 25.5 for every clip. Its worst clip scores 93.2." in shown


def test_rendering_twice_gives_equal_bytes(pages, make_records):
    layout = make_records()
    assert all_files(pages(load(layout), name="one")) == all_files(pages(load(layout),
                                                                         name="two"))


def test_the_published_study_and_ones_own_run_have_the_same_pages(pages, make_records):
    out = pages(load(make_records(kind="published")), load(make_records("demo", synthetic=True)))
    folders = [out / "tiny-published", out / "demo"]
    names = [set(all_files(folder)) for folder in folders]
    assert names[0] == names[1]
    contents = yaml.safe_load((out / "_toc.yml").read_text())
    captions = [part["caption"] for part in contents["parts"]]
    assert captions[1:3] == ["The study: A tiny study", "Your run: A demo study"]


def test_a_run_of_the_published_study_does_not_overwrite_it(pages, make_records):
    layout = make_records()
    shutil.copytree(layout.work, layout.published)
    for path in (layout.settings, layout.table):
        shutil.copy(path, layout.published)
    published = load(type(layout)(layout.study, "published"))
    out = pages(published, load(layout))
    assert (out / "tiny" / "index.md").is_file()
    assert (out / "tiny-published" / "index.md").is_file()


def test_synthetic_numbers_are_marked_on_every_page_that_shows_them(pages, make_records):
    out = pages(load(make_records("demo", synthetic=True)))
    marked = [*(out / "demo").rglob("*.md"), *(out / "demo").rglob("*.ipynb"),
              *(out / name for name in ("index.md", "limits.md", "tried.md"))]
    assert len(marked) > 15
    for page in marked:
        assert "Synthetic clips" in page.read_text(), page


def test_leaked_recordings_are_told_wherever_the_numbers_show(pages, make_records):
    out = pages(load(make_records(leaks=True)))
    marked = [*(out / "tiny").rglob("*.md"), *(out / "tiny").rglob("*.ipynb"),
              out / "tiny" / "headline.txt",
              *(out / name for name in ("index.md", "limits.md", "tried.md"))]
    assert len(marked) > 15
    for page in marked:
        assert "leaks recordings" in page.read_text(), page
    sound = pages(load(make_records("sound")), name="sound")
    for page in sound.rglob("*"):
        assert page.is_dir() or b"leaks recordings" not in page.read_bytes(), page


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_said_of_the_backbone_is_true_of_the_study(pages, make_records, trained):
    out = pages(load(make_records(
        backbone={"name": "resnet18", **({"weights": "/where/mine.pth"} if trained else {})},
        finetuning={"seeds": [1, 2], "finetune_backbone": trained})))
    shown = {name: (out / name).read_text() for name in ("limits.md", "costs.md", "tiny/network.md")}
    assert ("trained from the pixels up as it was" in shown["limits.md"]) == trained
    assert ("an epoch reads no video at all" in shown["costs.md"]) != trained
    assert ("ImageNet weights" in shown["tiny/network.md"]) != trained
    assert ("the weights in mine.pth" in shown["tiny/network.md"]) == trained
    assert "/where" not in shown["tiny/network.md"]


def test_a_missing_number_stops_the_book_and_leaves_the_old_pages(pages, make_records):
    layout = make_records()
    out = pages(load(layout))
    table = pd.read_csv(layout.report("constant"))
    table.assign(crf=None).to_csv(layout.report("constant"), index=False)
    with pytest.raises(StudyError, match="a number is missing"):
        pages(load(layout))
    assert (out / "index.md").is_file()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".aside")]


def test_a_template_that_asks_for_something_unknown_is_an_error(results, tmp_path):
    templates = tmp_path / "book"
    shutil.copytree(TEMPLATES, templates, ignore=shutil.ignore_patterns("_build", "_generated"))
    (templates / "limits.md").write_text("# Limits\n\n{{ main.wishes }}\n")
    with pytest.raises(StudyError, match="wishes"):
        book.write_pages(templates, [results], tmp_path / "out")


def test_no_number_of_ours_is_typed_into_a_template():
    for path in TEMPLATES.rglob("*.md"):
        if {"_build", "_generated"} & set(path.parts):
            continue
        text = re.sub(r"{{.*?}}|{%.*?%}", "", path.read_text(), flags=re.DOTALL)
        found = [match[0] for match in OURS.finditer(text)]
        assert set(found) <= {"90%", "95%", "5%"}, path  # levels of the intervals and tests


def test_every_page_of_the_contents_is_there_and_no_other(pages, make_records):
    out = pages(load(make_records(kind="published")), load(make_records("demo")))
    text = (out / "_toc.yml").read_text()
    named = set(re.findall(r"(?:file|root): (\S+)", text))
    there = {path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*")
             if path.suffix in (".md", ".ipynb")}
    assert named == there


def test_every_figure_and_csv_that_a_page_names_exists(pages, results):
    out = pages(results)
    for page in out.rglob("*.md"):
        for path in re.findall(r"\]\(/(\S+\.csv)\)", page.read_text()):
            assert (out / path).is_file(), (page, path)
        for path in re.findall(r"{themed-figure} /(\S+)", page.read_text()):
            assert (out / f"{path}-light.svg").is_file() and (out / f"{path}-dark.svg").is_file()


def test_a_run_page_shows_the_notebook_and_how_to_make_it_again(pages, results):
    page = pages(results) / "tiny" / "runs" / "optimized-seed-02.ipynb"
    shown = nbformat.read(page, as_version=4)
    nbformat.validate(shown)
    first, body, code, last = shown.cells
    assert first.source.startswith("# optimized, seed 2")
    assert body.source.startswith("## Fine-tuning")
    assert code.source.startswith("# not a heading")
    assert [output.output_type for output in code.outputs] == ["stream", "display_data"]
    assert "-p variant optimized -p seed 2" in last.source and "2" * 64 in last.source
    assert "| Precision of training | fp32, on cpu |" in last.source


def test_a_run_without_its_notebook_still_has_its_page(pages, make_records):
    layout = make_records()
    (layout.run("source", 1) / "run.ipynb").unlink()
    page = pages(load(layout)) / "tiny" / "runs" / "source-seed-01.ipynb"
    assert "Provenance" in json.loads(page.read_text())["cells"][-1]["source"][0]


def test_whether_time_is_needed_is_told_where_the_records_have_it(pages, make_records):
    layout = make_records()
    out = pages(load(layout), name="with")
    shown = (out / "tiny" / "time.md").read_text()
    assert book.markdown(order.headline(load(layout))) in shown
    assert "{themed-figure} /tiny/figures/time" in shown and "middle frame" in shown
    shutil.rmtree(layout.work / "runs" / "views")
    out = pages(load(layout), name="without")
    shown = (out / "tiny" / "time.md").read_text()
    assert "These records come without it." in shown and "themed-figure" not in shown
    assert not (out / "tiny" / "tables" / "time.csv").exists()


def test_the_case_for_the_last_epoch_fits_the_numbers(pages, results):
    kept = (pages(results, name="one") / "tried.md").read_text()
    assert "it is fixed beforehand." in kept and "would have helped" not in kept
    gained = results.correct.copy()
    gained[:, :, :, 0], gained[:, :, :, 1] = 0, 1  # the last epoch, and the picked one
    told = (pages(replace(results, correct=gained), name="two") / "tried.md").read_text()
    assert "picking would have helped" in told


def test_a_study_without_a_control_does_not_speak_of_one(pages, make_records):
    layout = make_records(variants={"optimized": {"target": 93}})
    out = pages(load(layout), name="without")
    for name in ("case-study", "limits"):
        assert "control" not in (out / f"{name}.md").read_text(), name
    out = pages(load(make_records("with")), name="with")
    assert "show\n  a control beside it" in (out / "case-study.md").read_text()
    assert "compare with the control and" in (out / "limits.md").read_text()


def test_a_class_may_have_any_name(results):
    one = view.make(results)
    runs = {key: run.model_copy(update={"classes": ("*jump*", "walk")})
            for key, run in results.runs.items()}
    named = replace(one, results=replace(results, runs=runs))
    shown = book.Pages(TEMPLATES, [one]).render("study/data.md", named)
    assert r"(\*jump\* and walk)" in shown


def test_hidden_cells_go_and_headings_stay_in_step(tmp_path):
    hidden = new_markdown_cell("# Title", metadata={"tags": ["remove-cell"]})
    notebook = new_notebook(cells=[hidden, new_markdown_cell("## Result\n\n```bash\n# no\n```")])
    nbformat.write(notebook, tmp_path / "run.ipynb")
    page = nbformat.reads(notebooks.page(tmp_path / "run.ipynb", "t", "i", "p"), as_version=4)
    assert [cell.source.split("\n")[0] for cell in page.cells] == ["# t", "## Result",
                                                                   "## Provenance"]


def test_a_broken_notebook_is_named(tmp_path):
    (tmp_path / "run.ipynb").write_text("{")
    with pytest.raises(StudyError, match="not a notebook"):
        notebooks.page(tmp_path / "run.ipynb", "t", "i", "p")


@pytest.mark.parametrize("text", ["a|b", "*x*", "<b>", "[a](b)", "$x$", "{{x}}", "climb_stairs"])
def test_names_of_other_people_show_as_they_are(text):
    from markdown_it import MarkdownIt
    rendered = MarkdownIt().renderInline(book.markdown(text))
    assert rendered == text.replace("<", "&lt;").replace(">", "&gt;")


def test_nothing_to_show_is_a_sentence(tmp_path):
    with pytest.raises(StudyError, match="no finished study"):
        book.write_pages(TEMPLATES, [], tmp_path)
    with pytest.raises(StudyError, match="no pages to build"):
        book.build(tmp_path)


def test_a_study_with_nothing_to_compare_says_so(make_records):
    with pytest.raises(StudyError, match="at least one with a target"):
        load(make_records(variants={}))


@pytest.mark.slow
def test_the_book_builds_without_a_warning_and_a_failure_keeps_the_good_one(pages, make_records,
                                                                            tmp_path):
    out = pages(load(make_records(kind="published", leaks=True)),
                load(make_records("demo", synthetic=True)))
    index = book.build(tmp_path)
    assert index == tmp_path / "_build" / "html" / "index.html"
    good = all_files(index.parent)
    (out / "limits.md").write_text("# Limits\n\n[nowhere](nowhere.md)\n")
    with pytest.raises(StudyError, match="nowhere"):
        book.build(tmp_path)
    assert all_files(index.parent) == good
    assert "nowhere" in (tmp_path / "_build" / "build.log").read_text()
    assert {path.name for path in (tmp_path / "_build").iterdir()} == {"html", "build.log"}
