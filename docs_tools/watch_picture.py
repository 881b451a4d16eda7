"""The picture of ``qtrain watch`` for docs/runs.md, of recorded runs: ``python -m docs_tools.watch_picture``.

It also prints what ``qtrain runs`` says of the same folder.
"""

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from docs_tools.pages import DOCS
from qtrain.records.lock import held_folders
from qtrain.report.runs.read import Reader
from qtrain.report.runs.scan import scan
from qtrain.report.runs.table import print_runs
from qtrain.report.watch.server import serving
from qtrain.report.watch.state import Watched

RECORDED = Path(__file__).parents[1] / "results" / "campaign"
SHOWN = "choice-*-8bit-lr0.03-seed1[01].jsonl"
SIZE = {"width": 1120, "height": 1420}


def main() -> None:
    """Lay the recorded runs out as run folders, serve them, and take the picture."""
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        for path in sorted(RECORDED.glob(SHOWN)):
            folder = Path("runs", path.stem.removeprefix("choice-").replace("-8bit-lr0.03", ""))
            folder.mkdir(parents=True)
            shutil.copy(path, folder / "records.jsonl")
        with held_folders() as is_held:
            found = Reader(is_held).read(scan(Path("runs")))
        print_runs(found, found.runs)
        with serving(Watched(Path("runs"), held_folders)) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
            page.goto(address)
            page.wait_for_selector("[data-chart=lr] .curve")
            page.screenshot(path=DOCS / "watch.png")
            browser.close()


if __name__ == "__main__":
    main()
