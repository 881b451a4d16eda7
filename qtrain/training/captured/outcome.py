"""A training step taken twice: what it changed, put back, and how far two outcomes lie apart."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qtrain.training.captured.state import PythonState

# Kernels that add with atomics differ from themselves by their last bits; a replay differs from a step by as much.
NOISE = 10.0


class Kept:
    """Copies of all that a step changes.

    Args:
        python: the state before the step.
        others: tensors beside the modules' and the optimizer's.

    Attributes:
        tensors: of the modules and the optimizer, and the others.
        values: copies of them.
    """

    def __init__(self, python: PythonState, others: tuple[Tensor, ...] = ()):
        self._python = python
        self.tensors = [*python.tensors(), *others]
        self.values = values_of(self.tensors)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, in place."""
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
        self._python.restore()


def values_of(tensors: list[Tensor]) -> list[Tensor]:
    """Return copies."""
    return [tensor.detach().clone() for tensor in tensors]


def agree(replayed: list[Tensor], ordinary: Callable[[], list[Tensor]], start: list[Tensor]) -> bool:
    """Whether a replayed step gave an ordinary one's bits.

    Where ordinary steps from the same start differ among themselves, as those of kernels that add in any order, it must
    come as near to one as they come to each other, up to ``NOISE`` times: one pair may lie close by chance. A step that
    is the same every time on this device gets no such allowance.

    Args:
        replayed: the outcome of the replay.
        ordinary: takes the step from the start, kernel by kernel, and returns its outcome.
        start: the tensors before the step.
    """
    first = ordinary()
    apart = distance(replayed, first, start)
    if apart == 0:
        return True
    noise = distance(ordinary(), first, start)
    return noise > 0 and apart <= NOISE * noise


def distance(found: list[Tensor], wanted: list[Tensor], start: list[Tensor]) -> float:
    """How far two outcomes of a step lie apart, against how far the step moved each tensor; 0 for equal values."""
    total = 0.0
    for ours, theirs, before in zip(found, wanted, start, strict=True):
        if bool(((ours == theirs) | ((ours != ours) & (theirs != theirs))).all()):  # NaN is NaN's equal here
            continue
        apart = float((ours.double() - theirs.double()).norm())
        moved = float((theirs.double() - before.double()).norm())
        if not (moved > 0 and math.isfinite(apart / moved)):
            return math.inf
        total += (apart / moved) ** 2
    return math.sqrt(total)
