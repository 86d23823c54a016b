"""The built book in a browser: opens from disk, asks the network for nothing, every page works.

LEANCLIPS_BOOK names another book than `book/_build/html`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

BOOK = Path(os.environ.get("LEANCLIPS_BOOK",
                           Path(__file__).parents[2] / "book" / "_build" / "html")).resolve()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which(
    "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),  # every page is looked at once
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason=f"there is no book in {BOOK}"),
]
IMAGES = """images => Promise.all(images.map(async image => {
    image.loading = 'eager';
    await image.decode().catch(() => {});
    return [image.getAttribute('src'), image.naturalWidth, image.getAttribute('alt')];
}))"""
# Whether the clip's frame of this number is shown, and its score.
SCORED = "number => document.querySelector('.scores').innerText.includes(` of frame ${number}:`)"
THEMES = ("light", "dark")
PHONE = {"width": 375, "height": 800}
DESKTOP = {"width": 1280, "height": 900}


@dataclass
class Visit:
    """What one look at a page found."""

    headings: int
    problems: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    images: list[tuple[str, int, str]] = field(default_factory=list)
    shown: dict[str, list[str]] = field(default_factory=dict)
    phone_width: int = 0


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def visits(browser) -> dict[str, Visit]:
    """Every page of the book, looked at once in both themes and on two screens."""
    page, problems = watched_page(browser)
    return {document: look_at(page, problems, document) for document in all_documents()}


def watched_page(browser, theme: str = "light"):
    """A page in a fresh profile, and the list of what goes wrong on it."""
    page, problems = browser.new_page(viewport=DESKTOP, color_scheme=theme), []
    page.on("console", lambda message: problems.append(f"console: {message.text}")
            if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("request", lambda request: problems.append(f"request: {request.url}")
            if not request.url.startswith(("file:", "data:", "blob:")) else None)
    page.on("requestfailed", lambda request: problems.append(f"missing: {request.url}"))
    return page, problems


def look_at(page, problems: list[str], document: str) -> Visit:
    page.set_viewport_size(DESKTOP)
    page.goto(address(document))
    visit = Visit(page.locator("article h1").count())
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    visit.problems = [f"no address: {link}" for link in links if link.startswith("http:")]
    visit.links = {unquote(link.split("#")[0].split("?")[0]) for link in links
                   if link.startswith("file:")}
    visit.images = page.eval_on_selector_all("article img", IMAGES)
    for theme in THEMES:
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        visit.shown[theme] = figures_shown(page)
    page.set_viewport_size(PHONE)
    visit.phone_width = page.evaluate("document.documentElement.scrollWidth")
    visit.problems += problems
    problems.clear()
    return visit


def figures_shown(page) -> list[str]:
    """The classes of the figures' images that can be seen."""
    return page.eval_on_selector_all(
        ".themed-figure img", """images => images.filter(image => image.offsetWidth > 0)
                                                 .map(image => image.className)""")


def address(document: str) -> str:
    return (BOOK / f"{document}.html").as_uri()


def all_documents() -> list[str]:
    """Every page but the search page and the index of terms, which have no contents."""
    pages = {path.relative_to(BOOK).with_suffix("").as_posix() for path in BOOK.rglob("*.html")
             if "_static" not in path.parts}
    return sorted(pages - {"search", "genindex"})


def test_every_page_opens_from_disk_without_a_request_or_an_error(visits):
    assert len(visits) > 10
    assert {document: visit.problems for document, visit in visits.items()
            if visit.problems} == {}


def test_every_page_has_one_title(visits):
    assert {document for document, visit in visits.items() if visit.headings != 1} == set()


def test_every_page_is_reached_by_links_from_the_first(visits):
    prefix = unquote(BOOK.as_uri()) + "/"
    todo, seen = ["index"], set()
    while todo:
        document = todo.pop()
        if document in visits and document not in seen:
            seen.add(document)
            todo += [link.removeprefix(prefix).removesuffix(".html")
                     for link in visits[document].links]
    assert seen == set(visits)


def test_every_link_into_the_book_leads_to_a_file(visits):
    links = set().union(*(visit.links for visit in visits.values()))
    assert {link for link in links if not Path(urlparse(link).path).is_file()} == set()


def test_every_image_loads_and_has_alt_text(visits):
    images = [(document, *image) for document, visit in visits.items() for image in visit.images]
    assert len(images) > 10
    assert [image for image in images if not image[2] or not image[3]] == []


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_shows_once_in_the_ink_of_the_theme(visits, theme):
    shown = [name for visit in visits.values() for name in visit.shown[theme]]
    figures = sum("-light" in source for visit in visits.values() for source, *_ in visit.images)
    assert len(shown) == figures > 5
    assert all(f"only-{theme}" in name for name in shown)


def test_the_first_page_follows_the_systems_dark_theme(browser):
    page, _ = watched_page(browser, theme="dark")
    page.goto(address("index"))
    assert all("only-dark" in name for name in figures_shown(page))


def test_no_page_scrolls_sideways_on_a_phone(visits):
    assert {document: visit.phone_width for document, visit in visits.items()
            if visit.phone_width > PHONE["width"]} == {}


def test_the_search_finds_pages_from_disk_and_no_runs(browser):
    page, problems = watched_page(browser)
    found = {}
    for word in ("bootstrap", "pairing", "seed"):
        page.goto(f"{address('search')}?q={word}")
        page.wait_for_selector("#search-results li a", timeout=10_000)
        page.wait_for_function("() => document.querySelector('#search-results p').innerText"
                               ".startsWith('Search finished')")
        found[word] = page.locator("#search-results li a").evaluate_all(
            "all => all.map(link => link.pathname.split('/').pop())")
    assert "comparing.html" in found["bootstrap"] and found["pairing"][0] == "comparing.html"
    assert not [name for name in found["seed"] if name.endswith("-runs.html")]
    assert problems == []


def test_previous_and_next_pass_the_runs_by(browser):
    page, _ = watched_page(browser)
    for document in all_documents():
        if document.endswith("/runs/index"):
            page.goto(address(document))
            ways = page.locator(".prev-next-footer a").evaluate_all("all => all.map(a => a.href)")
            assert ways and not [way for way in ways if way.endswith("-runs.html")]
            page.locator("article a[href$='-runs.html']").first.click()
            assert page.locator(".prev-next-footer a").count() == 0


def test_the_search_field_of_a_page_leads_to_results(browser):
    page, problems = watched_page(browser)
    page.goto(address("index"))
    page.keyboard.press("Control+k")
    page.keyboard.type("compression")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert problems == []


def test_the_wipe_changes_the_picture_and_the_cursor_follows_the_video(browser):
    page, problems = watched_page(browser)
    page.goto(address("see"))
    scores, canvas = page.locator("#see .scores"), page.locator("#see canvas")
    page.wait_for_function(SCORED, arg=1)
    page.wait_for_timeout(300)
    box, pictures = canvas.bounding_box(), []
    for share in (0.1, 0.9):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert f"left {share:.0%}" in canvas.get_attribute("aria-label")
        pictures.append(canvas.screenshot())
    page.get_by_label("Wipe").press("Home")
    assert "left 0%" in canvas.get_attribute("aria-label")
    page.get_by_role("button", name="Zoom in").click()
    pictures.append(canvas.screenshot())
    page.get_by_label("Left variant").select_option("constant")
    page.wait_for_function("() => document.querySelectorAll('#see polyline').length == 2")
    page.get_by_label("Frame").press("End")
    page.wait_for_function(SCORED, arg=30)
    assert page.locator("#see .cursor").get_attribute("x1") == "100"
    assert "constant" in scores.inner_text() and "optimized" in scores.inner_text()
    page.get_by_role("button", name="Next").click()
    page.wait_for_function("() => document.querySelector('#see .about').innerText.includes('% of')")
    assert page.locator("#see .count").inner_text() == "Clip 2 of 4"
    assert len(set(pictures)) == 3 and problems == []
    assert not page.locator(".see-pictures").is_visible()


def test_without_scripts_or_a_decoder_the_clips_are_pictures(browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address("see"))
    assert page.locator(".see-pictures img").count() == 4
    assert page.locator(".see-pictures img").first.is_visible()
    page, problems = watched_page(browser)  # nor do they play without a decoder
    page.add_init_script("HTMLMediaElement.prototype.canPlayType = () => ''")
    page.goto(address("see"))
    assert page.locator(".see-pictures img").first.is_visible()
    assert page.locator("#see canvas").count() == 0 and problems == []


def test_the_calculators_numbers_follow_the_form(browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address("costs"))
    example = page.locator("#calculated tbody").inner_text()
    page, problems = watched_page(browser)
    page.goto(address("costs"))
    cells, kinds = page.locator("#calculated tbody td"), page.get_by_label("What you have")
    assert kinds.locator(":checked").text_content().startswith("videos as they come")
    assert page.locator("#calculated tbody").inner_text() == example
    before = cells.all_inner_texts()
    page.get_by_label("How much").fill("100")
    after = cells.all_inner_texts()
    assert after[0] == "100" and float(after[1]) == pytest.approx(100 * float(before[1]), rel=0.1)
    assert after[6:8] == before[6:8] and after[9] != before[9]
    page.get_by_label("Link").fill("1000")
    assert cells.all_inner_texts()[:4] == after[:4] != cells.all_inner_texts()[4:6]
    kinds.select_option(index=1)  # crops, whose bytes are encoded at another pace
    assert cells.nth(9).inner_text() != after[9]
    page.get_by_label("Unit").select_option("clips")
    assert cells.nth(0).inner_text() not in ("100", "0.0")
    assert not page.locator("#gain").is_visible()
    kinds.select_option(label="H.264 at CRF 26 already")
    now = cells.all_inner_texts()
    assert page.locator("#gain").is_visible() and now[::2] == [*now[1::2][:4], "–"]
    assert problems == []


def test_a_point_says_its_numbers_under_the_mouse_and_with_the_focus(browser):
    page, problems = watched_page(browser)
    study = next(name for name in all_documents() if name.endswith("-published/index"))
    page.goto(address(study))
    points = page.locator(".themed-figure .point")
    told = points.first.locator("span")
    assert points.count() > 2 and not told.is_visible()
    points.first.focus()
    assert told.is_visible() and "of the bytes" in told.inner_text()
    assert points.first.get_attribute("aria-label") == told.inner_text()
    points.last.hover(force=True)
    assert points.last.locator("span").is_visible()
    assert problems == []


def test_a_page_of_the_dark_theme_is_printed_in_the_light_one_and_unfolded(browser):
    page, _ = watched_page(browser, theme="dark")
    page.goto(address("comparing"))
    seen = page.evaluate("""() => ['beforeprint', 'afterprint'].map(name => {
        window.dispatchEvent(new Event(name));
        return [document.documentElement.dataset.theme,
                document.querySelector('article details').open];
    })""")
    assert seen == [["light", True], ["dark", False]]


def test_a_figure_stays_legible_on_a_phone(browser):
    page, _ = watched_page(browser)
    page.set_viewport_size(PHONE)
    page.goto(address("index"))
    figure = page.locator(".themed-figure").first
    assert figure.locator("img:visible").bounding_box()["width"] > 400
    assert figure.get_attribute("tabindex") == "0"  # it scrolls by keyboard
    assert figure.locator("figcaption").bounding_box()["width"] < PHONE["width"]


def test_every_control_of_the_theme_has_a_name(browser):
    page, _ = watched_page(browser)
    page.goto(address("index"))
    names = page.locator("summary").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert names and all(names)
    assert page.locator(".search-button-field").first.get_attribute("aria-label") is None


def test_the_zipped_book_opens_from_disk(browser, tmp_path):
    """As `make zip` packs it."""
    packed = tmp_path / "leanclips.zip"
    subprocess.run([sys.executable, "-m", "zipfile", "-c", packed, BOOK.name], cwd=BOOK.parent,
                   check=True)
    shutil.unpack_archive(packed, tmp_path / "a new folder")
    page, problems = watched_page(browser)
    for name in ("index", "see"):
        page.goto((tmp_path / "a new folder" / BOOK.name / f"{name}.html").as_uri())
    page.wait_for_function(SCORED, arg=1)
    assert problems == []
