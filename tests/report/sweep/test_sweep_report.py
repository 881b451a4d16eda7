"""A sweep's points, Pareto fronts, tables, figures and page: made of the recorded rows alone, damage told in a line."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.records.files import write_json
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.figures import accuracy_by_cost, heat_map
from qtrain.report.sweep.page import picture_texts, print_sweep, sweep_markdown, write_sweep_report
from qtrain.report.sweep.pareto import pareto_front
from qtrain.report.sweep.rows import AXES, Point, SweepData, read_sweep
from qtrain.report.sweep.tables import sweep_verdict, warm_table
from tests.experiments.sweep.sweep_data import REASON, edit_rows, write_sweep
from tests.report.comparison.report_data import Page, without_plotly

BOPS, WEIGHTS, LUT, BRAM, FPS = AXES
numbers = st.integers(0, 6)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("sweep") / "out", widths=(1, 2, 8), search=3)


@pytest.fixture(scope="module")
def data(sweep: Path) -> SweepData:
    return read_sweep(sweep)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "out", widths=(1, 2), seeds=(0, 1), warm=False)


def point(data: SweepData, network: str, start: str = "scratch") -> Point:
    (found,) = [p for p in data.points if (p.network, p.start, p.bits) == (network, start, "")]
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]


def page_data(folder: Path) -> Any:
    text = (folder / "report.html").read_text()
    return json.loads(text.partition('id="sweep-data">')[2].partition("</script>")[0])


# Pareto fronts


def test_a_front_goes_from_the_best_cost_to_the_best_accuracy() -> None:
    assert pareto_front([3, 1, 2, 4], [70, 50, 60, 65]) == [1, 2, 0]
    assert pareto_front([3, 1, 2, 4], [70, 50, 60, 65], more_is_better=True) == [3, 0]


def test_equal_points_are_on_a_front_together_and_half_equal_ones_are_not() -> None:
    assert pareto_front([1, 1, 1, 2], [50, 50, 40, 50]) == [0, 1]


def test_points_without_a_cost_or_an_accuracy_take_no_part() -> None:
    assert pareto_front([None, 1, 2], [99, None, 50]) == [2]
    assert pareto_front([], []) == []


@given(st.lists(st.tuples(numbers, numbers), max_size=12), st.booleans())
def test_a_front_is_what_no_point_beats(points: list[tuple[int, int]], more: bool) -> None:
    def beats(p: tuple[int, int], q: tuple[int, int]) -> bool:
        cheaper, as_cheap = (p[0] > q[0], p[0] >= q[0]) if more else (p[0] < q[0], p[0] <= q[0])
        return as_cheap and p[1] >= q[1] and (cheaper or p[1] > q[1])

    unbeaten = {i for i, q in enumerate(points) if not any(beats(p, q) for p in points)}
    front = pareto_front([c for c, _ in points], [a for _, a in points], more)
    assert set(front) == unbeaten
    assert len(front) == len(unbeaten)


# points


def test_a_point_is_all_seeds_of_a_network_and_start(sweep: Path, data: SweepData) -> None:
    rows = [r for r in rows_of(sweep) if r["network"] == "CNV_1W2A" and r["start"] == "warm"]
    accuracies = [r["test_accuracy"] for r in rows]
    found = point(data, "CNV_1W2A", "warm")
    assert [cell["seed"] for cell in found.cells] == [0, 1, 2]
    assert found.mean() == pytest.approx(statistics.mean(accuracies))
    assert found.spread() == pytest.approx(statistics.stdev(accuracies))
    assert found.cost(LUT) == rows[0]["estimate"]["used"]["LUT"]
    assert (found.proof, found.verdict, found.failures) == ("proven", "accepted", {})


def test_a_seed_that_failed_is_left_out_of_the_mean_and_counted(data: SweepData) -> None:
    found = point(data, "CNV_2W1A")
    assert (sorted(found.by_seed()), found.failures, found.proof) == ([0, 2], {"train": 1}, "proven")


def test_a_refused_network_keeps_its_accuracy_and_bops(data: SweepData) -> None:
    found = point(data, "CNV_2W8A")
    assert len(found.by_seed()) == 3
    assert found.cost(BOPS) == 58_000_000 * 16
    assert (found.cost(LUT), found.verdict, found.proof) == (None, "refused", "proven")


def test_what_failed_its_proof_is_on_no_front(small: Path) -> None:
    assert "CNV_2W2A" in [p.network for p in read_sweep(small).front(BOPS)]
    edit_rows(small, lambda rows: [r.update(proven=False) for r in rows if r["cell"] == "CNV_2W2A-seed1"])
    assert "CNV_2W2A" not in [p.network for p in read_sweep(small).front(BOPS)]


def test_scratch_runs_of_other_lengths_are_other_points(small: Path) -> None:
    edit_rows(small, lambda rows: rows[0].update(epochs=99, total_epochs=99))
    assert len(read_sweep(small).points) == 5


def test_cells_that_have_not_ended_are_waited_for(small: Path) -> None:
    edit_rows(small, lambda rows: rows.pop())
    data = read_sweep(small)
    assert data.waiting == ("CNV_2W2A-seed1",)
    assert "1 still to come" in sweep_verdict(data)[1]


# tables


def test_the_markdown_table_has_a_line_a_point_and_a_star_for_each_front(sweep: Path, data: SweepData) -> None:
    points, _, warm = sweep_markdown(sweep).partition("\n\n")
    lines = points.splitlines()
    assert warm.startswith("| network | epochs in all | warm, accuracy, % | scratch, accuracy, % | warm minus scratch")
    assert len(warm.splitlines()) == 2 + len(warm_table(data).rows)
    assert lines[0].startswith("| network | start | test accuracy, % | BOPs | weight bits | LUT |")
    assert len(lines) == 2 + len(data.points)
    cells = {tuple(line.strip("| ").split(" | "))[:2]: line.strip("| ").split(" | ") for line in lines[2:]}
    found = point(data, "CNV_1W1A", "warm")
    mean, spread = found.mean(), found.spread()
    assert cells["CNV_1W1A", "warm"][2:] == [
        *(f"{mean:.2f} ± {spread:.2f}", "58M\\*", "1.54M", "12k\\*", "34", "2.95k\\*", "yes", "yes"),
    ]
    assert cells["CNV_2W8A", "scratch"][-1] == "no"
    stars = sum(line.count("\\*") for line in lines)
    assert stars == sum(len(data.front(axis)) for axis in data.axes())


def test_the_terminal_shows_every_point_in_80_columns_with_expressions_and_reasons_below(
    sweep: Path, data: SweepData, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_sweep(sweep)
    lines = capsys.readouterr().out.splitlines()
    rows = lines[3 : 3 + len(data.points)]
    assert [row.split("  ")[0] for row in rows][:2] == ["1W1A", "1W2A"]
    assert rows[-1].startswith("8W8A [3]")
    assert any(line == f"[3] {data.points[-1].bits}" for line in lines)
    assert any(line.startswith("failed at train: CNV_2W1A-seed1, CNV_8W1A-seed0") for line in lines)
    assert lines[-1] == sweep_verdict(data)[1]


def test_columns_that_nothing_is_known_of_are_left_out(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "out", widths=(1, 2), seeds=(0,), warm=False, board=False)
    assert sweep_markdown(folder).splitlines()[0] == "| network | start | test accuracy, % | BOPs | weight bits |"
    assert sweep_verdict(read_sweep(folder)) == (
        True,
        "4 of 4 cells are done; no board was named, so no proof was asked; FINN was not asked.",
    )


def test_warm_starts_are_held_against_scratch_at_equal_epochs_paired_by_seed(sweep: Path, data: SweepData) -> None:
    table = warm_table(data)
    assert table is not None
    row = next(row for row in table.rows if row[0] == "CNV_2W1A")
    rows = {(r["start"], r["seed"]): r["test_accuracy"] for r in rows_of(sweep) if r["network"] == "CNV_2W1A"}
    expected = statistics.mean(rows["warm", s] - rows["scratch", s] for s in (0, 2))
    assert row[4] == f"{expected:+.2f}"
    assert [r[1] for r in table.rows] == [str(p.total_epochs) for p in data.points if p.start == "warm"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (34, "34"), (999.6, "1k"), (1536, "1.54k"), (58e6, "58M"), (3.712e9, "3.71G")]
)
def test_large_numbers_are_shortened_to_three_digits(value: float, text: str) -> None:
    assert short(value) == text


# figures and page


def test_the_still_figures_draw_the_means_and_the_front(data: SweepData) -> None:
    axes = accuracy_by_cost(data, FPS).axes[0]
    drawn = {tuple(spot) for bars in axes.containers for spot in bars.lines[0].get_xydata()}
    assert drawn == {(p.cost(FPS), p.mean()) for p in data.points if p.cost(FPS) is not None}
    front = next(line for line in axes.lines if line.get_label() == "Pareto front")
    assert list(front.get_xdata()) == [p.cost(FPS) for p in data.front(FPS)][::-1]
    texts = {text.get_text() for text in heat_map(data).axes[0].texts}
    assert {"failed", f"{point(data, 'CNV_1W1A').mean():.1f}", "proven\nFINN refuses"} <= texts


def test_the_page_holds_every_row_and_refers_to_nothing_outside(sweep: Path, data: SweepData) -> None:
    assert write_sweep_report(sweep) == sweep / "report.html"
    stills = {"accuracy_bops.png", "accuracy_lut.png", "heat_map_scratch.png", "heat_map_warm.png"}
    assert {path.name for path in (sweep / "report").iterdir()} == stills
    held = page_data(sweep)
    cells = {cell["cell"]: cell for p in held["points"] for cell in p["cells"]}
    for row in rows_of(sweep):
        assert cells[row["cell"]]["command"] == row["command"]
        assert cells[row["cell"]]["test_accuracy"] == row["test_accuracy"]
    assert [a["key"] for a in held["axes"]] == ["bops", "weight_bits", "lut", "bram", "fps"]
    text = (sweep / "report.html").read_text()
    page = Page(without_plotly(text))
    assert page.links == []
    assert "<b>not finite</b>" not in text
    assert [sum(REASON in cell for cell in row) for row in page.rows].count(1) == 1


def test_the_same_rows_are_the_same_bytes(small: Path) -> None:
    first = write_sweep_report(small).read_bytes()
    pictures = {path.name: path.read_bytes() for path in (small / "report").iterdir()}
    assert write_sweep_report(small).read_bytes() == first
    assert {path.name: path.read_bytes() for path in (small / "report").iterdir()} == pictures
    assert set(picture_texts(read_sweep(small))) == {path.removesuffix(".png") for path in pictures}


def test_a_sweep_of_failures_alone_has_a_page_too(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "out", widths=(8,), seeds=(0,), warm=False)
    nothing = dict.fromkeys(("test_accuracy", "validation_accuracy", "cost", "proof", "proven", "finn", "estimate"))
    edit_rows(folder, lambda rows: rows[0].update(nothing, state="failed", stage="train", error="out of memory"))
    text = write_sweep_report(folder).read_text()
    assert "0 of 1 cells are done; 1 failed" in text
    assert "<td>CNV_8W8A-seed0</td><td>train</td>" in text
    assert "| failed |" in sweep_markdown(folder)


# damage


def _rows(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], Any]:
    return lambda folder: edit_rows(folder, change)


def _plan(**values: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        path = folder / "sweep.json"
        write_json(path, json.loads(path.read_text()) | values)

    return change


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("no plan", lambda f: (f / "sweep.json").unlink(), "sweep.json does not exist; name a folder that qtrain sweep"),
    ("no rows", lambda f: (f / "sweep.jsonl").unlink(), "sweep.jsonl does not exist"),
    ("empty", lambda f: (f / "sweep.jsonl").write_text(""), "has no finished cell yet"),
    ("cut", lambda f: (f / "sweep.jsonl").write_text('{"cell": "CNV'), r"sweep.jsonl is damaged \(line 1: "),
    ("binary", lambda f: (f / "sweep.jsonl").write_bytes(b"\xff\xfe"), "sweep.jsonl is damaged .*--resume"),
    ("list", lambda f: (f / "sweep.jsonl").write_text("[1]"), "line 1: a JSON object is expected, not \\[1\\]"),
    ("format", _plan(format=2), "has format 2, this qtrain reads 1"),
    ("plan", _plan(cells="all"), "sweep.json is damaged \\('cells' must be a list"),
    ("key", _rows(lambda r: r[1].pop("seed")), "line 2: 'seed' must be a whole number, but is missing"),
    ("kind", _rows(lambda r: r[1].update(test_accuracy="high")), "line 2: 'test_accuracy' must be a number or null"),
    ("flag", _rows(lambda r: r[0].update(seed=True)), "'seed' must be a whole number, but is True"),
    ("twice", _rows(lambda r: r.append(r[0])), "CNV_1W1A-seed0 is there twice"),
    ("other", _rows(lambda r: r[0].update(cell="SFC-seed0")), "line 1: SFC-seed0 is no cell of sweep.json"),
    ("state", _rows(lambda r: r[0].update(state="lost")), "'state' must be one of done, failed, pruned, but is 'lost'"),
    ("start", _rows(lambda r: r[0].update(start="cold")), "'start' must be one of scratch, warm, search"),
    ("done", _rows(lambda r: r[0].update(test_accuracy=None)), "is done, but has no 'test_accuracy'"),
    ("bits", _rows(lambda r: r[0].update(weight_bits=4)), "CNV_1W1A has 'weight_bits' 4, 'act_bits' 1"),
]


@pytest.mark.parametrize(("damage", "message"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_damage_is_told_in_one_line_and_writes_nothing(
    small: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(small)
    with pytest.raises(UserError, match=message) as caught:
        write_sweep_report(small)
    assert "\n" not in str(caught.value)
    assert not (small / "report.html").exists()


def test_a_folder_that_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sweep.json does not exist; name a folder"):
        sweep_markdown(tmp_path / "nowhere")
