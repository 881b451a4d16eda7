"""From a recipe's scheduler and optimizer to the ``Method`` that trains; one small function a scheduler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.optimizers import L4Adam, L4Mom, SGDArmijo
from qtrain.optimizers.options import checked_options, options_of
from qtrain.optimizers.rivals import make_rival
from qtrain.optimizers.statistics import frozen_statistics
from qtrain.recipe import Recipe
from qtrain.schedulers import ASLR, layer_groups
from qtrain.schedulers.schedules import constant, cosine, cosine_restarts, multistep, one_cycle, wsd
from qtrain.schedulers.transition import TransitionRate, transition_groups
from qtrain.training.methods.adaptive import Adaptive, Averaging, Capped, Decaying, Smoothed
from qtrain.training.methods.method import (
    DecayingLineSearch,
    LineSearch,
    Method,
    Packaged,
    Plateau,
    Scheduled,
    Transition,
)


@dataclass(frozen=True)
class _Kind:
    """What a scheduler's name stands for.

    Attributes:
        make: from model, recipe, steps an epoch and the user's options to the method.
        options: names of the options with their defaults; None where ``make`` checks them itself.
    """

    make: Callable[[nn.Module, Recipe, int, dict[str, Any]], Method]
    options: Mapping[str, Any] | None


def make_method(model: nn.Module, recipe: Recipe, steps_per_epoch: int) -> Method:
    """Make what ``recipe.scheduler`` names, over one parameter group a layer.

    Args:
        model: to be trained.
        recipe: decides the optimizer, the rate and the scheduler's options.
        steps_per_epoch: mini-batches an epoch.

    Raises:
        UserError: an option that the scheduler does not have or of the wrong type, a network it cannot train, or a
            package that is not installed.
    """
    kind, options = _KINDS[recipe.scheduler], recipe.scheduler_options
    if kind.options is not None:
        options = checked_options(recipe.scheduler, kind.options, options)
    return kind.make(model, recipe, steps_per_epoch, options)


def make_optimizer(model: nn.Module, recipe: Recipe, groups: list[dict[str, Any]] | None = None) -> Optimizer:
    """The recipe's optimizer over ``groups``, by default with one parameter group a layer."""
    groups = groups or layer_groups(model)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, recipe.rate, weight_decay=recipe.weight_decay)
    nesterov = recipe.optimizer == "nag"
    if nesterov and recipe.momentum == 0:
        raise UserError("optimizer nag needs a momentum above 0, but got 0; choose sgd or a momentum such as 0.9")
    decay = recipe.weight_decay
    return torch.optim.SGD(groups, recipe.rate, momentum=recipe.momentum, weight_decay=decay, nesterov=nesterov)


def _adaptive(kind: type[Adaptive]) -> _Kind:
    def make(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
        warmup = options.get("warmup_steps", 0)
        if warmup >= steps * recipe.epochs:
            raise UserError(
                f"{recipe.scheduler}'s option warmup_steps must be below the run's {steps * recipe.epochs} steps, but "
                f"got {warmup}"
            )
        return kind(make_optimizer(model, recipe), epochs=recipe.epochs, seed=recipe.seed, **options)

    return _Kind(make, options_of(ASLR, {"seed"}) | options_of(kind))


def _schedule(function: Callable[..., float], *, each_step: bool = False) -> _Kind:
    """A function of the epoch; what it takes beside epoch, epochs and rate are the options."""

    def make(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
        def rate(epoch: float) -> float:
            return function(epoch, recipe.epochs, recipe.rate, **options)

        rate(0)  # refuses values out of range before anything is written
        return Scheduled(make_optimizer(model, recipe), rate, each_step=each_step)

    return _Kind(make, options_of(function))


def _multistep(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
    def rate(epoch: float) -> float:
        return multistep(epoch, recipe.epochs, recipe.rate, recipe.milestones, recipe.gamma)

    return Scheduled(make_optimizer(model, recipe), rate)


def _plateau(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
    factor, patience = (_PLATEAU | options).values()
    if not 0 < factor < 1 or not (isinstance(patience, int) and patience >= 0):
        raise UserError(f"plateau takes factor in (0, 1) and patience in whole epochs, but got {factor} and {patience}")
    return Plateau(make_optimizer(model, recipe), factor, patience)


def _l4(kind: type[L4Mom] | type[L4Adam]) -> _Kind:
    def make(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
        return LineSearch(kind(layer_groups(model), weight_decay=recipe.weight_decay, **options))

    return _Kind(make, options_of(kind, {"weight_decay"}))


def _armijo(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
    statistics = options.pop("statistics", _KEPT)
    if statistics not in (_KEPT, "moved"):
        raise UserError(
            f"armijo's option statistics must be kept or moved (by trial passes, as the authors' code does), "
            f"but got {statistics!r}"
        )
    context = partial(frozen_statistics, model) if statistics == _KEPT else None
    optimizer = SGDArmijo(layer_groups(model), steps_per_epoch=steps, trial_context=context, **options)
    return DecayingLineSearch(optimizer, recipe.weight_decay)


def _transition(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
    groups, weights = transition_groups(model)
    optimizer = make_optimizer(model, recipe, groups)
    return Transition(TransitionRate(optimizer, weights, steps=steps * recipe.epochs, **options))


def _rival(model: nn.Module, recipe: Recipe, steps: int, options: dict[str, Any]) -> Method:
    rival = make_rival(
        recipe.scheduler,
        layer_groups(model),
        optimizer=recipe.optimizer,
        lr=recipe.rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        options=options,
    )
    return Packaged(rival)


_KEPT = "kept"
_PLATEAU: dict[str, Any] = {"factor": 0.1, "patience": 10}  # torch's own
_KINDS = {
    "aslr": _adaptive(Adaptive),
    "aslr_decay": _adaptive(Decaying),
    "aslr_capped": _adaptive(Capped),
    "aslr_smooth": _adaptive(Smoothed),
    "aslr_average": _adaptive(Averaging),
    "multistep": _Kind(_multistep, {}),
    "cosine": _schedule(cosine),
    "cosine_restarts": _schedule(cosine_restarts, each_step=True),
    "constant": _schedule(constant),
    "wsd": _schedule(wsd, each_step=True),
    "onecycle": _schedule(one_cycle, each_step=True),
    "plateau": _Kind(_plateau, _PLATEAU),
    "l4mom": _l4(L4Mom),
    "l4adam": _l4(L4Adam),
    "armijo": _Kind(_armijo, options_of(SGDArmijo, {"trial_context"}) | {"statistics": _KEPT}),
    "transition": _Kind(_transition, options_of(TransitionRate)),
    **dict.fromkeys(("schedulefree", "prodigy", "dadaptation", "dog"), _Kind(_rival, None)),
}
