"""What Python decides a training step by, or a validation.

A captured step is the same kernels with the same numbers every time. Python's part of a step is not run again, so
nothing that Python decides anew may be in it.
"""

import random
from collections import deque
from collections.abc import Iterator
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.module_state import Number, numbers_of, restore_numbers

_PLAIN = (bool, int, float, str, NoneType)
_GONE = object()
_FREE = ("lr", "capturable")  # options of a group that a captured step does not hold
_OWN = frozenset(vars(nn.Module()))  # torch's own attributes, whose tensors are looked at by themselves
_FIXED = _OWN - {"training"}
_DEPTH = 4  # of lists in lists and objects in objects

# Where a value is held, its name, the value, and the module or the optimizer that it belongs to.
Held = tuple[Any, str, Any, Any]


class PythonState:
    """What Python decides a step by, as it is now.

    These are the values that modules hold, which tensor each of their names stands for, the options of the optimizer's
    groups, and the host's random numbers. What a forward pass keeps in global variables is not seen.

    Args:
        model: whose modules hold the values.
        optimizer: whose groups hold options; None for work that updates nothing.
        device: of the parameters.
        deep: look into lists, generators and objects of the modules too, which takes tens of milliseconds.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer | None, device: torch.device, *, deep: bool = True):
        self._model = model
        self._optimizer = optimizer
        self._device = device
        self._deep = deep
        self._numbers: list[Number] = numbers_of(model.modules())
        self._held: list[Held] = [*_held(model, self._numbers), *_options(optimizer)]
        self._places = {id(value): _place(value) for _, _, value, _ in self._held if isinstance(value, Tensor)}
        self._hidden = _hidden(model) if deep else {}
        self._random = _host_random(device)

    def moved(self) -> str | None:
        """Name a plain value, a tensor or a module that is another one now; None where all are as they were.

        A tensor whose numbers lie elsewhere in memory is another one. Lists and objects of the modules are not looked
        into, so that it takes under a millisecond for most networks.
        """
        for holder, name, value, owner in self._held:
            now = holder.get(name, _GONE)
            if now is not value and not _equal(now, value):
                return _label(self._model, owner, name)
            if isinstance(now, Tensor) and _place(now) != self._places[id(now)]:
                return _label(self._model, owner, name)
        return None

    def moved_by_a_step(self) -> str | None:
        """Name what a step since has changed: a value, a new one, or the host's random numbers."""
        if moved := self.moved():
            return moved
        now = PythonState(self._model, self._optimizer, self._device, deep=self._deep)
        known = {(id(holder), name) for holder, name, _, _ in self._held}
        for holder, name, _, owner in now._held:
            if (id(holder), name) not in known:
                return _label(self._model, owner, name)
        for (module, name), value in now._hidden.items():
            if self._hidden.get((module, name), _GONE) != value:
                return _label(self._model, module, name)
        for kind, state in self._random.items():
            if now._random[kind] != state:
                return kind
        return None

    def tensors(self) -> list[Tensor]:
        """Return the modules' tensors and the optimizer's, each once."""
        held = [value for _, _, value, _ in self._held if isinstance(value, Tensor)]
        kept = {} if self._optimizer is None else self._optimizer.state
        states = [value for state in kept.values() for value in state.values()]
        found = [*held, *(value for value in states if isinstance(value, Tensor))]
        return list({id(tensor): tensor for tensor in found}.values())

    def restore(self) -> None:
        """Put back the plain values, and the tensors and modules that names stood for."""
        restore_numbers(self._numbers)
        for holder, name, value, _ in self._held:
            if isinstance(holder, dict) and holder.get(name, _GONE) is not value:
                holder[name] = value


class _Attributes:
    """Attributes of a scripted module, which are not in its ``__dict__``, behind a dictionary's ``get``."""

    def __init__(self, module: nn.Module):
        self._module = module

    def get(self, name: str, default: Any) -> Any:
        return getattr(self._module, name, default)


def _held(model: nn.Module, numbers: list[Number]) -> Iterator[Held]:
    """Plain values and tensors of all modules."""
    for module, name, value in numbers:
        if name not in vars(module):
            yield _Attributes(module), name, value, module
    for module in model.modules():
        for name, value in vars(module).items():
            if (type(value) in _PLAIN and name not in _FIXED) or isinstance(value, Tensor):
                yield vars(module), name, value, module
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                yield tensors, name, tensor, module
        if isinstance(module._modules, dict):  # a scripted module's cannot be replaced
            for name, child in module._modules.items():
                yield module._modules, name, child, module


def _place(tensor: Tensor) -> int:
    """Where a tensor's numbers begin in memory: ``tensor.data = other`` moves them."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # it has none, such as a wrapper around others
        return 0


def _options(optimizer: Optimizer | None) -> Iterator[Held]:
    for group in [] if optimizer is None else optimizer.param_groups:
        for name, value in group.items():
            if type(value) in (*_PLAIN, tuple) and name not in _FREE:
                yield group, name, value, optimizer


def _hidden(model: nn.Module) -> dict[tuple[nn.Module, str], Any]:
    """What modules hold in lists, dictionaries, generators and objects of their own."""
    found = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in _OWN and type(value) not in _PLAIN and not isinstance(value, Tensor | nn.Module):
                found[module, name] = _frozen(value, _DEPTH)
    return found


def _frozen(value: Any, depth: int) -> Any:
    """A copy that compares equal while nothing in it moves; tensors, modules and what is too deep are themselves."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().cpu().numpy())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    if depth == 0 or isinstance(value, Tensor | nn.Module | type):
        return id(value)
    if isinstance(value, list | tuple | deque):
        return tuple(_frozen(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return tuple((id(key), _frozen(item, depth - 1)) for key, item in value.items())
    return id(value), _frozen(getattr(value, "__dict__", None), depth - 1)


def _equal(now: Any, value: Any) -> bool:
    """Whether plain values are equal; a tensor is only itself."""
    return type(now) is type(value) and not isinstance(value, Tensor) and bool(now == value)


def _label(model: nn.Module, owner: Any, name: str) -> str:
    """The name of a value for a person, as in ``features.3.temperature``."""
    if isinstance(owner, Optimizer):
        return f"the optimizer's {name}"
    paths = {module: path for path, module in model.named_modules()}
    return ".".join(filter(None, (paths[owner], name)))


def _host_random(device: torch.device) -> dict[str, Any]:
    """The states of the generators that a step on ``device`` has no need of."""
    kind, keys, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "Python's random state": random.getstate(),
        "NumPy's random state": (kind, np.asarray(keys).tobytes(), *rest),
    }
    if device.type != "cpu":  # there it is the device's own, which dropout moves
        found["torch's random state of the CPU"] = bytes(torch.get_rng_state().numpy())
    return found
