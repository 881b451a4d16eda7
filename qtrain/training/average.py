"""Averages of the weights that are judged in place of those being trained: how they take their place, and the EMA."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.training.methods.method import Method

# The n-th weights weigh _FIRST / (_FIRST + n) or more: what was learned early does not linger in a short run's average.
_FIRST = 9


class Average:
    """The exponential moving average of a run's weights (EMA).

    Its memory grows with the run up to that of ``decay``, as in TensorFlow's ``ExponentialMovingAverage`` with
    ``num_updates``. While quantizers collect statistics their scales come from elsewhere than training, so that it
    begins behind them.

    Args:
        decay: share of the average that a step keeps, above 0, below 1.

    Attributes:
        seen: steps that are in the average.
        means: one for each parameter that is trained; empty before the first step.

    Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".
    """

    def __init__(self, decay: float):
        self.seen = 0
        self.means: list[Tensor] = []
        self._decay = decay

    @torch.no_grad()
    def add(self, model: nn.Module, parameters: list[Tensor]) -> None:
        """Take the weights behind a step into the average.

        Args:
            model: that is trained.
            parameters: of it that the optimizer trains, each time in the same order.
        """
        if not self.seen:
            if _collecting(model):
                return
            self.means = [parameter.detach().clone() for parameter in parameters]
        self.seen += 1
        torch._foreach_lerp_(self.means, parameters, max(1 - self._decay, _FIRST / (_FIRST + self.seen)))

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs."""
        return {"seen": self.seen, "means": self.means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            TypeError: it was taken of no average.
        """
        means = state["means"]
        if type(state["seen"]) is not int or not all(isinstance(mean, Tensor) for mean in means):
            raise TypeError("the average is none")
        self.seen = state["seen"]
        self.means = means


def average_of(recipe: Recipe, method: Method) -> Average | None:
    """Return the average that a recipe wants of its weights; None where it wants none.

    Raises:
        UserError: the method judges other weights than those being trained by itself.
    """
    if not recipe.ema:
        return None
    if type(method).judges_others is not False:  # also where that is a property, which is not true yet
        raise UserError(
            f"ema is {recipe.ema:g}, but scheduler {recipe.scheduler} judges weights of its own; leave one of them out"
        )
    return Average(recipe.ema)


def _collecting(model: nn.Module) -> bool:
    """Whether a quantizer that images pass still collects statistics, as Brevitas counts it."""
    modules = [module for module in model.modules() if hasattr(module, "collect_stats_steps")]
    return any(0 < int(getattr(module, "counter", 0)) <= int(module.collect_stats_steps) for module in modules)  # type: ignore[arg-type]


@contextmanager
def swapped(parameters: list[Tensor], others: list[Tensor]) -> Iterator[None]:
    """Inside, the values of two lists of tensors are exchanged, each where it lies."""
    _swap(parameters, others)
    try:
        yield
    finally:
        _swap(parameters, others)


@torch.no_grad()
def _swap(parameters: list[Tensor], others: list[Tensor]) -> None:
    for parameter, other in zip(parameters, others, strict=True):
        kept = parameter.clone()
        parameter.copy_(other)
        other.copy_(kept)
