"""The page of qtrain watch in a real browser: Chromium without a window, under the page's own strict policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qtrain.records.lock import held_folders
from qtrain.report.watch.server import serving
from qtrain.report.watch.state import CURVES, Watched
from tests.experiments.sweep.sweep_data import write_sweep
from tests.report.runs.run_folders import add_epoch, write_run

pytestmark = pytest.mark.slow  # a browser, page by page

WIDE: Any = {"width": 1280, "height": 1000}
NARROW: Any = {"width": 400, "height": 900}
CURVE = "[data-chart={}] .curve"
EVIL = "<img src=x onerror=alert(1)>"

# For every element with text of its own: its contrast against the nearest background behind it, where it is too low.
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const back = numbers(getComputedStyle(node).backgroundColor);
    if (back.length < 4 || back[3] === 1) return back;
  } return [255, 255, 255]; };
  const low = [];
  let looked = 0;
  for (const node of document.querySelectorAll("main *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = numbers(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    looked += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([node.tagName, node.textContent.slice(0, 30), (a + 0.05) / (b + 0.05)]);
  }
  return {low, looked};
}"""


@dataclass
class Opened:
    """An open page, and what the browser complained of or asked for."""

    page: Any
    folder: Path
    address: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def cells(self, name: str) -> list[str]:
        """Return the texts of a run's row in the table."""
        row = self.page.locator("#runs tbody tr", has=self.page.locator(f"td.folder:text-is('{self.folder / name}')"))
        return [text.strip() for text in row.locator("td").all_inner_texts()]

    def wait(self, condition: str) -> None:
        """Wait until something is so in the page, whose policy forbids what ``wait_for_function`` does."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not so within 20 seconds: {condition}")

    @property
    def order(self) -> list[str]:
        """The names of the runs in the table."""
        return [Path(text).name for text in self.page.locator("#runs td.folder").all_inner_texts()]


@contextmanager
def opened(browser: Any, folder: Path, size: Any = WIDE, scheme: str = "light") -> Iterator[Opened]:
    """Serve and open a folder's page; at the end nothing may have gone wrong, and nothing been asked for elsewhere."""
    with serving(Watched(folder, held_folders)) as address:
        page = browser.new_page(viewport=size, color_scheme=scheme)
        found = Opened(page, folder, address)
        page.on("console", lambda message: found.errors.append(message.text))
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(address)
        found.wait("document.getElementById('status').textContent.startsWith('up to date')")
        yield found
        page.close()
    assert found.errors == []
    assert all(url.startswith((address, "data:")) for url in found.requests)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a folder with a run that trains, an old one that stopped, and one that has a strange name."""
    write_run(tmp_path / "new", done=2, epochs=40, age=0)
    write_run(tmp_path / "old", done=3, seed=10, scheduler="multistep")
    write_run(tmp_path / EVIL.replace("/", ""), seed=9)
    return tmp_path


def test_the_page_follows_a_run_while_it_grows(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        assert found.page.locator(CURVE.format("loss")).count() == 3
        assert "2/40" in found.cells("new")
        add_epoch(three / "new", 3, validation_accuracy=99.5, loss=0.125, lr=0.25)
        found.wait("document.querySelector('#runs').textContent.includes('3/40')")
        assert "99.50" in found.cells("new")
        assert "99.50" in found.page.inner_text("#tiles")
        found.wait("document.querySelector('#values').textContent.includes('0.125')")
        write_run(three / "next", done=1, age=0)
        found.wait("document.querySelectorAll('#runs tbody tr').length === 4")
        (three / "old" / "records.jsonl").write_text("{broken\n")
        found.wait("!document.getElementById('damaged').hidden")
        assert str(three / "old" / "records.jsonl") in found.page.inner_text("#damages")


def test_names_are_text_and_never_markup(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        assert found.page.locator("main img").count() == 0
        assert EVIL.replace("/", "") in found.page.inner_text("#runs")


def test_a_running_run_has_its_time_left(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        assert "running?" in found.cells("new")
        assert found.cells("new")[-1].endswith(" s")
        assert "time left, about" in found.page.inner_text("#tiles")


def test_ticks_choose_the_curves(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        for box in found.page.locator("#runs input").all():
            box.uncheck()
        found.wait("document.querySelectorAll('.curve').length === 0")
        assert found.page.inner_text("[data-chart=loss] figcaption") == "No epoch yet."
        found.page.check(f"[aria-label='curves of {three / 'old'}']")
        found.wait("document.querySelectorAll('[data-chart=lr] .curve').length === 1")
        assert found.page.locator("#values tbody tr").all_inner_texts()[0].split() == [
            *(str(three / "old"), "1", "0.5", "63", "0.1"),
        ]


def test_more_runs_than_colours_are_chosen_from(browser: Any, tmp_path: Path) -> None:
    for i in range(CURVES + 2):
        write_run(tmp_path / f"run{i}", age=1000.0 + i)
    with opened(browser, tmp_path) as found:
        found.wait(f"document.querySelectorAll('[data-chart=loss] .curve').length === {CURVES}")
        strokes = found.page.eval_on_selector_all(CURVE.format("loss"), "all => all.map(c => c.getAttribute('stroke'))")
        assert len(set(strokes)) == CURVES
        assert found.page.is_disabled(f"[aria-label='curves of {tmp_path / f'run{CURVES + 1}'}']")
        found.page.uncheck(f"[aria-label='curves of {tmp_path / 'run0'}']")
        found.page.check(f"[aria-label='curves of {tmp_path / f'run{CURVES + 1}'}']")
        assert found.order == [f"run{i}" for i in range(CURVES + 2)]


def test_the_table_is_sorted_and_filtered(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        head = found.page.locator("#runs th[data-key=seed]")
        head.locator("button").click()
        assert (found.order[0], head.get_attribute("aria-sort")) == ("new", "ascending")
        head.locator("button").click()
        assert (found.order[0], head.get_attribute("aria-sort")) == ("old", "descending")
        found.page.fill("#filter", "multistep stopped")
        assert found.order == ["old"]
        assert found.page.inner_text("#count") == "1 of 3 runs"


def test_the_epoch_can_be_chosen_by_keys_and_by_pointing(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        page = found.page
        assert (page.inner_text("#at"), page.get_attribute("#follow", "aria-pressed")) == ("4", "true")
        page.focus("#epoch")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert (page.inner_text("#at"), page.get_attribute("#follow", "aria-pressed")) == ("2", "false")
        row = page.locator("#values tbody tr", has_text=str(three / "old"))
        assert row.inner_text().split()[1:] == ["1", "0.5", "62", "0.1"]
        box = page.locator("[data-chart=loss] svg").bounding_box()
        page.mouse.move(box["x"] + 52, box["y"] + 50)
        assert page.inner_text("#at") == "1"
        page.focus("#follow")
        page.keyboard.press("Enter")
        assert page.inner_text("#at") == "4"


def test_all_controls_are_reached_by_keys_with_a_visible_focus(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        seen = []
        for _ in range(60):
            found.page.keyboard.press("Tab")
            seen.append(
                found.page.evaluate(
                    "[document.activeElement.tagName, document.activeElement.id || document.activeElement.ariaLabel || "
                    "document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
            if seen[-1][0] == "BODY":
                break
        reached = {name for _, name, _ in seen}
        assert {"epoch", "follow", "filter", "frames/s", f"curves of {three / 'new'}", "Table of the runs"} <= reached
        assert all(outline == "solid" for tag, _, outline in seen if tag != "BODY")


def test_a_row_keeps_the_focus_while_the_page_is_brought_up_to_date(browser: Any, three: Path) -> None:
    with opened(browser, three) as found:
        found.page.focus(f"[aria-label='curves of {three / 'old'}']")
        write_run(three / "a-first", age=0)
        found.wait("document.querySelectorAll('#runs tbody tr').length === 4")
        assert found.order[0] != "old"
        assert found.page.evaluate("document.activeElement.ariaLabel") == f"curves of {three / 'old'}"


def test_a_server_that_has_ended_is_said(browser: Any, three: Path) -> None:
    with serving(Watched(three, held_folders)) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#runs tbody tr")
    page.wait_for_selector("#trouble:not([hidden])", timeout=20_000)
    assert "qtrain watch has ended" in page.inner_text("#trouble")
    assert page.locator("#runs tbody tr").count() == 3
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_is_readable_at_every_width_in_light_and_dark(browser: Any, tmp_path: Path, size: Any, scheme: str) -> None:
    write_sweep(tmp_path / "sweep", widths=(1, 8), seeds=(0,))
    write_run(tmp_path / "a-run-with-a-name-that-does-not-end-soon-and-has-no-place-to-break_at_all", done=2, age=0)
    write_run(tmp_path / "bad")
    (tmp_path / "bad" / "failed.json").write_text("{")
    with opened(browser, tmp_path, size, scheme) as found:
        found.page.wait_for_selector(CURVE.format("loss"), state="attached")
        assert found.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        contrast = found.page.evaluate(CONTRAST)
        assert contrast["looked"] > 50
        assert contrast["low"] == []
        background = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 22, 28)") == (scheme == "dark")


def test_an_empty_folder_fills_up(browser: Any, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as found:
        assert found.page.inner_text("#count") == "0 runs"
        write_run(tmp_path / "first", done=1, age=0)
        found.wait("document.querySelectorAll('.curve').length === 3")
