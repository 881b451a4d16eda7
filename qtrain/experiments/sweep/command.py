"""The command that rebuilds one cell of a sweep from the checkout."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.recipe import Recipe, default_recipe

REBUILT = "runs/rebuilt"


def rebuild_command(plan: SweepPlan, cell: PlannedCell, cells: Mapping[str, PlannedCell]) -> str:
    """Train, export and estimate as one shell line; a warm cell's begins with its ancestors' training.

    Args:
        plan: of the sweep.
        cell: to rebuild.
        cells: all of the plan's, by name.
    """
    line = [cell]
    while (parent := line[0].parent) is not None:
        line.insert(0, cells[parent])
    parts = [train_command(plan.recipe, each) for each in line]
    folder = f"{REBUILT}/{cell.name}"
    if (target := plan.target) is not None:
        asked = [f"--board={target.board}", f"--target-fps={target.fps}", f"--clock-ns={target.clock_ns:g}"]
        parts += [["qtrain", "export", folder, *asked], ["qtrain", "estimate", f"{folder}/finn"]]
    return " && ".join(shlex.join(part) for part in parts)


def train_command(shared: Recipe, cell: PlannedCell) -> list[str]:
    """The words of ``qtrain train`` for a cell: what its recipe has otherwise than the shipped one."""
    start = shared.init_from if cell.parent is None else f"{REBUILT}/{cell.parent}"
    recipe = shared.replace(network=cell.network, bits=cell.bits, seed=cell.seed, epochs=cell.epochs, init_from=start)
    return ["qtrain", "train", cell.network, *recipe_flags(recipe), f"--out={REBUILT}/{cell.name}"]


def recipe_flags(recipe: Recipe) -> Sequence[str]:
    """Flags that make ``recipe`` of its network's shipped recipe for its data."""
    shipped = default_recipe(recipe.network, recipe.data).to_dict()
    changed = {name: value for name, value in recipe.to_dict().items() if value != shipped[name]}
    changed = {"data": recipe.data, "epochs": recipe.epochs, "lr": recipe.lr, "seed": recipe.seed, **changed}
    return [f"--{name.replace('_', '-')}={_word(value)}" for name, value in changed.items() if name != "network"]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
