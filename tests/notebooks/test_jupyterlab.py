"""A notebook as a person uses it: JupyterLab in a browser."""

import json

import pytest

from leanclips.clips import read_table

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
# So JupyterLab marks errors, and warnings too: neither has a place on a page.
FAILED = '[data-mime-type="application/vnd.jupyter.stderr"]'


@pytest.mark.slow
def test_finetune_runs_top_to_bottom_in_jupyterlab(run_all, finished_study):
    result = finished_study.run("optimized", 1) / "result.json"
    before = result.read_bytes()
    result.unlink()
    page = run_all("finetune", finished_study.study)
    last = page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")
    last.or_(page.locator(FAILED)).first.wait_for()
    assert page.locator(FAILED).all_inner_texts() == []
    assert "Made by" in last.inner_text()
    assert page.locator("figure svg[role=img]").count() == 1
    assert result.read_bytes() == before


def drag(page, corners: list[tuple[float, float]]) -> None:
    """Press the mouse at the first place of the canvas, in shares of its size; let go at the last.
    """
    box = page.locator(".leanclips canvas").bounding_box()
    places = [(box["x"] + across * box["width"], box["y"] + down * box["height"])
              for across, down in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def widget(page, text: str):
    """The widget, once `text` stands in it."""
    shown = page.locator(".leanclips", has_text=text)
    shown.or_(page.locator(FAILED)).first.wait_for()
    assert page.locator(FAILED).all_inner_texts() == []
    return shown


@pytest.mark.slow
def test_squares_are_drawn_moved_copied_and_undone_in_jupyterlab(run_all, tiny_study, server):
    """Clips of 96×80 pixels, two of each recording."""
    def roi(number: int) -> str:
        return str(read_table(tiny_study.table)[number].roi or "")

    page = run_all("clips", tiny_study.study)
    clips = len(read_table(tiny_study.table))
    widget(page, f"0 of {clips} marked")
    widget(page, "frame 1 of 6")
    drag(page, [(1 / 8, 1 / 10), (3 / 8, 3 / 10), (5 / 8, 6 / 10)])
    widget(page, "Saved: 12 8 48.")
    assert roi(0) == "12 8 48"
    drag(page, [(3 / 8, 4 / 10), (1 / 2, 1 / 2)])  # by its middle
    widget(page, "Saved: 24 16 48.")
    drag(page, [(72 / 96, 64 / 80), (56 / 96, 48 / 80)])  # by a corner
    widget(page, "Saved: 24 16 32.")
    cells = page.locator(".jp-Cell").count()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    widget(page, "Saved: 23 26 32.")
    page.keyboard.press("n")
    widget(page, f"Clip 2 of {clips}")
    page.keyboard.press("c")
    widget(page, f"2 of {clips} marked")
    assert (roi(0), roi(1)) == ("23 26 32", "23 26 32")
    for key in "ddxz":  # in a notebook's command mode: delete and cut cells
        page.keyboard.press(key)
    widget(page, "Undone: no square")
    assert page.locator(".jp-Cell").count() == cells
    assert (roi(0), roi(1)) == ("23 26 32", "")
    page.get_by_role("button", name="Undo").click()
    widget(page, "Undone: 24 16 32.")
    assert roi(0) == "24 16 32"
    page.get_by_role("button", name="Next unmarked").click()
    widget(page, f"Clip 2 of {clips}")
    page.keyboard.press("Control+s")
    page.wait_for_function(SAVED)
    saved = (server[1] / "clips.ipynb").read_text()
    assert "widget-view" in saved and "JFIF" not in saved and len(saved) < 30_000
    assert not {"image/png", "image/jpeg"} & {kind for cell in json.loads(saved)["cells"]
                                              for output in cell.get("outputs", [])
                                              for kind in output.get("data", {})}


# A tab is marked as long as its notebook has changes that are not saved.
SAVED = "() => !document.querySelector('.lm-DockPanel-tabBar .jp-mod-dirty')"


PICTURE = "() => document.querySelector('.leanclips canvas').toDataURL()"
COLUMN = """share => {
    const canvas = document.querySelector('.leanclips canvas');
    const place = Math.round(share * canvas.width);
    return [...canvas.getContext('2d').getImageData(place, 0, 1, canvas.height).data].join();
}"""


@pytest.mark.slow
def test_two_variants_play_in_step_under_a_wipe_in_jupyterlab(run_all, finished_study):
    page = run_all("compression", finished_study.study)
    widget(page, "VMAF NEG of frame 1: ■ optimized")
    source = page.evaluate(COLUMN, 0.3)
    drag(page, [(0.5, 0.5), (0.6, 0.5), (0.1, 0.5)])
    assert page.get_by_label("Wipe").input_value() == "10"
    assert page.evaluate(COLUMN, 0.3) != source  # now that of the optimized file
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.get_by_label("Wipe").input_value() == "50"
    assert page.evaluate(COLUMN, 0.3) == source
    page.keyboard.press("d")
    apart = page.evaluate(PICTURE)
    page.get_by_label("Right variant").select_option("source")
    widget(page, "frame 1 of 6")
    page.wait_for_function(f"({COLUMN})(0.3).split(',').every((v, i) => v === (i % 4 < 3 ? '0' : "
                           "'255'))")  # a file does not differ from itself
    assert page.evaluate(PICTURE) != apart
    page.get_by_label("Right variant").select_option("constant")
    widget(page, "■ constant")
    page.locator(".leanclips canvas").click()
    page.keyboard.press(".")
    widget(page, "VMAF NEG of frame 2: ■ constant")
    page.keyboard.press(" ")
    widget(page, "VMAF NEG of frame 5: ■ constant")
    page.get_by_label("Order of the clips").select_option("savings")
    widget(page, "Clip 1 of 12")
    page.keyboard.press("Control+s")
    page.wait_for_function(SAVED)
    assert page.locator(".leanclips .problem").count() == 0
