"""A comparison's recorded files as plain data: all that tables, figures and pages are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.comparison import ComparisonFile, FailedCell, FinishedCell
from qtrain.records.manifest import MANIFEST, ShownExport, read_export
from qtrain.records.runs import Epoch, read_finished
from qtrain.report.comparison.verdict import Judged
from qtrain.report.graph import Graph, graph_facts
from qtrain.report.statistics import ASLR

RECORDS = "records.jsonl"
FINN = "finn"
MODEL = "model.onnx"


@dataclass(frozen=True)
class Export:
    """What an export left: its manifest (proof, stages, board) and the size of its graph."""

    manifest: ShownExport
    graph: Graph


@dataclass(frozen=True)
class Run:
    """One finished run; accuracies in percent, ``machine`` the run record without its recipe."""

    scheduler: str
    seed: int
    folder: str
    recipe: Mapping[str, Any]
    machine: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    seconds: float
    export: Export | None


@dataclass(frozen=True)
class ComparisonData(Judged):
    """All runs of a comparison; every scheduler was given the same seeds.

    Attributes:
        name: of its folder.
        recipe: shared by all runs.
        schedulers: in the order they were given, the challenger among them.
        tolerance: points that the challenger may fall short by.
        runs: every finished run.
        failed: every other one.
        challenger: the scheduler that is judged.
        against: the schedulers it is held against; None: as ``default_judged`` chooses.
        tuning: tuning runs spent before the comparison, by scheduler, where they were told.
        lr_range: the range test's record, where it chose the rate.
    """

    name: str
    recipe: Mapping[str, Any]
    schedulers: tuple[str, ...]
    tolerance: float
    runs: tuple[Run, ...]
    failed: tuple[FailedCell, ...] = ()
    challenger: str = ASLR
    against: tuple[str, ...] | None = None
    tuning: Mapping[str, int] = field(default_factory=dict)
    lr_range: Mapping[str, Any] | None = None

    def of(self, scheduler: str) -> list[Run]:
        """Return the finished runs of a scheduler, in the order of their seeds."""
        runs = [run for run in self.runs if run.scheduler == scheduler]
        return sorted(runs, key=lambda run: run.seed)

    def by_seed(self, scheduler: str) -> dict[int, float]:
        """Return test accuracies of a scheduler's finished runs in percent, in the order of their seeds."""
        return {run.seed: run.test_accuracy for run in self.of(scheduler)}

    def all_schedulers(self) -> list[str]:
        """Return the schedulers that take part, in the order they were given."""
        return list(self.schedulers)

    def all_seeds(self) -> list[int]:
        """Return the seeds that every scheduler was given."""
        return self.seeds

    def recipe_baseline(self) -> str:
        """Return the baseline of the shared recipe."""
        return str(self.recipe.get("baseline"))

    @property
    def seeds(self) -> list[int]:
        """The seeds that every scheduler was given, finished or not."""
        finished = [run.seed for run in self.of(self.challenger)]
        failed = [cell.seed for cell in self.failed if cell.scheduler == self.challenger]
        return sorted(finished + failed)


def read_comparison(folder: Path) -> ComparisonData:
    """Read a folder that ``qtrain compare`` wrote.

    Args:
        folder: holds ``comparison.json`` and a folder for each run.

    Raises:
        UserError: a file is missing, damaged or of another format, a run is unfinished, or files contradict each other.
    """
    found = ComparisonFile.read(folder)
    others = tuple(name for name in found.schedulers if name != found.challenger)
    return ComparisonData(
        name=folder.resolve().name,
        recipe=found.recipe,
        schedulers=found.schedulers,
        tolerance=found.tolerance,
        runs=tuple(_read_run(folder, cell) for cell in found.cells),
        failed=found.failed,
        challenger=found.challenger,
        against=found.against or others,
        tuning=found.tuning,
        lr_range=found.lr_range,
    )


def _read_run(folder: Path, cell: FinishedCell) -> Run:
    run = read_finished(folder / cell.folder)
    result = run.result
    if cell.test_accuracy != result.test_accuracy:
        says = f"it says {cell.test_accuracy} % for {cell.folder}, {RECORDS} {result.test_accuracy}"
        raise ComparisonFile.source(folder).damaged(says)
    return Run(
        scheduler=cell.scheduler,
        seed=cell.seed,
        folder=cell.folder,
        recipe=run.recipe,
        machine=run.facts,
        epochs=run.epochs,
        test_accuracy=result.test_accuracy,
        validation_accuracy=result.validation_accuracy,
        best_epoch=result.best_epoch,
        seconds=result.seconds,
        export=_read_export(folder / cell.folder / FINN),
    )


def _read_export(folder: Path) -> Export | None:
    if not folder.exists():
        return None
    shown = read_export(folder)
    if MODEL not in shown.files:
        raise UserError(f"{folder / MANIFEST} names no {MODEL}; export the run again")
    return Export(shown, graph_facts(folder / MODEL, shown.files[MODEL]))
