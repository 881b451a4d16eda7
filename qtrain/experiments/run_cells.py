"""The cells of a comparison, wherever an engine runs them, with ``status.json`` and a view of where they are."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.data import DATASETS, load_data
from qtrain.engines.task import Died, Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import Cell, CellTask, read_cell
from qtrain.experiments.same_data import digests_for
from qtrain.experiments.status import CellsStatus
from qtrain.experiments.view import CellsView, NoView
from qtrain.recipe import Recipe
from qtrain.records.status import StatusFile
from qtrain.training.context import HERE, RunContext


def check_alone() -> None:
    """See that this process may run many runs: torchrun's train one together.

    Raises:
        UserError: this is one of torchrun's processes.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdecimal() and int(size) > 1:
        raise UserError(
            f"torchrun's {size} processes train one run together, with qtrain train; start many runs without torchrun, "
            "several at a time with --jobs"
        )


def run_cells(
    cells: Sequence[tuple[Recipe, Path]],
    out: Path,
    context: RunContext = HERE,
    *,
    engine: Engine = in_turn,
    view: CellsView | None = None,
    again: bool = False,
) -> Generator[Cell, None, None]:
    """Train, continue or read every cell.

    Args:
        cells: recipe and folder of each; a folder that comes twice is trained once.
        out: where ``status.json`` goes, a folder above the cells'.
        context: where the data lie, which device, and what stops it; the engine's events go to ``view`` alone.
        engine: where cells run: one after the other here, ``SideBySide(jobs)``, or ``OnRay(...)``.
        view: shows where the cells are.
        again: train cells anew that failed before.

    Yields:
        The cells that have ended already, then the others as they end. Whoever stops asking closes the generator: what
        still runs is saved.

    Raises:
        UserError: what was given cannot be trained, or a run's process was killed. Runs beside it are saved.
        Interrupted: Ctrl-C, SIGTERM or ``context.stop``; all runs are saved.
    """
    check_alone()
    folders = {_name(folder, out): folder for _, folder in cells}
    recipes = {_name(folder, out): recipe for recipe, folder in cells}
    known = {}
    tasks = []
    for name, folder in folders.items():
        cell = read_cell(recipes[name], folder, again=again)
        if cell is not None:
            known[name] = cell
            continue
        there = folder.resolve()  # an engine's processes may work elsewhere
        tasks.append(CellTask(name, recipes[name], there, again, context.data_root, context.device, context.log))
    yield from known.values()
    epochs = {name: recipe.epochs for name, recipe in recipes.items()}
    status = CellsStatus(out, epochs, [cell.ended(name) for name, cell in known.items()])
    if not tasks:
        if _says_running(out):
            with status:  # writes that it is done
                pass
        return
    digests = digests_for(engine, [task.recipe for task in tasks], context.data_root)
    tasks = [replace(task, digest=digests.get(task.recipe.data)) for task in tasks]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error.strerror}); name another folder") from None
    with status, shown(view or NoView(), status) as seen:
        for name, cell in _run(tasks, context, engine, status, seen):
            yield replace(cell, folder=folders[name])


def _says_running(out: Path) -> bool:
    """Whether the last process to run cells there was killed after the last of them."""
    try:
        return StatusFile.is_in(out) and StatusFile.read(out).state == "running"
    except UserError:  # damaged, and nothing rests on it
        return True


def _run(
    tasks: Sequence[CellTask], context: RunContext, engine: Engine, status: CellsStatus, view: CellsView
) -> Iterator[tuple[str, Cell]]:
    """Run cells; yield each with its task's name."""

    def told(name: str, event: dict[str, Any]) -> None:
        status.told(name, event)
        view.event()

    if engine is not in_turn:
        for name in {task.recipe.data for task in tasks}:
            if name in DATASETS and not DATASETS.get(name).in_files:
                load_data(name, root=context.data_root)  # what must be downloaded is so once
    found: Any = engine(tasks, stop=context.stop, told=told)
    with closing(found) as ended:
        for task, cell in ended:
            if isinstance(cell, Died):
                raise UserError(
                    f"{task.name}: {cell.reason}; the runs beside it are saved, and the same command goes on"
                )
            status.ended(cell.ended(task.name))
            view.ended(task.name, cell.outcome)
            yield task.name, cell


@contextmanager
def shown(view: CellsView, status: CellsStatus) -> Iterator[CellsView]:
    """Inside, the view shows the status."""
    view.open(status)
    try:
        yield view
    finally:
        view.close()


def _name(folder: Path, out: Path) -> str:
    """Return what a person calls a cell: its folder within ``out``, unless it lies elsewhere."""
    if folder.is_relative_to(out):
        return folder.relative_to(out).as_posix()
    return str(folder)
