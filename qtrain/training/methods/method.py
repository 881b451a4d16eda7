"""What a scheduler's name stands for in the training loop: an optimizer, and what is done around its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer


class Method:
    """An optimizer whose rate stays as it is; the others change one thing each.

    The state for checkpoints is that of the attributes which ``parts`` and ``values`` name; a method that keeps more
    than its optimizer names more.

    Args:
        optimizer: steps with a closure; has one parameter group a layer, each with a "name".

    Attributes:
        optimizer: the same.
        judges_others: whether the weights that are judged are others than those being trained, so that BatchNorm's
            statistics must be estimated anew for them.
        skips_non_finite: whether a step whose loss is not finite is left out instead of ending the run.
        finds_rate: whether the optimizer changes its rate by itself from step to step.
        parts: names of the attributes that have a ``state_dict`` of their own.
        values: names of the attributes that are kept as they are: numbers, text, tensors and lists of them.
    """

    judges_others = False
    skips_non_finite = False
    finds_rate = False
    parts: tuple[str, ...] = ("optimizer",)
    values: tuple[str, ...] = ()

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def before_step(self, epoch: float) -> None:
        """Told before each step where the run is: 2.5 is the middle of the third epoch."""

    def after_step(self, epoch: float) -> None:
        """Told after each step, and after the weights were clipped."""

    def validated(self, error: float) -> None:
        """Take in the top-1 error, 0 to 1, on the validation images after an epoch."""

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Inside, the parameters are those to be judged, exported and kept; afterwards those being trained again."""
        yield

    def rate(self) -> float:
        """The learning rate that an epoch's record shows."""
        return self.rates()[0]

    def rates(self) -> list[float]:
        """The rate of each parameter group at the last step."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def parameters(self) -> list[torch.Tensor]:
        """All that the optimizer trains, group by group."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def counts(self) -> dict[str, int]:
        """What the method did beside ordinary steps, since the start: extra forward passes, steps left out."""
        return dict(getattr(self.optimizer, "counts", {}))

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the model that ``load_state_dict`` needs to go on bit for bit.

        ``torch.load(weights_only=True)`` reads it.
        """
        parts = {name: getattr(self, name).state_dict() for name in self.parts}
        values = {name: getattr(self, name) for name in self.values}
        return parts | values

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken, with the parameters of that moment."""
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        for name in self.values:
            setattr(self, name, state[name])
