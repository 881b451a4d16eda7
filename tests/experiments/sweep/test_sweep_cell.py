"""A cell of a sweep reads its run once, makes one graph and lints once, with a board and without one."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qtrain.engines.task import Task
from qtrain.experiments.sweep import deploy
from qtrain.experiments.sweep.plan import plan_sweep
from qtrain.experiments.sweep.run import sweep
from qtrain.export.lint import check
from qtrain.training import Silent
from qtrain.training.context import RunContext

TINY: dict[str, Any] = {"data": "digits", "epochs": 1, "batch_size": 20, "width": 0.125, "optimizer": "adam"}
TINY |= {"train_size": 60, "validation_size": 40, "lr": 0.02}


@pytest.fixture
def lints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every run of the rules about a graph."""
    found: list[int] = []
    ask = check.ask_graph

    def counted(graph: Any) -> Any:
        found.append(len(graph.nodes))
        return ask(graph)

    monkeypatch.setattr(check, "ask_graph", counted)
    return found


COUNTED = {
    "load_best": ("qtrain.experiments.run",),
    "load_data": ("qtrain.training.splits",),
    "lint_with_stages": ("qtrain.export.linted", "qtrain.export.lint.check"),
    "inference_cost": ("qtrain.export.compiler.cost",),
}


def counted_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the calls of what a cell should do once, wherever it is called from."""
    calls = dict.fromkeys(COUNTED, 0)

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **how: Any) -> Any:
            calls[name] += 1
            return real(*args, **how)

        return counted

    for name, places in COUNTED.items():
        for place in places:
            module = import_module(place)
            monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    return calls


def here(tasks: Sequence[Task], *, stop: Callable[[], bool], told: Any) -> Iterator[tuple[Task, Any]]:
    """Run the tasks in this process, where calls can be counted."""
    for task in tasks:
        yield task, task(Silent(), stop)


@pytest.mark.parametrize("board", ["ZCU104", None])
def test_a_cell_reads_its_run_once_and_makes_one_graph_and_lints_once(
    board: str | None, tmp_path: Path, exports: Callable[[], int], lints: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "find_compiler", lambda: None)
    calls = counted_calls(monkeypatch)
    plan = plan_sweep("TFC", weight_bits=[2], board=board, **TINY)
    (row,) = sweep(plan, tmp_path / "out", engine=here, context=RunContext(device="cpu"))
    assert (row["state"], row["proven"]) == ("done", True if board else None)
    assert row["cost"]["macs"] > 0
    assert (exports(), len(lints)) == (1, 1)
    data = 3 if board else 2  # for the plan's check, to train with, and to prove with
    assert calls == {"load_best": 1, "load_data": data, "lint_with_stages": 1, "inference_cost": 1}
