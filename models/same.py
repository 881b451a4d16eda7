"""Whether two networks are built alike, whatever their weights."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from qtrain.models.fast_forward import plain_class

# What training, evaluation or an earlier step moves, and what only names a network.
_MOVING = {"training", "counter", "init_done", "name"}
_PLAIN = (bool, int, float, str, tuple, type(None))


def first_difference(model: nn.Module, wanted: nn.Module) -> str | None:
    """Say where ``model`` is built otherwise than ``wanted``; None where it is not.

    Layers are compared by path: their types, the shapes of their parameters and buffers, the constants that no state
    has (Brevitas' bit widths and fixed scales among them), and the plain attributes such as strides.

    Args:
        model: of any device and weights.
        wanted: on any device.
    """
    theirs = dict(model.named_modules())
    ours = dict(wanted.named_modules())
    for path in (path for path in ours if path not in theirs):
        return f"it has no {path}"
    for path in (path for path in theirs if path not in ours):
        return f"it has a {path} ({type(theirs[path]).__name__})"
    for path, module in ours.items():
        for what, value in _facts(module):
            found = dict(_facts(theirs[path])).get(what)
            if found != value:
                where = f"{path}'s {what}" if path else what
                return f"{where} is {_shown(found)} instead of {_shown(value)}"
    return None


def _facts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a layer is, without what lies below it."""
    yield "type", plain_class(module).__name__
    for name, parameter in module.named_parameters(recurse=False):
        yield name, tuple(parameter.shape)
    buffers = dict(module.named_buffers(recurse=False))
    saved = module.state_dict() if buffers else {}
    for name, buffer in buffers.items():
        constant = name not in saved and buffer.numel() == 1
        yield name, buffer.item() if constant else tuple(buffer.shape)
    for name, value in vars(module).items():
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in _MOVING:
            yield name, value


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
