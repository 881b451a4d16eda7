"""One run: from a recipe to a run folder, and from the folder to a FINN folder."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from qtrain.data import class_names, load_data
from qtrain.export import Proof, check_target, export_finn
from qtrain.export.finn_folder import check_destination
from qtrain.models import build_model, parse_name
from qtrain.recipe import Recipe
from qtrain.training import Result, Watcher, train
from qtrain.training.folder import folder_recipe, load_best
from qtrain.training.records import read_records


def model_of(recipe: Recipe) -> nn.Module:
    """Build the recipe's network, its initial weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    return build_model(
        recipe.network,
        num_classes=len(class_names(recipe.data)),
        width=recipe.width,
        input_bits=recipe.input_bits,
        scaling=recipe.scaling,
    )


def train_recipe(
    recipe: Recipe,
    out: Path,
    *,
    data_root: str | Path | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
) -> Result:
    """Build the recipe's network and train it into the run folder ``out``; errors as ``train``'s."""
    return train(model_of(recipe), recipe, out, data_root=data_root, device=device, watch=watch)


def resume_run(
    folder: Path, *, data_root: str | Path | None = None, device: str = "auto", watch: Watcher | None = None
) -> Result:
    """Continue the run in ``folder`` by its own recipe.

    Raises:
        UserError: the folder is not a run's, or damaged.
    """
    recipe = folder_recipe(folder)
    return train(model_of(recipe), recipe, folder, data_root=data_root, device=device, resume=True, watch=watch)


def load_run(folder: Path) -> tuple[Recipe, nn.Module]:
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
        source={"recipe": recipe.to_dict(), "training": results[-1] if results else None},
        say=say,
    )
