"""From a recipe's scheduler and optimizer to the ``Method`` that trains; one small function a scheduler."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.optimizers import L4Adam, L4Mom, SGDArmijo
from qtrain.optimizers.rivals import make_rival
from qtrain.optimizers.statistics import frozen_statistics
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups
from qtrain.schedulers.schedules import constant, cosine, cosine_restarts, multistep, one_cycle, wsd
from qtrain.schedulers.transition import TransitionRate, transition_groups
from qtrain.training.adaptive import Adaptive, Averaging, Decaying, Smoothed
from qtrain.training.methods import DecayingLineSearch, LineSearch, Method, Packaged, Plateau, Scheduled, Transition


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
    make = _METHODS[recipe.scheduler]
    return make(model, recipe, steps_per_epoch, **_checked(recipe.scheduler, make, recipe.scheduler_options))


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


def _checked(scheduler: str, make: Callable[..., Method], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, each known to ``make`` and of its default's type."""
    known = {p.name: p.default for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(make).parameters.values()):
        return dict(options)  # the package's own, checked there
    for name, value in options.items():
        if name not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"scheduler {scheduler} has no option {name}; {have}")
        default = known[name]
        kind = bool if isinstance(default, bool) else str if isinstance(default, str) else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) is not isinstance(default, bool):
            what = {bool: "true or false", str: "text"}.get(kind, "a number")  # type: ignore[arg-type]
            raise UserError(f"{scheduler}'s option {name} must be {what}, but got {value!r}")
    return dict(options)


def _fraction(scheduler: str, name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise UserError(f"{scheduler}'s option {name} must be a fraction of the run, above 0 up to 1, but got {value}")


def _aslr(
    model: nn.Module,
    recipe: Recipe,
    steps: int,
    *,
    min_lr: float | None = None,
    max_lr: float | None = None,
    tie: str = "paper",
    snap: bool = False,
) -> Method:
    options = {"min_lr": min_lr, "max_lr": max_lr, "tie": tie, "snap": snap}
    return Adaptive(make_optimizer(model, recipe), seed=recipe.seed, **options)


def _aslr_decay(model: nn.Module, recipe: Recipe, steps: int, *, decay: float = 0.2) -> Method:
    _fraction("aslr_decay", "decay", decay)
    return Decaying(make_optimizer(model, recipe), epochs=recipe.epochs, decay=decay, seed=recipe.seed)


def _aslr_smooth(model: nn.Module, recipe: Recipe, steps: int, *, window: int = 3) -> Method:
    if not (isinstance(window, int) and window >= 1):
        raise UserError(f"aslr_smooth's option window must be a whole number of epochs, 1 or more, but got {window}")
    return Smoothed(make_optimizer(model, recipe), window=window, seed=recipe.seed)


def _aslr_average(model: nn.Module, recipe: Recipe, steps: int, *, tail: float = 0.2) -> Method:
    _fraction("aslr_average", "tail", tail)
    return Averaging(make_optimizer(model, recipe), epochs=recipe.epochs, tail=tail, seed=recipe.seed)


def _multistep(model: nn.Module, recipe: Recipe, steps: int) -> Method:
    def rate(epoch: float) -> float:
        return multistep(epoch, recipe.epochs, recipe.rate, recipe.milestones, recipe.gamma)

    return Scheduled(make_optimizer(model, recipe), rate)


def _cosine(model: nn.Module, recipe: Recipe, steps: int) -> Method:
    return Scheduled(make_optimizer(model, recipe), lambda epoch: cosine(epoch, recipe.epochs, recipe.rate))


def _cosine_restarts(model: nn.Module, recipe: Recipe, steps: int) -> Method:
    def rate(epoch: float) -> float:
        return cosine_restarts(epoch, recipe.epochs, recipe.rate)

    return Scheduled(make_optimizer(model, recipe), rate, each_step=True)


def _constant(model: nn.Module, recipe: Recipe, steps: int) -> Method:
    return Scheduled(make_optimizer(model, recipe), lambda epoch: constant(epoch, recipe.epochs, recipe.rate))


def _wsd(model: nn.Module, recipe: Recipe, steps: int, *, warmup: float = 0.05, decay: float = 0.2) -> Method:
    def rate(epoch: float) -> float:
        return wsd(epoch, recipe.epochs, recipe.rate, warmup=warmup, decay=decay)

    return Scheduled(make_optimizer(model, recipe), rate, each_step=True)


def _onecycle(model: nn.Module, recipe: Recipe, steps: int) -> Method:
    def rate(epoch: float) -> float:
        return one_cycle(epoch, recipe.epochs, recipe.rate)

    return Scheduled(make_optimizer(model, recipe), rate, each_step=True)


def _plateau(model: nn.Module, recipe: Recipe, steps: int, *, factor: float = 0.1, patience: int = 10) -> Method:
    if not 0 < factor < 1 or not (isinstance(patience, int) and patience >= 0):
        raise UserError(f"plateau takes factor in (0, 1) and patience in whole epochs, but got {factor} and {patience}")
    return Plateau(make_optimizer(model, recipe), factor, patience)


def _l4(kind: type[L4Mom] | type[L4Adam]) -> Callable[..., Method]:
    def make(
        model: nn.Module,
        recipe: Recipe,
        steps: int,
        *,
        alpha: float = 0.15,
        gamma: float = 0.9,
        gamma0: float = 0.75,
        tau: float = 1000.0,
        eps: float = 1e-12,
    ) -> Method:
        numbers = {"alpha": alpha, "gamma": gamma, "gamma0": gamma0, "tau": tau, "eps": eps}
        return LineSearch(kind(layer_groups(model), weight_decay=recipe.weight_decay, **numbers))

    return make


def _transition(
    model: nn.Module,
    recipe: Recipe,
    steps: int,
    *,
    factor: float = 5e-3,
    momentum: float = 0.99,
    gain: float | None = None,
) -> Method:
    groups, weights = transition_groups(model)
    optimizer = make_optimizer(model, recipe, groups)
    total = steps * recipe.epochs
    return Transition(TransitionRate(optimizer, weights, steps=total, factor=factor, momentum=momentum, gain=gain))


def _armijo(
    model: nn.Module,
    recipe: Recipe,
    steps: int,
    *,
    c: float = 0.1,
    beta: float = 0.9,
    gamma: float = 2.0,
    first_step: float = 1.0,
    max_trials: int = 100,
    eta_max: float | None = None,
    statistics: str = "kept",
) -> Method:
    if statistics not in ("kept", "moved"):
        raise UserError(
            f"armijo's option statistics must be kept or moved (by trial passes, as the authors' code does), "
            f"but got {statistics!r}"
        )
    optimizer = SGDArmijo(
        layer_groups(model),
        steps_per_epoch=steps,
        c=c,
        beta=beta,
        gamma=gamma,
        first_step=first_step,
        max_trials=max_trials,
        eta_max=eta_max,
        trial_context=partial(frozen_statistics, model) if statistics == "kept" else None,
    )
    return DecayingLineSearch(optimizer, recipe.weight_decay)


def _rival(name: str) -> Callable[..., Method]:
    def make(model: nn.Module, recipe: Recipe, steps: int, **options: Any) -> Method:
        rival = make_rival(
            name,
            layer_groups(model),
            optimizer=recipe.optimizer,
            lr=recipe.rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            options=options,
        )
        return Packaged(rival)

    return make


_METHODS: dict[str, Callable[..., Method]] = {
    "aslr": _aslr,
    "aslr_decay": _aslr_decay,
    "aslr_smooth": _aslr_smooth,
    "aslr_average": _aslr_average,
    "multistep": _multistep,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "constant": _constant,
    "wsd": _wsd,
    "onecycle": _onecycle,
    "plateau": _plateau,
    "l4mom": _l4(L4Mom),
    "l4adam": _l4(L4Adam),
    "armijo": _armijo,
    "transition": _transition,
    **{name: _rival(name) for name in ("schedulefree", "prodigy", "dadaptation", "dog")},
}
