"""Transition-rate scheduling in the training loop."""

from typing import Any

from torch import nn

from qtrain.optimizers.options import checked_options, options_of
from qtrain.recipe import Recipe
from qtrain.schedulers.transition import TransitionRate, transition_groups
from qtrain.training.methods.method import Method
from qtrain.training.methods.optimizer import make_optimizer


class Transition(Method):
    """Transition-rate scheduling: hooks of the optimizer's step move the rates."""

    finds_rate = True
    parts = ("optimizer", "transition")

    def __init__(self, schedule: TransitionRate):
        super().__init__(schedule.optimizer)
        self.transition = schedule

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "Transition":
        """Train so; ``options`` are ``TransitionRate``'s.

        Raises:
            UserError: an option that it does not have, or a network without quantized weights.
        """
        options = checked_options(recipe.scheduler, options_of(TransitionRate), options)
        groups, weights = transition_groups(model)
        optimizer = make_optimizer(model, recipe, groups)
        return cls(TransitionRate(optimizer, weights, steps=steps_per_epoch * recipe.epochs, **options))
