"""The pages of a comparison and of several in a real browser: with mouse, with keyboard, on a small screen."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qtrain.report.comparison.grid import write_grid_report
from qtrain.report.comparison.page import render
from qtrain.report.comparison.read import ComparisonData, read_comparison
from tests.browser import NARROW, Opened, check_keyboard, check_readable, open_page, opened_page
from tests.report.comparison.report_data import ACCURACIES, edit, write_comparison

pytestmark = pytest.mark.slow  # a browser, page by page

SCHEDULERS = ("aslr", "multistep", "cosine")


def write_page(folder: Path) -> Path:
    """Write a comparison's page, its still figures left to other tests."""
    path = folder / "report.html"
    path.write_text(render(read_comparison(folder), {}), encoding="utf-8")
    return path


def write_grid(folder: Path) -> Path:
    """Write the comparisons of two networks, the second on another data set."""
    folder.mkdir()
    names = ["CNV_1W1A", "CNV_2W2A"]
    for name in names:
        write_comparison(folder / name)
    edit(folder / "CNV_2W2A" / "comparison.json", lambda v: v["recipe"].update(network="CNV_2W2A", data="letters"))
    (folder / "grid.json").write_text(json.dumps({"format": 1, "networks": names, "planned": names}))
    return write_grid_report(folder)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(write_comparison(tmp_path_factory.mktemp("browser") / "cmp", SCHEDULERS))


@pytest.fixture(scope="module")
def data(page_file: Path) -> ComparisonData:
    return read_comparison(page_file.parent)


@pytest.fixture(scope="module")
def shared(browser: Any, page_file: Path) -> Iterator[Opened]:
    found = open_page(browser, page_file)
    yield found
    found.close()


@pytest.fixture
def opened(shared: Opened) -> Opened:
    """The page with all controls as it opens."""
    for box in shared.page.locator("#shown input").all():
        box.check()
    shared.page.check("#curve input[value=validation_accuracy]")
    return shared


def curves_of(data: ComparisonData, scheduler: str) -> dict[int, list[float]]:
    return {run.seed: [epoch.validation_accuracy for epoch in run.epochs] for run in data.of(scheduler)}


def test_the_mouse_finds_every_value(opened: Opened) -> None:
    assert opened.hover("accuracy", "multistep", 0) == "multistep, seed 0test accuracy 82.00 %"
    assert "mean of 3test accuracy 82.25 ± 0.90 %" in opened.hover("accuracy", "aslr, mean", 0)
    assert "0.33 points, 95 % interval -1.85 to 2.51undecided" in opened.hover("differences", "multistep", 0)
    assert opened.hover("curves", "cosine, seed 2", 1).endswith("epoch 2: 72.00")


def test_a_seed_that_is_switched_off_leaves_all_plots_and_no_mean_or_table(opened: Opened) -> None:
    rows = opened.page.inner_text("table >> nth=0")
    means = opened.trace("accuracy", "aslr, mean")
    opened.page.uncheck("#seeds input[value='1']")
    assert opened.trace("accuracy", "aslr")["y"] == [ACCURACIES["aslr"][seed] for seed in (0, 2)]
    assert opened.trace("curves", "aslr, seed 1") == {}
    assert opened.trace("curves", "aslr, seed 2")["y"] != []
    assert opened.trace("accuracy", "aslr, mean") == means
    assert opened.page.inner_text("table >> nth=0") == rows
    assert "seed 1" not in opened.page.inner_text("#at-epoch")


def test_a_scheduler_that_is_switched_off_leaves_all_plots(opened: Opened) -> None:
    opened.page.uncheck("#schedulers input[value=multistep]")
    assert opened.trace("accuracy", "multistep") == {}
    assert [t["name"] for t in opened.traces("curves") if t["name"] and "multistep" in t["name"]] == []
    assert "multistep" not in opened.page.inner_text("#at-epoch")


def test_every_seed_has_each_curve_as_recorded(opened: Opened, data: ComparisonData) -> None:
    kinds = {"validation_accuracy": "validation_accuracy", "train_loss": "loss", "validation_loss": "validation_loss"}
    for kind, name in {**kinds, "lr": "lr"}.items():
        opened.page.check(f"#curve input[value={kind}]")
        for run in data.runs:
            drawn = opened.trace("curves", f"{run.scheduler}, seed {run.seed}")
            assert drawn["y"] == pytest.approx([getattr(epoch, name) for epoch in run.epochs], rel=1e-5)
            assert drawn["x"] == [1, 2, 3]
        assert opened.page.inner_text("#curve-words") != ""
        said = opened.page.get_attribute("#curves", "aria-label")
        assert said.lower().startswith(opened.page.inner_text("#curve label:has(input:checked)").strip())
    draws = opened.trace("curves", "aslr, last draws")
    assert draws["y"] == pytest.approx([rate for e in data.of("aslr")[0].epochs for rate in e.draws.values()])


def test_the_slider_tells_the_values_of_an_epoch_without_a_mouse(opened: Opened, data: ComparisonData) -> None:
    opened.page.focus("#epoch")
    opened.page.keyboard.press("Home")
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.inner_text("#epoch-shown") == "2 of 3"
    for row in opened.page.locator("#at-epoch tbody tr").all():
        scheduler, *cells = row.inner_text().split("\t")
        values = [curve[1] for curve in curves_of(data, scheduler).values()]
        assert [float(cell) for cell in cells] == pytest.approx([statistics.mean(values), *values], abs=0.005)


def test_a_head_sorts_its_table_both_ways_with_the_keyboard_alone(opened: Opened) -> None:
    head = opened.page.locator("table.sortable >> nth=0").locator("th >> nth=1")
    column = "table.sortable >> nth=0 >> tbody td:first-child"
    ways = []
    for _ in range(2):
        head.locator("button").focus()
        opened.page.keyboard.press("Enter")
        ways.append(
            (head.get_attribute("aria-sort"), [t.strip() for t in opened.page.locator(column).all_inner_texts()])
        )
    assert ways == [("ascending", ["cosine", "multistep", "aslr"]), ("descending", ["aslr", "multistep", "cosine"])]
    others = opened.page.locator("table.sortable >> nth=0").locator("th:not(:nth-child(2))")
    assert {other.get_attribute("aria-sort") for other in others.all()} == {"none"}


def test_the_keyboard_reaches_every_control_in_the_pages_order(opened: Opened) -> None:
    reached = check_keyboard(opened.page)
    assert reached.index("theme") < reached.index("aslr") < reached.index("means") < reached.index("epoch")


def test_the_switch_turns_colours_over_and_the_plots_with_them(opened: Opened) -> None:
    ink = "document.getElementById('curves').layout.font.color"
    assert (opened.page.evaluate(ink), opened.page.get_attribute("#theme", "aria-pressed")) == ("#1c2330", "false")
    opened.page.click("#theme")
    assert (opened.page.evaluate(ink), opened.page.get_attribute("#theme", "aria-pressed")) == ("#e6e9ee", "true")
    check_readable(opened.page)
    opened.page.click("#theme")
    assert opened.page.evaluate(ink) == "#1c2330"


def test_the_copy_button_copies_the_command(opened: Opened) -> None:
    opened.page.click("[data-copy=command]")
    opened.page.wait_for_function("document.querySelector('[data-copy=command]').textContent !== 'Copy the command'")
    assert opened.page.inner_text("[data-copy=command]") == "Copied"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, {"width": 1280, "height": 900}], ids=["400", "1280"])
def test_all_can_be_read_on_any_screen(browser: Any, page_file: Path, size: Any, scheme: str) -> None:
    with opened_page(browser, page_file, size, scheme) as found:
        dark = found.page.evaluate("document.getElementById('accuracy').layout.font.color") == "#e6e9ee"
        assert dark == (scheme == "dark")
        check_readable(found.page)


@pytest.mark.parametrize("by", [-9.0, 9.0], ids=["behind", "ahead"])
def test_the_lines_of_a_clear_difference_keep_their_words(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    monkeypatch.setitem(ACCURACIES, "aslr", tuple(by + accuracy for accuracy in ACCURACIES["multistep"]))
    with opened_page(browser, write_page(write_comparison(tmp_path / "clear")), NARROW) as found:
        check_readable(found.page)
        assert found.page.locator("#differences .annotation-text").all_text_contents() == ["equal", "tolerance 0.5"]


def test_one_seed_is_a_page_without_intervals_and_runs_that_all_failed_are_one_too(
    browser: Any, tmp_path: Path
) -> None:
    folder = write_comparison(tmp_path / "one", seeds=1)
    with opened_page(browser, write_page(folder)) as found:
        assert "one seed has no interval" in found.hover("differences", "multistep", 0)
        assert found.trace("curves", "aslr, seed 0")["y"] == [60.0, 70.0, 80.0]
    failed = [
        {**cell, "reason": "the loss is nan"} for cell in json.loads((folder / "comparison.json").read_text())["cells"]
    ]
    edit(folder / "comparison.json", lambda v: v.update(cells=[], failed=failed))
    with opened_page(browser, write_page(folder)) as found:
        assert "aslr diverged" in found.page.inner_text(".lead")


def test_a_grid_is_one_page_with_every_network(browser: Any, tmp_path: Path) -> None:
    path = write_grid(tmp_path / "grid")
    with opened_page(browser, path, NARROW, "dark") as found:
        check_readable(found.page)
        assert found.page.locator("#network option").all_inner_texts() == ["CNV_1W1A", "CNV_2W2A"]
        assert found.trace("accuracy", "aslr")["y"] == [value for _ in range(2) for value in ACCURACIES["aslr"]]
        assert "CNV_2W2A on letters" in found.hover("accuracy", "aslr", 5)
        found.page.select_option("#network", "1")
        assert "CNV_2W2A" in found.page.inner_text("table.sortable tbody")
        command = found.page.inner_text("#command")
        assert [line for line in command.splitlines() if line.startswith("qtrain")][1].startswith(
            "qtrain compare CNV_2W2A"
        )
