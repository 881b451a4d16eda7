"""The sweep's page in a real browser: Chromium without a window, from file://, with everything logged."""

import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qtrain.report.sweep.page import render_sweep
from qtrain.report.sweep.recommend import recommend
from qtrain.report.sweep.rows import AXES, SweepData, read_sweep
from tests.browser import NARROW, SIZE, Opened, check_keyboard, check_readable, open_page
from tests.experiments.sweep.sweep_data import REASON, write_sweep

pytestmark = pytest.mark.slow  # a browser, page by page

ROOT = Path(__file__).parents[3]
# Boxes of the names beside the points, and of the points, in pixels.
_BOXES = """() => {
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
  const all = (selector) => [...document.querySelectorAll(selector)].map(box);
  return [all("#scatter .annotation-text"), all("#scatter .scatterlayer .points path")];
}"""


class OpenedSweep(Opened):
    """An open page of a sweep, and what its folder says."""

    data: SweepData


def _open(browser: Any, folder: Path, size: Any = SIZE, scheme: str = "light") -> OpenedSweep:
    """Open a folder's page; the still figures are left to other tests."""
    data = read_sweep(folder)
    path = folder / "report.html"
    path.write_text(render_sweep(data))
    found = open_page(browser, path, size, scheme)
    opened = OpenedSweep(found.page, found.path, found.errors, found.requests)
    opened.data = data
    found.page.wait_for_selector("#scatter .point")
    return opened


@pytest.fixture(scope="module")
def shared(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedSweep]:
    found = _open(browser, write_sweep(tmp_path_factory.mktemp("browser") / "out", widths=(1, 2, 8)))
    yield found
    found.close()


@pytest.fixture
def opened(shared: OpenedSweep) -> OpenedSweep:
    """The page with all controls as it opens; it is loaded once, as its script is large."""
    shared.page.mouse.move(0, 0)
    shared.page.select_option("#axis", "bops")
    shared.page.select_option("#kind", "test_accuracy")
    shared.page.check("#starts input[value=warm]")
    shared.page.uncheck("#seeds")
    shared.page.click("#free")
    return shared


def _click_point(page: Any, trace: int, point: int) -> None:
    """Click where plotly drew a point; a layer for dragging lies above it, so the mouse has to."""
    page.locator("#scatter").scroll_into_view_if_needed()
    box = page.locator(f"#scatter .scatterlayer .trace >> nth={trace}").locator(".point").nth(point).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#scatter .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#panel h3")


def test_the_axis_selector_changes_the_numbers_and_the_title(opened: OpenedSweep) -> None:
    for axis in AXES:
        opened.page.select_option("#axis", axis.key)
        for start, name in (("scratch", "from scratch"), ("warm", "warm start")):
            shown = [p for p in opened.data.points if p.start == start and p.cost(axis) is not None]
            drawn = opened.trace("scatter", name)
            assert drawn["x"] == [p.cost(axis) for p in shown]
            assert drawn["y"] == pytest.approx([p.mean() for p in shown])
        title = opened.page.evaluate("document.getElementById('scatter').layout.xaxis.title.text")
        assert title == axis.label
        front = opened.data.front(axis)
        assert opened.trace("scatter", "Pareto front")["x"] == [p.cost(axis) for p in front]


def test_a_click_on_a_point_opens_its_panel_with_its_command(opened: OpenedSweep) -> None:
    _click_point(opened.page, 1, 0)  # the front's line is the first trace
    scratch = [p for p in opened.data.points if p.start == "scratch" and p.mean() is not None]
    panel = opened.page.inner_text("#panel")
    assert opened.page.inner_text("#panel h3") == scratch[0].name
    assert opened.page.inner_text("#panel pre >> nth=0") == scratch[0].cells[0]["command"]
    assert "397 of 397 test images equal in graph and torch (seeds 0, 1, 2)" in panel
    assert f"{scratch[0].mean():.2f} ± {scratch[0].spread():.2f} %" in panel
    assert "12,000 of 230,400 (5.2 %)" in panel
    assert "cells/CNV_1W1A-seed0" in panel


def test_a_click_on_the_map_shows_the_verdict_with_its_reason(opened: OpenedSweep) -> None:
    cell = opened.page.locator("#map button", has_text="FINN refuses").first
    assert "✓ proven" in cell.inner_text()
    cell.click()
    assert f"✗ refused: {REASON}" in opened.page.inner_text("#panel")
    assert opened.page.locator("#map button.selected").count() == 1


def test_a_failed_cell_of_the_map_says_where_and_why(opened: OpenedSweep) -> None:
    cell = opened.page.locator("#map button", has_text="3 of 3 failed at train")
    cell.click()
    assert "the loss is nan in epoch 2 of 8, </script><b>not finite</b>" in opened.page.inner_text("#panel")


def test_the_filter_hides_warm_cells_and_the_front_follows(opened: OpenedSweep) -> None:
    opened.page.uncheck("#starts input[value=warm]")
    assert opened.trace("scatter", "warm start") == {}
    best = max(p.mean() or 0 for p in opened.data.points if p.start == "scratch")
    assert max(opened.trace("scatter", "Pareto front")["y"]) == pytest.approx(best)
    opened.page.check("#starts input[value=warm]")
    assert opened.trace("scatter", "warm start")["x"]


def test_single_seeds_are_dots_of_their_own(opened: OpenedSweep) -> None:
    opened.page.check("#seeds")
    rows = [row for row in opened.data.rows if row["start"] == "warm" and row["cost"]]
    assert opened.trace("scatter", "warm start")["y"] == [row["test_accuracy"] for row in rows]
    opened.page.select_option("#kind", "validation_accuracy")
    assert opened.trace("scatter", "warm start")["y"] == [row["validation_accuracy"] for row in rows]


def test_the_accuracy_selector_changes_the_map_too(opened: OpenedSweep) -> None:
    first = opened.data.points[0]
    expected = statistics.mean(cell["validation_accuracy"] for cell in first.cells)
    opened.page.select_option("#kind", "validation_accuracy")
    assert opened.page.inner_text("#map [data-point='0'] b").startswith(f"{expected:.1f}")


def test_curves_of_a_warm_start_follow_its_ancestors_epochs_beside_scratch(opened: OpenedSweep) -> None:
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


def test_the_keyboard_alone_opens_a_panel_and_its_focus_is_visible(opened: OpenedSweep) -> None:
    opened.page.focus("#points [data-point='1']")
    opened.page.keyboard.press("Shift+Tab")  # focus by key, not by script
    opened.page.keyboard.press("Tab")
    outline = opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    opened.page.keyboard.press("Enter")
    assert (outline, opened.page.inner_text("#panel h3")) == ("solid", opened.data.points[1].name)


def test_the_copy_button_says_that_it_copied(opened: OpenedSweep) -> None:
    opened.page.click("#points [data-point='0']")
    opened.page.click("#panel .copy >> nth=0")
    opened.page.wait_for_function("document.querySelector('#panel .copy').textContent !== 'Copy the command'")
    assert opened.page.inner_text("#panel .copy >> nth=0") == "Copied"


def test_a_screen_that_turns_dark_gets_light_axes(opened: OpenedSweep) -> None:
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
    found.close()


def shown_rows(page: Any) -> list[int]:
    """Return the points whose rows the table shows, in its order."""
    script = "(b) => b.filter((e) => e.getClientRects().length).map((e) => Number(e.dataset.point))"
    return page.locator("#points [data-point]").evaluate_all(script)  # type: ignore[no-any-return]


def test_the_recommended_point_is_selected_and_its_reason_stated(browser: Any, tmp_path: Path) -> None:
    found = _open(browser, write_sweep(tmp_path, widths=(1, 2), seeds=(0, 1)))
    recommended = recommend(found.data)
    assert recommended.point is not None
    assert found.page.inner_text("#panel h3") == recommended.point.name
    assert recommended.reason in found.page.inner_text("main").replace("\n", " ")
    place = found.data.points.index(recommended.point)
    assert "recommended" in found.page.inner_text(f"#points td:has([data-point='{place}'])")
    found.close()


def test_limits_act_on_the_plot_and_the_table(opened: OpenedSweep) -> None:
    lut, fps = AXES[2], AXES[4]
    stops = sorted({cost for p in opened.data.points if (cost := p.cost(lut)) is not None})
    opened.page.focus("#limit-lut")
    opened.page.keyboard.press("End")
    for _ in range(2):
        opened.page.keyboard.press("ArrowLeft")
    allowed = stops[-3]
    assert opened.page.get_attribute("#limit-lut", "aria-valuetext") == f"at most {allowed:,.0f}"
    within = [i for i, p in enumerate(opened.data.points) if (cost := p.cost(lut)) is not None and cost <= allowed]
    assert shown_rows(opened.page) == within
    opened.page.select_option("#axis", "lut")
    drawn = [x for name in ("from scratch", "warm start") for x in opened.trace("scatter", name)["x"]]
    assert sorted(drawn) == sorted(opened.data.points[i].cost(lut) for i in within)
    opened.page.focus("#limit-fps")
    opened.page.keyboard.press("End")
    fastest = max(opened.data.points[i].cost(fps) or 0 for i in range(len(opened.data.points)))
    assert [i for i in within if opened.data.points[i].cost(fps) == fastest] == shown_rows(opened.page)
    opened.page.focus("#limit-accuracy")
    opened.page.keyboard.press("End")
    assert f"of {len(opened.data.points)} points are within" in opened.page.inner_text("#counted")
    opened.page.click("#free")
    assert len(shown_rows(opened.page)) == len(opened.data.points)


@pytest.mark.parametrize(("column", "axis"), [(3, AXES[0]), (5, AXES[2])])
def test_the_table_sorts_by_a_cost_and_what_has_none_comes_last(opened: OpenedSweep, column: int, axis: Any) -> None:
    head = opened.page.locator(f"#points th:nth-child({column + 1})")
    for way in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == way
        costs = [opened.data.points[i].cost(axis) for i in shown_rows(opened.page)]
        known = [float(f"{cost:.3g}") for cost in costs if cost is not None]
        assert known == sorted(known, reverse=way == "descending")
        assert costs[len(known) :] == [None] * (len(costs) - len(known))


@pytest.mark.parametrize("axis", ["bops", "lut", "fps"])
@pytest.mark.parametrize("width", [1360, 400])
def test_names_beside_points_lie_on_no_other_and_on_no_point(opened: OpenedSweep, axis: str, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.select_option("#axis", axis)
    opened.page.wait_for_timeout(300)  # the plot takes its new width a moment later
    names, points = opened.page.evaluate(_BOXES)
    opened.page.set_viewport_size(SIZE)

    def meet(a: list[float], b: list[float]) -> bool:
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    assert len(names) >= 2
    assert [(i, j) for i, a in enumerate(names) for j, b in enumerate(names) if i < j and meet(a, b)] == []
    middles = [[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] * 2 for b in points]
    assert [a for a in names for m in middles if meet(a, m)] == []


def test_the_keyboard_reaches_every_control(opened: OpenedSweep) -> None:
    reached = check_keyboard(opened.page)
    assert reached.index("limit-accuracy") < reached.index("axis") < reached.index("panel")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, SIZE], ids=["400", "1360"])
def test_all_can_be_read_on_any_screen(browser: Any, tmp_path: Path, size: Any, scheme: str) -> None:
    found = _open(browser, write_sweep(tmp_path, widths=(1, 2, 8), seeds=(0, 1), search=2), size, scheme)
    check_readable(found.page)
    found.page.locator("#map button").first.click()
    check_readable(found.page)
    found.close()


@pytest.mark.parametrize("name", ["cnv-digits", "cnv-digits-warm", "cnv-digits-search"])
def test_a_sweep_that_was_recorded_long_ago_is_a_page_of_today(browser: Any, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(ROOT / "results" / "sweeps" / name, tmp_path / name)
    found = _open(browser, folder, NARROW)
    assert found.page.inner_text("#panel h3") in {point.name for point in found.data.points}
    check_readable(found.page)
    found.close()


def test_other_accuracies_free_the_limit_of_accuracy_alone(opened: OpenedSweep) -> None:
    for key in ("accuracy", "lut"):
        opened.page.focus(f"#limit-{key}")
        opened.page.keyboard.press("ArrowRight" if key == "accuracy" else "ArrowLeft")
    before = opened.page.get_attribute("#limit-lut", "aria-valuetext")
    opened.page.select_option("#kind", "validation_accuracy")
    assert opened.page.get_attribute("#limit-accuracy", "aria-valuetext") == "any"
    assert opened.page.get_attribute("#limit-lut", "aria-valuetext") == before != "any"
