"""The paper's tables, run by run: whatever is missing, until the time is up, with results that are only added to."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import check_cells
from qtrain.experiments.paper.cells import (
    DONE,
    MISSING,
    PARTIAL,
    SKIPPED,
    PaperCell,
    Scale,
    append_result,
    chosen_rows,
    plan_cells,
    read_results,
    state_of,
)
from qtrain.experiments.paper.times import TIMES, has_times, reproduce_times, times_recipe
from qtrain.experiments.run_cells import check_alone, run_cells
from qtrain.experiments.view import CellsView
from qtrain.interrupt import Interrupted
from qtrain.records.comparison import FailureFile
from qtrain.records.lock import only_here
from qtrain.records.runs import read_records
from qtrain.training.context import HERE, RunContext
from qtrain.training.folder import last_result


def reproduce(
    cells: Sequence[PaperCell],
    results: Path,
    out: Path,
    context: RunContext = HERE,
    *,
    engine: Engine = in_turn,
    view: CellsView | None = None,
) -> int:
    """Run the missing cells in their order until the time is up; the next call goes on where this one stopped.

    Args:
        cells: of ``plan_cells``.
        results: JSON lines; each finished run adds one.
        out: the folder of all runs, where ``status.json`` goes.
        context: where runs happen. Its ``stop`` says whether the time is up, asked also inside a run, which is saved
            (see ``deadline``); its ``say`` is told of each run's result.
        engine: where runs happen; see ``run_cells``.
        view: shows where they are.

    Returns:
        How many cells are still to be run, those that are skipped not counted.

    Raises:
        UserError: data are missing, or a folder holds a run of another recipe.
        Interrupted: Ctrl-C, not the time limit.
    """
    check_alone()
    with only_here(out, say=context.say):
        missing = {cell.folder: cell for cell in _missing(cells, read_results(results), context)}
        planned = [(cell.recipe, folder) for folder, cell in missing.items()]
        check_cells(planned)
        try:
            with closing(run_cells(planned, out, context, engine=engine, view=view)) as ended:
                for done in ended:
                    cell = missing.pop(done.folder)
                    append_result(results, _result(cell))
                    context.say(f"{cell.title}: {done.outcome} (paper {cell.row.accuracy:.1f} %)")
        except Interrupted as stopped:
            if not context.stop():
                raise
            context.say(str(stopped))
        return len(missing)


def _missing(
    cells: Sequence[PaperCell],
    results: Sequence[dict[str, Any]],
    context: RunContext,
) -> list[PaperCell]:
    """Return the cells to run, and tell which are skipped and why."""
    missing = []
    skipped: dict[str, dict[str, None]] = {}  # what is skipped, each once, by the reason
    for cell in cells:
        state, why = state_of(cell, results, context.data_root)
        if state == SKIPPED:
            skipped.setdefault(why, {})[f"{cell.row.table} {cell.row.label}"] = None
        elif state in (PARTIAL, MISSING):
            missing.append(cell)
    for why, labels in skipped.items():
        context.say(f"skipped {', '.join(labels)}: {why}")
    return missing


def deadline(minutes: float | None, clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """Return a function that says whether ``minutes`` from now have passed; never where they are None.

    Raises:
        UserError: below 0.
    """
    if minutes is None:
        return lambda: False
    if not minutes >= 0:
        raise UserError(f"max_minutes must be 0 or more, but got {minutes}")
    end = clock() + 60 * minutes
    return lambda: clock() >= end


def _result(cell: PaperCell) -> dict[str, Any]:
    """Return a finished run's line: all that tables and curves are made of, so that folders may be deleted."""
    row = cell.row
    recipe = cell.recipe
    line: dict[str, Any] = {
        "table": row.table,
        "label": row.label,
        "paper_accuracy": row.accuracy,
        "paper_epochs": row.epochs,
        "role": row.scheduler,
        "scheduler": recipe.scheduler,
        "network": recipe.network,
        "data": recipe.data,
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "protocol": recipe.protocol,
        "scale": cell.scale.to_dict(),
        "epochs": recipe.epochs,
        "recipe": recipe.to_dict(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    result = last_result(cell.folder)
    if result is None:
        return line | {"failed": FailureFile.read(cell.folder).reason}
    records = read_records(cell.folder)
    epochs = [record for record in records if record["type"] == "epoch"]
    final = next(record for record in reversed(records) if record["type"] == "result")
    return line | {
        "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "counts": epochs[-1].get("counts", {}),
        "curve": {
            "validation_accuracy": [round(record["validation_accuracy"], 3) for record in epochs],
            "lr": [record["lr"] for record in epochs],
        },
        "machine": {name: final[name] for name in ("device", "threads", "versions", "commit")},
    }


def reproduce_tables(
    what: str,
    results: Path,
    context: RunContext = HERE,
    *,
    minutes: float | None = None,
    rounds: int = 5,
    clock: Callable[[], float] = time.monotonic,
    engine: Engine = in_turn,
    view: CellsView | None = None,
    **plan: Any,
) -> int:
    """Run what is missing of a table, or of all, as ``reproduce`` and ``reproduce_times`` do.

    Args:
        what: table1, table2, table3, table4 or all.
        results: JSON lines; each finished run adds one.
        context: where runs happen; its ``say`` is told of each result, and the time limit takes its ``stop``'s place.
        minutes: to stop after, over all of it.
        rounds: of Table II's measurement.
        clock: seconds, for the time limit.
        engine: where runs happen; Table II's measurement has the machine to itself.
        view: shows where they are.
        plan: networks, seeds, protocol, out, epochs_scale, width, train_size.

    Returns:
        How much is still to be run; a measurement counts as one run.
    """
    check_alone()
    context = replace(context, stop=deadline(minutes, clock))
    cells = [] if what == TIMES else _planned(what, **plan)  # wrong input ends it before anything runs
    timed = True
    if what in (TIMES, "all"):
        timed = reproduce_times(results, scale=_scale(**plan), rounds=rounds, context=context)
    left = reproduce(cells, results, plan["out"], context, engine=engine, view=view)
    return left if timed else left + 1


def _scale(*, epochs_scale: float = 1.0, width: float | None = None, train_size: int | None = None, **_: Any) -> Scale:
    return Scale(epochs_scale, width, train_size)


def _planned(
    what: str, *, networks: Sequence[str], seeds: int, protocol: str, out: Path, **size: Any
) -> list[PaperCell]:
    rows = chosen_rows(what, networks)
    return plan_cells(rows, out, scale=_scale(**size), seeds=seeds, protocol=protocol)


def list_cells(what: str, results: Path, *, data_root: str | Path | None = None, **plan: Any) -> list[str]:
    """Return a line a run of a table, or of all, with its state, in the order of running; nothing is run."""
    known = read_results(results)
    lines = []
    if what in (TIMES, "all"):
        recipe = times_recipe(_scale(**plan))
        state = DONE if has_times(known, recipe) else MISSING
        lines.append(f"{state:8} {TIMES} {recipe.network}")
    cells = [] if what == TIMES else _planned(what, **plan)
    for cell in cells:
        state, why = state_of(cell, known, data_root)
        reason = f": {why}" if why else ""
        lines.append(f"{state:8} {cell.title}{reason}")
    return lines


def planned_rows(what: str, networks: Sequence[str], protocol: str) -> list[dict[str, Any]]:
    """Return the rows that full runs fill, as a report takes them."""
    rows = [] if what == TIMES else chosen_rows(what, networks)
    planned = []
    for row in rows:
        recipe = row.recipe(protocol=protocol, validation_size=None)
        planned.append(
            {
                "table": row.table,
                "label": row.label,
                "paper_accuracy": row.accuracy,
                "data": recipe.data,
                "batch_size": recipe.batch_size,
                "scheduler": recipe.scheduler,
                "epochs": recipe.epochs,
                "protocol": protocol,
            }
        )
    return planned
