"""One learning rate for all runs of an experiment: the number given, or the range test's, asked once and kept."""

from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.lr_range import resolve_lr
from qtrain.recipe import AUTO, Recipe, difference, recipe_from_dict
from qtrain.records.comparison import LrRangeFile
from qtrain.training.context import HERE, RunContext


def known_rate(recipe: Recipe, out: Path) -> tuple[Recipe | None, dict[str, Any] | None]:
    """Return the recipe with a number for its rate, and the range test's record where that chose it.

    Args:
        recipe: of the experiment.
        out: its folder, where an earlier answer may lie.

    Returns:
        None for the recipe where the range test is still to find its rate.

    Raises:
        UserError: the answer in ``out`` is damaged, or of another recipe.
    """
    if recipe.lr != AUTO:
        return recipe, None
    if not LrRangeFile.is_in(out):
        return None, None
    found = LrRangeFile.read(out)
    path = out / LrRangeFile.FILE
    known = recipe_from_dict(dict(found.recipe), str(path))
    other = difference(known.replace(lr=AUTO).to_dict(), recipe.to_dict())
    if other:
        raise UserError(f"{path} is of another recipe ({other}); name a new folder with --out")
    return known, dict(found.record)


def fixed_rate(recipe: Recipe, out: Path, context: RunContext = HERE) -> tuple[Recipe, dict[str, Any] | None]:
    """Do as ``known_rate``, but run the range test where the rate is not known, and keep its answer for next time.

    Args:
        recipe: of the experiment; its scheduler and the options play no part, they may be several.
        out: its folder, made where it is missing.
        context: where the test happens, and who is told of a rate that was found now.

    Raises:
        UserError: as ``known_rate`` and ``resolve_lr`` do.
    """
    known, record = known_rate(recipe, out)
    if known is not None:
        return known, record
    # The rate is that of several schedulers, of which the recipe's own may be none.
    found, record = resolve_lr(recipe.replace(scheduler="constant", scheduler_options={}), context)
    known = recipe.replace(lr=found.lr)
    out.mkdir(parents=True, exist_ok=True)
    LrRangeFile(known.to_dict(), record).write(out)
    context.say(f"lr {known.lr:g} for all runs, from the range test")
    return known, record
