"""Checkpoints of a run folder: written atomically with a checksum, read without executing code.

While a run trains, the checkpoint before the last is kept, and taken where the last is damaged. The best weights are
there once: a second copy of them would be written again with each that is better, and an older one helps nobody.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qtrain.errors import UserError
from qtrain.recipe import Recipe, difference
from qtrain.records.files import write_whole
from qtrain.records.plain_files import read_plain
from qtrain.training.folder import BEST, LAST, PREVIOUS
from qtrain.training.progress import warn
from qtrain.training.saved_state import MEND, check_weights
from qtrain.training.seal import is_whole, seal

__all__ = ["BEST", "LAST", "PREVIOUS", "check_recipe", "last_whole", "load", "load_best", "load_weights", "save"]
FORMAT = 1
MOST_STATE = 64 << 30  # bytes of a file; the widest networks with the largest optimizers have half of that


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``: a reader sees the old file or the new one, whole.

    The run's last checkpoint becomes its previous one as soon as the disk holds the new.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    seal(buffer)
    before = path.with_name(PREVIOUS) if path.name == LAST else None
    write_whole(path, buffer.getbuffer(), read_back=True, before=before)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, whatever the file holds.

    Raises:
        UserError: no such file, damaged, not a checkpoint of qtrain, or of another format.
    """
    damaged = f"{path} is damaged or no checkpoint of qtrain; train again or take an older copy"
    try:
        content = read_plain(path, MOST_STATE)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent} holds no {path.name}; name a folder that qtrain train wrote") from None
    if not is_whole(content):
        raise UserError(damaged)
    state = read_state(io.BytesIO(content), damaged, device)
    found = state.get("format") if isinstance(state, dict) else None
    if type(found) is not int or found != FORMAT:
        raise UserError(
            f"{path} has format {str(found)[:40]}, this qtrain reads {FORMAT}; train again with this qtrain"
        )
    if not isinstance(state.get("recipe"), dict) or not isinstance(state.get("model"), dict):
        raise UserError(damaged)
    return state


def last_whole(out: Path) -> Path:
    """The checkpoint that a run goes on from: the last, or the one before where that alone is whole."""
    if not _is_whole(out / LAST) and _is_whole(out / PREVIOUS):
        return out / PREVIOUS
    return out / LAST


def _is_whole(path: Path) -> bool:
    try:
        return is_whole(read_plain(path, MOST_STATE))
    except (FileNotFoundError, NotADirectoryError):
        return False


def go_back(out: Path) -> None:
    """Let the previous checkpoint take the place of a last one that is damaged or lost, and say so."""
    lost = "is damaged" if (out / LAST).exists() else "is lost"
    os.replace(out / PREVIOUS, out / LAST)
    warn(f"{out / LAST} {lost}; the run goes on from the checkpoint before it, and trains what came since again")


def forget_previous(out: Path) -> None:
    """Take away the previous checkpoint of a run that is at its end."""
    (out / PREVIOUS).unlink(missing_ok=True)


def check_best(out: Path, recipe: Recipe, best_epoch: int, epochs: int) -> None:
    """See, before it trains for hours, that a run has the best weights that its end needs.

    Args:
        out: folder of the run.
        recipe: of the run.
        best_epoch: whose weights its checkpoint speaks of, from 1; 0 where there are none yet.
        epochs: behind its checkpoint; a kill leaves better weights of a later one, which is trained again.

    Raises:
        UserError: they are lost, damaged, another run's or another epoch's.
    """
    if not best_epoch:
        return
    path = out / BEST
    state = load(path)
    check_recipe(state, recipe.to_dict(), path)
    found = state.get("epoch", best_epoch)
    if type(found) is not int:
        raise UserError(f"{path} is damaged (epoch is {str(found)[:40]!r}); {MEND}")
    if found != best_epoch and found <= epochs:
        raise UserError(
            f"{path} has weights of epoch {found}, the best were those of {best_epoch}; put them back there"
        )


def read_state(content: io.BytesIO, damaged: str, device: torch.device | str = "cpu") -> Any:
    """Read what ``torch.save`` wrote: tensors and plain values only, and none that is larger than the file.

    Args:
        content: of the file.
        damaged: what to say where it is none.
        device: that the tensors come to.

    Raises:
        UserError: it is damaged, executes code, or unpacks to more than it has.
    """
    try:
        if zipfile.is_zipfile(content):  # older files are one pickle
            entries = zipfile.ZipFile(content).infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)  # torch packs nothing
            if packed or sum(entry.file_size for entry in entries) > content.getbuffer().nbytes:
                raise ValueError("it unpacks to more than it has")
        content.seek(0)
        return torch.load(content, map_location=device, weights_only=True)
    except Exception:  # torch documents no errors, and damaged bytes raise nearly any
        raise UserError(damaged) from None


def check_recipe(state: Mapping[str, Any], recipe: Mapping[str, Any], path: Path) -> None:
    """See that the checkpoint is of this recipe (both as plain values).

    Raises:
        UserError: it is another run's; names what differs.
    """
    if other := difference(state["recipe"], recipe):
        raise UserError(f"{path} belongs to another run ({other}); put the folder's own there")


def load_weights(model: torch.nn.Module, weights: dict[str, Any], origin: Path) -> None:
    """Load ``weights`` into ``model``, which may have entries that it does not save at present.

    Raises:
        UserError: they are another network's; names a first entry that does not fit.
    """
    needed = set(model.state_dict())  # Brevitas saves no range of a layer that has seen no image yet, and misses it
    if wrong := check_weights(model, weights):
        raise UserError(f"{origin} is damaged ({wrong}); {MEND}")
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1].strip()
    else:
        missing = [name for name in missing if name in needed]
        if not missing and not unexpected:
            return
        detail = f"it lacks {missing[0]}" if missing else f"the network has no {unexpected[0]}"
    raise UserError(f"{origin} does not fit {type(model).__name__} as the recipe describes it: {detail}")


def load_best(model: torch.nn.Module, recipe: Recipe, out: Path, device: torch.device | str = "cpu") -> None:
    """Load the weights with the best validation accuracy of the run in ``out``.

    Raises:
        UserError: nothing trained there yet, damaged, or a checkpoint of another run.
    """
    path = out / BEST
    state = load(path, device)
    check_recipe(state, recipe.to_dict(), path)
    load_weights(model, state["model"], path)
