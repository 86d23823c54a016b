"""JupyterLab, started once for all tests that look at it in a browser."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MOST_SECONDS = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address and the folder of a JupyterLab."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    homes = {name: str(home / name) for name in (
        "HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    lab = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0",
         "--ServerApp.token=for-this-test", f"--notebook-dir={folder}"],
        env=os.environ | homes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield address(Path(homes["JUPYTER_RUNTIME_DIR"])), folder
    finally:
        lab.terminate()
        lab.wait(30)


def address(runtime: Path) -> str:
    """Where the server says that it listens."""
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())["url"]
            except (ValueError, KeyError):
                pass  # it is being written
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as browsers:
        chromium = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def run_all(server, browser) -> Callable:
    """`run_all(name, study)`: the page of that notebook, for this study, while all its cells run,
    and what goes wrong on it.
    """
    url, folder = server
    pages = []

    def run(name: str, study: Path):
        text = (NOTEBOOKS / f"{name}.ipynb").read_text()
        (folder / f"{name}.ipynb").write_text(text.replace("data/demo", str(study)))
        page = browser.new_page(viewport={"width": 1200, "height": 3000})  # all cells are drawn
        pages.append(page)
        page.set_default_timeout(MOST_SECONDS * 1000)
        page.goto(f"{url}lab/tree/{name}.ipynb?token=for-this-test&reset",
                  wait_until="domcontentloaded")
        page.get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        return page

    yield run
    for page in pages:
        page.close()
