"""The sweep's page in a real browser: Chromium without a window, from file://, with everything logged."""

import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qtrain.report.sweep.page import render_sweep
from qtrain.report.sweep.rows import AXES, SweepData, read_sweep
from tests.conftest import absent
from tests.experiments.sweep.sweep_data import REASON, write_sweep

SIZE: Any = {"width": 1360, "height": 1100}


@dataclass
class Opened:
    """An open page, what the folder says, and what the browser complained of or asked for."""

    page: Any
    data: SweepData
    folder: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def trace(self, name: str) -> dict[str, Any]:
        """What plotly draws under a name, empty where there is nothing."""
        found = "document.getElementById('scatter').data.find((t) => t.name === name)"
        return self.page.evaluate(f"(name) => {{ const t = {found}; return t ? {{x: t.x, y: t.y}} : {{}}; }}", name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium", "apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("chromium", "pip install playwright")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def _open(browser: Any, folder: Path) -> Opened:
    """Open a folder's page; the still figures are left to other tests."""
    data = read_sweep(folder)
    (folder / "report.html").write_text(render_sweep(data))
    page = browser.new_page(viewport=SIZE)
    found = Opened(page, data, folder)
    page.on("console", lambda message: found.errors.append(message.text))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("#scatter .point")
    return found


def _close(found: Opened) -> None:
    found.page.close()
    assert found.errors == []
    assert found.requests == [(found.folder / "report.html").as_uri()]


@pytest.fixture(scope="module")
def shared(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    found = _open(browser, write_sweep(tmp_path_factory.mktemp("browser") / "out", widths=(1, 2, 8)))
    yield found
    _close(found)


@pytest.fixture
def opened(shared: Opened) -> Opened:
    """The page with all controls as it opens; it is loaded once, as its script is large."""
    shared.page.mouse.move(0, 0)
    shared.page.select_option("#axis", "bops")
    shared.page.select_option("#kind", "test_accuracy")
    shared.page.check("#starts input[value=warm]")
    shared.page.uncheck("#seeds")
    return shared


def _click_point(page: Any, trace: int, point: int) -> None:
    """Click where plotly drew a point; a layer for dragging lies above it, so the mouse has to."""
    box = page.locator(f"#scatter .scatterlayer .trace >> nth={trace}").locator(".point").nth(point).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#scatter .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#panel h3")


def test_the_axis_selector_changes_the_numbers_and_the_title(opened: Opened) -> None:
    for axis in AXES:
        opened.page.select_option("#axis", axis.key)
        for start, name in (("scratch", "from scratch"), ("warm", "warm start")):
            shown = [p for p in opened.data.points if p.start == start and p.cost(axis) is not None]
            drawn = opened.trace(name)
            assert drawn["x"] == [p.cost(axis) for p in shown]
            assert drawn["y"] == pytest.approx([p.mean() for p in shown])
        title = opened.page.evaluate("document.getElementById('scatter').layout.xaxis.title.text")
        assert title == axis.label
        front = opened.data.front(axis)
        assert opened.trace("Pareto front")["x"] == [p.cost(axis) for p in front]


def test_a_click_on_a_point_opens_its_panel_with_its_command(opened: Opened) -> None:
    _click_point(opened.page, 1, 0)  # the front's line is the first trace
    scratch = [p for p in opened.data.points if p.start == "scratch" and p.mean() is not None]
    panel = opened.page.inner_text("#panel")
    assert opened.page.inner_text("#panel h3") == scratch[0].name
    assert opened.page.inner_text("#panel pre >> nth=0") == scratch[0].cells[0]["command"]
    assert "397 of 397 test images equal in graph and torch (seeds 0, 1, 2)" in panel
    assert f"{scratch[0].mean():.2f} ± {scratch[0].spread():.2f} %" in panel
    assert "12,000 of 230,400 (5.2 %)" in panel
    assert "cells/CNV_1W1A-seed0" in panel


def test_a_click_on_the_map_shows_the_verdict_with_its_reason(opened: Opened) -> None:
    cell = opened.page.locator("#map button", has_text="FINN refuses").first
    assert "✓ proven" in cell.inner_text()
    cell.click()
    assert f"✗ refused: {REASON}" in opened.page.inner_text("#panel")
    assert opened.page.locator("#map button.selected").count() == 1


def test_a_failed_cell_of_the_map_says_where_and_why(opened: Opened) -> None:
    cell = opened.page.locator("#map button", has_text="3 of 3 failed at train")
    cell.click()
    assert "the loss is nan in epoch 2 of 8, </script><b>not finite</b>" in opened.page.inner_text("#panel")


def test_the_filter_hides_warm_cells_and_the_front_follows(opened: Opened) -> None:
    opened.page.uncheck("#starts input[value=warm]")
    assert opened.trace("warm start") == {}
    best = max(p.mean() or 0 for p in opened.data.points if p.start == "scratch")
    assert max(opened.trace("Pareto front")["y"]) == pytest.approx(best)
    opened.page.check("#starts input[value=warm]")
    assert opened.trace("warm start")["x"]


def test_single_seeds_are_dots_of_their_own(opened: Opened) -> None:
    opened.page.check("#seeds")
    rows = [row for row in opened.data.rows if row["start"] == "warm" and row["cost"]]
    assert opened.trace("warm start")["y"] == [row["test_accuracy"] for row in rows]
    opened.page.select_option("#kind", "validation_accuracy")
    assert opened.trace("warm start")["y"] == [row["validation_accuracy"] for row in rows]


def test_the_accuracy_selector_changes_the_map_too(opened: Opened) -> None:
    first = opened.data.points[0]
    expected = statistics.mean(cell["validation_accuracy"] for cell in first.cells)
    opened.page.select_option("#kind", "validation_accuracy")
    assert opened.page.inner_text("#map [data-point='0'] b").startswith(f"{expected:.1f}")


def test_curves_of_a_warm_start_follow_its_ancestors_epochs_beside_scratch(opened: Opened) -> None:
    warm = next(i for i, p in enumerate(opened.data.points) if p.start == "warm")
    opened.page.click(f"#points [data-point='{warm}']")
    traces = opened.page.evaluate("document.getElementById('curves').data.map((t) => ({name: t.name, x: t.x, y: t.y}))")
    rows = [*opened.data.points[0].cells, *opened.data.points[warm].cells]
    assert [t["y"] for t in traces] == [row["curve"]["validation_accuracy"] for row in rows]
    assert [t["x"][0] for t in traces] == [1] * 3 + [rows[-1]["total_epochs"] - rows[-1]["epochs"] + 1] * 3
    assert [t["x"][-1] for t in traces] == [rows[0]["total_epochs"]] * 6
    opened.page.select_option("#curve", "train_loss")
    losses = opened.page.evaluate("document.getElementById('curves').data.map((t) => t.y)")
    assert losses == [row["curve"]["train_loss"] for row in rows]


def test_the_keyboard_alone_opens_a_panel_and_its_focus_is_visible(opened: Opened) -> None:
    opened.page.focus("#points [data-point='1']")
    opened.page.keyboard.press("Shift+Tab")  # focus by key, not by script
    opened.page.keyboard.press("Tab")
    outline = opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    opened.page.keyboard.press("Enter")
    assert (outline, opened.page.inner_text("#panel h3")) == ("solid", opened.data.points[1].name)


def test_the_copy_button_says_that_it_copied(opened: Opened) -> None:
    opened.page.click("#points [data-point='0']")
    opened.page.click("#panel .copy >> nth=0")
    opened.page.wait_for_function("document.querySelector('#panel .copy').textContent !== 'Copy the command'")
    assert opened.page.inner_text("#panel .copy >> nth=0") == "Copied"


def test_a_screen_that_turns_dark_gets_light_axes(opened: Opened) -> None:
    ink = "document.getElementById('scatter').layout.font.color"
    assert opened.page.evaluate(ink) == "#1c2330"
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(f"{ink} === '#e6e9ee'")
    opened.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize(("options", "axes"), [({"board": False}, 2), ({"expressions": ("", "first=8,last=8")}, 5)])
def test_a_page_without_a_board_or_with_expressions_works(
    browser: Any, tmp_path: Path, options: dict[str, Any], axes: int
) -> None:
    found = _open(browser, write_sweep(tmp_path, widths=(1, 2), seeds=(0,), warm=False, **options))
    name = "CNV_2W1A"
    assert found.page.locator("#axis option").count() == axes
    if "expressions" in options:
        found.page.select_option("#grid", "scratch|first=8,last=8")
        name += " first=8,last=8"
    found.page.click("#map button >> nth=0")
    assert found.page.inner_text("#panel h3") == name
    _close(found)
