"""The cells of a comparison: one run each, trained, continued or read; one that diverged is recorded, not repeated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError, is_of_machine
from qtrain.experiments.run import complete_run
from qtrain.experiments.same_data import check_same_data
from qtrain.experiments.status import EndedCell
from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.comparison import FailedCell, FailureFile, FinishedCell
from qtrain.records.files import write_whole
from qtrain.records.leftovers import clear
from qtrain.training import Watcher
from qtrain.training.context import RunContext
from qtrain.training.folder import RECIPE, check_free, check_run, last_result
from qtrain.training.loggers.make import DEFAULT


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        scheduler: its name.
        seed: its seed.
        folder: of its records.
        test_accuracy: in percent; None where the run failed.
        failed: why it did, as in "the loss is nan at step 2".
    """

    scheduler: str
    seed: int
    folder: Path
    test_accuracy: float | None
    failed: str | None = None

    def finished(self) -> FinishedCell:
        """Return its entry in ``comparison.json`` where it has a result."""
        assert self.test_accuracy is not None
        return FinishedCell(self.scheduler, self.seed, self.folder.name, self.test_accuracy)

    def lost(self) -> FailedCell:
        """Return its entry in ``comparison.json`` where it failed."""
        assert self.failed is not None
        return FailedCell(scheduler=self.scheduler, seed=self.seed, folder=self.folder.name, reason=self.failed)

    def ended(self, name: str) -> EndedCell:
        """Return what a status needs to know of it, under the name of its task."""
        if self.failed is None:
            return EndedCell(name)
        return EndedCell(name, "train", self.failed)

    @property
    def outcome(self) -> str:
        """The accuracy, or why there is none, in words for a person."""
        if self.test_accuracy is None:
            return f"failed: {self.failed}"
        return f"{self.test_accuracy:.2f} %"


class _Started:
    """A watcher that passes everything on to another one, and knows whether training began."""

    def __init__(self, watch: Watcher):
        self._watch = watch
        self.yes = False

    def start(self, title: str, steps: int, done: int) -> None:
        self.yes = True
        self._watch.start(title, steps, done)

    def step(self, images: int) -> None:
        self._watch.step(images)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        self._watch.epoch(record, epochs)

    def finish(self) -> None:
        self._watch.finish()


def cells_of(recipe: Recipe, out: Path, schedulers: Sequence[str], seeds: int) -> list[tuple[Recipe, Path]]:
    """Return recipe and folder of every cell, in the order of running: all schedulers of a seed, then the next seed.

    Raises:
        UserError: ``recipe.scheduler_options`` are not by scheduler, as in ``{armijo: {eta_max: 10}}``.
    """
    options = recipe.scheduler_options
    if not all(name in schedulers and isinstance(own, dict) for name, own in options.items()):
        raise UserError(
            f"scheduler_options of a comparison must be by scheduler, as in {{armijo: {{eta_max: 10}}}}, for some of "
            f"{', '.join(schedulers)}, but got {options}"
        )
    cells = []
    for seed in range(recipe.seed, recipe.seed + seeds):
        for name in schedulers:
            cell = recipe.replace(scheduler=name, seed=seed, scheduler_options=options.get(name, {}))
            cells.append((cell, out / f"{name}-seed{seed}"))
    return cells


def check_cells(cells: Sequence[tuple[Recipe, Path]]) -> None:
    """See that the folders that exist already are those of the same recipes, or of runs that never began.

    Raises:
        UserError: one is not.
    """
    for recipe, folder in cells:
        if (folder / RECIPE).is_file():
            check_run(folder, recipe, "name a new folder with --out")
        else:
            check_free(folder)


@dataclass(frozen=True)
class CellTask:
    """Trains one cell, continues it, or reads what it left; a ``Task``.

    Attributes:
        name: what a person calls it; unique among the tasks of a call.
        recipe: of the run.
        folder: new, or that of the same run.
        again: a run that failed is forgotten and trained anew.
        data_root: where to look for the data.
        device: auto, cpu, cuda or cuda:N.
        log: names of the loggers that get the run's records.
        digest: of the caller's data, where that may be another machine.
    """

    name: str
    recipe: Recipe
    folder: Path
    again: bool = False
    data_root: str | Path | None = None
    device: str = "auto"
    log: tuple[str, ...] = DEFAULT
    digest: str | None = None

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> Cell:
        """Do it.

        Raises:
            UserError: what was given cannot be trained. A loss that is no longer finite is a failed cell instead.
        """
        known = read_cell(self.recipe, self.folder, again=self.again)
        if known is not None:
            return known
        if FailureFile.is_in(self.folder):
            clear(self.folder, last=FailureFile.FILE)
        started = _Started(watch)
        context = RunContext(self.data_root, self.device, watch=started, stop=stop, log=self.log)
        check_same_data(self.recipe, self.data_root, self.digest)
        try:
            result = complete_run(self.recipe, self.folder, context)
        except UserError as error:
            if not started.yes or is_of_machine(error):
                raise  # data, device, options, machine: the user's to mend, and no fault of the scheduler's
            _record_failure(self.recipe, self.folder, str(error))
            return Cell(self.recipe.scheduler, self.recipe.seed, self.folder, None, str(error))
        return Cell(self.recipe.scheduler, self.recipe.seed, self.folder, result.test_accuracy)


def read_cell(recipe: Recipe, folder: Path, *, again: bool = False) -> Cell | None:
    """Read a cell that has ended already, by its records alone; None where there is something to train.

    Args:
        recipe: of the run.
        folder: new, or that of the same run.
        again: one that failed is to be trained anew.

    Raises:
        UserError: the records are damaged.
    """
    if FailureFile.is_in(folder):
        if again:
            return None
        return Cell(recipe.scheduler, recipe.seed, folder, None, FailureFile.read(folder).reason)
    result = last_result(folder) if folder.exists() else None
    if result is None:
        return None
    return Cell(recipe.scheduler, recipe.seed, folder, result.test_accuracy)


def _record_failure(recipe: Recipe, folder: Path, reason: str) -> None:
    """Keep the reason; a run that failed before its first checkpoint left no folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RECIPE, dump_recipe(recipe).encode())
    FailureFile(reason).write(folder)
