"""Grids of comparisons: what the words mean, what is trained and kept, and the one page about it all."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.cli import make_parser
from qtrain.commands.recipes import given_recipes
from qtrain.commands.words import normalised
from qtrain.errors import UserError
from qtrain.experiments.comparison.grid import compare_grid
from qtrain.models.asked import grid_networks, split_bits
from qtrain.recipe import Recipe, default_recipe, dump_recipe
from qtrain.records.checksum import without_checksum
from qtrain.records.runs import RECORDS, read_records
from qtrain.records.status import StatusFile
from qtrain.report.comparison.grid import accuracy_by_bits, grid_verdict, read_grid, summary_table, write_grid_report
from qtrain.report.comparison.verdict import Answer
from qtrain.schedulers.catalogue import DEFAULT
from tests.experiments.comparison.step_counter import StepCounter
from tests.report.comparison.report_data import without_plotly

NETWORKS = ("CNV_1W1A", "CNV_2W2A")
CELLS = [f"{network}/{scheduler}-seed0" for network in NETWORKS for scheduler in (DEFAULT, "multistep")]
STEPS = 2 * 3  # of a run


def timeless(run: Path) -> list[dict]:
    """Return a run's records without what differs from one execution to the next."""
    left_out = ("seconds", "images_per_second", "date", "resumed")
    return [{k: v for k, v in record.items() if k not in left_out} for record in read_records(run)]


@pytest.fixture(scope="module")
def recipes(tiny: Callable[..., Recipe]) -> list[Recipe]:
    return [tiny(network=name, epochs=2) for name in NETWORKS]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, recipes: list[Recipe]) -> Path:
    out = tmp_path_factory.mktemp("grid") / "out"
    watch = StepCounter()
    compare_grid(recipes, out, seeds=1, tolerance=100, engine=watch)
    assert watch.count == len(CELLS) * STEPS
    return out


@pytest.fixture
def grid(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


@pytest.mark.parametrize(
    ("text", "widths", "expression"),
    [
        ("", [], ""),
        ("1,2,4,8", ["1W1A", "2W2A", "4W4A", "8W8A"], ""),
        ("1, 1w4a ,first=8,float,stage2.*=4w", ["1W1A", "1W4A", "FLOAT"], "first=8,stage2.*=4w"),
        ("first=8,last=8", [], "first=8,last=8"),
    ],
)
def test_pure_numbers_are_the_axis_and_the_rest_the_expression(text: str, widths: list[str], expression: str) -> None:
    assert split_bits(text) == (widths, expression)


@pytest.mark.parametrize(("text", "says"), [("1,two", "'two' is neither a width"), ("1,2,1W1A", "each width once")])
def test_other_entries_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        split_bits(text)


def test_networks_carry_their_bits_or_are_families_with_widths() -> None:
    assert grid_networks("CNV_1W1A, cnv-w2a2", []) == ["CNV_1W1A", "CNV_2W2A"]
    assert grid_networks("CNV,vgg11", ["1W1A", "FLOAT"]) == ["CNV_1W1A", "CNV_FLOAT", "VGG11_1W1A", "VGG11_FLOAT"]


@pytest.mark.parametrize(
    ("networks", "widths", "says"),
    [
        ("CNV_1W1A", ["2W2A"], "CNV_1W1A carries its bits already; leave out --bits 2W2A"),
        ("CNV,VGG11", [], "'CNV' is not a network name"),
        ("CNV", ["9W9A"], "must have 1 to 8 bits, but got 9"),
        ("FOO", ["1W1A"], "unknown network 'FOO_1W1A'"),
        ("CNV_1W1A,cnv-w1a1", [], "each network once"),
        (",", [], "name a network"),
    ],
)
def test_mistakes_in_names_are_told(networks: str, widths: list[str], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        grid_networks(networks, widths)


def test_every_network_has_its_own_shipped_recipe_and_flags_win() -> None:
    words = ["compare", "CNV,RESNET20", "--bits", "1,4,first=8", "--data", "digits", "--epochs", "3"]
    _, recipes, grid = given_recipes(make_parser("compare"), normalised(words)[1:])
    assert grid
    assert [r.network for r in recipes] == ["CNV_1W1A", "CNV_4W4A", "RESNET20_1W1A", "RESNET20_4W4A"]
    assert recipes == [default_recipe(r.network, "digits").replace(epochs=3, bits="first=8") for r in recipes]
    assert recipes[0].loss != recipes[2].loss


def test_one_network_without_widths_is_no_grid() -> None:
    _, recipes, grid = given_recipes(make_parser("compare"), ["CNV_1W1A", "--bits", "first=8", "--data", "digits"])
    assert not grid
    assert (recipes[0].network, recipes[0].bits) == ("CNV_1W1A", "first=8")
    assert given_recipes(make_parser("compare"), ["CNV", "--bits", "8", "--data", "digits"])[2]


def test_each_network_is_an_ordinary_comparison_in_its_own_folder(done: Path) -> None:
    assert {p.name for p in done.iterdir()} == {*NETWORKS, "grid.json", "status.json"}
    assert without_checksum(json.loads((done / "grid.json").read_text())) == {
        "format": 1,
        "networks": list(NETWORKS),
        "planned": list(NETWORKS),
        "verdict": {"answer": "undecided", "networks": dict.fromkeys(NETWORKS, "undecided")},
    }
    for cell in CELLS:
        assert read_records(done / cell)[0]["recipe"]["network"] == cell.partition("/")[0]


def test_the_status_says_where_the_runs_of_all_networks_are(done: Path) -> None:
    status = StatusFile.read(done)
    assert status.state == "done"
    assert status.cells == {"done": len(CELLS), "failed": 0, "running": 0, "waiting": 0}


def test_a_killed_grid_goes_on_where_it_was_and_equals_an_undisturbed_one(
    done: Path, recipes: list[Recipe], tmp_path: Path
) -> None:
    out, killer = tmp_path / "out", StepCounter(kill_at=2 * STEPS + 5)  # in the second epoch of the third run
    with pytest.raises(KeyboardInterrupt, match="killed"):
        compare_grid(recipes, out, seeds=1, tolerance=100, engine=killer)
    assert list(read_grid(out).comparisons) == ["CNV_1W1A"]
    assert grid_verdict(read_grid(out)) == (
        Answer.UNDECIDED,
        f"{DEFAULT} is undecided on 1 of 1 networks (CNV_1W1A); the tolerance is 100 points; CNV_2W2A still to come.",
    )
    kept = {cell: (out / cell / RECORDS).stat().st_mtime_ns for cell in CELLS[:2]}
    watch = StepCounter()
    compare_grid(recipes, out, seeds=1, tolerance=100, engine=watch)
    assert watch.count == STEPS // 2 + STEPS  # the killed run's second epoch, and the run that had not begun
    assert {cell: (out / cell / RECORDS).stat().st_mtime_ns for cell in CELLS[:2]} == kept
    for cell in CELLS:
        assert timeless(out / cell) == timeless(done / cell)


def test_all_folders_are_checked_before_anything_is_trained(grid: Path, recipes: list[Recipe]) -> None:
    shutil.rmtree(grid / "CNV_1W1A")
    before = sorted(grid.rglob("*"))
    with pytest.raises(UserError, match=f"{DEFAULT}-seed0 is a run of another recipe"):
        compare_grid([r.replace(lr=0.03) for r in recipes], grid, seeds=1)
    assert sorted(grid.rglob("*")) == before


def test_other_peoples_folders_and_single_comparisons_are_not_filled(
    done: Path, recipes: list[Recipe], tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other things already"):
        compare_grid(recipes, tmp_path, seeds=1)
    with pytest.raises(UserError, match="holds the comparison of one network"):
        compare_grid(recipes, done / "CNV_1W1A", seeds=1)


def test_the_page_links_to_every_networks_own_report(grid: Path) -> None:
    page = without_plotly(write_grid_report(grid).read_text(encoding="utf-8"))
    links = re.findall(r'href="([^"]*)"', page)
    assert links == [f"{network}/report.html" for network in NETWORKS for _ in range(2)]  # a row each scheduler
    assert all((grid / link).is_file() for link in links)
    assert page.count("data:image/png;base64,iVBOR") == 1
    assert (grid / "report" / "accuracy_by_bits.png").read_bytes().startswith(b"\x89PNG")
    assert grid_verdict(read_grid(grid))[1] in page


def test_the_summary_and_the_figure_show_the_recorded_accuracies(grid: Path) -> None:
    data = read_grid(grid)
    accuracy = {cell: read_records(grid / cell)[-1]["test_accuracy"] for cell in CELLS}
    rows = summary_table(data).rows
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("CNV_1W1A", DEFAULT, f"{accuracy[CELLS[0]]:.2f}"),
        ("", "multistep", f"{accuracy[CELLS[1]]:.2f}"),
        ("CNV_2W2A", DEFAULT, f"{accuracy[CELLS[2]]:.2f}"),
        ("", "multistep", f"{accuracy[CELLS[3]]:.2f}"),
    ]
    assert [row[5:] for row in rows] == [("", ""), ("undecided", ""), ("", ""), ("undecided", "")]
    axes = accuracy_by_bits(data).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    drawn = {c.get_label(): list(c.lines[0].get_ydata()) for c in axes.containers}
    assert drawn == {
        DEFAULT: [accuracy[CELLS[0]], accuracy[CELLS[2]]],
        "multistep": [accuracy[c] for c in CELLS[1::2]],
    }


def test_a_recorded_grid_is_one_line_a_network_with_its_curves(grid: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "benchmarks" / "record_comparison.py"
    results = tmp_path / "results.jsonl"
    subprocess.run([sys.executable, str(script), str(grid), str(results)], check=True)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["recipe"]["network"] for line in lines] == list(NETWORKS)
    cell = lines[1]["cells"][0]
    epochs = [r for r in read_records(grid / CELLS[2]) if r["type"] == "epoch"]
    assert cell["lr"] == [r["lr"] for r in epochs]
    assert cell["validation_accuracy"] == [round(r["validation_accuracy"], 2) for r in epochs]
    assert lines[1]["machine"]["threads"] >= 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"format": 2, "networks": ["a"], "planned": []}, "has format 2"),
        ({"format": 1, "networks": ["../a"], "planned": []}, "must be names of folders beside it"),
        ({"format": 1, "networks": [], "planned": []}, "must be names of folders beside it"),
        ({"format": 1, "networks": ["a"]}, "'planned' must be a list"),
    ],
)
def test_a_damaged_list_is_one_line(tmp_path: Path, values: dict, says: str) -> None:
    (tmp_path / "grid.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=re.escape(says)):
        read_grid(tmp_path)


@pytest.mark.slow
def test_the_command_fails_where_one_network_diverged_and_report_shows_it_again(
    grid: Path, recipes: list[Recipe], cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(grid.parent)
    Path("mine.yaml").write_text(dump_recipe(recipes[0]))
    words = ["compare", "--config=mine.yaml", "CNV", "--bits=1,2", "--seeds=1", "--out=out"]
    failed = cli(*words, "--undecided=fail")
    assert failed.status == 1
    assert [f"{network}: Undecided: one seed" in failed.err for network in NETWORKS] == [True, True]
    (grid / CELLS[2] / "failed.json").write_text('{"reason": "the loss is nan at step 2"}')
    outcome = cli(*words)
    assert outcome.status == 1
    assert f"CNV_2W2A: {DEFAULT} falls short of multistep: {DEFAULT} diverged with seed 0." in outcome.err
    said = "falls short on 1 of 2 networks (CNV_2W2A), is undecided on 1 (CNV_1W1A)"
    assert outcome.out.endswith(f"{DEFAULT} {said}; the tolerance is 0.5 points.\n")
    again = cli("report", "out")
    assert (again.status, again.err) == (0, "")
    assert outcome.out.endswith(again.out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["CNV_1W1A", "--bits", "1,2"], "CNV_1W1A carries its bits already"),
        (["CNV", "--bits", "1,x"], "'x' is neither a width to compare"),
        (["CNV,FOO_1W1A"], "'CNV' is not a network name"),
        (["CNV_1W1A", "--tuning", "multistep"], "tuning must be SCHEDULER=RUNS"),
        (["CNV_1W1A", "--against", "cosine"], "against must name schedulers"),
        (["CNV_1W1A,CNV_2W2A", "--challenger", "dog"], "schedulers must be dog and at least one other"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_with_status_2(
    tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("compare", *words, "--data", "digits")
    assert outcome.status == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
