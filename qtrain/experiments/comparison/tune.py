"""A grid search for a hand-tuned schedule: judged on validation images alone, and what it cost."""

import itertools
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import check_cells
from qtrain.experiments.run_cells import run_cells
from qtrain.experiments.view import CellsView
from qtrain.recipe import Recipe
from qtrain.records.no_retuning import TuningFile, TuningPoint, TuningRecord
from qtrain.records.runs import RECORDS, read_records
from qtrain.training.context import HERE, RunContext
from qtrain.training.folder import last_result

FIRST_SEED = 100  # comparisons count theirs from the recipe's, usually 0


def tune_cells(
    recipe: Recipe,
    out: Path,
    lrs: Sequence[float],
    milestones: Sequence[Sequence[float]] | None,
    seeds: Sequence[int],
    scheduler: str | None = None,
) -> list[tuple[Recipe, Path]]:
    """Return recipe and folder of every run of the grid, point by point; a folder's name tells the whole point.

    Raises:
        UserError: nothing to try, a point or seed twice, or a protocol without held-out images.
    """
    if recipe.protocol != "holdout":
        raise UserError("protocol paper validates on the test set, so that nothing may be tuned by it; choose holdout")
    sets = [tuple(steps) for steps in (milestones or [recipe.milestones])]
    for name, values in (("lrs", tuple(lrs)), ("milestones", sets), ("seeds", tuple(seeds))):
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} of the grid must be one or more, each once, but got {list(values)}")
    cells = []
    for lr, steps in itertools.product(lrs, sets):
        point = recipe.replace(lr=lr, milestones=steps, scheduler=scheduler or recipe.baseline)
        places = "+".join(f"{step:g}" for step in steps)
        name = f"{point.scheduler}-lr{lr:g}-at{places}"
        cells += [(point.replace(seed=seed), out / f"{name}-seed{seed}") for seed in seeds]
    return cells


def tune(
    recipe: Recipe,
    out: Path,
    context: RunContext = HERE,
    *,
    lrs: Sequence[float],
    milestones: Sequence[Sequence[float]] | None = None,
    seeds: Sequence[int] = (FIRST_SEED,),
    scheduler: str | None = None,
    engine: Engine = in_turn,
    view: CellsView | None = None,
) -> TuningRecord:
    """Train one scheduler at every point of a grid, and order the points by validation accuracy.

    The test set plays no part. A run that is finished in ``out`` is read, one that was killed continues.

    Args:
        recipe: to train by; its lr, milestones, scheduler and seed are replaced.
        out: new folder, or that of the same or a smaller grid.
        context: where the runs happen; its ``say`` is told of each point's result.
        lrs: learning rates to try.
        milestones: sets of milestones to try, as fractions of the epochs; default the recipe's alone.
        seeds: runs a point; take none that a comparison uses.
        scheduler: to tune; default the recipe's baseline.
        engine: where runs happen; see ``run_cells``.
        view: shows where they are.

    Raises:
        UserError: arguments out of range, or ``out`` holds runs of another recipe.
    """
    scheduler = scheduler or recipe.baseline
    cells = tune_cells(recipe, out, lrs, milestones, seeds, scheduler)
    check_cells(cells)
    runs_of = [cells[first : first + len(seeds)] for first in range(0, len(cells), len(seeds))]  # by point
    finished: set[Path] = set()
    points: dict[int, TuningPoint] = {}
    with closing(run_cells(cells, out, context, engine=engine, view=view)) as ended:
        for cell in ended:
            finished.add(cell.folder)
            for i, runs in enumerate(runs_of):
                if i not in points and all(folder in finished for _, folder in runs):
                    points[i] = _point(runs)
                    context.say(f"{recipe.network} {scheduler} tuned, lr {points[i].said}")
    in_order = [points[i] for i in sorted(points)]
    best_first = sorted(in_order, key=lambda point: -point.score)
    found = TuningRecord(
        seeds=tuple(seeds),
        runs=len(cells),
        seconds=sum(point.seconds for point in in_order),
        points=tuple(best_first),
    )
    TuningFile(**vars(found), recipe=recipe.to_dict(), scheduler=scheduler).write(out)
    return found


def _point(runs: Sequence[tuple[Recipe, Path]]) -> TuningPoint:
    """Read what came of a point's runs."""
    accuracies = []
    seconds = 0.0
    for _, folder in runs:
        result = last_result(folder)
        accuracies.append(None if result is None else result.validation_accuracy)
        seconds += _seconds(folder)
    recipe, _ = runs[0]
    return TuningPoint(recipe.rate, recipe.milestones, tuple(accuracies), seconds)


def _seconds(folder: Path) -> float:
    """Return the seconds that the run in ``folder`` trained, also where it diverged after some epochs."""
    if not (folder / RECORDS).exists():
        return 0.0
    told = [record["seconds"] for record in read_records(folder) if "seconds" in record]
    return float(max(told, default=0.0))
