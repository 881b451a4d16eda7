"""The run that a recipe's ``teacher`` names, read for one that learns from it."""

from pathlib import Path

from qtrain.data import class_names, image_shape
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.start import read_start
from qtrain.recipe import Recipe
from qtrain.training.checkpoint import BEST, check_recipe, load_weights
from qtrain.training.folder import folder_recipe
from qtrain.training.teacher import Teacher


def read_teacher(recipe: Recipe, data_root: str | Path | None = None) -> Teacher | None:
    """Return the best network of the run that the recipe learns from, in evaluation mode; None where it names none.

    Args:
        recipe: of the run that learns.
        data_root: where data lie that say the classes and the size of the inputs; else QTRAIN_DATA.

    Raises:
        UserError: no run there, nothing trained yet, damaged, or of other classes or inputs.
    """
    if recipe.teacher is None:
        return None
    folder = Path(recipe.teacher)
    try:
        theirs = folder_recipe(folder)
        _check_same_task(theirs, recipe, data_root)
        start = read_start(folder, "a run folder with --teacher")
        if start.recipe is not None:
            check_recipe({"recipe": start.recipe.to_dict()}, theirs.to_dict(), folder / BEST)
        model = model_of(theirs, data_root)
        load_weights(model, start.weights, folder / BEST)
    except UserError as error:
        raise UserError(f"{recipe.network} cannot learn from {folder}: {error}") from None
    return Teacher(model.eval(), start.facts)


def _check_same_task(theirs: Recipe, ours: Recipe, data_root: str | Path | None) -> None:
    """See that both runs tell the same classes apart, from inputs of the same shape."""
    their_classes = class_names(theirs.data, data_root, theirs.data_options)
    our_classes = class_names(ours.data, data_root, ours.data_options)
    if their_classes != our_classes:
        detail = f"the {len(their_classes)} classes of {theirs.data} are not the {len(our_classes)} of {ours.data}"
        raise UserError(f"{detail}; take a teacher that was trained on the same classes")
    their_shape = image_shape(theirs.data, data_root, theirs.data_options)
    our_shape = image_shape(ours.data, data_root, ours.data_options)
    if their_shape != our_shape:
        raise UserError(
            f"its inputs are {_words(their_shape)} of {theirs.data}, here they are {_words(our_shape)} of {ours.data}; "
            "take a teacher that was trained on inputs of the same shape"
        )


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
