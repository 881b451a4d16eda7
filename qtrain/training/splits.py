"""The data of a recipe: its splits, and the subset of its training images where it wants one."""

from pathlib import Path

from qtrain.data import DataSet, load_data
from qtrain.recipe import Recipe


def load_splits(recipe: Recipe, data_root: str | Path | None = None) -> DataSet:
    """Load the recipe's data, split and thinned out by its ``splits`` seed.

    Raises:
        UserError: as ``load_data`` and ``DataSet.subset`` do.
    """
    data = load_data(
        recipe.data,
        root=data_root,
        seed=recipe.splits,
        validation_size=recipe.validation_size,
        protocol=recipe.protocol,
        options=recipe.data_options,
    )
    return thinned(data, recipe)


def thinned(data: DataSet, recipe: Recipe) -> DataSet:
    """The data with the recipe's ``train_size`` images to train with, where it gives one."""
    return data if recipe.train_size is None else data.subset(recipe.train_size, seed=recipe.splits)
