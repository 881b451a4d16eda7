"""A sweep's plan and the file in its folder."""

from dataclasses import asdict
from pathlib import Path

from qtrain.errors import UserError
from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.experiments.sweep.search_plan import SearchPlan
from qtrain.recipe import AUTO, Recipe, recipe_from_dict
from qtrain.records.format import from_json
from qtrain.records.plain_files import is_name
from qtrain.records.sweep import SweepFile

_OWN = ("network", "seed", "bits")  # of a recipe: they differ between cells


def write_plan(out: Path, plan: SweepPlan) -> None:
    """Write the plan into the folder of its sweep."""
    plan_file(plan).write(out)


def plan_file(plan: SweepPlan) -> SweepFile:
    """Return what ``sweep.json`` holds of a plan."""
    return SweepFile(
        family=plan.family,
        data=plan.recipe.data,
        weight_bits=plan.weight_bits,
        act_bits=plan.act_bits,
        diagonal=plan.diagonal,
        expressions=plan.expressions,
        seeds=plan.seeds,
        warm_from=plan.warm_from,
        board=plan.board,
        target_fps=plan.target_fps,
        clock_ns=plan.clock_ns,
        lr=None if plan.recipe.lr == AUTO else plan.recipe.rate,
        recipe={name: value for name, value in plan.recipe.to_dict().items() if name not in _OWN},
        search=None if plan.search is None else asdict(plan.search),
        trials=tuple(asdict(cell) for cell in plan.trials),
        cells=tuple(cell.name for cell in plan.cells()),
        command=plan.command,
    )


def read_plan(out: Path) -> SweepPlan:
    """Read the plan of the sweep in ``out``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not SweepFile.is_in(out):
        raise UserError(f"{out} is no sweep (no {SweepFile.FILE}); name a folder that qtrain sweep wrote")
    found = SweepFile.read(out)
    source = SweepFile.source(out)
    if not found.weight_bits or not found.act_bits or not found.seeds:
        raise source.damaged("it has no widths or no seeds")
    trials = tuple(from_json(PlannedCell, trial, source, "trials") for trial in found.trials)
    if odd := [trial.name for trial in trials if not is_name(trial.name)]:
        raise source.damaged(f"'trials' must be names of folders, but one is {odd[0][:80]!r}")
    widest = f"{found.family}_{max(found.weight_bits)}W{max(found.act_bits)}A"
    recipe = recipe_from_dict({**found.recipe, "network": widest, "seed": found.seeds[0]}, str(source.path))
    search = None if found.search is None else from_json(SearchPlan, found.search, source, "search")
    try:
        return _plan_of(found, recipe, search, trials)
    except UserError as error:
        raise source.damaged(str(error)) from None


def _plan_of(found: SweepFile, recipe: Recipe, search: SearchPlan | None, trials: tuple[PlannedCell, ...]) -> SweepPlan:
    """Make a plan of its file and what was made of the file's parts.

    Raises:
        UserError: they do not fit together.
    """
    return SweepPlan(
        recipe,
        weight_bits=found.weight_bits,
        act_bits=found.act_bits,
        expressions=found.expressions,
        seeds=found.seeds,
        diagonal=found.diagonal,
        warm_from=found.warm_from,
        board=found.board,
        target_fps=found.target_fps,
        clock_ns=found.clock_ns,
        command=found.command,
        search=search,
        trials=trials,
    )
