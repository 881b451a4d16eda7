"""The cells of a comparison, one after the other here or several at a time."""

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from qtrain.data import load_data
from qtrain.engines.processes import SideBySide
from qtrain.engines.task import Died
from qtrain.errors import UserError
from qtrain.experiments.cells import Cell, CellTask, read_cell, run_cell
from qtrain.recipe import Recipe
from qtrain.training import Interrupted, Watcher

LINE_EVERY = 20.0  # seconds between two lines of one run


def check_jobs(jobs: int) -> None:
    """See that cells can run so many at a time, before anything runs.

    Raises:
        UserError: fewer than 1, or this is one of torchrun's processes.
    """
    SideBySide(jobs)
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdecimal() and int(size) > 1:
        raise UserError(
            f"torchrun's {size} processes train one run together, with qtrain train; start many runs without torchrun, "
            "several at a time with --jobs"
        )


def run_cells(
    cells: Sequence[tuple[Recipe, Path]],
    *,
    jobs: int = 1,
    watch: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Generator[Cell, None, None]:
    """Train, continue or read every cell; ``jobs`` of them at a time.

    With one job all happens in this process, each run when its cell is asked for. With more, ``SideBySide`` runs them.

    Args:
        cells: recipe and folder of each; a folder that comes twice is trained once.
        jobs: runs at a time, 1 or more.
        watch: told where the run is; with one job.
        stop: asked after every step, or with several jobs a few times a second; True saves and raises Interrupted.
        say: told of each run's progress now and then; with several jobs.
        options: again, data_root and device, as ``CellTask``'s.

    Yields:
        The cells as they end. Whoever stops asking closes the generator: what still runs is saved.

    Raises:
        UserError: what was given cannot be trained, or a run's process was killed. Runs beside it are saved.
        Interrupted: Ctrl-C, SIGTERM or ``stop``; all runs are saved.
    """
    check_jobs(jobs)
    planned = {folder: recipe for recipe, folder in cells}
    if jobs == 1:
        for folder, recipe in planned.items():
            if stop():
                raise Interrupted(f"stopped before {folder}")
            yield run_cell(recipe, folder, watch=watch, stop=stop, **options)
        return
    tasks = []
    for folder, recipe in planned.items():
        if (known := read_cell(recipe, folder, again=options.get("again", False))) is not None:
            yield known
        else:
            tasks.append(CellTask(recipe, folder, **options))
    for name in {task.recipe.data for task in tasks} - {"imagenet"}:
        load_data(name, root=options.get("data_root"))  # what must be downloaded is so once
    with closing(SideBySide(jobs)(tasks, stop=stop, told=Lines(say))) as ended:
        for task, cell in ended:
            if isinstance(cell, Died):
                raise UserError(
                    f"{task.name}: {cell.reason}; the runs beside it are saved, and the same command goes on"
                )
            yield cell


class Lines:
    """Makes a line of some of the events that an engine tells: each run's epoch, now and then."""

    def __init__(self, say: Callable[[str], None], every: float = LINE_EVERY):
        self._say, self._every = say, every
        self._titles: dict[str, str] = {}
        self._last: dict[str, float] = {}

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        """Say the epoch's accuracy and rates, if the run's last line is long ago."""
        now = time.monotonic()
        if event["event"] == "start":
            self._titles[name], self._last[name] = event["title"], now
        elif event["event"] == "epoch" and now - self._last[name] >= self._every:
            self._last[name] = now
            self._say(
                f"{self._titles[name]}  epoch {event['epoch']}/{event['epochs']}  "
                f"validation {event['validation_accuracy']:.2f} %  lr {event['lr']:g}  "
                f"{event['images_per_second']:,.0f} images/s"
            )
