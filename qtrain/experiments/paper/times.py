"""Table II of the ASLR paper as a line of the results: measured once at each scale."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtrain.experiments.paper.accuracies import ROWS, PaperRow
from qtrain.experiments.paper.cells import FULL, Scale, append_result, read_results
from qtrain.experiments.paper.line_search_cost import line_search_cost
from qtrain.recipe import Recipe, difference
from qtrain.training.context import HERE, RunContext

TIMES = "table2"
ROW = next(row for row in ROWS if row.table == "table1")


def reproduce_times(
    results: Path,
    context: RunContext = HERE,
    *,
    scale: Scale = FULL,
    rounds: int = 5,
    steps: int = 4,
    row: PaperRow = ROW,
) -> bool:
    """Measure Table II on Table I's first network, unless ``results`` has it at this scale; say whether it is there.

    Args:
        results: JSON lines; the measurement adds one.
        context: where it happens; its ``stop`` ends it with the rounds that are whole, its ``say`` is told of each.
        scale: width and images; epochs play no part.
        rounds: of all three schedulers.
        steps: a scheduler and round.
        row: another network and data set.
    """
    recipe = times_recipe(scale, row)
    if has_times(read_results(results), recipe):
        return True
    if context.stop():
        return False
    found = line_search_cost(recipe, context, rounds=rounds, steps=steps)
    if found is None:
        context.say(f"{TIMES}: no round was finished in the time given; give more --max-minutes")
        return False
    stamp = {"table": TIMES, "label": row.label, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    size = replace(scale, epochs=1.0).to_dict()
    append_result(results, {**stamp, "scale": size, "recipe": recipe.to_dict(), **found})
    return True


def times_recipe(scale: Scale, row: PaperRow = ROW) -> Recipe:
    """Return the recipe that is timed: Table I's first network, epochs left as they are."""
    return Scale(width=scale.width, train_size=scale.train_size).apply(row.recipe())


def has_times(results: Sequence[dict[str, Any]], recipe: Recipe) -> bool:
    """Return whether ``recipe`` was timed already."""
    for result in results:
        if result["table"] == TIMES and "recipe" in result and not difference(result["recipe"], recipe.to_dict()):
            return True
    return False
