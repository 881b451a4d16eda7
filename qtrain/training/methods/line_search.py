"""L4 and Armijo: the optimizer finds its step size from the loss itself."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.optimizers import L4Adam, L4Mom, SGDArmijo
from qtrain.optimizers.frozen_statistics import frozen_statistics
from qtrain.optimizers.options import checked_options, options_of
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups
from qtrain.training.methods.method import Method

_KEPT = "kept"


class LineSearchMethod(Method):
    """A step size from the loss; a step whose loss is not finite is left out."""

    skips_non_finite = True
    finds_rate = True


class DecayingLineSearchMethod(LineSearchMethod):
    """A line search that judges the loss alone, with decoupled weight decay after each step."""

    def __init__(self, optimizer: Optimizer, weight_decay: float):
        super().__init__(optimizer)
        self._weight_decay = weight_decay

    @torch.no_grad()
    def after_step(self, epoch: float) -> None:
        """Shrink the weights in proportion to the step."""
        if self._weight_decay:
            shrink = 1 - min(1.0, self.rate() * self._weight_decay)
            torch._foreach_mul_(self.parameters(), shrink)


def make_l4mom(model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> Method:
    """Train with L4 over momentum's direction; ``options`` are ``L4Mom``'s."""
    return _l4(L4Mom, model, recipe, options)


def make_l4adam(model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> Method:
    """Train with L4 over Adam's direction; ``options`` are ``L4Adam``'s."""
    return _l4(L4Adam, model, recipe, options)


def _l4(kind: type[L4Mom] | type[L4Adam], model: nn.Module, recipe: Recipe, options: dict[str, Any]) -> Method:
    options = checked_options(recipe.scheduler, options_of(kind, {"weight_decay"}), options)
    return LineSearchMethod(kind(layer_groups(model), weight_decay=recipe.weight_decay, **options))


def make_armijo(model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> Method:
    """Train with the Armijo line search.

    Args:
        model: to be trained.
        recipe: decides the weight decay.
        steps_per_epoch: mini-batches an epoch.
        options: ``SGDArmijo``'s, and ``statistics``: kept, or moved by trial passes as in the authors' code.

    Raises:
        UserError: an option that it does not have, or a value out of range.
    """
    known = options_of(SGDArmijo, {"trial_context"}) | {"statistics": _KEPT}
    options = checked_options(recipe.scheduler, known, options)
    statistics = options.pop("statistics", _KEPT)
    if statistics not in (_KEPT, "moved"):
        raise UserError(
            f"armijo's option statistics must be kept or moved (by trial passes, as the authors' code does), "
            f"but got {statistics!r}"
        )
    context = partial(frozen_statistics, model) if statistics == _KEPT else None
    optimizer = SGDArmijo(layer_groups(model), steps_per_epoch=steps_per_epoch, trial_context=context, **options)
    return DecayingLineSearchMethod(optimizer, recipe.weight_decay)
