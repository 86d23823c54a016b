"""The notebooks as they lie in git, and as papermill executes them."""

import ast
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from leanclips import notebook
from leanclips.errors import StudyError
from leanclips.layout import ROOT, Layout

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
FINETUNE = next(path for path in NOTEBOOKS if path.stem == "finetune")
LOGIC = (ast.For, ast.While, ast.If, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp,
         ast.Try, ast.With)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def papermill(path: Path, out: Path, **parameters: object) -> subprocess.CompletedProcess:
    """Run the plain command, as a person would."""
    options = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    return subprocess.run([sys.executable, "-m", "papermill", str(path), str(out), *options,
                           "--no-progress-bar"], capture_output=True, text=True)


def outputs(path: Path) -> str:
    """All outputs of an executed notebook, as text."""
    return json.dumps([cell.get("outputs", []) for cell in nbformat.read(path, 4).cells])


@every_notebook
def test_lies_stripped_in_git(path):
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert set(content.metadata) <= {"kernelspec", "language_info"}
    for cell in content.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert set(cell.metadata) <= {"tags"}


@every_notebook
def test_names_its_cells(path):
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert len(set(ids)) == len(ids)
    assert {"title", "parameters", "prepare"} <= set(ids)


@every_notebook
def test_has_one_parameters_cell_and_checks_just_these(path):
    cells = nbformat.read(path, as_version=4).cells
    [cell] = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    names = [line.split(" = ")[0] for line in cell.source.splitlines()]
    checked = ", ".join(f'"{name}"' for name in names)
    assert any(f"notebook.check_parameters(In, {checked})" in cell.source for cell in cells)


@every_notebook
def test_holds_calls_and_prose_but_no_logic(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)]
            assert not found, f"{path.name}, cell {cell.id}: {cell.source}"


@pytest.mark.slow
@every_notebook
def test_runs_top_to_bottom_by_plain_papermill(path, finished_study, tmp_path):
    """As it comes, on the demo, where that has been run (CI runs it before); else on less."""
    demo = (Layout(ROOT / "data" / "demo").run("constant", 3) / "result.json").is_file()
    done = papermill(path, tmp_path / "out.ipynb",
                     **({} if demo else {"study": finished_study.study}))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_plain_papermill_writes_the_numbers_of_the_grid(finished_study, tmp_path):
    folder = finished_study.run("optimized", 2)
    names = ("result.json", "history.csv", "predictions.csv.gz")
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    done = papermill(FINETUNE, tmp_path / "out.ipynb", study=finished_study.study,
                     variant="optimized", seed=2)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in names} == before


@pytest.mark.slow
@pytest.mark.parametrize(("parameter", "value", "message"), [
    ("sed", 3, "there is no parameter 'sed'; use study, variant, seed."),
    ("variant", "nope", "there is no variant 'nope'; use one of source, optimized, constant."),
    ("seed", "three", "'three' is no seed; use a whole number from 0 on."),
    ("study", "data/nowhere", "data/nowhere/study.yml: there is no such study"),
])
def test_a_wrong_parameter_is_one_sentence_that_lists_the_known(
        parameter, value, message, finished_study, tmp_path):
    done = papermill(FINETUNE, tmp_path / "out.ipynb",
                     **{"study": finished_study.study, parameter: value})
    assert done.returncode != 0
    assert message in done.stderr
    assert "site-packages/leanclips" not in outputs(tmp_path / "out.ipynb")
    assert "Traceback" not in outputs(tmp_path / "out.ipynb")


@pytest.mark.slow
def test_compression_names_the_variants_that_it_can_show(finished_study, tmp_path):
    path = FINETUNE.with_name("compression.ipynb")
    done = papermill(path, tmp_path / "out.ipynb", study=finished_study.study, variant="source")
    assert done.returncode != 0
    assert "there is no variant 'source'; use one of optimized, constant." in done.stderr


@pytest.mark.slow
def test_an_executed_run_is_a_small_page_equal_every_time(finished_study, tmp_path):
    parameters = {"study": str(finished_study.study), "variant": "source", "seed": 1}
    pages = [tmp_path / "one.ipynb", tmp_path / "two.ipynb"]
    for page in pages:
        notebook.execute(FINETUNE, page, parameters)
    assert outputs(pages[0]) == outputs(pages[1])
    shown = outputs(pages[0]).replace(f"-p study {finished_study.study} ", "-p study STUDY ")
    assert len(shown) < 40_000
    for unwanted in ("image/png", "widget", "stream", str(tmp_path), str(Path.cwd())):
        assert unwanted not in shown, f"{unwanted} is in the page"
    assert "widgets" not in nbformat.read(pages[0], 4).metadata


def write(path: Path, *sources: str) -> Path:
    """A small notebook of code cells, the first one for parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}), path)
    return path


EXECUTE = """
import sys; from pathlib import Path; from leanclips.notebook import execute
execute(Path(sys.argv[1]), Path(sys.argv[2]), {"number": int(sys.argv[3])})
"""


@pytest.mark.slow
def test_notebooks_executed_at_once_do_not_meet(tmp_path):
    small = write(tmp_path / "small.ipynb", "number = 0", "print(f'<{number}>')")
    outs = [tmp_path / f"out-{number}.ipynb" for number in range(4)]

    def run(number: int) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", EXECUTE, str(small), str(outs[number]), str(number)]
        return subprocess.run(command, capture_output=True, text=True)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))
    assert [one.returncode for one in done] == [0] * 4, done
    for number, out in enumerate(outs):
        assert f"<{number}>" in outputs(out)


def test_a_failed_notebook_stays_beside_its_place_with_the_traceback(tmp_path):
    broken = write(tmp_path / "broken.ipynb", "number = 0", "print(1 / number)")
    out = tmp_path / "runs" / "run.ipynb"
    with pytest.raises(StudyError, match="ZeroDivisionError") as caught:
        notebook.execute(broken, out, {})
    failed = out.with_name("run.failed.ipynb")
    assert caught.value.where == str(failed)
    assert "ZeroDivisionError" in outputs(failed)
    assert [path.name for path in out.parent.iterdir()] == ["run.failed.ipynb"]

    notebook.execute(broken, out, {"number": 2})  # mended: the failed one goes
    assert [path.name for path in out.parent.iterdir()] == ["run.ipynb"]


LONG_WORK = """
from leanclips.workers import progress
for item in progress(range(3), 3, "long work"):
    assert item != number
"""


def test_a_progress_bar_goes_when_the_work_is_done_and_stays_when_it_fails(tmp_path):
    long = write(tmp_path / "long.ipynb", "number = 9", LONG_WORK)
    notebook.execute(long, tmp_path / "out.ipynb", {})
    shown = [output["text"] for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells
             for output in cell.outputs]
    assert "".join(shown).split("\r")[-1].strip() == "" and "0/3" in shown[0]
    with pytest.raises(StudyError):
        notebook.execute(long, tmp_path / "out.ipynb", {"number": 2})
    assert "0/3" in outputs(tmp_path / "out.failed.ipynb")


@pytest.mark.slow
def test_execute_stops_at_an_unknown_parameter(tmp_path):
    with pytest.raises(StudyError, match="no parameter 'sed'; use study, variant, seed"):
        notebook.execute(FINETUNE, tmp_path / "out.ipynb", {"study": "data/demo", "sed": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed.ipynb"]


def test_parameters_are_checked_only_where_papermill_set_them():
    notebook.check_parameters(["", "sed = 3", "study = 'data/demo'"], "study")
    notebook.check_parameters(["", "# Parameters\nstudy = 'data/demo'\n"], "study")
    with pytest.raises(StudyError, match="no parameter 'sed'; use study"):
        notebook.check_parameters(["", "# Parameters\nsed = 3\n"], "study")


def test_a_stage_of_a_run_starts_no_run_of_its_own(finished_study, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the study was run")

    monkeypatch.setattr(notebook, "run", refuse)
    monkeypatch.setenv("LEANCLIPS_RUN_OF", str(finished_study.study.resolve()))
    layout, study, clips = notebook.open_study(str(finished_study.study))
    notebook.prepare_originals(layout, study)
    notebook.prepare_run(layout, study, clips, "source", 1)
    notebook.prepare_encodes(layout, study, "optimized")
    assert notebook.prepare_results(layout, study) == layout


def test_exactly_what_a_notebook_needs_is_brought_up_to_date(finished_study, monkeypatch):
    """There or not: what is there may be of other settings."""
    asked = []
    monkeypatch.setattr(notebook, "run", lambda layout, targets, wait: asked.append(targets))
    monkeypatch.setenv("LEANCLIPS_RUN_OF", "another study")
    layout, study, clips = notebook.open_study(str(finished_study.study))
    notebook.prepare_run(layout, study, clips, "optimized", 1)
    assert asked == [("features-source", "features-optimized", "features-constant", "pretrain")]


def test_published_records_stand_in_for_a_study_that_was_not_run(finished_study):
    layout, study, _ = notebook.open_study(str(finished_study.study))
    layout.work.rename(layout.published)
    assert notebook.prepare_results(layout, study).work == layout.published
