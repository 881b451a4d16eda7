"""Take the screenshots of docs/pictures in Chromium: `make pictures` (chromium and playwright; a minute).

The sweep's page is made of results/sweeps, the comparison's of the folder that `make demo` writes; without that folder
its pictures stay as they are.
"""

import io
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from qtrain.errors import UserError
from qtrain.report.comparison.page import write_report
from qtrain.report.sweep.page import write_sweep_report

ROOT = Path(__file__).parents[1]
SWEEP = ROOT / "results" / "sweeps" / "cnv-digits"
DEMO = ROOT / "demo"
PICTURES = ROOT / "docs" / "pictures"
COLOURS = 256  # of a picture's palette, so that it stays small


@dataclass(frozen=True)
class Shot:
    """A screenshot.

    Attributes:
        name: of its file, without a suffix.
        start: selector of what is at the top of it.
        width: of the window, pixels.
        height: of the picture, pixels.
        scheme: light or dark.
    """

    name: str
    start: str
    width: int
    height: int
    scheme: str = "light"


SWEEP_SHOTS = (
    Shot("sweep", "h2:has-text('Recommended')", 1280, 900),
    Shot("sweep-narrow-dark", "h2:has-text('Recommended')", 400, 900, "dark"),
)
COMPARISON_SHOTS = (
    Shot("comparison", "h1", 1080, 900),
    Shot("comparison-curves-dark", "h2:has-text('How training went')", 1080, 700, "dark"),
)


def take(browser: Any, page_file: Path, shots: Sequence[Shot], out: Path) -> None:
    """Take the screenshots of one page."""
    for shot in shots:
        page = browser.new_page(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
        page.goto(page_file.as_uri())
        page.wait_for_selector(".main-svg")
        page.wait_for_timeout(500)  # names beside points come a moment after the plot
        top = page.locator(shot.start).first.evaluate("(e) => e.getBoundingClientRect().top + scrollY")
        below = page.evaluate("document.documentElement.scrollHeight") - shot.height
        clip = {"x": 0, "y": max(0, min(top - 16, below)), "width": shot.width, "height": shot.height}
        png = page.screenshot(full_page=True, clip=clip)
        page.close()
        small = (
            Image.open(io.BytesIO(png))
            .convert("RGB")
            .quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        small.save(out / f"{shot.name}.png", optimize=True)


def main() -> None:
    """Take all that there are records for."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("screenshots need chromium: apt-get install chromium")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        copy = Path(shutil.copytree(SWEEP, Path(scratch) / SWEEP.name))
        take(browser, write_sweep_report(copy), SWEEP_SHOTS, PICTURES)
        if (DEMO / "comparison.json").exists():
            take(browser, write_report(DEMO), COMPARISON_SHOTS, PICTURES)
        else:
            print(f"{DEMO} has no comparison, so its pictures stay as they are: make demo")
        browser.close()


if __name__ == "__main__":
    main()
