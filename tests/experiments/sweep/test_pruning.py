"""Trials that are ended early: by Optuna's median rule, against trials that cost no more, the same after a kill."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.run import train_recipe
from qtrain.experiments.sweep.deploy import bops_at_start
from qtrain.experiments.sweep.file import read_plan
from qtrain.experiments.sweep.pruning import STARTUP, Pruning, Rival, rivals_of, should_prune
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.experiments.sweep.search import make_study, next_trials
from qtrain.experiments.sweep.search_plan import SearchPlan, plan_search
from qtrain.experiments.sweep.search_space import SearchSpace
from qtrain.recipe import Recipe
from qtrain.records.checksum import without_checksum
from qtrain.records.files import write_json
from qtrain.records.runs import read_finished, read_records
from qtrain.report.sweep.page import write_sweep_report
from qtrain.report.sweep.rows import read_sweep
from qtrain.report.sweep.search import search_sentence
from qtrain.report.sweep.tables import points_table, sweep_verdict
from qtrain.training import Interrupted, RunContext, train
from tests.checks import check_refusal, tree
from tests.experiments.sweep.test_search import plan, trained_row, trials_of
from tests.experiments.sweep.test_sweep import FLAGS, rows_of, status_of
from tests.experiments.sweep.test_sweep_resume import without_times
from tests.training.test_resume import everything

BEATEN = tuple(Rival(1.0, (101.0, 101.0, 101.0)) for _ in range(STARTUP))  # by nobody
EPOCHS = 3


def rivals(*curves: Sequence[float]) -> list[Rival]:
    return [Rival(1.0, tuple(curve)) for curve in curves]


FIVE = rivals([10, 60], [20, 50], [30, 40], [40, 30], [50, 20])  # medians 30 and 40


# the rule


@pytest.mark.parametrize(
    ("reported", "pruned"),
    [
        ([29.9], True),
        ([30.0], False),
        ([50.0], False),
        ([35.0, 10.0], True),  # the best so far counts, against this epoch's median
        ([45.0, 10.0], False),
        ([0.0, 40.0], False),
    ],
)
def test_a_trial_is_pruned_below_the_median_at_its_epoch(reported: list[float], pruned: bool) -> None:
    assert should_prune(reported, FIVE) is pruned


def test_few_rivals_prune_nothing() -> None:
    assert not should_prune([0.0], FIVE[: STARTUP - 1])
    assert should_prune([0.0], FIVE[:STARTUP])


def test_rivals_are_finished_trials_that_had_ended_when_the_trial_was_planned() -> None:
    whole = plan(weight_bits=[1, 2, 4], trials=9, search=SearchPlan(9, "bops", 2, "median"))
    rows = [trained_row(cell, 50.0) | {"curve": {"validation_accuracy": [1.0, 2.0]}} for cell in whole.cells()]
    space = SearchSpace(whole)
    first = next_trials(whole, space, rows, 3)
    whole = replace(whole, trials=tuple(first))
    curve = {"curve": {"validation_accuracy": [40.0, 60.0]}}
    rows += [trained_row(cell, 60.0, 100.0 * i) | curve for i, cell in enumerate(first)]
    rows[-1] |= {"state": "pruned"}
    second = next_trials(whole, space, rows, 2)
    whole = replace(whole, trials=(*first, *second))
    assert [cell.knows for cell in (*first, *second)] == [0, 0, 0, 3, 3]
    assert [rivals_of(cell, whole, rows) for cell in first] == [(), (), ()]
    expected = (Rival(0.0, (40.0, 60.0)), Rival(100.0, (40.0, 60.0)))
    rows.append(trained_row(second[0], 70.0) | curve)
    assert [rivals_of(cell, whole, rows) for cell in second] == [expected, expected]
    without = replace(whole, search=SearchPlan(9, "bops", 2))
    assert rivals_of(second[1], without, rows) == ()


def test_optuna_is_told_of_a_pruned_trial_and_no_trial_begins_from_it() -> None:
    whole = plan(weight_bits=[1, 2], search=SearchPlan(9, "bops", 1, "median"))
    first, second = whole.cells()
    rows = [trained_row(first, 40.0, 5e6), trained_row(second, 90.0) | {"state": "pruned", "cost": None}]
    space = SearchSpace(whole)
    ended = [(space.widths(cell), row) for cell, row in zip((first, second), rows, strict=True)]
    study = make_study(space, whole.search or SearchPlan(1, "bops", 1), ended, seed=0)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert {cell.parent for cell in next_trials(whole, space, rows, 8)} == {first.name}


@pytest.mark.slow
def test_a_sampler_takes_many_pruned_trials() -> None:
    whole = plan(weight_bits=[1, 2, 4, 8], act_bits=[1, 2, 4, 8], search=SearchPlan(99, "bops", 1, "median"))
    rows = [trained_row(cell, 40.0 + i, 1e6 * (i + 1)) for i, cell in enumerate(whole.cells())]
    space = SearchSpace(whole)
    for _ in range(6):  # pruned trials, up to 30, beside 16 cells
        asked = next_trials(whole, space, rows, 5)
        whole = replace(whole, trials=(*whole.trials, *asked))
        rows += [trained_row(cell, 30.0) | {"state": "pruned", "cost": None} for cell in asked]
    assert 5 < len(whole.trials) <= 30  # networks are drawn still; those that only fail to be new end it earlier


# one trial


def test_a_trial_that_falls_behind_ends_and_one_that_is_at_its_last_epoch_does_not(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    result = train_recipe(tiny(epochs=EPOCHS), tmp_path / "run", callbacks=[Pruning(BEATEN)])
    assert (result.epochs, result.stopped_by) == (1, "Pruning")
    assert result.why_stopped == "below the median of 5 trials that cost no more"
    late = [replace(rival, curve=(0.0, 0.0, 101.0)) for rival in BEATEN]
    whole = train_recipe(tiny(epochs=EPOCHS), tmp_path / "whole", callbacks=[Pruning(late)])
    assert (whole.epochs, whole.stopped_by) == (EPOCHS, None)


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_trial_in_pieces_is_pruned_where_the_whole_one_is(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: Any, step: int
) -> None:
    """Which epoch it is, and so which median, only a state that was kept knows of."""
    recipe = tiny(epochs=EPOCHS)
    beaten = [replace(rival, curve=(0.0, 101.0, 101.0)) for rival in BEATEN]  # from the second epoch on

    def go(out: Path, context: RunContext, resume: bool) -> None:
        train(model_of(recipe), recipe, out, context, data=few_digits, resume=resume, callbacks=[Pruning(beaten)])

    go(tmp_path / "whole", RunContext(), False)
    result = read_finished(tmp_path / "whole").result
    assert (result.epochs, result.stopped_by) == (2, "Pruning")
    count = iter(range(1, 100))
    with pytest.raises(Interrupted):
        go(tmp_path / "run", RunContext(stop=lambda: next(count) == step), False)
    torch.manual_seed(5)
    go(tmp_path / "run", RunContext(), True)
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.slow
def test_what_a_trial_costs_is_known_before_it_trains(pruned: Path) -> None:
    plan_there = read_plan(pruned)
    for cell, row in zip(plan_there.cells(), rows_of(pruned), strict=True):
        if cell.start == "scratch":
            assert bops_at_start(plan_there.recipe_of(cell, pruned), None) == row["cost"]["bops"]


# a search


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a search whose sixth trial meets five that were cheaper and right on every image, by their rows."""
    out = tmp_path_factory.mktemp("pruned") / "out"
    sweep(plan(search=SearchPlan(STARTUP, "bops", EPOCHS, "median")), out, RunContext(device="cpu"))
    for trial in read_plan(out).trials:
        path = out / "cells" / trial.name / "cell.json"
        row = json.loads(path.read_text())
        row["curve"]["validation_accuracy"] = [100.0] * EPOCHS
        row["cost"]["bops"] = 1
        write_json(path, row)
    written = json.loads((out / "sweep.json").read_text())
    written["search"]["trials"] = STARTUP + 1
    write_json(out / "sweep.json", written)
    resume_sweep(out, RunContext(device="cpu"))
    return out


@pytest.mark.slow
def test_a_pruned_trial_is_a_row_that_says_so(pruned: Path) -> None:
    *others, row = trials_of(rows_of(pruned))
    assert [other["state"] for other in others] == ["done"] * STARTUP
    assert (row["state"], row["stage"], row["error"]) == ("pruned", "train", None)
    assert (row["test_accuracy"], row["proof"], row["cost"], row["estimate"]) == (None, None, None, None)
    assert len(row["curve"]["validation_accuracy"]) == 1
    assert row["validation_accuracy"] == row["curve"]["validation_accuracy"][0]
    folder = pruned / "cells" / row["cell"]
    assert without_checksum(json.loads((folder / "cell.json").read_text())) == row
    assert read_finished(folder).result.stopped_by == "Pruning"
    assert [record["type"] for record in read_records(folder)] == ["run", "epoch", "result"]
    assert read_plan(pruned).trials[-1].knows == STARTUP
    assert status_of(pruned)["cells"] == {"done": 8, "failed": 0, "running": 0, "waiting": 0}


@pytest.mark.slow
def test_reports_count_it_apart(pruned: Path, tmp_path: Path) -> None:
    data = read_sweep(pruned)
    assert search_sentence(data).startswith("Search: 5 of 6 trials are done, 1 was pruned. ")
    holds, sentence = sweep_verdict(data)
    assert holds
    assert sentence.startswith("7 of 8 cells are done; 1 pruned; ")
    assert [row[2] for row in points_table(data).rows].count("pruned") == 1
    out = Path(shutil.copytree(pruned, tmp_path / "out", ignore=shutil.ignore_patterns("cells")))
    assert sentence in write_sweep_report(out).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["row", "result", "run"])
def test_a_search_that_was_killed_prunes_the_same_trial(pruned: Path, tmp_path: Path, lost: str) -> None:
    out = Path(shutil.copytree(pruned, tmp_path / "out"))
    expected = rows_of(pruned)
    folder = out / "cells" / expected[-1]["cell"]
    (folder / "cell.json").unlink()
    if lost == "result":
        lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
        (folder / "records.jsonl").write_text("".join(lines[:-1]))
    elif lost == "run":
        shutil.rmtree(folder)
    found = resume_sweep(out, RunContext(device="cpu"))
    assert list(map(without_times, found)) == list(map(without_times, expected))


# the command


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--search=2", "--search-pruner=best"], "search_pruner must be none or median, but got 'best'"),
        (["--search-pruner=median"], "--search-pruner goes with --search"),
    ],
)
def test_a_wrong_pruner_is_one_line_and_writes_nothing(
    tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal(cli("sweep", "TFC", "--weight-bits=1,2", *FLAGS, *words), 2, says)
    assert tree(tmp_path) == {}


def test_nothing_is_pruned_unless_it_is_asked_for() -> None:
    assert plan_search(3, 6).pruner == "none"
    with pytest.raises(UserError, match="search_pruner"):
        plan_search(3, 6, pruner="hyperband")
