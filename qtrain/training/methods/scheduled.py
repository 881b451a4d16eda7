"""Rates that a schedule says: functions of the epoch, and two that follow the validation error."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from qtrain.errors import UserError
from qtrain.optimizers.options import checked_options, options_of
from qtrain.recipe import Recipe
from qtrain.schedulers.greedy import GreedyLR
from qtrain.schedulers.schedules import multistep
from qtrain.training.methods.method import Method
from qtrain.training.methods.optimizer import make_optimizer


class Scheduled(Method):
    """A rate that is a function of the epoch.

    Args:
        optimizer: as ``Method``'s.
        schedule: from the epoch, counted from 0, to the rate.
        each_step: ask it before each step with the fraction of the epoch; else once an epoch, as recipes mean it.
    """

    def __init__(self, optimizer: Optimizer, schedule: Callable[[float], float], *, each_step: bool = False):
        super().__init__(optimizer)
        self._schedule = schedule
        self._each_step = each_step

    def before_step(self, epoch: float) -> None:
        """Give every parameter group the rate of this moment."""
        rate = self._schedule(epoch if self._each_step else int(epoch))
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def scheduled(
    model: nn.Module, recipe: Recipe, schedule: Callable[..., float], options: Mapping[str, Any], *, each_step: bool
) -> Scheduled:
    """Train by a schedule of the epoch.

    Args:
        model: to be trained.
        recipe: decides the optimizer, its first rate and the length of the run.
        schedule: takes the epoch, the run's epochs, the first rate and ``options``, and returns the rate.
        options: the schedule's further arguments.
        each_step: as ``Scheduled``'s.

    Raises:
        UserError: the schedule refuses the options.
    """

    def rate(epoch: float) -> float:
        return schedule(epoch, recipe.epochs, recipe.rate, **options)

    rate(0)  # refuses values out of range before anything is written
    return Scheduled(make_optimizer(model, recipe), rate, each_step=each_step)


def make_multistep(model: nn.Module, recipe: Recipe, steps_per_epoch: int) -> Method:
    """Train by the recipe's milestones and factors."""
    numbers = {"milestones": recipe.milestones, "gamma": recipe.gamma}
    return scheduled(model, recipe, multistep, numbers, each_step=False)


class Plateau(Method):
    """torch's ReduceLROnPlateau on the validation error."""

    parts = ("optimizer", "plateau")

    def __init__(self, optimizer: Optimizer, factor: float, patience: int):
        super().__init__(optimizer)
        self.plateau = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)

    @classmethod
    def make(
        cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, *, factor: float = 0.1, patience: int = 10
    ) -> "Plateau":
        """Train so, with torch's own numbers where no others are given.

        Raises:
            UserError: a number out of range.
        """
        if not 0 < factor < 1 or not (isinstance(patience, int) and patience >= 0):
            raise UserError(
                f"plateau takes factor in (0, 1) and patience in whole epochs, but got {factor} and {patience}"
            )
        return cls(make_optimizer(model, recipe), factor, patience)

    def validated(self, error: float) -> None:
        """Lower the rate after ``patience`` epochs without a better error."""
        self.plateau.step(error)


class Greedy(Method):
    """GreedyLR on the validation error."""

    parts = ("optimizer", "greedy")

    def __init__(self, optimizer: Optimizer, **options: Any):
        super().__init__(optimizer)
        self.greedy = GreedyLR(optimizer, **options)

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "Greedy":
        """Train so; ``options`` are ``GreedyLR``'s.

        Raises:
            UserError: an option that it does not have, or a number out of range.
        """
        options = checked_options(recipe.scheduler, options_of(GreedyLR), options)
        return cls(make_optimizer(model, recipe), **options)

    def validated(self, error: float) -> None:
        """Raise the rate after epochs that were better, lower it after epochs that were not."""
        self.greedy.step(error)
