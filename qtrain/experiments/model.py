"""The network that a run begins with: built by its recipe, with the weights of its ``init_from``."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import class_names, image_shape
from qtrain.errors import UserError
from qtrain.experiments.start import read_start
from qtrain.models import Network, build_model, parse_name
from qtrain.models.own import OPTIONS, build_own, find_own
from qtrain.models.own_start import start_own
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import Recipe


def model_of(recipe: Recipe, data_root: str | Path | None = None) -> nn.Module:
    """Build the recipe's network, its initial weights drawn from the recipe's seed; ``init_from`` plays no part.

    Args:
        recipe: of the run.
        data_root: where data lie that say the classes and the size of the inputs; else QTRAIN_DATA.

    Raises:
        UserError: a network of one's own cannot be imported or built, or the data do not say their classes.
    """
    classes = len(class_names(recipe.data, data_root, recipe.data_options))
    shape = image_shape(recipe.data, data_root, recipe.data_options)
    name = parse_name(recipe.network)
    if not name.is_own:
        if recipe.net_args:
            raise UserError(f"net_args are for a network of your own, and {name} is qtrain's; leave them out")
        channels, height, width = shape
        described = recipe.replace(init_from=None)
        return build_model(described, num_classes=classes, in_channels=channels, image_size=(height, width))
    own = find_own(name)
    options = {option: getattr(recipe, option) for option in OPTIONS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build_own(own, name, classes=classes, shape=shape, options=options, arguments=recipe.net_args)


def initial_model(recipe: Recipe, data_root: str | Path | None = None) -> tuple[nn.Module, dict[str, Any] | None]:
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
        if not isinstance(model, Network):
            start_own(model, start.weights)
            return model, start.facts
        source = None if start.recipe is None else _source(start.recipe, recipe, data_root)
        initialise_from(model, start.weights, source)
    except UserError as error:
        raise UserError(f"{recipe.network} cannot start from {recipe.init_from}: {error}") from None
    return model, start.facts


def _source(theirs: Recipe, ours: Recipe, data_root: str | Path | None) -> Network | None:
    """Build the untrained network of the run whose weights ``ours`` starts from."""
    name = parse_name(ours.network)
    family = name.family
    both_own = name.is_own and parse_name(theirs.network).is_own  # the same code may be named in several ways
    if not both_own and parse_name(theirs.network).family != family:
        raise UserError(f"it is a run of {theirs.network}; take one of {family}, at any bits or {family}_FLOAT")
    if theirs.width != ours.width:
        raise UserError(f"it has width {theirs.width:g}, this run {ours.width:g}; give --width {theirs.width:g}")
    their_classes = len(class_names(theirs.data, data_root, theirs.data_options))
    our_classes = len(class_names(ours.data, data_root, ours.data_options))
    if their_classes != our_classes:
        raise UserError(
            f"it has the {their_classes} classes of {theirs.data}, {ours.data} has {our_classes}; take a run of as many"
        )
    source = model_of(theirs, data_root)
    return source if isinstance(source, Network) else None
