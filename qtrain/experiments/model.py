"""The network that a run begins with: built by its recipe, with the weights of its ``init_from``."""

from pathlib import Path
from typing import Any

from qtrain.data import class_names
from qtrain.errors import UserError
from qtrain.experiments.start import read_start
from qtrain.models import Network, build_model, parse_name
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import Recipe


def model_of(recipe: Recipe, data_root: str | Path | None = None) -> Network:
    """Build the recipe's network, its initial weights drawn from the recipe's seed; ``init_from`` plays no part.

    Args:
        recipe: of the run.
        data_root: where ImageNet's tree lies, whose folders are its classes; else QTRAIN_DATA.
    """
    classes = len(class_names(recipe.data, data_root))
    return build_model(recipe.replace(init_from=None), num_classes=classes)


def initial_model(recipe: Recipe, data_root: str | Path | None = None) -> tuple[Network, dict[str, Any] | None]:
    """Build the recipe's network with the weights of its ``init_from``, where it names any.

    Returns:
        The network, and what the run's record says of where its weights come from.

    Raises:
        UserError: no such weights, damaged, or of another family, width or number of classes.
    """
    model = model_of(recipe, data_root)
    if recipe.init_from is None:
        return model, None
    start = read_start(Path(recipe.init_from))
    try:
        source = None if start.recipe is None else _source(start.recipe, recipe, data_root)
        initialise_from(model, start.weights, source)
    except UserError as error:
        raise UserError(f"{recipe.network} cannot start from {recipe.init_from}: {error}") from None
    return model, start.facts


def _source(theirs: Recipe, ours: Recipe, data_root: str | Path | None) -> Network:
    """Build the untrained network of the run whose weights ``ours`` starts from."""
    family = parse_name(ours.network).family
    if parse_name(theirs.network).family != family:
        raise UserError(f"it is a run of {theirs.network}; take one of {family}, at any bits or {family}_FLOAT")
    if theirs.width != ours.width:
        raise UserError(f"it has width {theirs.width:g}, this run {ours.width:g}; give --width {theirs.width:g}")
    their_classes = len(class_names(theirs.data, data_root))
    our_classes = len(class_names(ours.data, data_root))
    if their_classes != our_classes:
        raise UserError(
            f"it has the {their_classes} classes of {theirs.data}, {ours.data} has {our_classes}; take a run of as many"
        )
    return model_of(theirs, data_root)
