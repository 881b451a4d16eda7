"""Whether what a checkpoint holds can be what was saved: names, kinds and shapes, before a run goes on with them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from qtrain.errors import UserError, is_out_of_files
from qtrain.own_code import one_line

MEND = "train again or take an older copy"
_KNOWN = (SGD, Adam, AdamW)  # their state has the shape of its parameter, or is one number


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Inside, whatever goes wrong is the checkpoint's: it is a state that nothing was saved from.

    Raises:
        UserError: names the checkpoint, and what was raised.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch and optimizers of others document no errors
        if is_out_of_files(error):
            raise
        raise UserError(f"{path} is damaged ({one_line(error)}); {MEND}") from error


def check_weights(model: nn.Module, found: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with weights beside their names and shapes; None where nothing is.

    Args:
        model: that they are for.
        found: what was saved.
    """
    own = model.state_dict()
    trained = dict(model.named_parameters())
    for name, value in found.items():
        if not isinstance(name, str) or not is_dense(value):
            return f"{str(name)[:80]} is no dense tensor"
        if name not in own or own[name].shape != value.shape:
            continue
        if own[name].dtype != value.dtype:
            return f"{name} is {value.dtype}, where {own[name].dtype} belongs"
        if name in trained and has_nan(value):
            return f"{name} is not finite"
    return None


def is_dense(value: Any) -> bool:
    """Whether it is a tensor with its values in memory, each once."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def has_nan(value: Tensor) -> bool:
    """Whether a dense tensor holds NaN or infinite values."""
    return value.is_floating_point() and not bool(value.isfinite().all())


def position_from(kind: type, found: Any, path: Path) -> Any:
    """Make the position of a run of what was saved: a dataclass of numbers, none below -1.

    Raises:
        UserError: an entry is missing, unknown or none of its kind; names it.
    """
    known = {field.name: field for field in fields(kind)}
    needed = {name for name, field in known.items() if field.default is MISSING}
    if not isinstance(found, dict) or not needed <= found.keys() <= known.keys():
        raise UserError(f"{path} is damaged (its position is no position of a run); {MEND}")
    for name, value in found.items():
        wanted = (int,) if known[name].type in (int, "int") else (int, float)
        if type(value) not in wanted or not -1 <= value < float("inf"):
            raise UserError(f"{path} is damaged (position.{name} is {str(value)[:40]!r}); {MEND}")
    return kind(**found)


def check_optimizer(optimizer: Optimizer, path: Path) -> None:
    """See that an optimizer's state was saved of its parameters.

    Raises:
        UserError: it is of another shape, or not finite; names the group.
    """
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name != "params" and isinstance(value, float) and value != value:
                raise UserError(f"{path} is damaged ({name} of {group.get('name')} is NaN); {MEND}")
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    continue
                fits = value.numel() == 1 or value.shape == parameter.shape
                if not is_dense(value) or (type(optimizer) in _KNOWN and not fits):
                    shapes = f"{list(value.shape)} for a parameter of {list(parameter.shape)}"
                    raise UserError(f"{path} is damaged ({name} of {group.get('name')} is {shapes}); {MEND}")
                if has_nan(value):
                    raise UserError(f"{path} is damaged ({name} of {group.get('name')} is not finite); {MEND}")


def check_kinds(fresh: Any, found: Any, path: Path, name: str) -> None:
    """See that saved values are of the kinds that new ones have; what only one of them has is passed over.

    Raises:
        UserError: a number, text, mapping or tensor stands where another kind belongs; names it.
    """
    if isinstance(fresh, dict) and isinstance(found, dict):
        for key in fresh.keys() & found.keys():
            check_kinds(fresh[key], found[key], path, f"{name}.{key}")
    elif fresh is not None and found is not None and not _are_alike(fresh, found):
        what = type(found).__name__
        raise UserError(f"{path} is damaged ({name} is a {what}, where a {type(fresh).__name__} belongs); {MEND}")


def _are_alike(fresh: Any, found: Any) -> bool:
    """Whether two values can be of one kind: a number may have become a tensor since, or a list of them."""
    if isinstance(fresh, str):
        return isinstance(found, str)
    if isinstance(fresh, dict):
        return isinstance(found, dict)
    if isinstance(fresh, list | tuple):
        return isinstance(found, list | tuple)
    return not isinstance(found, str | dict)
