"""From a recipe's scheduler to the ``Method`` that trains: what its row of the catalogue names is called."""

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import Any

from torch import nn

from qtrain.errors import UserError
from qtrain.optimizers.options import checked_options, options_of, takes_any_option
from qtrain.recipe import Recipe
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.training.methods.method import Method
from qtrain.training.methods.scheduled import scheduled

_HOOKS = ("before_step", "after_step", "validated")  # of a ``Method``, called with a number


def make_method(model: nn.Module, recipe: Recipe, steps_per_epoch: int) -> Method:
    """Make what ``recipe.scheduler`` names, over one parameter group a layer.

    Args:
        model: to be trained.
        recipe: decides the optimizer, the rate and the scheduler's options.
        steps_per_epoch: mini-batches an epoch.

    Raises:
        UserError: an option that the scheduler does not have or of the wrong type, a network it cannot train, or a
            package that is not installed or broken.
    """
    row = SCHEDULERS.get(recipe.scheduler)
    make = SCHEDULERS.load(recipe.scheduler, row.make)
    options = dict(recipe.scheduler_options)
    if not callable(make):
        raise UserError(f"{SCHEDULERS.origin(recipe.scheduler)} names {row.make}, which cannot be called")
    with SCHEDULERS.blaming(recipe.scheduler):
        if not takes_any_option(make):
            options = checked_options(recipe.scheduler, options_of(make), options)
        if row.kind != "method":
            schedule = make if recipe.scheduler in SCHEDULERS.built_in else _checked(recipe.scheduler, make)
            return scheduled(model, recipe, schedule, options, each_step=row.kind == "rate_by_step")
        method = make(model, recipe, steps_per_epoch, **options)
    if not isinstance(method, Method):
        made = type(method).__name__
        raise UserError(f"{SCHEDULERS.origin(recipe.scheduler)} must make a Method, but {row.make} made a {made}")
    if recipe.scheduler not in SCHEDULERS.built_in:
        for hook in _HOOKS:
            setattr(method, hook, _blamed(recipe.scheduler, getattr(method, hook)))
    return method


def _blamed(scheduler: str, hook: Callable[[float], None]) -> Callable[[float], None]:
    """Return what a package does around a step as one that fails in one line."""

    def blamed(value: float) -> None:
        with SCHEDULERS.blaming(scheduler):
            hook(value)

    return blamed


def _checked(scheduler: str, schedule: Callable[..., Any]) -> Callable[..., float]:
    """Return a package's schedule as one that gives a rate at every epoch, or one line that names the package."""

    def checked(epoch: float, epochs: int, lr: float, **options: Any) -> float:
        with SCHEDULERS.blaming(scheduler):
            rate = schedule(epoch, epochs, lr, **options)
        if not (isinstance(rate, Real) and 0 <= rate < inf):  # type: ignore[operator]
            origin = SCHEDULERS.origin(scheduler)
            raise UserError(f"{origin} must return a finite rate, 0 or more, but returned {rate!r} at epoch {epoch:g}")
        return float(rate)

    return checked
