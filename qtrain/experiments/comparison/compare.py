"""Schedulers against each other: the same recipe and seeds, only the schedule differs."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import Cell, cells_of, check_cells
from qtrain.experiments.export import export_run
from qtrain.experiments.lr_range import check_rate_is_read
from qtrain.experiments.one_rate import fixed_rate, known_rate
from qtrain.experiments.run_cells import check_alone, run_cells
from qtrain.experiments.view import CellsView
from qtrain.export import verify
from qtrain.recipe import AUTO, Recipe
from qtrain.records.comparison import ComparisonFile, LrRangeFile
from qtrain.records.leftovers import is_free
from qtrain.records.lock import only_here
from qtrain.records.status import StatusFile
from qtrain.report.comparison.verdict import TOLERANCE, Judged, verdicts_record
from qtrain.report.statistics import ASLR
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS
from qtrain.training.context import HERE, RunContext

BASELINE = "multistep"
FINN = "finn"


@dataclass(frozen=True)
class Comparison(Judged):
    """All runs of a comparison, paired by seed.

    Attributes:
        recipe: shared by all runs; its scheduler and seed are those of the first.
        cells: every run.
        tolerance: points that the challenger may fall short by.
        challenger: the scheduler that is judged.
        against: the schedulers it is held against; None chooses as ``default_judged`` does.
        tuning: tuning runs that a scheduler's numbers cost before this comparison, by scheduler.
        lr_range: what the range test found and cost, where it chose the rate.
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    tolerance: float
    challenger: str = DEFAULT
    against: tuple[str, ...] | None = None
    tuning: Mapping[str, int] = field(default_factory=dict)
    lr_range: Mapping[str, Any] | None = None

    def by_seed(self, scheduler: str) -> dict[int, float]:
        """Return test accuracies of a scheduler's finished runs in percent, in the order of their seeds."""
        found = {}
        for cell in sorted(self.cells, key=lambda cell: cell.seed):
            if cell.scheduler == scheduler and cell.test_accuracy is not None:
                found[cell.seed] = cell.test_accuracy
        return found

    def all_schedulers(self) -> list[str]:
        """Return the schedulers that take part, in the order they were given."""
        return self.schedulers

    def all_seeds(self) -> list[int]:
        """Return the seeds that every scheduler was given."""
        return self.seeds

    def recipe_baseline(self) -> str:
        """Return the baseline of the shared recipe."""
        return self.recipe.baseline

    @property
    def schedulers(self) -> list[str]:
        """The schedulers in the order they were given."""
        return list(dict.fromkeys(cell.scheduler for cell in self.cells))

    @property
    def seeds(self) -> list[int]:
        """The seeds in the order they ran."""
        return list(dict.fromkeys(cell.seed for cell in self.cells))

    def file(self) -> ComparisonFile:
        """Return what ``comparison.json`` holds; folders relative to it."""
        return ComparisonFile(
            recipe=self.recipe.to_dict(),
            schedulers=tuple(self.schedulers),
            tolerance=self.tolerance,
            challenger=self.challenger,
            against=self.judged,
            tuning=self.tuning,
            lr_range=self.lr_range,
            cells=tuple(cell.finished() for cell in self.cells if cell.failed is None),
            failed=tuple(cell.lost() for cell in self.cells if cell.failed is not None),
            differences={name: self.differences(name) for name in self.others},
            verdict=verdicts_record(self.verdicts),
        )


def default_challenger(schedulers: Sequence[str]) -> str:
    """Return the scheduler that is judged where none is named: what a recipe trains with, else the first ASLR there."""
    options = [name for name in schedulers if (row := SCHEDULERS.find(name)) and row.family == "aslr"]
    return next((name for name in (DEFAULT, ASLR, *options) if name in schedulers), DEFAULT)


def check_schedulers(schedulers: Sequence[str], challenger: str, against: Sequence[str] = ()) -> None:
    """See that the challenger is there with something to compare it with, each once.

    Raises:
        UserError: it is not.
    """
    if challenger not in schedulers or len(schedulers) < 2 or len(set(schedulers)) < len(schedulers):
        raise UserError(
            f"schedulers must be {challenger} and at least one other, each once, but got {list(schedulers)}; "
            "challenger says which is judged"
        )
    others = [name for name in schedulers if name != challenger]
    strange = [name for name in against if name not in others]
    if strange:
        raise UserError(
            f"against must name schedulers that {challenger} is compared with ({', '.join(others)}), but got {strange}"
        )


def check_comparison(
    recipe: Recipe,
    out: Path,
    *,
    schedulers: Sequence[str],
    seeds: int,
    tolerance: float,
    challenger: str | None = None,
    against: Sequence[str] | None = None,
    tuning: Mapping[str, int] | None = None,
) -> None:
    """See that ``compare`` can begin, or go on, in ``out``; nothing is written.

    Raises:
        UserError: arguments out of range, or ``out`` holds other things or runs of another recipe.
    """
    check_schedulers(schedulers, challenger or default_challenger(schedulers), against or ())
    if seeds < 1:
        raise UserError(f"seeds must be 1 or more, but got {seeds}")
    if not tolerance >= 0:
        raise UserError(f"tolerance must be 0 points or more, but got {tolerance}")
    for name, runs in (tuning or {}).items():
        if name not in schedulers or runs < 0:
            raise UserError(f"tuning must give runs, 0 or more, for some of {list(schedulers)}, but got {name}={runs}")
    if recipe.lr == AUTO:
        check_rate_is_read(schedulers)
    known, _ = known_rate(recipe, out)
    cells = cells_of(known or recipe, out, schedulers, seeds)
    ours = (out / ComparisonFile.FILE, out / LrRangeFile.FILE, *(folder for _, folder in cells))
    if out.is_dir() and not is_free(out, but=(StatusFile.FILE,)) and not any(path.exists() for path in ours):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
    if known is not None:
        check_cells(cells)


def compare(
    recipe: Recipe,
    out: Path,
    context: RunContext = HERE,
    *,
    schedulers: Sequence[str] = (DEFAULT, BASELINE),
    seeds: int = 3,
    tolerance: float = TOLERANCE,
    challenger: str | None = None,
    against: Sequence[str] | None = None,
    tuning: Mapping[str, int] | None = None,
    again: bool = False,
    engine: Engine = in_turn,
    view: CellsView | None = None,
) -> Comparison:
    """Train ``recipe`` with every scheduler and seeds ``recipe.seed, recipe.seed + 1, ...``; nothing else changes.

    Finished runs in ``out`` are read, not trained again; an unfinished one continues from its checkpoint. One whose
    loss stops being finite is recorded as failed and the others go on.

    Args:
        recipe: shared by all runs; the range test chooses its rate, once for all of them, where that is auto. Its
            scheduler_options are by scheduler, as in {"armijo": {"eta_max": 10}}.
        out: new folder, or that of the same comparison.
        context: where runs happen; its ``say`` is told of each run's result where there is no view.
        schedulers: the challenger and others.
        seeds: runs a scheduler.
        tolerance: points that the challenger may fall short by.
        challenger: the scheduler that is judged; default the one of recipes where it takes part, else aslr or an option
            of it.
        against: the schedulers it is held against; by default the recipe's baseline where it is among them, else the
            others that are tuned by hand, else all others.
        tuning: tuning runs that a scheduler's numbers cost before, by scheduler; for the record.
        again: train runs anew that failed before.
        engine: where runs happen: one after the other here, ``SideBySide(jobs)``, or ``OnRay(...)``.
        view: shows where they are.

    Raises:
        UserError: arguments out of range, or ``out`` holds other things or runs of another recipe.
        Interrupted: Ctrl-C; what ran is saved, and the same call goes on.
    """
    check_alone()
    with only_here(out, say=context.say):
        check_comparison(
            recipe,
            out,
            schedulers=schedulers,
            seeds=seeds,
            tolerance=tolerance,
            challenger=challenger,
            against=against,
            tuning=tuning,
        )
        recipe, lr_range = fixed_rate(recipe, out, context)
        planned = cells_of(recipe, out, schedulers, seeds)
        found = {}
        with closing(run_cells(planned, out, context, engine=engine, view=view, again=again)) as ended:
            for cell in ended:
                found[cell.folder] = cell
                if view is None:  # which else has shown it
                    context.say(result_line(cell))
        comparison = Comparison(
            recipe=recipe,
            cells=tuple(found[folder] for _, folder in planned),
            tolerance=tolerance,
            challenger=challenger or default_challenger(schedulers),
            against=tuple(against) if against else None,
            tuning=dict(tuning or {}),
            lr_range=lr_range,
        )
        comparison.file().write(out)
        return comparison


def result_line(cell: Cell) -> str:
    """Return what came of a run, for a person."""
    outcome = cell.outcome if cell.failed else f"test accuracy {cell.outcome}"
    return f"{cell.scheduler} seed {cell.seed}: {outcome}"


def parse_tuning(text: str) -> dict[str, int]:
    """Read ``multistep=9,cosine=3``: the tuning runs that each scheduler's numbers cost.

    Raises:
        UserError: an entry of another form.
    """
    found = {}
    for part in text.split(","):
        entry = part.strip()
        if not entry:
            continue
        name, _, runs = (word.strip() for word in entry.partition("="))
        if not name or not runs.isdecimal():
            raise UserError(f"tuning must be SCHEDULER=RUNS, comma-separated, as in multistep=9, but got {entry!r}")
        found[name] = int(runs)
    return found


def export_cells(
    comparison: Comparison,
    *,
    board: str,
    target_fps: int,
    clock_ns: float,
    context: RunContext = HERE,
) -> None:
    """Export each scheduler's first run to ``finn`` in its folder, proven; one that is there already is proven again.

    Raises:
        ProofError: a graph differs from torch.
    """
    for scheduler in comparison.schedulers:
        finished = [cell for cell in comparison.cells if cell.scheduler == scheduler and cell.failed is None]
        if not finished:
            context.say(f"{scheduler}: no run to export, all failed")
            continue
        first = finished[0]
        out = first.folder / FINN
        context.say(f"{scheduler} seed {first.seed}: {out}")
        if out.exists():
            verify(out, say=context.say)
        else:
            export_run(
                first.folder,
                out,
                board=board,
                target_fps=target_fps,
                clock_ns=clock_ns,
                context=context,
            )
