"""One cell of a sweep: trained, linted, exported with its proof and estimated; what came of it is a row."""

import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError, is_of_machine, is_out_of_storage
from qtrain.experiments.run import complete_run
from qtrain.experiments.same_data import check_same_data
from qtrain.experiments.status import STAGES
from qtrain.experiments.sweep.deploy import Deployment, Refused, bops_at_start
from qtrain.experiments.sweep.planned_cell import PlannedCell, Target
from qtrain.experiments.sweep.pruning import STARTUP, Pruning, Rival
from qtrain.experiments.sweep.row import (
    SECONDS,
    new_row,
    one_line,
    read_row,
    read_seconds,
    training_curve,
)
from qtrain.recipe import Recipe, difference
from qtrain.records.files import write_json
from qtrain.records.sweep import CELL, write_cell
from qtrain.training import Interrupted, Result, Watcher
from qtrain.training.context import RunContext
from qtrain.training.folder import RECIPE, folder_recipe, has_begun
from qtrain.training.loggers.make import DEFAULT

STORY = "error.txt"


@dataclass(frozen=True)
class SweepCell:
    """Brings one cell of a sweep to its row; a ``Task``.

    Each stage whose files are there already is read, not done again. An error ends the cell, never the sweep: it is
    in the row, and the traceback of one that is not a user's in ``error.txt``.

    Attributes:
        cell: what is planned.
        recipe: of its run.
        folder: its run folder; the FINN folder is ``finn`` in it, the compiler's output ``estimate``.
        target: what to export and estimate for; None counts MACs and bit operations alone.
        command: that rebuilds it, for its row.
        again: a cell that failed is tried anew.
        data_root: where to look for the data.
        device: auto, cpu, cuda or cuda:N.
        rivals: trials that this one may be pruned by; none for what is no such trial.
        log: names of the loggers that get the run's records.
        digest: of the caller's data, where that may be another machine.
    """

    cell: PlannedCell
    recipe: Recipe
    folder: Path
    target: Target | None = None
    command: str = ""
    again: bool = False
    data_root: str | Path | None = None
    device: str = "auto"
    rivals: tuple[Rival, ...] = ()
    log: tuple[str, ...] = DEFAULT
    digest: str | None = None

    @property
    def name(self) -> str:
        """Return the name of the planned cell."""
        return self.cell.name

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> dict[str, Any]:
        """Return the cell's row, which its ``cell.json`` then holds.

        Raises:
            Interrupted: ``stop`` said so; what there is is saved.
            Exception: the disk is full, or the process may open no more files.
        """
        if (known := read_row(self.folder, again=self.again)) is not None:
            return known
        row = new_row(self.cell, self.command)
        row["seconds"] |= read_seconds(self.folder)
        deployment = Deployment(self.folder, self.data_root)
        for stage in STAGES:
            if stop():
                raise Interrupted(f"stopped before the {stage} of {self.name}")
            if not self._go(stage, row, deployment, watch, stop):
                break
        row["curve"] = training_curve(self.folder)
        row = json.loads(json.dumps(row))  # as it is read back: lists for tuples
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_cell(self.folder, row)
        except OSError as error:  # without the file a resumed sweep tries the cell again
            if is_out_of_storage(error):
                raise
            reason = f"the row cannot be written: {one_line(error)}"
            row.update(state="failed", stage=row["stage"] or stage, error=row["error"] or reason)
        return row

    def _go(
        self, stage: str, row: dict[str, Any], deployment: Deployment, watch: Watcher, stop: Callable[[], bool]
    ) -> bool:
        """Do one stage and write what came of it into the row; return False where the cell ends with it."""
        if stage != "train":
            watch.start(stage, 0, 0)  # training tells of itself
        started = time.perf_counter()
        facts = {}
        try:
            facts = self._stage(stage, row, deployment, watch, stop)
        except Exception as error:
            if is_of_machine(error):
                raise  # the next cell would fare no better, and this one goes on when there is room
            row.update(state="failed", stage=stage, error=one_line(error))
            if isinstance(error, Refused):
                facts = error.facts
            elif not isinstance(error, UserError):
                self._tell(traceback.format_exc())
        if facts and row["seconds"][stage] is None:
            row["seconds"][stage] = round(time.perf_counter() - started, 3)
            write_json(self.folder / SECONDS, row["seconds"])
        row.update(facts)
        return bool(row["state"] == "done")

    def _stage(
        self, stage: str, row: dict[str, Any], deployment: Deployment, watch: Watcher, stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Do one stage; return what the row is to say of it."""
        if stage == "train":
            result = self._train(watch, stop)
            row["seconds"]["train"] = round(result.seconds, 3)  # with what it trained before a resume
            found = {"validation_accuracy": result.validation_accuracy, "best_epoch": result.best_epoch}
            if result.stopped_by == Pruning.__name__:
                return {**found, "state": "pruned", "stage": stage}
            return {**found, "test_accuracy": result.test_accuracy}
        if stage == "lint":
            return deployment.lint()
        if self.target is None:
            return deployment.count_cost() if stage == "export" else {}
        if stage == "export":
            return deployment.export_proven(self.target)
        return deployment.estimate(self.target)

    def _train(self, watch: Watcher, stop: Callable[[], bool]) -> Result:
        """Train, continue, or read what is there."""
        for name in (CELL, STORY):  # of a failure that is tried anew
            (self.folder / name).unlink(missing_ok=True)
        if (self.folder / RECIPE).is_file() and has_begun(self.folder):
            self._check_recipe()
        context = RunContext(self.data_root, self.device, watch=watch, stop=stop, log=self.log)
        check_same_data(self.recipe, self.data_root, self.digest)
        return complete_run(self.recipe, self.folder, context, callbacks=self._callbacks(), from_the_start=self.again)

    def _callbacks(self) -> list[Pruning]:
        """Return what may prune the trial: its rivals that cost no more, where there are enough."""
        if len(self.rivals) < STARTUP:
            return []
        bops = bops_at_start(self.recipe, self.data_root)
        return [Pruning([rival for rival in self.rivals if rival.bops <= bops])]

    def _tell(self, story: str) -> None:
        """Keep a traceback beside the run, where that can be done."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / STORY).write_text(story)

    def _check_recipe(self) -> None:
        """See that the run is this cell's; the parent's folder may have moved with the sweep's."""
        found = folder_recipe(self.folder)
        if other := difference(found.replace(init_from=self.recipe.init_from).to_dict(), self.recipe.to_dict()):
            raise UserError(f"{self.folder} is a run of another recipe ({other}); sweep into a new folder")
