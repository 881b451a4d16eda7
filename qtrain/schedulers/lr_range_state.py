"""Everything that training changes, put back in place."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.module_state import numbers_of, restore_numbers


@contextmanager
def restored(model: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """Whatever happens inside leaves no trace in ``model``, ``optimizer`` or the random number generators.

    Tensors are copied back into the same objects. ``load_state_dict`` would not do: Brevitas makes new parameters of
    its trained scales when it loads, and an optimizer made before would go on with the old ones.

    Args:
        model: parameters, gradients, buffers, modes and plain numbers are kept (Brevitas counts steps in numbers).
        optimizer: its state and its groups' options are kept.
    """
    modules = list(model.modules())
    tensors = [kept for module in modules for kept in _tensors(module)]
    gradients = [(p, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    numbers = numbers_of(modules)
    # Deep, for state_dict hands out the state's own tensors.
    state = copy.deepcopy(optimizer.state_dict())
    random_state = _random_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for held, name, tensor, value in tensors:
                tensor.copy_(value)
                if held[name] is not tensor:
                    held[name] = tensor
        for parameter, gradient in gradients:
            parameter.grad = gradient
        restore_numbers(numbers)
        optimizer.load_state_dict(state)
        _set_random_state(random_state)


def _tensors(module: nn.Module) -> Iterator[tuple[Any, str, Tensor, Tensor]]:
    """Where each tensor of the module hangs, its name, itself, and a copy."""
    for held in (module._parameters, module._buffers):
        for name, tensor in held.items():
            if tensor is not None:
                yield held, name, tensor, tensor.detach().clone()


def _random_state() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3]:
        torch.cuda.set_rng_state_all(state[3])
