"""The book's pages: every number from the records, every study by the same code."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from leanclips.errors import StudyError
from leanclips.layout import ROOT
from leanclips.records import BEST, RunResult, read_record, write_csv, write_record
from leanclips.report import book, view
from leanclips.report.display import THEMES, Figure, markdown
from leanclips.report.formats import percent, points
from leanclips.report.results import load

TEMPLATES = Path(__file__).parents[2] / "book"
OURS = re.compile(r"\d[\d.]*\s?(%|points|MB)")


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Renders studies into a folder and returns it; figures, tested elsewhere, stay undrawn."""
    def undrawn(figure, folder):
        write_csv(folder / f"{figure.name}.csv", figure.data)
        for theme in THEMES:
            (folder / f"{figure.name}-{theme.name}.svg").write_text(
                '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')

    monkeypatch.setattr(Figure, "write", undrawn)

    def render(*studies, name="_generated"):
        book.render(TEMPLATES, studies, tmp_path / name)
        return tmp_path / name
    return render


def all_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_pages_numbers_are_those_of_the_csv_beside_it(pages, results):
    out = pages(results)
    table = pd.read_csv(out / "tiny" / "tables" / "choices.csv").set_index("variant")
    shown = (out / "tiny" / "index.md").read_text()
    for row in table.itertuples():
        assert f"| {row.Index} | " in shown and percent(row.share_of_source) in shown
        assert points(row.difference) in shown
    headline = (out / "tiny" / "headline.txt").read_text().strip()
    assert markdown(headline) in shown
    assert percent(table.share_of_source["optimized"], 0) in headline
    answer = markdown(view.View(results).answer)
    assert answer in shown and answer in (out / "index.md").read_text()


def test_a_changed_record_changes_the_prose(pages, make_records):
    before = pages(load(make_records("before", margin=0.6)), name="one")
    few = pages(load(make_records("few")), name="few")
    after = pages(load(make_records("after", right=lambda variant, *_: variant != "optimized")),
                  name="two")
    assert "equivalent within" in (before / "before" / "headline.txt").read_text()
    assert "8 recordings are too few" in (few / "few" / "headline.txt").read_text()
    assert "worse" in (after / "after" / "headline.txt").read_text()


def test_too_few_recordings_for_any_difference_are_told(pages, make_records, monkeypatch):
    for module in ("view", "statistics", "recommend"):
        monkeypatch.setattr(f"leanclips.report.{module}.FEWEST_TO_DIFFER", 9)
    results = load(make_records(right=lambda variant, seed, c, t, place:
                                variant != "optimized" or place > 0))
    out = pages(results) / "tiny"
    assert ("points: no verdict, because 8 recordings are too few to show a difference"
            in (out / "headline.txt").read_text())
    assert "Run next: clips of 9 recordings at least" in (out / "recommendation.txt").read_text()


def test_only_the_readers_own_study_has_a_recommendation(pages, make_records):
    for kind in ("work", "published"):
        out = pages(load(make_records(kind=kind)), name=kind)
        found = list(out.glob("*/recommendation.txt"))
        assert len(found) == (kind == "work")
        assert all(path.read_text().startswith("Recommended: ") for path in found)


VENDOR = {"variants": {"optimized": {"target": 93}, "vendor": {"folder": "theirs"},
                       "like-vendor": {"bytes_of": "vendor"}}}


def test_another_tools_files_and_a_control_of_their_bytes_are_told(pages, make_records):
    out = pages(load(make_records(**VENDOR)))
    shown = (out / "tiny" / "index.md").read_text()
    assert "*vendor*: files that another tool made" in shown
    assert "*like-vendor* with the bytes of *vendor*" in shown
    assert re.search(r"\| like-vendor \|.* 25.5 \|.* 93.2", shown)


def test_rendering_twice_gives_equal_bytes(pages, make_records):
    layout = make_records()
    assert all_files(pages(load(layout), name="one")) == all_files(pages(load(layout),
                                                                         name="two"))


def test_the_published_study_and_ones_own_run_have_the_same_pages(pages, make_records):
    out = pages(load(make_records(kind="published")), load(make_records("demo", synthetic=True)))
    folders = [out / "tiny-published", out / "demo"]
    names = [set(all_files(folder)) for folder in folders]
    assert names[0] == names[1] - {"recommendation.txt"}


def test_the_readers_own_study_comes_first_and_the_demo_last_apart_from_the_answer(pages,
                                                                                  make_records):
    published = load(make_records(kind="published"))
    parts = {}
    for name, synthetic in (("mine", False), ("demo", True)):
        out = pages(published, load(make_records(name, synthetic=synthetic)), name=f"as-{name}")
        contents = yaml.safe_load((out / "_toc.yml").read_text())
        parts[name] = [(part["caption"], part["chapters"][0]["file"])
                       for part in contents["parts"]]
        assert (f"A {name} study" in (out / "index.md").read_text()) == (not synthetic)
        study = next(part for part in contents["parts"] if "stud" in part["caption"])["chapters"][0]
        assert [one["file"].split("/", 1)[1] for one in study["sections"]] == [
            "results", "runs/index"]
    assert parts["mine"][0] == ("Your study", "mine/index")
    assert parts["demo"][-1] == ("The demo", "demo/index")
    for found in parts.values():
        assert ("The studies in full", "tiny-published/index") in found


def test_a_run_of_the_published_study_does_not_overwrite_it(pages, make_records):
    layout = make_records()
    pack = run_path(str(ROOT / "data" / "publish.py"))["pack"]
    pack(load(layout), layout.published)
    published = load(type(layout)(layout.study, "published"))
    out = pages(published, load(layout))
    assert (out / "tiny" / "index.md").is_file()
    assert (out / "tiny-published" / "index.md").is_file()


def test_synthetic_numbers_are_marked_on_every_page_that_shows_them(pages, make_records):
    out = pages(load(make_records("demo", synthetic=True)))
    marked = [*(out / "demo").rglob("*.md"), *(out / "demo").rglob("*.ipynb"),
              *(out / name for name in ("index.md", "limits.md", "method.md"))]
    assert len(marked) > 8
    for page in marked:
        assert "Synthetic clips" in page.read_text(), page


def test_leaked_recordings_are_told_wherever_the_numbers_show(pages, make_records):
    out = pages(load(make_records(leaks=True)))
    marked = [*(out / "tiny").rglob("*.md"), *(out / "tiny").rglob("*.ipynb"),
              out / "tiny" / "headline.txt",
              *(out / name for name in ("index.md", "limits.md", "method.md"))]
    assert len(marked) > 8
    for page in marked:
        assert "leaks recordings" in page.read_text(), page
    sound = pages(load(make_records("sound")), name="sound")
    for page in sound.rglob("*"):
        assert page.is_dir() or b"leaks recordings" not in page.read_bytes(), page


@pytest.mark.parametrize("given", [True, False])
def test_what_is_said_of_the_backbone_is_true_of_the_study(pages, make_records, given):
    out = pages(load(make_records(
        backbone={"name": "resnet18", **({"weights": "/where/mine.pth"} if given else {})})))
    shown = (out / "tiny/index.md").read_text()
    assert ("ImageNet weights" in shown) != given and "/where" not in shown
    assert ("the weights in mine.pth" in shown) == given


@pytest.fixture
def copied(tmp_path):
    """A copy of the templates, with the measurements where they look for them."""
    shutil.copytree(TEMPLATES, tmp_path / "top" / "book",
                    ignore=shutil.ignore_patterns("_build", "_generated"))
    shutil.copytree(TEMPLATES.parent / "tests" / "benchmarks",
                    tmp_path / "top" / "tests" / "benchmarks")
    return tmp_path / "top" / "book"


def test_a_missing_number_stops_the_book_and_leaves_the_old_pages(pages, copied, results):
    out = pages(results)
    before = all_files(out)
    storage = copied.parent / "tests" / "benchmarks" / "storage.csv"
    pd.read_csv(storage).query("link_mbit != 50").to_csv(storage, index=False)
    with pytest.raises(StudyError, match="costs.md: .*0 rows of storage.csv"):
        book.render(copied, [results], out)
    assert all_files(out) == before
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".aside")]


def test_a_template_that_asks_for_something_unknown_is_an_error(copied, pages, results):
    (copied / "limits.md").write_text("# Limits\n\n{{ main.wishes }}\n")
    with pytest.raises(StudyError, match="limits.md: .*wishes"):
        book.render(copied, [results], copied.parent / "out")


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
    page = pages(results) / "tiny" / "runs" / "optimized-runs.ipynb"
    shown = nbformat.read(page, as_version=4)
    nbformat.validate(shown)
    first, body, code, last = shown.cells
    assert first.source.startswith("# A tiny study: runs of optimized\n")
    mean = view.View(results).tables["runs"].data.set_index("variant").loc["optimized"]
    for classifier in ("linear", "crnn"):
        assert percent(mean[f"{classifier}_test"]) in first.source
    for seed in (1, 2):
        name = f"optimized-seed-{seed:02d}.json"
        assert f"[JSON]({name})" in first.source
        assert read_record(page.with_name(name), RunResult) == results.runs["optimized", seed]
    assert "that of seed 1" in first.source
    assert body.source.startswith("The loss is")
    assert code.source.startswith("# not a heading")
    assert [output.output_type for output in code.outputs] == ["stream", "display_data"]
    assert "-p variant optimized -p seed 1" in last.source and "2" * 64 in last.source
    record = results.runs["optimized", 1]
    for told in (record.key, "epochs | 3 |", "precision | fp32 |", "device | cpu |",
                 "torch, version | 2.11 |", "512, 256"):
        assert told in last.source, told


def test_a_run_without_its_notebook_still_has_its_page(pages, make_records):
    layout = make_records()
    (layout.run("source", 1) / "run.ipynb").unlink()
    page = pages(load(layout)) / "tiny" / "runs" / "source-runs.ipynb"
    assert "Provenance" in json.loads(page.read_text())["cells"][-1]["source"][0]


def test_whether_time_is_needed_is_told_where_the_records_have_it(pages, make_records):
    asked = load(make_records())
    out = pages(asked, name="with")
    shown = (out / "tiny" / "results.md").read_text()
    one = view.View(asked)
    for found in one.time:
        assert one.change(found) in shown
    assert "/tiny/tables/time.csv" in shown and "middle frame only" in shown
    out = pages(load(make_records("unasked", inputs=[])), name="without")
    shown = (out / "unasked" / "results.md").read_text()
    assert "This study was run without these inputs." in shown and "middle frame" not in shown
    assert not (out / "unasked" / "tables" / "time.csv").exists()


def test_the_case_for_the_last_epoch_fits_the_numbers(pages, results, make_records):
    kept = (pages(results, name="one") / "limits.md").read_text()
    assert "that was fixed beforehand." in kept and "would have helped" not in kept
    truth = np.array([results.classes.index(clip.label) for clip in results.tested])
    gained = {place: np.broadcast_to(truth if place[3] == BEST else 1 - truth, each.shape)
              if place[0] == "crnn" else each for place, each in results.answers.items()}
    told = (pages(replace(results, answers=gained), name="two") / "limits.md").read_text()
    assert "picking would have helped" in told
    folds = load(make_records("folds", protocol={"kind": "cross-validation", "folds": 2}))
    assert "Picking" not in (pages(folds, name="three") / "limits.md").read_text()


def test_a_margin_changed_after_the_runs_is_said_on_every_page_with_a_verdict(pages,
                                                                              make_records):
    layout = make_records()
    for path in layout.work.glob("runs/*/seed-*/result.json"):
        run = read_record(path, RunResult)
        write_record(path, run.model_copy(update={
            "stated": run.stated.model_copy(update={"margin": 0.01})}))
    out = pages(load(layout))
    marked = [*(out / "tiny").rglob("*.md"), *(out / "tiny").rglob("*.ipynb"),
              out / "tiny" / "headline.txt",
              *(out / name for name in ("index.md", "limits.md", "method.md"))]
    for page in marked:
        assert "The margin was ±1 points when the runs were made" in page.read_text(), page


def test_the_case_studys_rows_stand_beside_those_of_the_study_that_repeats_it(pages,
                                                                              make_records):
    folds = make_records("folds", protocol={"kind": "cross-validation", "folds": 2})
    results = load(make_records(kind="published"))
    shown = (pages(results, load(folds), name="one") / "case-study.md").read_text()
    saved = view.View(results).tables["compression"].data.set_index("variant")["saving_of_total"]
    for row in (f"Saving on the crops | 67% | {percent(saved['optimized'], 0)} | repeated:",
                "trained on source: minimum / mean / maximum | 56% / 65% / 69% | 51% / 52% / 52% |",
                "trained on optimized, tested on source: maximum, mean | 62%, 50% | 75%, 75% |",
                "optimized less source | −3.0 points, no interval | 0.0 points (90% interval"):
        assert row in shown, row
    for quoted in ("has no negative impact on the training process",
                   "it is unclear if this is a significant conclusion",
                   "an initial, rather small scale experiment"):
        assert quoted in " ".join(shown.split())
    alone = (pages(load(folds), name="two") / "case-study.md").read_text()
    assert "is not in this copy of the book" in alone and "| Row |" not in alone


def test_a_study_without_a_control_does_not_speak_of_one(pages, make_records):
    layout = make_records(variants={"optimized": {"target": 93}})
    out = pages(load(layout), name="without")
    for name in ("case-study", "limits"):
        assert "control" not in (out / f"{name}.md").read_text(), name
    out = pages(load(make_records("with")), name="with")
    assert "show a control beside it" in (out / "case-study.md").read_text()
    assert "compare with the control and" in (out / "limits.md").read_text()


def test_what_is_trained_on_several_variants_and_what_on_some_is_told(pages, of_some):
    out = pages(of_some) / "tiny"
    rows = (out / "results.md").read_text()
    shown = " ".join((out / "index.md").read_text().split())
    assert "*both* is trained on the clips of source and optimized together" in shown
    assert "is tested as *optimized* is" in shown
    assert "was trained on source and optimized only" in shown
    assert "| CRNN | both" not in rows and "| linear classifier | both" in rows
    assert "both" not in (out / "tables" / "compression.csv").read_text()
    assert (out / "runs" / "both-runs.ipynb").is_file()


def test_a_class_may_have_any_name(results):
    one = view.View(results)
    runs = {key: run.model_copy(update={"classes": ("*jump*", "walk")})
            for key, run in results.runs.items()}
    one.results = replace(results, runs=runs)
    shown = book.Pages(TEMPLATES, [one]).render("study/index.md", one)
    assert r"(\*jump\* and walk)" in shown


def test_nothing_to_show_is_a_sentence(tmp_path):
    with pytest.raises(StudyError, match="no finished study"):
        book.render(TEMPLATES, [], tmp_path)
    with pytest.raises(StudyError, match="no pages to build"):
        book.build(tmp_path)


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
    assert {path.name for path in (tmp_path / "_build").iterdir()
            if not path.name.startswith(".")} == {"html", "build.log"}
