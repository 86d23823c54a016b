"""The README's picture of the book, its first page, of which some numbers can be read.

    make book
    python tests/benchmarks/picture.py

It needs Chromium. Take it again when records were published.
"""

import shutil

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from leanclips.files import write_bytes
from leanclips.layout import ROOT

BOOK = ROOT / "book"
PICTURE = BOOK / "_static" / "readme" / "book.webp"
SIZE, WIDTH, QUALITY = {"width": 1300, "height": 860}, 1000, 80


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto((BOOK / "_build" / "html" / "index.html").as_uri())
        taken = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        browser.close()
    height = round(WIDTH * SIZE["height"] / SIZE["width"])
    smaller = cv2.resize(taken, (WIDTH, height), interpolation=cv2.INTER_AREA)
    packed = cv2.imencode(".webp", smaller, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    write_bytes(PICTURE, packed.tobytes())


if __name__ == "__main__":
    main()
