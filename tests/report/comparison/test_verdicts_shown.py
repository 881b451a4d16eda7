"""The three verdicts of made-up records: on the terminal, on the page, in JSON and as exit status."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.experiments.cells import cells_of
from qtrain.experiments.comparison.compare import compare
from qtrain.experiments.comparison.grid import compare_grid
from qtrain.experiments.comparison.no_retuning import _folder
from qtrain.experiments.comparison.tune import tune_cells
from qtrain.recipe import Recipe, dump_recipe
from qtrain.report.comparison.grid import print_grid, read_grid, summary_table
from qtrain.report.comparison.no_retuning import no_retuning_table, no_retuning_verdict, read_no_retuning
from qtrain.report.comparison.tables import print_comparison
from qtrain.report.comparison.verdict import Answer
from tests.report.comparison.report_data import DASH, Page, write_cell
from tests.sampled import sampled

ROOT = Path(__file__).parents[3]
RECIPE = Recipe("CNV_1W1A", "digits", epochs=3, batch_size=50, optimizer="adam", lr=0.02, width=0.125)
NETWORKS = ("CNV_1W1A", "CNV_2W2A")
STYLE = {"holds": "\x1b[1;32m", "falls short": "\x1b[1;31m", "undecided": "\x1b[1m"}
RATES = "Rates to tune: numbers to choose by hand, as none suits every network (aslr: lr0; multistep: lr0, "
TUNING = "Tuning runs: what choosing them cost before."
CLASS = {"holds": "holds", "falls short": "short", "undecided": "undecided"}
MEANT = "Holds: the lower end of the difference's 95 % interval is at most the tolerance (0.5 points) below 0; falls "
# Differences by seed, the answer, the exit status by default, and another --undecided with the status that goes with it
CASES: dict[str, tuple[list[float | None], str, int, tuple[str, int] | None]] = {
    "one seed": ([-3.0], "undecided", 0, ("fail", 1)),
    "three, level": ([0.0, 0.1, -0.1], "holds", 0, None),
    "three, behind": ([-4.0, -5.0, -4.5], "falls short", 1, None),
    "three, spread": ([-1.0, 0.0, 1.0], "undecided", 1, ("ok", 0)),
    "three, one diverged": ([3.0, 3.0, None], "falls short", 1, None),
}


def accuracies(differences: list[float | None], other: float = 90.0) -> dict[str, list[float | None]]:
    ours = [None if difference is None else other + difference for difference in differences]
    return {"aslr": ours, "multistep": [other] * len(differences)}


def write(folder: Path, found: dict[str, list[float | None]], recipe: Recipe = RECIPE) -> None:
    """Make up the runs of a comparison."""
    for cell, path in cells_of(recipe, folder, list(found), len(found["aslr"])):
        write_cell(cell, path, found[cell.scheduler][cell.seed])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with the recipe in mine.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(dump_recipe(RECIPE))
    return tmp_path


def command(seeds: int, *words: str) -> list[str]:
    return ["compare", "--config=mine.yaml", "--out=cmp", f"--seeds={seeds}", "--schedulers=aslr,multistep", *words]


@pytest.mark.parametrize("case", sampled(CASES, ["one seed", "three, behind"]))
def test_a_comparison_says_the_same_everywhere(here: Path, cli: Callable[..., Any], case: str) -> None:
    differences, answer, status, other = CASES[case]
    write(here / "cmp", accuracies(differences))
    words = command(len(differences), "--tuning=multistep=9")
    found = cli(*words)
    assert found.status == status
    if other is not None:
        assert cli(*words, "--undecided", other[0]).status == other[1]
    verdict = json.loads((here / "cmp" / "comparison.json").read_text())["verdict"]
    assert verdict["answer"] == verdict["against"]["multistep"]["answer"] == answer
    *before, last = found.out.splitlines()
    assert last.startswith({"holds": "ASLR holds", "falls short": "ASLR falls short", "undecided": "Undecided"}[answer])
    if case == "three, spread":
        assert verdict["against"]["multistep"]["further_seeds"] == 15
        assert last.endswith("15 further seeds would decide if mean and spread stayed as they are.")
    html = (here / "cmp" / "report.html").read_text(encoding="utf-8")
    page = Page(html).text
    assert f'<p class="verdict {CLASS[answer]}">' in html
    assert last in page
    assert found.err == ("" if status == 0 else f"qtrain: {last}\n")
    # The words are explained where they first appear.
    assert any(line.startswith(MEANT) for line in before)
    assert any(line.startswith(RATES) and line.endswith(TUNING) for line in before)
    assert page.index(last) < page.index(MEANT) < page.index(RATES) < page.index("rates to tune, aslr and multistep")


@pytest.mark.parametrize("case", ["one seed", "three, level", "three, behind"])
def test_on_a_terminal_undecided_has_no_colour(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("NO_COLOR", raising=False)
    differences, answer, *_ = CASES[case]
    write(here / "cmp", accuracies(differences))
    compare(RECIPE, here / "cmp", schedulers=("aslr", "multistep"), seeds=len(differences))
    print_comparison(here / "cmp")
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.findall("\x1b\\[[\\d;]*m", last) == [STYLE[answer], "\x1b[0m"]


def write_grid(folder: Path, by_network: dict[str, list[float | None]]) -> None:
    for network, differences in by_network.items():
        write(folder / network, accuracies(differences), RECIPE.replace(network=network))


@pytest.mark.parametrize(
    ("one", "two", "answer", "says"),
    [
        ([0.0] * 3, [0.1] * 3, "holds", "ASLR holds on 2 of 2 networks (CNV_1W1A, CNV_2W2A); the tolerance is 0.5"),
        ([0.0] * 3, [-1.0, 1.0, 0.0], "undecided", "ASLR is undecided on 1 of 2 networks (CNV_2W2A), holds on 1"),
        ([0.0] * 3, [-4.0, -5.0, -4.5], "falls short", "ASLR falls short on 1 of 2 networks (CNV_2W2A), holds on 1"),
        ([0.0], [-9.0], "undecided", "ASLR is undecided on 2 of 2 networks (CNV_1W1A, CNV_2W2A); the tolerance"),
        ([0.0], [None], "falls short", "ASLR falls short on 1 of 2 networks (CNV_2W2A), is undecided on 1 (CNV_1W1A)"),
    ],
)
def test_of_a_grid_the_worst_network_decides(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    one: list[float | None],
    two: list[float | None],
    answer: str,
    says: str,
) -> None:
    write_grid(here / "cmp", dict(zip(NETWORKS, (one, two), strict=True)))
    recipes = [RECIPE.replace(network=network) for network in NETWORKS]
    compare_grid(recipes, here / "cmp", seeds=len(one), schedulers=("aslr", "multistep"))
    print_grid(here / "cmp")
    *before, last = capsys.readouterr().out.splitlines()
    assert last.startswith(says)
    assert any(line.startswith(MEANT) for line in before)
    assert max(map(len, before[: 2 + 4 + 1])) <= 80
    verdict = json.loads((here / "cmp" / "grid.json").read_text())["verdict"]
    assert verdict["answer"] == answer == str(read_grid(here / "cmp").answer)
    rows = [row for row in summary_table(read_grid(here / "cmp")).rows if row[1] == "multistep"]
    assert [row[5] for row in rows] == list(verdict["networks"].values())


def test_the_page_of_a_grid_and_its_exit_status_say_the_same(here: Path, cli: Callable[..., Any]) -> None:
    write_grid(here / "cmp", {"CNV_1W1A": [0.0] * 3, "CNV_2W2A": [-1.0, 1.0, 0.0]})
    found = cli(*command(3, ",".join(NETWORKS)))
    assert found.status == 1
    assert found.err.startswith("qtrain: CNV_2W2A: Undecided whether ASLR holds against multistep: 0.00 points above")
    assert "CNV_1W1A" not in found.err
    html = (here / "cmp" / "report.html").read_text(encoding="utf-8")
    assert '<p class="verdict undecided">' in html
    page = Page(html)
    last = found.out.splitlines()[-1]
    assert page.text.index(last) < page.text.index(MEANT) < page.text.index("All networks")
    rows = [row for row in page.rows if "multistep" in row and len(row) > 2]  # not the facts of the recipe
    assert [row[5:] for row in rows] == [["holds", DASH], ["undecided", "15"]]


def no_retuning_folder(out: Path, by_network: dict[str, list[float | None]]) -> list[str]:
    """Make up every run of a no-retuning experiment; return the command that reads it."""
    count = len(next(iter(by_network.values())))
    for network, differences in by_network.items():
        recipe = RECIPE.replace(network=network)
        for cell, path in tune_cells(recipe, out / network / "tune", (0.05, 0.01), None, (100,)):
            write_cell(cell, path, 50.0, best=cell.rate)  # the larger rate is the best on validation images
        found = accuracies(differences)
        for seed in range(count):
            for name, lr in (("aslr", 0.02), ("multistep", 0.05)):
                cell = recipe.replace(scheduler=name, lr=lr, seed=seed)
                write_cell(cell, _folder(out, cell), found[name][seed])
    words = ["--bits=1,2", "--lr-from=2", "--lr=0.02", "--grid=0.05,0.01", f"--seeds={count}"]
    return ["compare", "--config=mine.yaml", "CNV", "--schedulers=aslr", *words, f"--out={out.name}"]


@pytest.mark.parametrize(
    ("one", "two", "answer", "status", "says"),
    [
        ([0.0] * 3, [0.1] * 3, "holds", 0, "ASLR holds at 2 of 2 bit widths (1, 2); against multistep tuned"),
        ([0.0] * 3, [-1.0, 1.0, 0.0], "undecided", 1, "ASLR is undecided at 1 of 2 bit widths (2), holds at 1"),
        ([-4.0, -5.0, -4.5], [0.0] * 3, "falls short", 1, "ASLR falls short at 1 of 2 bit widths (1), holds "),
        ([0.0], [-9.0], "undecided", 0, "ASLR is undecided at 2 of 2 bit widths (1, 2); against"),
        ([0.0], [None], "falls short", 1, "ASLR falls short at 1 of 2 bit widths (2), is undecided at 1 (1);"),
    ],
)
def test_of_the_no_retuning_table_the_worst_width_decides(
    here: Path,
    cli: Callable[..., Any],
    one: list[float | None],
    two: list[float | None],
    answer: str,
    status: int,
    says: str,
) -> None:
    words = no_retuning_folder(here / "cmp", dict(zip(NETWORKS, (one, two), strict=True)))
    plain = cli(*words)
    assert plain.status == status
    if answer == "undecided":
        assert cli(*words, "--undecided=fail" if status == 0 else "--undecided=ok").status == 1 - status
    *before, last = plain.out.splitlines()
    assert last.startswith(says)
    assert any(MEANT in line for line in before)
    assert any("Tuned: multistep was run with each lr of 0.05, 0.01" in line for line in before)
    record = json.loads((here / "cmp" / "no_retuning.json").read_text())
    assert record["verdict"]["answer"] == answer
    answers = {network: of["aslr"]["answer"] for network, of in record["verdict"]["networks"].items()}
    text = (here / "cmp" / "no_retuning.md").read_text()
    assert text.endswith(f"\n{last}\n")
    for row, network in zip(no_retuning_table(read_no_retuning(here / "cmp")).rows, NETWORKS, strict=False):
        assert answers[network] in row[4]
    assert plain.err.count("\n") == (plain.status != 0)


def test_every_scheduler_of_the_no_retuning_table_is_judged(here: Path, cli: Callable[..., Any]) -> None:
    words = no_retuning_folder(here / "cmp", dict.fromkeys(NETWORKS, [0.0] * 3))
    for network in NETWORKS:
        for seed in range(3):
            cell = RECIPE.replace(network=network, scheduler="aslr_decay", seed=seed)
            write_cell(cell, _folder(here / "cmp", cell), 80.0)
    found = cli(*words, "--schedulers=aslr,aslr_decay")
    assert found.status == 1
    said = "ASLR holds at 2 of 2 bit widths (1, 2); aslr_decay falls short at 2 of 2 bit widths (1, 2); against"
    assert found.out.splitlines()[-1].startswith(said)
    assert "ASLR holds" not in found.err


def test_records_from_before_there_were_verdicts_are_judged_by_their_numbers() -> None:
    folder = ROOT / "results" / "no_retuning" / "cnv-digits"
    assert "verdict" not in json.loads((folder / "no_retuning.json").read_text())
    data = read_no_retuning(folder)
    by_hand = {  # the intervals that the table shows, against -0.5
        "aslr": ["undecided"] * 6,
        "aslr_decay": ["undecided", "undecided", "holds", "undecided", "undecided", "holds"],
    }
    for name, wanted in by_hand.items():
        assert [str(data.verdicts(network)[name].answer) for network in data.networks] == wanted
    assert no_retuning_verdict(data)[0] is Answer.UNDECIDED


def test_the_three_verdicts_have_colours_of_their_own_on_a_page() -> None:
    """That these can be read, ``tests/report/test_colours.py`` sees."""
    css = (ROOT / "qtrain" / "report" / "page.css").read_text()
    for state, name in (("holds", "good"), ("short", "bad"), ("undecided", "open")):
        assert f".{state} {{ color: var(--{name}); background: var(--{name}-back);" in css
