"""``sweep.json``: the plan of a sweep in its folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.experiments.sweep.search_plan import SearchPlan
from qtrain.recipe import AUTO, recipe_from_dict
from qtrain.records.files import write_json

SWEEP = "sweep.json"
FORMAT = 1
_OWN = ("network", "seed", "bits")  # of a recipe: they differ between cells


def write_plan(out: Path, plan: SweepPlan) -> None:
    """Write the plan into the folder of its sweep."""
    write_json(out / SWEEP, plan_to_dict(plan))


def plan_to_dict(plan: SweepPlan) -> dict[str, Any]:
    """Plain values, as they are written."""
    return {
        "format": FORMAT,
        "family": plan.family,
        "data": plan.recipe.data,
        "weight_bits": list(plan.weight_bits),
        "act_bits": list(plan.act_bits),
        "diagonal": plan.diagonal,
        "expressions": list(plan.expressions),
        "seeds": list(plan.seeds),
        "warm_from": plan.warm_from,
        "board": plan.board,
        "target_fps": plan.target_fps,
        "clock_ns": plan.clock_ns,
        "lr": None if plan.recipe.lr == AUTO else plan.recipe.lr,
        "recipe": {name: value for name, value in plan.recipe.to_dict().items() if name not in _OWN},
        "search": plan.search and asdict(plan.search),
        "trials": [asdict(cell) for cell in plan.trials],
        "cells": [cell.name for cell in plan.cells()],
        "command": plan.command,
    }


def read_plan(out: Path) -> SweepPlan:
    """The plan of the sweep in ``out``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = out / SWEEP
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{out} is no sweep (no {SWEEP}); name a folder that qtrain sweep wrote") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); put a whole copy there, or sweep into a new folder") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{path} is not of format {FORMAT}, which this qtrain reads; sweep into a new folder")
    try:
        widest = f"{found['family']}_{max(found['weight_bits'])}W{max(found['act_bits'])}A"
        recipe = recipe_from_dict({**found["recipe"], "network": widest, "seed": found["seeds"][0]}, str(path))
        axes: dict[str, Any] = {
            name: tuple(found[name]) for name in ("weight_bits", "act_bits", "expressions", "seeds")
        }
        same = ("diagonal", "warm_from", "board", "target_fps", "clock_ns", "command")
        searched: dict[str, Any] = {"trials": tuple(PlannedCell(**cell) for cell in found.get("trials", ()))}
        if found.get("search") is not None:
            searched["search"] = SearchPlan(**found["search"])
        return SweepPlan(recipe, **axes, **{name: found[name] for name in same}, **searched)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error!r}); put a whole copy there, or sweep into a new folder") from None
