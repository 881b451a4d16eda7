"""What a network holds and its ``state_dict`` does not tell, though the next step depends on it.

Brevitas counts the steps that it collects statistics for in plain numbers, and while it collects it saves what the
statistics amount to instead of the statistics. A run that goes on bit for bit needs both as they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from brevitas.core.utils import StatelessBuffer
from torch import Tensor, nn

from qtrain.module_state import numbers_of


def hidden_state(model: nn.Module, start: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``model`` holds and its ``state_dict`` does not tell: tensors, and numbers other than at the start.

    Args:
        model: with parameters and buffers; a number annealed in ``forward`` is known, a list or dictionary is not.
        start: ``numbers_by_name`` of the model before it was trained.
    """
    saved = model.state_dict()
    numbers = {name: number for name, number in numbers_by_name(model).items() if start.get(name) != number}
    tensors = {name: tensor.detach() for name, tensor in _tensors(model) if not _is_same(saved.get(name), tensor)}
    return {"numbers": numbers, "tensors": tensors}


@torch.no_grad()
def restore_hidden_state(model: nn.Module, state: Mapping[str, Any], start: Mapping[str, float]) -> None:
    """Put back what ``hidden_state`` returned, after the model's own state was loaded.

    Args:
        model: built as the one whose state it was.
        state: as ``hidden_state`` returned it.
        start: ``numbers_by_name`` of ``model`` as it was built: loading changes numbers too.
    """
    tensors = dict(_tensors(model))
    for name, tensor in state["tensors"].items():
        tensors[name].copy_(tensor)
    modules = dict(model.named_modules())
    for name, number in {**start, **state["numbers"]}.items():
        path, _, attribute = name.rpartition(".")
        if getattr(modules[path], attribute, None) != number:  # not all can be set
            setattr(modules[path], attribute, number)


def numbers_by_name(model: nn.Module) -> dict[str, bool | int | float]:
    """Return the numbers of every module but its mode, by path and attribute as in ``act1.counter``."""
    paths = {module: path for path, module in model.named_modules()}
    numbers = numbers_of(paths)
    return {f"{paths[module]}.{name}": number for module, name, number in numbers if name != "training"}


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, but for Brevitas' constants, of which a network has thousands."""
    yield from model.named_parameters()
    constants = {path for path, module in model.named_modules() if isinstance(module, StatelessBuffer)}
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[0] not in constants:
            yield name, buffer


def _is_same(saved: Any, tensor: Tensor) -> bool:
    """Whether an entry of a state is the tensor itself, and not one that was computed for the state."""
    return isinstance(saved, Tensor) and saved.shape == tensor.shape and saved.data_ptr() == tensor.data_ptr()
