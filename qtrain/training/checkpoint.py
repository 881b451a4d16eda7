"""Checkpoints of a run folder: written atomically, read without executing code."""

import os
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from qtrain.errors import UserError

FORMAT = 1
LAST = "checkpoint.pt"
BEST = "best.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path``, then move it there: a reader sees the old file or the new one, whole."""
    partial = path.with_suffix(".partial")
    torch.save({"format": FORMAT, **state}, partial)
    os.replace(partial, path)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, whatever the file holds.

    Raises:
        UserError: no such file, damaged, not a checkpoint of qtrain, or of another format.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent} holds no {path.name}; name a folder that qtrain train wrote") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, BadZipFile, ValueError, KeyError):
        raise UserError(f"{path} is damaged or no checkpoint of qtrain; train again or take an older copy") from None
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise UserError(f"{path} has format {found!r}, this qtrain reads {FORMAT}")
    return state


def load_weights(model: torch.nn.Module, weights: dict[str, Any], origin: Path) -> None:
    """Load ``weights`` into ``model``.

    Raises:
        UserError: they are another network's; names a first entry that does not fit.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{origin} does not fit {type(model).__name__} as the recipe describes it: {detail}") from None
