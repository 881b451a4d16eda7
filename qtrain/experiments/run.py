"""One run: from a recipe to a run folder, and from the folder to a FINN folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from qtrain.data import class_names, load_data
from qtrain.errors import UserError
from qtrain.experiments.start import read_start
from qtrain.export import Proof, check_target, export_finn
from qtrain.export.finn_folder import check_destination
from qtrain.models import Network, build_model, parse_name
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import Recipe
from qtrain.training import Result, Watcher, train
from qtrain.training.folder import check_free, folder_recipe, has_begun, load_best
from qtrain.training.records import RECORDS, read_records

IMAGE_SIZE = 32  # of every data set there is: digits are scaled up to CIFAR's size


def model_of(recipe: Recipe) -> Network:
    """Build the recipe's network, its initial weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    return build_model(
        recipe.network,
        num_classes=len(class_names(recipe.data)),
        width=recipe.width,
        image_size=IMAGE_SIZE,
        bits=recipe.bits,
        input_bits=recipe.input_bits,
        scaling=recipe.scaling,
        power_of_two=recipe.power_of_two,
        per_channel=recipe.per_channel,
    )


def initial_model(recipe: Recipe) -> tuple[Network, dict[str, Any] | None]:
    """Build the recipe's network with the weights of its ``init_from``, where it names any.

    Returns:
        The network, and what the run's record says of where its weights come from.

    Raises:
        UserError: no such weights, damaged, or of another family, width or number of classes.
    """
    model = model_of(recipe)
    if recipe.init_from is None:
        return model, None
    start = read_start(Path(recipe.init_from))
    try:
        source = None if start.recipe is None else _source(start.recipe, recipe)
        initialise_from(model, start.weights, source)
    except UserError as error:
        raise UserError(f"{recipe.network} cannot start from {recipe.init_from}: {error}") from None
    return model, start.facts


def _source(theirs: Recipe, ours: Recipe) -> Network:
    """The untrained network of the run whose weights ``ours`` starts from."""
    family, wanted = parse_name(theirs.network).family, parse_name(ours.network).family
    if family != wanted:
        raise UserError(f"it is a run of {theirs.network}; take one of {wanted}, at any bits or {wanted}_FLOAT")
    if theirs.width != ours.width:
        raise UserError(f"it has width {theirs.width:g}, this run {ours.width:g}; give --width {theirs.width:g}")
    classes, wanted_classes = len(class_names(theirs.data)), len(class_names(ours.data))
    if classes != wanted_classes:
        raise UserError(
            f"it has the {classes} classes of {theirs.data}, {ours.data} has {wanted_classes}; take a run of as many"
        )
    return model_of(theirs)


def train_recipe(
    recipe: Recipe,
    out: Path,
    *,
    data_root: str | Path | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
) -> Result:
    """Build the recipe's network and train it into the run folder ``out``.

    Raises:
        UserError: as ``initial_model`` and ``train`` do; nothing is written then.
    """
    check_free(out)  # before weights are read
    model, start = initial_model(recipe)
    return train(model, recipe, out, data_root=data_root, device=device, watch=watch, start=start)


def resume_run(
    folder: Path, *, data_root: str | Path | None = None, device: str = "auto", watch: Watcher | None = None
) -> Result:
    """Continue the run in ``folder`` by its own recipe.

    Raises:
        UserError: the folder is not a run's, or damaged.
    """
    recipe = folder_recipe(folder)
    model, start = model_of(recipe), None
    if recipe.init_from is not None and not has_begun(folder):  # killed before its first checkpoint: starts again
        model, start = initial_model(recipe)
        _check_same_start(folder, start)
    return train(model, recipe, folder, data_root=data_root, device=device, resume=True, watch=watch, start=start)


def _check_same_start(folder: Path, start: Mapping[str, Any] | None) -> None:
    """See that the weights are those that the run in ``folder`` has on record, if it came so far."""
    records = read_records(folder) if (folder / RECORDS).exists() else []
    known = [record["start"] for record in records if record["type"] == "run" and "start" in record]
    if start is not None and known and known[0]["sha256"] != start["sha256"]:
        raise UserError(f"{start['path']} has changed since {folder} began; put the old weights there, or train anew")


def load_run(folder: Path) -> tuple[Recipe, Network]:
    """Recipe and trained network (best validation accuracy, evaluation mode, on the CPU) of a run folder.

    Raises:
        UserError: not a run folder, nothing trained yet, damaged, or a checkpoint of another network.
    """
    recipe = folder_recipe(folder)
    model = model_of(recipe)
    load_best(model, recipe, folder)
    return recipe, model.eval()


def export_run(
    folder: Path,
    out: Path,
    *,
    board: str,
    target_fps: int,
    clock_ns: float,
    data_root: str | Path | None = None,
    refused_too: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Export the run's best network to a FINN folder, proven on the whole test set; errors as ``export_finn``'s."""
    check_target(board, target_fps, clock_ns)
    check_destination(out)  # before the data are read, or downloaded
    recipe, model = load_run(folder)
    test = load_data(recipe.data, root=data_root, seed=recipe.seed).test
    results = [r for r in read_records(folder) if r["type"] == "result"]
    return export_finn(
        model,
        out,
        pixels=test.images,
        labels=test.labels,
        board=board,
        target_fps=target_fps,
        clock_ns=clock_ns,
        network=str(parse_name(recipe.network)),
        refused_too=refused_too,
        source={"recipe": recipe.to_dict(), "training": results[-1] if results else None},
        say=say,
    )
