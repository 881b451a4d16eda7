"""One rate for ASLR at all bit widths, a baseline tuned for each, and that of one width carried to the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.comparison.no_retuning import no_retuning
from qtrain.experiments.comparison.no_retuning_plan import make_plan, parse_tuning_rates
from qtrain.experiments.one_rate import fixed_rate
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS
from qtrain.report.comparison.no_retuning import (
    no_retuning_figure,
    no_retuning_table,
    read_no_retuning,
    write_no_retuning,
)
from qtrain.training.context import RunContext

SMALL = ("--data", "digits", "--epochs", 1, "--batch-size", 20, "--width", 0.125, "--train-size", 40)
SMALL += ("--validation-size", 20, "--seeds", 1, "--grid", "0.05,0.01")


class Killed(Exception):
    """Raised in place of a kill."""


def compare(*words: object) -> tuple[object, ...]:
    return ("compare", "CNV", "--bits", "1,2", "--lr-from", 2, *SMALL, *words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole experiment that was killed in the middle once."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    recipe = Recipe("", "digits", 1, 20, width=0.125, train_size=40, validation_size=20, optimizer="adam", lr=0.02)
    recipes = [recipe.replace(network=f"CNV_{b}W{b}A") for b in (1, 2)]
    plan = make_plan(recipes, "2", schedulers=["aslr"], grid="0.05,0.01", tune_seeds=1, seeds=1)
    said: list[str] = []

    def kill(text: str) -> None:
        said.append(text)
        if len(said) == 6:  # after the rate, four tuning points and the first run
            raise Killed

    with pytest.raises(Killed):
        no_retuning(plan, out, context=RunContext(say=kill))
    before = {path: path.read_bytes() for path in out.rglob(RECORDS)}
    no_retuning(plan, out, context=RunContext(say=lambda _: None))
    assert before
    assert all(path.read_bytes() == content for path, content in before.items())  # a finished run is never repeated
    return out


def recipes_in(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text().splitlines()[0])["recipe"] for path in sorted(folder.glob(pattern))]


def test_aslr_has_one_rate_and_the_carried_baseline_the_home_width_s(finished: Path) -> None:
    record = json.loads((finished / "no_retuning.json").read_text())
    one, home = record["widths"]
    assert [w["network"] for w in record["widths"]] == ["CNV_1W1A", "CNV_2W2A"]
    assert one["rows"]["aslr"]["lr"] == home["rows"]["aslr"]["lr"] == record["lr"] == 0.02
    best = [max(w["tuning"]["points"], key=lambda p: p["validation_accuracy"][0])["lr"] for w in (one, home)]
    assert [w["rows"]["tuned"]["lr"] for w in (one, home)] == best
    assert one["rows"]["carried"]["lr"] == home["rows"]["carried"]["lr"] == best[1]
    assert home["rows"]["carried"]["folders"] == home["rows"]["tuned"]["folders"]  # one run for both rows
    assert record["spent"]["aslr"] == {"runs": 0, "seconds": 0}
    assert record["spent"]["tuned"]["runs"] == 4
    assert record["spent"]["carried"]["runs"] == 2


def test_the_numbers_are_those_of_ordinary_runs(finished: Path) -> None:
    record = json.loads((finished / "no_retuning.json").read_text())
    for width in record["widths"]:
        for row in width["rows"].values():
            for folder in row["folders"]:
                lines = [json.loads(line) for line in (finished / folder / RECORDS).read_text().splitlines()]
                assert row["test_accuracy"] == {"0": lines[-1]["test_accuracy"]}
                assert lines[0]["recipe"]["lr"] == row["lr"]
    tuning = recipes_in(finished, "*/tune/*/records.jsonl")
    assert len(tuning) == 4
    assert {recipe["seed"] for recipe in tuning} == {100}
    assert {recipe["scheduler"] for recipe in tuning} == {"multistep"}


def test_table_and_plot_show_every_width_and_what_tuning_cost(finished: Path) -> None:
    text = write_no_retuning(finished)
    data = read_no_retuning(finished)
    table = no_retuning_table(data)
    assert [row[0] for row in table.rows] == ["1", "2", "tuning runs", "tuning seconds"]
    assert table.rows[2][1:4] == ("0", "4", "2")
    assert f"{data.accuracies('aslr', 'CNV_1W1A')[0]:.2f} (lr 0.02)" in text
    assert (finished / "no_retuning.png").read_bytes()[:4] == b"\x89PNG"
    axes = no_retuning_figure(data).axes[0]
    assert [line.get_ydata()[0] for line in axes.lines] == [
        data.accuracies(row, "CNV_1W1A")[0] for row in ("aslr", "tuned", "carried")
    ]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert ["0 tuning runs" in legend[0], "4 tuning runs" in legend[1], "2 tuning runs" in legend[2]] == [True] * 3


def test_the_command_reads_a_finished_experiment_and_its_report_again(cli: Callable[..., Any], finished: Path) -> None:
    command = (*compare("--optimizer", "adam", "--lr", 0.02, "--milestones", "[0.5,0.75,0.9]"), "--tolerance", 100)
    command += ("--schedulers", "aslr")
    done = cli(*command, "--out", finished)
    assert done.status == 0, done.err  # one seed
    assert "| bits |" in done.out
    said = "ASLR is undecided at 2 of 2 bit widths (1, 2); against multistep tuned at each width, the tolerance is 100"
    assert done.out.endswith(f"\n{said} points.\n")
    again = cli("report", finished)
    assert again.status == 0
    assert done.out.endswith(again.out)
    strict = cli(*command, "--undecided", "fail", "--out", finished)
    assert strict.status == 1
    assert "CNV_1W1A: Undecided: one seed gives no interval. With it ASLR's test accuracy is" in strict.err
    assert "the tuned multistep's" in strict.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lr-from", "4"), "lr_from must be one of the widths"),
        (("--lr-from", "1,2"), "one bit width"),
        (("--grid", "0.1,no"), "grid must be numbers"),
        (("--grid", "0.1,0.1"), "each once"),
        (("--schedulers", "aslr,prodigy"), "with lr_from, schedulers are"),
        (("--seeds", "0"), "seeds must be 1 or more"),
        (("--tune-seeds", "0"), "tune_seeds must be 1 or more"),
        (("--seed", "99", "--seeds", "2"), "are the tuning's"),
        (("--tolerance", "-1"), "tolerance must be 0"),
        (("--challenger", "aslr"), "challenger does nothing with lr_from; leave it out"),
        (("--tuning", "multistep=9", "--board", "ZCU104"), "tuning, board do nothing with lr_from; leave them out"),
        (("--tune-lr",), "lr is 0.02 already, so that tune_lr has none to find; leave one of the two out"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    cli: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    found = cli(*compare("--lr", 0.02, "--out", tmp_path / "out", *words))
    assert found.status == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("--tune-lr",), ("--grid", "0.1"), ("--tune-seeds", "2")], ids=" ".join)
def test_what_only_one_rate_for_all_widths_needs_is_refused_without_it(
    cli: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    found = cli("compare", "CNV_1W1A", *SMALL[:-2], *words, "--out", tmp_path / "out")
    assert found.status == 2
    assert "does nothing without lr_from; give --lr-from BITS, or leave it out" in found.err
    assert len(found.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_aslr_s_one_rate_may_be_tuned_at_the_home_width_as_the_baseline_s_is(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    words = compare("--optimizer", "adam", "--tune-lr", "--schedulers", "aslr,aslr_decay", "--tolerance", 100)
    done = cli(*words, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "out/no_retuning.json").read_text())
    tuned = recipes_in(tmp_path / "out", "CNV_2W2A/tune-aslr/*/records.jsonl")
    assert [(recipe["scheduler"], recipe["seed"], recipe["lr"]) for recipe in tuned] == [
        ("aslr", 100, 0.01),
        ("aslr", 100, 0.05),
    ]
    points = record["lr_tuning"]["points"]
    assert record["lr"] == points[0]["lr"]
    assert points[0]["validation_accuracy"][0] >= points[1]["validation_accuracy"][0]
    for width in record["widths"]:  # the first scheduler's rate is all schedulers'
        assert width["rows"]["aslr"]["lr"] == width["rows"]["aslr_decay"]["lr"] == record["lr"]
    spent = {"runs": 2, "seconds": record["lr_tuning"]["seconds"]}
    assert record["spent"]["aslr"] == record["spent"]["aslr_decay"] == spent
    assert f"lr0 {record['lr']:g} at all widths, found at 2 (tuned there over the same rates with aslr)" in done.out
    runs = {path: path.read_bytes() for path in tmp_path.rglob(RECORDS)}
    assert cli(*words, "--out", tmp_path / "out").out.splitlines()[-1] == done.out.splitlines()[-1]
    assert {path: path.read_bytes() for path in tmp_path.rglob(RECORDS)} == runs


def test_a_folder_with_other_things_is_left_alone(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    found = cli(*compare("--lr", 0.02, "--out", tmp_path))
    assert found.status == 2
    assert "nothing is overwritten" in found.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_range_test_is_asked_once_and_its_answer_kept(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(recipe: Recipe, _: RunContext) -> tuple[Recipe, dict[str, Any]]:
        asked.append(recipe.network)
        return recipe.replace(lr=0.03), {"steps": 5, "seconds": 1.5}

    # The real one runs in test_compare; here: at which width and how often it is asked.
    monkeypatch.setattr("qtrain.experiments.one_rate.resolve_lr", answer)
    recipes = [tiny(network=name, lr="auto") for name in ("CNV_1W1A", "CNV_2W2A")]
    plan = make_plan(recipes, "2", schedulers=["aslr"], grid="0.1", tune_seeds=1, seeds=1)
    for _ in range(2):
        found, record = fixed_rate(plan.at_home, tmp_path)
        assert (found.rate, record) == (0.03, {"steps": 5, "seconds": 1.5})
    assert asked == ["CNV_2W2A"]
    other = make_plan([r.replace(epochs=9) for r in recipes], "2", schedulers=["aslr"], grid="1", tune_seeds=1, seeds=1)
    with pytest.raises(UserError, match="another recipe"):
        fixed_rate(other.at_home, tmp_path)


def test_the_grid_is_read_as_numbers() -> None:
    assert parse_tuning_rates("0.1, 3e-2") == (0.1, 0.03)
    with pytest.raises(UserError, match="but got '0'"):
        parse_tuning_rates("0")
