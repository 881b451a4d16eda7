"""Whether another machine has the data that the caller has: asked before a cell is trained there."""

import socket
from collections.abc import Iterable
from pathlib import Path

from qtrain.data import data_digest
from qtrain.engines.task import Engine
from qtrain.errors import UserError
from qtrain.recipe import Recipe

Digests = dict[str, str]


def digests_for(engine: Engine, recipes: Iterable[Recipe], data_root: str | Path | None) -> Digests:
    """Return digests of the data that recipes name, by name, where an engine runs them on other machines; else none.

    Raises:
        UserError: they are not here.
    """
    if not getattr(engine, "elsewhere", False):
        return {}
    by_name = {recipe.data: recipe for recipe in recipes}
    return {name: data_digest(name, data_root, recipe.data_options) for name, recipe in by_name.items()}


def check_same_data(recipe: Recipe, data_root: str | Path | None, digest: str | None) -> None:
    """See that the data of a recipe are here what they are where the call comes from.

    Args:
        recipe: of the run.
        data_root: where the data lie.
        digest: of the caller's; None where that is this machine.

    Raises:
        UserError: they are others, or not here.
    """
    if digest is None:
        return
    found = data_digest(recipe.data, data_root, recipe.data_options)
    if found != digest:
        raise UserError(
            f"{socket.gethostname()} has other data by the name {recipe.data} ({found[:12]}) than the caller "
            f"({digest[:12]}); bring the same files to every node, or name their folder with --data-root or QTRAIN_DATA"
        )
