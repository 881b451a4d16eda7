"""Networks x bit widths: one ordinary comparison each, in folders beside each other, with a list of them."""

import re
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
from qtrain.models import check_network, parse_name
from qtrain.models.names import OWN_BITS, folder_name
from qtrain.recipe import Recipe
from qtrain.records.comparison import ComparisonFile, GridFile
from qtrain.report.comparison.verdict import TOLERANCE, worst
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training.context import HERE, RunContext

_WIDTH = re.compile(r"(?P<both>\d+)|(?P<w>\d+)W(?P<a>\d+)A|FLOAT", re.IGNORECASE)


def split_bits(text: str) -> tuple[list[str], str]:
    """Split ``1,2,1W4A,first=8,last=8`` into the widths to compare and the expression for single layers.

    Args:
        text: comma-separated; entries with ``=`` are the expression's.

    Returns:
        The widths as names have them (``1W1A``, ``FLOAT``), and the expression ``first=8,last=8``.

    Raises:
        UserError: an entry that is neither, or a width given twice.
    """
    widths = []
    expressions = []
    for entry in _entries(text):
        if "=" in entry:
            expressions.append(entry)
            continue
        match = _WIDTH.fullmatch(entry)
        if match is None:
            raise UserError(
                f"bits: {entry!r} is neither a width to compare (1, 4, 1W4A or FLOAT) nor LAYERS=BITS (first=8)"
            )
        both = match["both"]
        widths.append(f"{both}W{both}A" if both else entry.upper())
    if len(set(widths)) < len(widths):
        raise UserError(f"bits: each width once, but got {', '.join(widths)}")
    return widths, ",".join(expressions)


def _entries(text: str) -> list[str]:
    """Return the comma-separated entries that are not blank."""
    stripped = [part.strip() for part in text.split(",")]
    return [entry for entry in stripped if entry]


def grid_networks(networks: str, widths: Sequence[str]) -> list[str]:
    """Return the full names of all networks: ``CNV_1W1A,VGG11_2W2A``, or families with each of the widths.

    Args:
        networks: comma-separated.
        widths: as of ``split_bits``; empty where the names carry their own.

    Raises:
        UserError: an unknown network, one given twice, or one that carries bits beside ``widths``.
    """
    names = _entries(networks)
    if not names:
        raise UserError("name a network, for instance: qtrain compare CNV --bits 1,2,4,8 --data digits")
    full = []
    for name in names:
        if not widths:
            full.append(str(check_network(name)))
            continue
        if _carries_bits(name):
            raise UserError(
                f"{name} carries its bits already; leave out --bits {','.join(widths)}, or name the family alone"
            )
        family = name if ":" in name else name.replace("-", "_")
        full += [str(check_network(f"{family}_{width}")) for width in widths]
    if len(set(full)) < len(full):
        raise UserError(f"each network once, but got {', '.join(full)}")
    return full


def one_network(network: str, bits: str) -> tuple[str, str]:
    """Return the full name of the network to train, and the expression for single layers.

    A network of one's own takes its bits from ``--bits``, as in ``4`` or ``1W4A``; one of the zoo from its name.

    Raises:
        UserError: an unknown network, or bits that it cannot have.
    """
    if ":" not in network or not bits:
        return str(check_network(network)), bits
    widths, expression = split_bits(bits)
    if len(widths) > 1:
        raise UserError(
            f"bits of one network are one width, such as 4 or 1W4A, but got {bits!r}; compare takes several"
        )
    names = grid_networks(network, widths)
    return names[0], expression


def _carries_bits(name: str) -> bool:
    try:
        return parse_name(name).weight_bits != OWN_BITS
    except UserError:
        return False


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
    if out.is_dir() and any(out.iterdir()) and not any(path.exists() for path in ours):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
