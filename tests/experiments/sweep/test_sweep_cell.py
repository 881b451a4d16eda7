"""A cell of a sweep makes the graph of its network once and lints once, with a board and without one."""

from collections.abc import Callable, Iterator, Sequence
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


def here(tasks: Sequence[Task], *, stop: Callable[[], bool], told: Any) -> Iterator[tuple[Task, Any]]:
    """Run the tasks in this process, where calls can be counted."""
    for task in tasks:
        yield task, task(Silent(), stop)


@pytest.mark.parametrize("board", ["ZCU104", None])
def test_a_cell_makes_one_graph_and_lints_once(
    board: str | None, tmp_path: Path, exports: Callable[[], int], lints: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "find_compiler", lambda: None)
    plan = plan_sweep("TFC", weight_bits=[2], board=board, **TINY)
    (row,) = sweep(plan, tmp_path / "out", engine=here, context=RunContext(device="cpu"))
    assert (row["state"], row["proven"]) == ("done", True if board else None)
    assert row["cost"]["macs"] > 0
    assert (exports(), len(lints)) == (1, 1)
