"""Everything that training changes, put back in place."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.generators import kept_generators
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
    with kept_generators(range(torch.cuda.device_count())):
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


def _tensors(module: nn.Module) -> Iterator[tuple[Any, str, Tensor, Tensor]]:
    """Where each tensor of the module hangs, its name, itself, and a copy."""
    for held in (module._parameters, module._buffers):
        for name, tensor in held.items():
            if tensor is not None:
                yield held, name, tensor, tensor.detach().clone()
