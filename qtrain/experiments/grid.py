"""Networks x bit widths: one ordinary comparison each, in folders beside each other, with a list of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.compare import COMPARISON, Comparison, check_comparison, compare
from qtrain.experiments.json_files import write_json
from qtrain.models import NetworkName, check_network, parse_name
from qtrain.recipe import Recipe

GRID = "grid.json"
FORMAT = 1
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
    entries = [entry for entry in (part.strip() for part in text.split(",")) if entry]
    widths = []
    for entry in (e for e in entries if "=" not in e):
        match = _WIDTH.fullmatch(entry)
        if match is None:
            raise UserError(
                f"bits: {entry!r} is neither a width to compare (1, 4, 1W4A or FLOAT) nor LAYERS=BITS (first=8)"
            )
        both = match["both"]
        widths.append(f"{both}W{both}A" if both else entry.upper())
    if len(set(widths)) < len(widths):
        raise UserError(f"bits: each width once, but got {', '.join(widths)}")
    return widths, ",".join(e for e in entries if "=" in e)


def grid_networks(networks: str, widths: Sequence[str]) -> list[str]:
    """The full names of all networks: ``CNV_1W1A,VGG11_2W2A``, or families with each of the widths.

    Args:
        networks: comma-separated.
        widths: as of ``split_bits``; empty where the names carry their own.

    Raises:
        UserError: an unknown network, one given twice, or one that carries bits beside ``widths``.
    """
    names = [name for name in (part.strip() for part in networks.split(",")) if name]
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
        full += [str(check_network(f"{name.replace('-', '_')}_{width}")) for width in widths]
    if len(set(full)) < len(full):
        raise UserError(f"each network once, but got {', '.join(full)}")
    return full


def _carries_bits(name: str) -> bool:
    try:
        return isinstance(parse_name(name), NetworkName)
    except UserError:
        return False


def compare_grid(
    recipes: Sequence[Recipe],
    out: Path,
    *,
    seeds: int = 3,
    tolerance: float = 0.5,
    say: Callable[[str], None] = lambda _: None,
    then: Callable[[Comparison], None] = lambda _: None,
    **options: Any,
) -> dict[str, Comparison]:
    """Compare the schedulers on every network; ``out/NETWORK`` is an ordinary comparison, ``out/grid.json`` lists them.

    Nothing runs before all folders are known to be free or of the same recipes. The list grows as networks finish, so
    that a report can be made of an unfinished grid.

    Args:
        recipes: one a network, each network once.
        out: new folder, or that of the same grid.
        seeds: runs a scheduler and network.
        tolerance: points that the challenger may fall short by on each network.
        say: told of each run's result.
        then: called with each network's comparison once it is complete.
        options: further ones of ``compare``.

    Raises:
        UserError: as ``compare`` does.
    """
    folders = {recipe.network: out / recipe.network for recipe in recipes}
    _check_free(out, list(folders.values()))
    checked: Mapping[str, Any] = {k: options[k] for k in ("challenger", "against", "tuning") if k in options}
    schedulers = options.get("schedulers", ("aslr", "multistep"))
    for recipe in recipes:
        check_comparison(
            recipe,
            folders[recipe.network],
            schedulers=schedulers,
            seeds=seeds,
            tolerance=tolerance,
            **checked,
        )
    found: dict[str, Comparison] = {}
    for recipe in recipes:
        name = recipe.network

        def named(text: str, name: str = name) -> None:
            say(f"{name}, {text}")

        found[name] = compare(recipe, folders[name], seeds=seeds, tolerance=tolerance, say=named, **options)
        then(found[name])
        write_json(out / GRID, {"format": FORMAT, "networks": list(found), "planned": list(folders)})
    return found


def _check_free(out: Path, folders: Sequence[Path]) -> None:
    """See that ``out`` is a grid's folder, or free."""
    if (out / COMPARISON).exists():
        raise UserError(f"{out} holds the comparison of one network; name a new folder with --out")
    if out.is_dir() and any(out.iterdir()) and not any(path.exists() for path in (out / GRID, *folders)):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
