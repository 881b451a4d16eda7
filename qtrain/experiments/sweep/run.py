"""A sweep: one recipe at every bit width, expression and seed, each cell trained, proven, linted and estimated."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.engines.task import Died, Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.lr_range import check_rate_is_read
from qtrain.experiments.model import initial_model
from qtrain.experiments.one_rate import fixed_rate
from qtrain.experiments.run_cells import shown
from qtrain.experiments.same_data import Digests, digests_for
from qtrain.experiments.status import CellsStatus
from qtrain.experiments.sweep.cell import SweepCell
from qtrain.experiments.sweep.command import rebuild_command
from qtrain.experiments.sweep.file import read_plan, write_plan
from qtrain.experiments.sweep.plan import CELLS, SweepPlan, plan_sweep
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.experiments.sweep.pruning import rivals_of
from qtrain.experiments.sweep.row import Rows, ended_cell, failed_row, outcome, read_row, write_rows
from qtrain.experiments.sweep.search import check_search, check_start, search
from qtrain.experiments.view import CellsView, NoView
from qtrain.recipe import AUTO
from qtrain.records.leftovers import is_free
from qtrain.records.lock import only_here
from qtrain.records.sweep import SweepFile
from qtrain.training.context import HERE, RunContext
from qtrain.training.methods.make import make_method
from qtrain.training.setup import choose_device
from qtrain.training.splits import load_splits

__all__ = ["SweepPlan", "plan_sweep", "read_plan", "resume_sweep", "sweep"]

LATER = 0.1  # stands for a rate that the range test is still to choose, where a recipe is only checked
Row = dict[str, Any]


def sweep(
    plan: SweepPlan,
    out: str | Path,
    context: RunContext = HERE,
    *,
    engine: Engine = in_turn,
    view: CellsView | None = None,
    at_a_time: int = 1,
) -> list[Row]:
    """Run every cell of a plan and write the sweep's folder.

    Rows are written as cells end, so that ``out`` can be read, and reported on, at any time. A cell's error is its row.

    Args:
        plan: of ``plan_sweep``.
        out: new or empty folder.
        context: where the data lie, which device, and what stops it; the engine's events go to ``view`` alone.
        engine: where cells run; one after the other here, ``SideBySide(jobs)``, or ``OnRay(...)``.
        view: shows where the sweep is.
        at_a_time: trials of a search that are planned, and run, together; as many as the engine runs.

    Returns:
        All rows, in the plan's order.

    Raises:
        UserError: ``out`` holds things, data are missing, there is no such device, an expression names no layer, or the
            scheduler has no such option.
        Interrupted: Ctrl-C or ``stop``; ``resume_sweep`` goes on.
    """
    out = Path(out)
    _check_free(out)
    _check_plan(plan, context)
    with only_here(out, say=context.say):
        _check_free(out)
        out.mkdir(parents=True, exist_ok=True)
        write_plan(out, plan)
        return _run(plan, out, context, engine, view or NoView(), at_a_time)


def resume_sweep(
    out: str | Path,
    context: RunContext = HERE,
    *,
    again: bool = False,
    engine: Engine = in_turn,
    view: CellsView | None = None,
    at_a_time: int = 1,
) -> list[Row]:
    """Go on with the sweep in ``out``: finished cells are read, unfinished ones continue where they were.

    Args:
        out: folder of a sweep.
        context: as for ``sweep``.
        again: cells that failed are tried anew; training goes on from their checkpoint, where that helps.
        engine: as for ``sweep``; it may be another.
        view: as for ``sweep``.
        at_a_time: as for ``sweep``.

    Returns:
        All rows, in the plan's order.

    Raises:
        UserError: no sweep there, damaged files, or another process is at it.
        Interrupted: as ``sweep``.
    """
    out = Path(out)
    plan = read_plan(out)
    check_search(plan)
    with only_here(out, say=context.say):
        return _run(plan, out, context, engine, view or NoView(), at_a_time, again)


def _run(
    plan: SweepPlan,
    out: Path,
    context: RunContext,
    engine: Engine,
    view: CellsView,
    at_a_time: int,
    again: bool = False,
) -> list[Row]:
    plan = _with_rate(plan, out, context)
    cells = plan.cells()
    known = {cell.name: read_row(out / CELLS / cell.name, again=again) for cell in cells}
    rows = Rows(cells, [row for row in known.values() if row is not None])
    digests = digests_for(engine, [plan.recipe], context.data_root)
    epochs = {cell.name: cell.epochs for cell in cells}
    status = CellsStatus(out, epochs, [ended_cell(row) for row in rows.in_order])

    def ended(row: Row) -> None:
        rows.add(row)
        status.ended(ended_cell(row))
        write_rows(out, rows.in_order)
        view.ended(row["cell"], outcome(row))

    def told(name: str, event: dict[str, Any]) -> None:
        status.told(name, event)
        view.event()

    def run(plan: SweepPlan, cells: Sequence[PlannedCell]) -> None:
        rows.expect(cells)
        tasks = _tasks(plan, cells, out, again, context, rows.in_order, digests)
        for depth in sorted({cell.depth for cell in cells}):
            orphans, ready = _split([task for task in tasks if task.cell.depth == depth], rows.in_order)
            for row in orphans:
                ended(row)
            _run_wave(ready, engine, context, told, status, ended)

    if plan.search is not None:
        status.expect({}, plan.search.trials - len(plan.trials), plan.search.epochs)
    with status, shown(view, status):
        write_rows(out, rows.in_order)
        run(plan, [cell for cell in cells if known[cell.name] is None])
        if plan.search is not None:
            search(plan, out, status, rows, run, at_a_time=at_a_time, context=context)
    return rows.in_order


def _tasks(
    plan: SweepPlan,
    cells: Sequence[PlannedCell],
    out: Path,
    again: bool,
    context: RunContext,
    rows: Sequence[Row],
    digests: Digests,
) -> list[SweepCell]:
    by_name = {cell.name: cell for cell in plan.cells()}
    tasks = []
    for cell in cells:
        recipe = plan.recipe_of(cell, out)
        folder = (out / CELLS / cell.name).resolve()
        command = rebuild_command(plan, cell, by_name)
        tasks.append(
            SweepCell(
                cell,
                recipe,
                folder,
                target=plan.target,
                command=command,
                again=again,
                data_root=context.data_root,
                device=context.device,
                rivals=rivals_of(cell, plan, rows),
                log=context.log,
                digest=digests.get(recipe.data),
            )
        )
    return tasks


def _run_wave(
    tasks: Sequence[SweepCell],
    engine: Engine,
    context: RunContext,
    told: Callable[[str, dict[str, Any]], None],
    status: CellsStatus,
    ended: Callable[[Row], None],
) -> None:
    """Run cells that wait for no other."""
    if not tasks:
        return
    found = engine(tasks, stop=context.stop, told=told)
    try:
        for task, row in found:
            if isinstance(row, Died):  # it left no row in its folder, so that a resumed sweep goes on with it
                row = failed_row(task.cell, task.command, status.stage_of(task.name), row.reason)  # type: ignore[attr-defined]
            ended(row)
    finally:
        if isinstance(found, Generator):
            found.close()  # what still runs is saved


def _split(wave: Sequence[SweepCell], rows: Sequence[Row]) -> tuple[list[Row], list[SweepCell]]:
    """Return rows of the cells whose parents have no weights for them, and the cells that can run.

    A parent that trained and failed later, at lint for instance, has weights.
    """
    broken = {row["cell"]: row for row in rows if row["test_accuracy"] is None}
    orphans = []
    ready = []
    for task in wave:
        parent = broken.get(task.cell.parent or "")
        if parent is None:
            ready.append(task)
        else:
            reason = f"it starts from {parent['cell']}, which failed: {parent['error']}"
            orphans.append(failed_row(task.cell, task.command, "train", reason))
    return orphans, ready


def _with_rate(plan: SweepPlan, out: Path, context: RunContext) -> SweepPlan:
    """Return the plan with a number for its rate: the range test's at the widest bits, asked once and kept."""
    if plan.recipe.lr != AUTO:
        return plan
    recipe, _ = fixed_rate(plan.recipe, out, context)
    plan = replace(plan, recipe=recipe)
    write_plan(out, plan)
    return plan


def _check_free(out: Path) -> None:
    if SweepFile.is_in(out):
        raise UserError(
            f"{out} holds a sweep already; go on with it by --resume {out}, or name a new folder with --out"
        )
    if not is_free(out):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")


def _check_plan(plan: SweepPlan, context: RunContext) -> None:
    """See that the cells can train at all, before anything is written.

    Raises:
        UserError: they cannot.
    """
    choose_device(context.device)
    check_search(plan)
    check_start(plan, context.data_root)
    if plan.recipe.lr == AUTO:
        check_rate_is_read([plan.recipe.scheduler])
    load_splits(plan.recipe, context.data_root)
    recipe = plan.recipe.replace(lr=LATER) if plan.recipe.lr == AUTO else plan.recipe
    for expression in plan.expressions:
        model, _ = initial_model(recipe.replace(bits=expression), context.data_root)
        make_method(model, recipe, steps_per_epoch=1)
