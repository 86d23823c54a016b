"""A notebook as a person runs it: JupyterLab in a browser."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

FINETUNE = Path(__file__).parents[2] / "notebooks" / "finetune.ipynb"
MOST_SECONDS = 180


@pytest.fixture
def lab(finished_study, tmp_path):
    """The address of a JupyterLab on a folder that holds finetune.ipynb for a tiny study."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "finetune.ipynb").write_text(
        FINETUNE.read_text().replace("data/demo", str(finished_study.study)))
    homes = {name: str(tmp_path / name) for name in (
        "HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0",
         "--ServerApp.token=for-this-test", f"--notebook-dir={folder}"],
        env=os.environ | homes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"{address(Path(homes['JUPYTER_RUNTIME_DIR']))}lab/tree/finetune.ipynb" \
              "?token=for-this-test"
    finally:
        server.terminate()
        server.wait(30)


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


@pytest.mark.slow
@pytest.mark.browser
def test_finetune_runs_top_to_bottom_in_jupyterlab(lab, finished_study):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    result = finished_study.run("optimized", 1) / "result.json"
    before = result.read_bytes()
    result.unlink()
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 3000})  # all cells are drawn
        page.set_default_timeout(MOST_SECONDS * 1000)
        page.goto(lab, wait_until="domcontentloaded")
        page.get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        # So JupyterLab marks errors, and warnings too: neither has a place on this page.
        failed = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
        last = page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")
        last.or_(failed).first.wait_for()
        assert failed.all_inner_texts() == []
        assert "Made by" in last.inner_text()
        assert page.locator("figure svg[role=img]").count() == 1
        browser.close()
    assert result.read_bytes() == before
