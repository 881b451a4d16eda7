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
    """Return training, export and estimate as one shell line; a warm cell's begins with its ancestors' training.

    Args:
        plan: of the sweep.
        cell: to rebuild.
        cells: all of the plan's, by name.
    """
    lineage = [cell]
    parent = cell.parent
    while parent is not None:
        lineage.insert(0, cells[parent])
        parent = lineage[0].parent
    commands = [train_command(plan.recipe, trained) for trained in lineage]
    folder = f"{REBUILT}/{cell.name}"
    target = plan.target
    if target is not None:
        asked = [f"--board={target.board}", f"--target-fps={target.fps}", f"--clock-ns={target.clock_ns:g}"]
        commands.append(["qtrain", "export", folder, *asked])
        commands.append(["qtrain", "estimate", f"{folder}/finn"])
    return " && ".join(shlex.join(words) for words in commands)


def train_command(shared: Recipe, cell: PlannedCell) -> list[str]:
    """Return the words of ``qtrain train`` for a cell: what its recipe has otherwise than the shipped one."""
    start = shared.init_from if cell.parent is None else f"{REBUILT}/{cell.parent}"
    recipe = shared.replace(network=cell.network, bits=cell.bits, seed=cell.seed, epochs=cell.epochs, init_from=start)
    return ["qtrain", "train", cell.network, *recipe_flags(recipe), f"--out={REBUILT}/{cell.name}"]


def recipe_flags(recipe: Recipe) -> Sequence[str]:
    """Return the flags that make ``recipe`` of its network's shipped recipe for its data."""
    shipped = default_recipe(recipe.network, recipe.data).to_dict()
    shown: dict[str, Any] = {"data": recipe.data, "epochs": recipe.epochs, "lr": recipe.lr, "seed": recipe.seed}
    for name, value in recipe.to_dict().items():
        if name != "network" and value != shipped[name]:
            shown[name] = value
    return [f"--{name.replace('_', '-')}={_word(value)}" for name, value in shown.items()]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
