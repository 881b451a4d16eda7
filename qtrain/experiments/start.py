"""The weights that ``--init-from`` names: read without executing code, with what is known of them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from qtrain.errors import UserError
from qtrain.models.weights import plain_state
from qtrain.recipe import Recipe, recipe_from_dict
from qtrain.records.files import read_plain
from qtrain.training import checkpoint
from qtrain.training.folder import folder_recipe, last_result
from qtrain.training.seal import is_whole, records_match


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        weights: a state dict.
        recipe: of the run that trained them, where a run did.
        facts: for the record: path, sha256 of the file, the run's network and result.
    """

    weights: dict[str, Tensor]
    recipe: Recipe | None
    facts: dict[str, Any]


def read_start(path: Path, wanted: str = "a run folder or a file of weights with --init-from") -> Start:
    """Read a run folder's best weights, a checkpoint of a run, a plain state dict, or a checkpoint of bnn_pynq.

    Args:
        path: of the folder or the file.
        wanted: what the user is to name, and by which option; the end of an error.

    Raises:
        UserError: nothing there, damaged, or no weights in it.
    """
    file = path
    if path.is_dir():
        folder_recipe(path)  # tells other folders from runs
        file = path / checkpoint.BEST
    try:
        content = read_plain(file, checkpoint.MOST_STATE)
    except (FileNotFoundError, NotADirectoryError):
        what = f"holds no {checkpoint.BEST} yet; train it first, or" if path.is_dir() else "does not exist;"
        raise UserError(f"{path} {what} name {wanted}") from None
    damaged = (
        f"{file} is damaged, no file of torch.save, or holds more than tensors; take another copy, or save "
        "model.state_dict() alone"
    )
    if not records_match(content):
        raise UserError(damaged)
    found = checkpoint.read_state(io.BytesIO(content), damaged)
    facts: dict[str, Any] = {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}
    if not isinstance(found, dict) or not isinstance(found.get("recipe"), dict):
        return Start(plain_state(found, str(file)), None, facts)
    if not is_whole(content):
        raise UserError(damaged)
    recipe = recipe_from_dict(found["recipe"], str(file))
    result = last_result(path) if path.is_dir() else None
    epoch = found.get("epoch")
    facts |= {
        "network": recipe.network,
        "epoch": epoch if type(epoch) is int else None,
        "result": vars(result) if result else None,
    }
    return Start(plain_state(found.get("model"), str(file)), recipe, facts)
