"""Searches for per-layer bits: real trials from trained neighbours, the same ones after a kill, none of them twice."""

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qtrain.engines.task import Died, Task, in_turn
from qtrain.errors import UserError
from qtrain.experiments.run import load_run
from qtrain.experiments.sweep.file import read_plan
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.planned_cell import SEARCH, PlannedCell
from qtrain.experiments.sweep.row import new_row
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.experiments.sweep.search import cost_of, make_study, next_trials
from qtrain.experiments.sweep.search_plan import SearchPlan, plan_search
from qtrain.experiments.sweep.search_space import SearchSpace, _network_bits, distance, nearest
from qtrain.export.compiler.start import INSTALL
from qtrain.records.files import write_json
from qtrain.report.sweep.page import write_sweep_report
from qtrain.report.sweep.rows import read_sweep
from qtrain.report.sweep.search import front_table, print_search, search_sentence
from qtrain.training.context import RunContext
from tests.checks import check_refusal, tree
from tests.experiments.sweep.test_sweep import FLAGS, TINY, rows_of, status_of
from tests.experiments.sweep.test_sweep_resume import command, wait_for_epochs, without_times

CNV_VARIABLES = [
    *(f"conv{i}" for i in range(1, 7)),
    *(f"fc{i}" for i in range(1, 4)),
    *(f"act{i}" for i in range(1, 9)),
]


def plan(network: str = "TFC", trials: int = 3, **changes: Any) -> SweepPlan:
    wanted = SearchPlan(trials, "bops", changes.pop("search_epochs", 1))
    return plan_sweep(network, **{"weight_bits": [1, 2], **TINY, "search": wanted} | changes)


def trials_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["start"] == SEARCH]


def trained_row(cell: PlannedCell, accuracy: float, bops: float = 1e6) -> dict[str, Any]:
    """The row of a cell as if it had been trained."""
    found = {"validation_accuracy": accuracy, "test_accuracy": accuracy, "cost": {"bops": bops}}
    return new_row(cell) | found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a search of three trials beyond CNV at 1 and 8 bits, 300 images and one epoch each."""
    out = tmp_path_factory.mktemp("search") / "out"
    sweep(plan("CNV", weight_bits=[1, 8], train_size=300), out, context=RunContext(device="cpu"))
    return out


# a real search


@pytest.mark.slow
def test_trials_begin_from_a_trained_cells_best_weights_and_count_its_epochs(found: Path) -> None:
    rows = {row["cell"]: row for row in rows_of(found)}
    assert [row["start"] for row in rows.values()] == ["scratch"] * 2 + [SEARCH] * 3
    for row in trials_of(list(rows.values())):
        assert (row["state"], row["epochs"]) == ("done", 1)
        assert row["total_epochs"] == 1 + rows[row["parent"]]["total_epochs"]
        recipe, _ = load_run(found / "cells" / row["cell"])
        assert Path(recipe.init_from or "") == (found / "cells" / row["parent"]).resolve()
        assert (recipe.network, recipe.bits) == (row["network"], row["bits"])
        assert f"--out=runs/rebuilt/{row['parent']} && qtrain train" in row["command"]
        assert f"--init-from=runs/rebuilt/{row['parent']}" in row["command"]


@pytest.mark.slow
def test_a_trial_begins_from_the_nearest_cell_that_had_ended(found: Path) -> None:
    known, rows = read_plan(found), rows_of(found)
    space, cells = SearchSpace(known), known.cells()
    for i, cell in enumerate(cells[2:], 2):
        ours = space.widths(cell)
        near = {c.name: distance(ours, space.widths(c)) for c in cells[:i]}
        assert near[cell.parent or ""] == min(near.values())
        assert rows[i]["parent"] == cell.parent


@pytest.mark.slow
def test_a_trial_has_the_bits_that_its_expression_says_and_no_other_cell_has(found: Path) -> None:
    space, chosen = SearchSpace(read_plan(found)), set()
    for cell, row in zip(read_plan(found).cells(), rows_of(found), strict=True):
        _, model = load_run(found / "cells" / row["cell"])
        weights, acts = _network_bits(space._recipe((row["weight_bits"], row["act_bits"]), row["bits"]), None)
        assert weights | acts == space.widths(cell)
        assert model.name == row["network"]
        chosen.add(space.chosen(space.widths(cell)))
    assert len(chosen) == 5


@pytest.mark.slow
def test_trials_cost_between_the_narrowest_and_the_widest(found: Path) -> None:
    narrow, wide, *mixed = (row["cost"]["bops"] for row in rows_of(found))
    assert all(narrow < cost < wide for cost in mixed)


@pytest.mark.slow
def test_the_plan_and_the_status_count_the_trials(found: Path) -> None:
    rows = rows_of(found)
    written = json.loads((found / "sweep.json").read_text())
    assert written["search"] == {
        **{"trials": 3, "cost": "bops", "epochs": 1, "pruner": "none"},
        "start": "random",
    }
    assert written["cells"] == [row["cell"] for row in rows]
    assert [trial["name"] for trial in written["trials"]] == [row["cell"] for row in trials_of(rows)]
    assert status_of(found)["cells"] == {"done": 5, "failed": 0, "running": 0, "waiting": 0}
    assert status_of(found)["seconds_left"] == 0.0


@pytest.mark.slow
def test_the_printed_front_is_of_validation_accuracy_and_cost(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = read_sweep(found)
    rows = {(row["cost"]["bops"], row["validation_accuracy"]) for row in data.rows}
    front = sorted(p for p in rows if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in rows))
    shown = front_table(data).rows
    assert sorted({float(row[4]) for row in shown}) == sorted({round(accuracy, 2) for _, accuracy in front})
    assert search_sentence(data).startswith("Search: 3 of 3 trials are done. ")
    print_search(found)
    text = capsys.readouterr().out
    for part in ("accuracy, %", "BOPs", f"{front[0][1]:.2f}", search_sentence(data)):
        assert part in text


@pytest.mark.slow
def test_a_sweep_without_a_search_prints_no_front(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(found, tmp_path / "out", ignore=shutil.ignore_patterns("cells"))
    written = json.loads((found / "sweep.json").read_text())
    write_json(tmp_path / "out" / "sweep.json", written | {"search": None})
    print_search(tmp_path / "out")
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_page_names_each_trials_bits(found: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(found, tmp_path / "out", ignore=shutil.ignore_patterns("cells")))
    page = write_sweep_report(out).read_text()
    for row in trials_of(rows_of(found)):
        assert row["bits"] in page


# killed and gone on


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepPlan]:
    """Return the finished search that the next test kills in its first trial, and its plan."""
    out, whole = tmp_path_factory.mktemp("undisturbed") / "out", plan(trials=2, search_epochs=12)
    sweep(whole, out, context=RunContext(device="cpu"))
    return out, whole


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_with_the_same_trials(
    undisturbed: tuple[Path, SweepPlan], tmp_path: Path
) -> None:
    known, out = rows_of(undisturbed[0]), tmp_path / "out"
    first = out / "cells" / trials_of(known)[0]["cell"]
    flags = ["--weight-bits=1,2", *FLAGS, "--search=2", "--search-epochs=12", "--out=out"]
    process: subprocess.Popen = command("TFC", *flags, cwd=tmp_path)
    wait_for_epochs(process, first, 2)
    process.kill()
    process.communicate()
    assert not (first / "cell.json").exists()
    assert [cell.name for cell in read_plan(out).trials] == [first.name]
    went_on = resume_sweep(out, context=RunContext(device="cpu"))
    assert list(map(without_times, went_on)) == list(map(without_times, known))
    assert read_plan(out) == read_plan(undisturbed[0])


def test_the_seed_decides_what_is_asked_for() -> None:
    def first(seed: int) -> list[PlannedCell]:
        whole = plan(seed=seed)
        rows = [trained_row(cell, 50.0 + i, 1e6 * (i + 1)) for i, cell in enumerate(whole.cells())]
        return next_trials(whole, SearchSpace(whole), rows, 3)

    assert first(0) == first(0)
    assert [cell.bits for cell in first(0)] != [cell.bits for cell in first(1)]


# failed trials


def test_a_failed_trial_stops_no_other_and_is_not_asked_for_again(tmp_path: Path) -> None:
    batches: list[int] = []

    def first_trial_dies(tasks: Sequence[Task], *, stop: Any, told: Any) -> Iterator[tuple[Task, Any]]:
        batches.append(len(tasks))
        for task in tasks:
            if "trial1" in task.name:
                yield task, Died("its process was ended by SIGKILL")
            else:
                yield from in_turn([task], stop=stop, told=told)

    out = tmp_path / "out"
    rows = sweep(plan(), out, engine=first_trial_dies, at_a_time=2, context=RunContext(device="cpu"))
    assert batches == [2, 2, 1]  # the sweep's own cells, two trials at a time, the rest
    failed, *others = trials_of(rows)
    assert (failed["state"], failed["error"]) == ("failed", "its process was ended by SIGKILL")
    assert [row["state"] for row in others] == ["done", "done"]
    assert len({(row["network"], row["bits"]) for row in rows}) == 5
    assert failed["cell"] not in {row["parent"] for row in others}
    mended = resume_sweep(
        out, context=RunContext(device="cpu")
    )  # it left no row, so it is run, and no other is asked for
    assert [row["state"] for row in mended] == ["done"] * 5
    assert mended[3:] == others


def test_optuna_is_told_accuracies_costs_and_failures() -> None:
    whole = plan(weight_bits=[1, 2, 4], search=SearchPlan(1, "bops", 1))
    first, second, third = whole.cells()
    rows = [trained_row(first, 40.0, 5e6), trained_row(second, 60.0) | {"state": "failed"}]
    rows.append(trained_row(third, 70.0) | {"cost": None})
    space = SearchSpace(whole)
    study = make_study(space, whole.search or SearchPlan(1, "bops", 1), [(space.widths(c), r) for c, r in
                       zip((first, second, third), rows, strict=True)], seed=0)  # fmt: skip
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert study.trials[0].values == [40.0, 5e6]
    assert set(study.trials[2].params.values()) == {4}


@pytest.mark.parametrize(
    ("cost", "row", "expected"),
    [
        ("bops", {"cost": {"bops": 7}, "estimate": None}, 7.0),
        ("lut", {"cost": {"bops": 7}, "estimate": {"used": {"LUT": 9}}}, 9.0),
        ("lut", {"cost": {"bops": 7}, "estimate": None}, None),
    ],
)
def test_the_cost_is_a_count_or_finns_estimate(cost: str, row: dict[str, Any], expected: float | None) -> None:
    assert cost_of(row, cost) == expected


def test_without_a_trained_cell_no_trial_is_planned() -> None:
    whole = plan()
    rows = [new_row(cell) | {"state": "failed"} for cell in whole.cells()]
    assert next_trials(whole, SearchSpace(whole), rows, 1) == []


# networks that are known


def test_a_network_that_a_cell_has_is_never_asked_for_and_an_exhausted_search_ends() -> None:
    whole = plan(weight_bits=[1, 2], act_bits=[4], trials=99)  # four layers of weights: 16 networks, two of them known
    space = SearchSpace(whole)
    rows = [trained_row(cell, 50.0) for cell in whole.cells()]
    asked = next_trials(whole, space, rows, 99)
    known = {space.chosen(space.widths(cell)) for cell in [*whole.cells(), *asked]}
    assert len(known) == 2 + len(asked) == 16
    assert len({cell.name for cell in asked}) == 14
    assert next_trials(dataclasses.replace(whole, trials=tuple(asked)), space, rows, 1) == []


# neighbours


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [
        ({"conv1": 1, "act1": 8}, {"conv1": 1, "act1": 8}, 0.0),
        ({"conv1": 1, "act1": 8}, {"conv1": 8, "act1": 8}, 3.0),
        ({"conv1": 4, "act1": 2}, {"conv1": 2, "act1": 4}, 2.0),
        ({"conv1": 2}, {"conv1": 4, "input": 8}, 1.0),  # what is no variable plays no part
    ],
)
def test_cells_are_apart_by_doublings_of_bits(ours: dict[str, int], theirs: dict[str, int], apart: float) -> None:
    assert distance(ours, theirs) == apart


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ({"a": 1, "b": 1}, "one"),
        ({"a": 8, "b": 4}, "wide, better"),  # as far from both wide ones
        ({"a": 4, "b": 1}, "mixed"),
        ({"a": 2, "b": 2}, "one"),  # two away from one, three from mixed
    ],
)
def test_the_nearest_cell_is_taken_and_of_equals_the_more_accurate(ours: dict[str, int], expected: str) -> None:
    cells = [
        ("one", {"a": 1, "b": 1}, 40.0),
        ("wide", {"a": 8, "b": 8}, 90.0),
        ("wide, better", {"a": 8, "b": 8}, 91.0),
        ("mixed", {"a": 8, "b": 1}, 10.0),
    ]
    trained = [(widths, {"cell": name, "validation_accuracy": accuracy}) for name, widths, accuracy in cells]
    assert nearest(ours, trained)["cell"] == expected


# what can be chosen, and its name


def test_every_layer_that_bits_can_name_is_a_variable_but_not_the_images_quantizer() -> None:
    space = SearchSpace(plan("CNV", weight_bits=[1, 2], act_bits=[2, 4, 8]))
    assert sorted(space.choices) == sorted(CNV_VARIABLES)
    for path, choices in space.choices.items():
        assert choices == ((2, 4, 8) if path.startswith("act") else (1, 2))


def test_residual_sums_have_the_widths_that_the_sweeps_own_cells_give_them() -> None:
    space = SearchSpace(plan("RESNET20", weight_bits=[2, 8], width=0.125))
    assert {choices for path, choices in space.choices.items() if path.endswith(".sum")} == {(4, 8)}
    assert {choices for path, choices in space.choices.items() if not path.endswith(".sum")} == {(2, 8)}


def test_an_expression_on_the_axis_adds_its_widths_to_the_choices() -> None:
    space = SearchSpace(plan(expressions=("", "first=8")))
    assert space.choices["fc1"] == (1, 2, 8)
    assert space.choices["fc2"] == (1, 2)


@pytest.mark.parametrize(
    ("changes", "pair", "bits"),
    [
        ({}, (1, 1), ""),
        ({"fc2": 8}, (1, 1), "fc2=8"),
        ({"fc1": 8, "fc2": 8, "fc3": 8, "fc4": 8}, (8, 1), ""),
        ({"fc1": 8, "fc2": 8, "fc3": 8, "act2": 2}, (8, 1), "fc4=1,act2=2"),
    ],
)
def test_a_choice_is_named_by_the_network_that_leaves_least_to_say(
    changes: dict[str, int], pair: tuple[int, int], bits: str
) -> None:
    space = SearchSpace(plan(weight_bits=[8, 2, 1]))
    chosen = dict.fromkeys(space.choices, 1) | changes
    assert space.name(chosen) == (pair, bits)
    weights, acts = _network_bits(space._recipe(pair, bits), None)
    assert {path: (weights | acts)[path] for path in chosen} == chosen


# the command


@pytest.mark.parametrize(
    ("epochs", "given", "expected"), [(12, None, 4), (30, None, 10), (2, None, 1), (1, None, 1), (12, 7, 7)]
)
def test_a_trial_has_a_third_of_the_epochs_unless_told(epochs: int, given: int | None, expected: int) -> None:
    assert plan_search(5, epochs, epochs=given).epochs == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--search=0"], "search must be a whole number, 1 or more, but got 0"),
        (["--search=-3"], "but got -3"),
        (["--search=x"], "search must be a whole number, but got 'x'"),
        (["--search=2", "--search-epochs=0"], "search_epochs must be a whole number, 1 or more"),
        (["--search=2", "--search-cost=dsp"], "search_cost must be bops or lut, but got 'dsp'"),
        (["--search=2", "--search-cost=lut"], "name one with --board, or take bops"),
        (["--search=2", "--weight-bits=4"], "two widths or more"),
        (["--search-cost=bops"], "--search-cost goes with --search"),
        (["--search-epochs=2"], "--search-epochs goes with --search"),
        (["--search-from=sensitivity"], "--search-from goes with --search"),
        (["--search=2", "--search-from=hessian"], "search_from must be random or sensitivity, but got 'hessian'"),
        (["--search=2", "--search-from=sensitivity", "--weight-bits=4"], "two widths or more"),
        (
            ["--search=2", "--search-from=sensitivity", "--search-cost=lut", "--board=ZCU104"],
            "search_from sensitivity weighs the loss against bops, and search_cost is lut; take search_cost bops",
        ),
        (["--search=2", "--search-from=sensitivity", "--bits=first=8;last=8"], "leave none; add one"),
    ],
)
def test_a_wrong_search_is_one_line_and_writes_nothing(
    tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    widths = [] if any("weight-bits" in word for word in words) else ["--weight-bits=1,2"]
    check_refusal(cli("sweep", "TFC", *widths, *FLAGS, *words), 2, says)
    assert tree(tmp_path) == {}


def test_luts_need_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtrain.experiments.sweep.search.find_compiler", lambda: None)
    whole = plan(search=SearchPlan(1, "lut", 1), board="ZCU104")
    with pytest.raises(UserError, match=re.escape(f"no compiler here; {INSTALL}, or take bops")):
        sweep(whole, tmp_path / "out", context=RunContext(device="cpu"))
    assert tree(tmp_path) == {}


def test_a_missing_optuna_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtrain.experiments.sweep.search.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install .*\[search\]"):
        sweep(plan(), tmp_path / "out", context=RunContext(device="cpu"))
    assert tree(tmp_path) == {}
