"""The no-retuning experiment: ASLR with one rate at all bit widths, beside a baseline tuned for each or for one."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import Cell, check_cells
from qtrain.experiments.comparison.no_retuning_plan import Plan
from qtrain.experiments.comparison.tune import tune, tune_cells
from qtrain.experiments.one_rate import fixed_rate
from qtrain.experiments.run_cells import check_alone, run_cells
from qtrain.experiments.view import CellsView
from qtrain.models.names import folder_name
from qtrain.recipe import AUTO, Recipe
from qtrain.records.comparison import LrRangeFile
from qtrain.records.leftovers import is_free
from qtrain.records.lock import only_here
from qtrain.records.no_retuning import CARRIED, TUNED, NoRetuningFile, Row, Spent, TuningRecord, Width
from qtrain.records.status import StatusFile
from qtrain.report.comparison.verdict import TOLERANCE, judge_each, worst
from qtrain.training.context import HERE, RunContext


def no_retuning(
    plan: Plan,
    out: Path,
    context: RunContext = HERE,
    *,
    tolerance: float = TOLERANCE,
    engine: Engine = in_turn,
    view: CellsView | None = None,
) -> NoRetuningFile:
    """Run the experiment, or what of it is missing in ``out``; no finished run is repeated.

    ASLR gets one rate at all widths: the recipes' number, or where that is auto what the range test finds at the home
    width, or the grid where the plan says so. The baseline is tuned over the grid at each width, on validation images
    and seeds of their own, and runs with its own width's best point and with the home width's.

    Args:
        plan: what is to run.
        out: new folder, or that of the same experiment.
        context: where runs happen; its ``say`` is told of each result.
        tolerance: points that each of ASLR's schedulers may fall short of the tuned baseline by at each width.
        engine: where runs happen, as of ``compare``.
        view: shows where they are.

    Returns:
        What is written to ``no_retuning.json``.

    Raises:
        UserError: ``out`` holds other things or runs of other recipes, or what was given cannot be trained.
    """
    check_alone()
    if not tolerance >= 0:
        raise UserError(f"tolerance must be 0 points or more, but got {tolerance}")
    with only_here(out, say=context.say):
        _check_folder(plan, out)
        lr, lr_range, lr_tuning = _one_rate(plan, out, context, engine, view)
        context.say(f"ASLR's lr0 {lr:g}, found at {plan.home}, at all widths")
        tunings = _tune_all(plan, out, context, engine, view)
        rows: dict[str, dict[str, Recipe]] = {}
        for recipe in plan.recipes:
            baselines = {TUNED: tunings[recipe.network], CARRIED: tunings[plan.home]}
            rows[recipe.network] = _rows(plan, recipe, lr, baselines)
        found = _run_rows(plan, rows, out, context, engine, view)
        widths = []
        for recipe in plan.recipes:
            network = recipe.network
            widths.append(_width(recipe, rows[network], found[network], tunings[network]))
        spent = _spent(plan, lr_range, lr_tuning, tunings)
        record = NoRetuningFile(
            recipes=tuple(recipe.to_dict() for recipe in plan.recipes),
            home=plan.home,
            baseline=plan.at_home.baseline,
            schedulers=tuple(plan.schedulers),
            lr=lr,
            lr_range=lr_range,
            lr_tuning=lr_tuning,
            grid=tuple(plan.tuning_rates),
            tuning_seeds=tuple(plan.tuning_seeds),
            seeds=plan.all_seeds,
            tolerance=tolerance,
            verdict=_verdict(plan, widths, plan.all_seeds, tolerance),
            spent=spent,
            widths=tuple(widths),
        )
        record.write(out)
        return record


def _one_rate(
    plan: Plan, out: Path, context: RunContext, engine: Engine, view: CellsView | None
) -> tuple[float, dict[str, Any] | None, TuningRecord | None]:
    """Return ASLR's rate at all widths, with the record of the range test or of the grid that found it."""
    if not plan.tunes_lr:
        home, lr_range = fixed_rate(plan.at_home, out, replace(context, say=lambda _: None))
        return home.rate, lr_range, None
    scheduler = plan.schedulers[0]
    tuning = tune(
        plan.at_home,
        out / folder_name(plan.home) / f"tune-{scheduler}",
        context,
        lrs=plan.tuning_rates,
        seeds=plan.tuning_seeds,
        scheduler=scheduler,
        engine=engine,
        view=view,
    )
    return tuning.best.lr, None, tuning


def _tune_all(
    plan: Plan, out: Path, context: RunContext, engine: Engine, view: CellsView | None
) -> dict[str, TuningRecord]:
    """Tune the baseline at each width, the home width first: its best point is carried to the others."""
    home_first = sorted(plan.recipes, key=lambda recipe: recipe.network != plan.home)
    if engine is not in_turn:  # the runs of all widths together; tune reads them
        cells: list[tuple[Recipe, Path]] = []
        for recipe in home_first:
            cells += _tuning_cells(plan, recipe, out)
        for _ in run_cells(cells, out, context, engine=engine, view=view):
            pass
    tunings: dict[str, TuningRecord] = {}
    for recipe in home_first:
        folder = _tuning_folder(out, recipe)
        tunings[recipe.network] = tune(
            recipe, folder, context, lrs=plan.tuning_rates, seeds=plan.tuning_seeds, view=view
        )
    return tunings


def _tuning_cells(plan: Plan, recipe: Recipe, out: Path) -> list[tuple[Recipe, Path]]:
    """Return the runs that tune a width's baseline."""
    return tune_cells(recipe, _tuning_folder(out, recipe), plan.tuning_rates, None, plan.tuning_seeds)


def _tuning_folder(out: Path, recipe: Recipe) -> Path:
    return out / folder_name(recipe.network) / "tune"


def _run_rows(
    plan: Plan,
    rows: dict[str, dict[str, Recipe]],
    out: Path,
    context: RunContext,
    engine: Engine,
    view: CellsView | None,
) -> dict[str, dict[str, list[Cell]]]:
    """Run every row of every width with every seed; the cells by network and row, in the order of the seeds."""
    planned = []
    for network, of_width in rows.items():
        for seed in plan.all_seeds:  # before the rows: a kill leaves pairs
            planned += [(network, name, recipe.replace(seed=seed)) for name, recipe in of_width.items()]
    cells = [(recipe, _folder(out, recipe)) for _, _, recipe in planned]
    check_cells(cells)
    titles: dict[Path, list[str]] = {}
    for network, name, recipe in planned:
        titles.setdefault(_folder(out, recipe), []).append(f"{network} {name} lr {recipe.rate:g} seed {recipe.seed}")
    ended: dict[Path, Cell] = {}
    with closing(run_cells(cells, out, context, engine=engine, view=view)) as ending:
        for cell in ending:
            ended[cell.folder] = cell
            for title in titles[cell.folder]:
                context.say(f"{title}: {cell.outcome}")
    found: dict[str, dict[str, list[Cell]]] = {}
    for network, name, recipe in planned:
        cells_of_row = found.setdefault(network, {}).setdefault(name, [])
        cells_of_row.append(ended[_folder(out, recipe)])
    return found


def _rows(plan: Plan, recipe: Recipe, lr: float, baselines: dict[str, TuningRecord]) -> dict[str, Recipe]:
    """Return the recipe of each of a width's rows; at the home width the carried baseline is the tuned one."""
    rows = {name: recipe.replace(lr=lr, scheduler=name) for name in plan.schedulers}
    for name, tuning in baselines.items():
        best = tuning.best
        rows[name] = recipe.replace(lr=best.lr, milestones=best.milestones, scheduler=recipe.baseline)
    return rows


def _folder(out: Path, cell: Recipe) -> Path:
    """Return a run's folder, named by what differs between rows, so that two rows of one recipe share their runs."""
    return out / folder_name(cell.network) / f"{cell.scheduler}-lr{cell.rate:g}-seed{cell.seed}"


def _width(recipe: Recipe, rows: dict[str, Recipe], cells: dict[str, list[Cell]], tuning: TuningRecord) -> Width:
    found = {name: _row(recipe.network, row, cells[name]) for name, row in rows.items()}
    return Width(recipe.network, found, tuning)


def _row(network: str, recipe: Recipe, cells: list[Cell]) -> Row:
    return Row(
        lr=recipe.rate,
        milestones=recipe.milestones,
        test_accuracy={str(c.seed): c.test_accuracy for c in cells if c.test_accuracy is not None},
        failed={str(c.seed): c.failed for c in cells if c.failed is not None},
        folders=tuple(f"{network}/{c.folder.name}" for c in cells),
    )


def _spent(
    plan: Plan, lr_range: dict[str, Any] | None, lr_tuning: TuningRecord | None, tunings: dict[str, TuningRecord]
) -> dict[str, Spent]:
    """Return what each row's numbers cost in runs and seconds."""
    one_rate = Spent(0, float((lr_range or {}).get("seconds", 0.0)))
    if lr_tuning is not None:
        one_rate = Spent(lr_tuning.runs, lr_tuning.seconds)
    home = tunings[plan.home]
    all_runs = sum(tuning.runs for tuning in tunings.values())
    all_seconds = sum(tuning.seconds for tuning in tunings.values())
    baselines = {TUNED: Spent(all_runs, all_seconds), CARRIED: Spent(home.runs, home.seconds)}
    return dict.fromkeys(plan.schedulers, one_rate) | baselines


def _verdict(plan: Plan, widths: Sequence[Width], seeds: Sequence[int], tolerance: float) -> dict[str, Any]:
    """Return what is known of each scheduler against the tuned baseline at each width; the worst decides."""
    answers = []
    networks = {}
    for width in widths:
        accuracies = {name: row.by_seed for name, row in width.rows.items()}
        verdicts = judge_each(plan.schedulers, accuracies, TUNED, seeds, tolerance)
        answers += [verdict.answer for verdict in verdicts.values()]
        networks[width.network] = {name: verdict.to_dict() for name, verdict in verdicts.items()}
    return {"answer": str(worst(answers)), "networks": networks}


def _check_folder(plan: Plan, out: Path) -> None:
    """See that ``out`` is free or this experiment's, before hours are spent."""
    names = {folder_name(recipe.network) for recipe in plan.recipes} | {NoRetuningFile.FILE, LrRangeFile.FILE}
    entries = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not is_free(out, but=(StatusFile.FILE,)) and not entries & names:
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
    for recipe in plan.recipes:
        check_cells(_tuning_cells(plan, recipe, out))
        if recipe.lr == AUTO:
            continue
        for scheduler in plan.schedulers:
            cells = [recipe.replace(scheduler=scheduler, seed=recipe.seed + i) for i in range(plan.seeds)]
            check_cells([(cell, _folder(out, cell)) for cell in cells])
