"""Keep BatchNorm's and the quantizers' statistics where they are while a network is only being asked for its loss."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from qtrain.module_state import numbers_of, restore_numbers


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, forward passes in training mode leave no trace in ``model``.

    They compute the function of the last training pass before, on other weights or images: statistics come from
    the batch, not from running averages as they would in evaluation mode. That holds for Brevitas' ranges too that are
    collected from the first steps: after the last such step a further pass would else begin to train them. (A range
    whose collection ends between two calls of one pass is the trained one in all calls.)

    What is kept: every buffer, every plain number of a module (Brevitas counts steps so), and the parameters of
    quantizers that are still collecting. Gradients of a pass inside must be taken inside.

    Args:
        model: its mode stays as it is.
    """
    modules = list(model.modules())
    kept = [(module, name, buffer, buffer.clone()) for module in modules for name, buffer in _buffers(module)]
    numbers = [number for number in numbers_of(modules) if number[1] != "training"]
    ranges = [(p, p.detach().clone()) for m in modules if _collecting(m) for p in m.parameters(recurse=False)]
    for module in modules:
        _repeat_last_pass(module)
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in kept:
                buffer.copy_(value)
                if getattr(module, name) is not buffer:
                    setattr(module, name, buffer)
            for parameter, value in ranges:
                parameter.copy_(value)
        restore_numbers(numbers)


def _buffers(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return list(module.named_buffers(recurse=False))


def _collecting(module: nn.Module) -> bool:
    """Whether a range that is trained later is still being found."""
    if hasattr(module, "collect_stats_steps"):
        return bool(module.counter <= module.collect_stats_steps)  # type: ignore[operator]
    return getattr(module, "init_done", True) is False


def _repeat_last_pass(module: nn.Module) -> None:
    """Let a range that is being collected be the batch's own in the next pass, as it was in the last one.

    Brevitas counts calls: a quantizer that several layers share is called more than once a pass.
    """
    if hasattr(module, "collect_stats_steps") and _collecting(module):
        module.counter = 0  # type: ignore[assignment]
