"""Networks x bit widths: one ordinary comparison each, in folders beside each other, with a list of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.cells import cells_of
from qtrain.experiments.comparison.compare import (
    BASELINE,
    Comparison,
    check_comparison,
    compare,
    result_line,
)
from qtrain.experiments.one_rate import fixed_rate
from qtrain.experiments.run_cells import check_alone, run_cells
from qtrain.experiments.view import CellsView
from qtrain.models.names import folder_name
from qtrain.recipe import Recipe
from qtrain.records.comparison import ComparisonFile, GridFile
from qtrain.records.leftovers import is_free
from qtrain.records.lock import only_here
from qtrain.records.status import StatusFile
from qtrain.report.comparison.verdict import TOLERANCE, worst
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training.context import HERE, RunContext


def compare_grid(
    recipes: Sequence[Recipe],
    out: Path,
    context: RunContext = HERE,
    *,
    schedulers: Sequence[str] = (DEFAULT, BASELINE),
    seeds: int = 3,
    tolerance: float = TOLERANCE,
    engine: Engine = in_turn,
    view: CellsView | None = None,
    again: bool = False,
    then: Callable[[Comparison], None] = lambda _: None,
    **judged: Any,
) -> dict[str, Comparison]:
    """Compare the schedulers on every network; ``out/NETWORK`` is an ordinary comparison, ``out/grid.json`` lists them.

    Nothing runs before all folders are known to be free or of the same recipes. The runs of all networks are handed to
    the engine together. A network's comparison is written, and the list grows, as soon as its last run has ended, so
    that a report can be made of an unfinished grid.

    Args:
        recipes: one a network, each network once.
        out: new folder, or that of the same grid.
        context: where runs happen; its ``say`` is told of each run's result where there is no view.
        schedulers: the challenger and others.
        seeds: runs a scheduler and network.
        tolerance: points that the challenger may fall short by on each network.
        engine: where runs happen, as of ``compare``.
        view: shows where they are.
        again: train runs anew that failed before.
        then: called with each network's comparison once all are complete.
        judged: challenger, against and tuning, as of ``compare``.

    Raises:
        UserError: as ``compare`` does.
        Interrupted: as ``compare`` does.
    """
    check_alone()
    by_name = {folder_name(recipe.network): recipe for recipe in recipes}
    with only_here(out, say=context.say):
        _check_free(out, [out / name for name in by_name])
        plan: dict[str, Any] = {"schedulers": schedulers, "seeds": seeds, "tolerance": tolerance, **judged}
        for name, recipe in by_name.items():
            check_comparison(recipe, out / name, **plan)
        cells = []
        waiting: dict[str, set[Path]] = {}  # folders of the runs that have not ended, by network
        for name, recipe in by_name.items():
            fixed, _ = fixed_rate(recipe, out / name, replace(context, say=_named(name, context.say)))
            own = cells_of(fixed, out / name, schedulers, seeds)
            waiting[name] = {folder for _, folder in own}
            cells += own
        found: dict[str, Comparison] = {}
        quiet = replace(context, say=lambda _: None)
        with closing(run_cells(cells, out, context, engine=engine, view=view, again=again)) as ended:
            for cell in ended:
                name = cell.folder.parent.name
                if view is None:  # which else has shown it
                    _named(name, context.say)(result_line(cell))
                waiting[name].discard(cell.folder)
                if not waiting[name]:
                    found[name] = compare(by_name[name], out / name, quiet, **plan)  # all its runs are read
                    _write_list(out, found, recipes)
        for name in by_name:
            then(found[name])
        return {name: found[name] for name in by_name}


def _named(network: str, say: Callable[[str], None]) -> Callable[[str], None]:
    """Return a ``say`` that begins with the network."""
    return lambda text: say(f"{network}, {text}")


def _write_list(out: Path, found: Mapping[str, Comparison], recipes: Sequence[Recipe]) -> None:
    """Write the networks that are complete, in the order given, with what is known of each and of the grid so far."""
    planned = [folder_name(recipe.network) for recipe in recipes]
    done = [name for name in planned if name in found]
    answers = [found[name].answer for name in done]
    answer = worst(answers, complete=len(done) == len(planned))
    by_network = {name: str(found[name].answer) for name in done}
    verdict = {"answer": str(answer), "networks": by_network}
    GridFile(networks=tuple(done), planned=tuple(planned), verdict=verdict).write(out)


def _check_free(out: Path, folders: Sequence[Path]) -> None:
    """See that ``out`` is a grid's folder, or free."""
    if ComparisonFile.is_in(out):
        raise UserError(f"{out} holds the comparison of one network; name a new folder with --out")
    ours = (out / GridFile.FILE, *folders)
    if out.is_dir() and not is_free(out, but=(StatusFile.FILE,)) and not any(path.exists() for path in ours):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
