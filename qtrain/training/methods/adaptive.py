"""ASLR in the training loop, and four options that leave its one number the only one to choose.

ASLR has no final decay, judges noisy validation errors one by one, and keeps the last weights of a rate that may be
high. Each option mends one of these; none is the paper's, so each has a name of its own:

- ``aslr_decay``: in the last fifth of the epochs the draws are scaled down to 0 on a line and the search rests,
  as in warm-up/stable/decay schedules (Hu et al. 2024, arXiv 2404.06395; Hägele et al. 2024, arXiv 2405.18392);
- ``aslr_capped``: ``aslr_decay`` whose centre never rises above its first rate: after an epoch that is no better ASLR's
  first move is up, and what a rate too high does to a quantized network's weights, a lower one is slow to undo;
- ``aslr_smooth``: the search sees the mean of the last three validation errors;
- ``aslr_average``: the weights that are judged are the mean over the last fifth of the steps (tail averaging,
  Izmailov et al. 2018, arXiv 1803.05407), with BatchNorm's statistics estimated anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.optimizers.options import checked_options, options_of
from qtrain.recipe import Recipe
from qtrain.schedulers import ASLR
from qtrain.schedulers.schedules import wsd
from qtrain.training.average import swapped
from qtrain.training.methods.method import Method
from qtrain.training.methods.optimizer import make_optimizer


class Adaptive(Method):
    """ASLR as the paper has it.

    Args:
        optimizer: as ``Method``'s.
        epochs: of the run.
        options: keyword arguments of ``ASLR``.
    """

    parts = ("optimizer", "aslr")

    def __init__(self, optimizer: Optimizer, *, epochs: int, **options: Any):
        super().__init__(optimizer)
        self._epochs = epochs
        self.aslr = ASLR(optimizer, **options)

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "Adaptive":
        """Train so; ``options`` are ``ASLR``'s, seed aside, and the class's own.

        Raises:
            UserError: an option that it does not have, or a value out of range.
        """
        known = options_of(ASLR, {"seed"}) | options_of(cls)
        options = checked_options(recipe.scheduler, known, options)
        warmup = options.get("warmup_steps", 0)
        steps = steps_per_epoch * recipe.epochs
        if warmup >= steps:
            raise UserError(
                f"{recipe.scheduler}'s option warmup_steps must be below the run's {steps} steps, but got {warmup}"
            )
        return cls(make_optimizer(model, recipe), epochs=recipe.epochs, seed=recipe.seed, **options)

    def validated(self, error: float) -> None:
        """Move the centre of ASLR's search by an epoch's validation error."""
        self.aslr.step(error)

    def rate(self) -> float:
        """Return the centre of the draws, as far as a warm-up or a decay lets it through."""
        return self.aslr.lr * self.aslr.factor

    def rates(self) -> list[float]:
        """Return each group's last draw."""
        return list(self.aslr.last_draws)


class Decaying(Adaptive):
    """ASLR whose draws shrink to 0 at the end, while its search rests.

    Args:
        optimizer: as ``Method``'s.
        decay: fraction of the run in which they shrink.
        options: further ones of ``Adaptive``.

    Raises:
        UserError: the fraction is out of range.
    """

    def __init__(self, optimizer: Optimizer, *, decay: float = 0.2, **options: Any):
        super().__init__(optimizer, **options)
        _check_fraction("decay", decay)
        self._decay = decay

    def before_step(self, epoch: float) -> None:
        """Scale the rates that ASLR draws for the step."""
        self.aslr.scale = wsd(epoch, self._epochs, 1.0, warmup=0.0, decay=self._decay)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken, also by an earlier version, which scaled outside of ASLR."""
        super().load_state_dict(state)
        if "scale" in state:
            self.aslr.scale = state["scale"]
            self.aslr.last_draws = list(state["last"])


class Capped(Decaying):
    """``aslr_decay`` whose centre never rises above its first rate, so that its first move is down.

    Args:
        optimizer: as ``Method``'s.
        decay: as ``Decaying``'s.
        options: further ones of ``Adaptive``.
    """

    def __init__(self, optimizer: Optimizer, *, decay: float = 0.2, **options: Any):
        super().__init__(optimizer, decay=decay, **options)
        self.aslr.bounds = (self.aslr.bounds[0], self.aslr.search.lr)


class Smoothed(Adaptive):
    """ASLR that judges the mean of the last ``window`` validation errors.

    Raises:
        UserError: the window is no whole number of epochs.
    """

    values = ("errors",)

    def __init__(self, optimizer: Optimizer, *, window: int = 3, **options: Any):
        super().__init__(optimizer, **options)
        if not (isinstance(window, int) and window >= 1):
            raise UserError(f"option window must be a whole number of epochs, 1 or more, but got {window}")
        self._window = window
        self.errors: list[float] = []

    def validated(self, error: float) -> None:
        """Move the centre by the smoothed error."""
        self.errors = [*self.errors, error][-self._window :]
        super().validated(mean(self.errors))


class Averaging(Adaptive):
    """ASLR that judges the mean of the weights over the last ``tail`` of the run.

    Args:
        optimizer: as ``Method``'s.
        tail: fraction of the run whose steps are averaged.
        options: further ones of ``Adaptive``.

    Raises:
        UserError: the fraction is out of range.
    """

    values = ("seen", "means")

    def __init__(self, optimizer: Optimizer, *, tail: float = 0.2, **options: Any):
        super().__init__(optimizer, **options)
        _check_fraction("tail", tail)
        self._first = (1 - tail) * self._epochs
        self.seen = 0
        self.means: list[torch.Tensor] = []

    @torch.no_grad()
    def after_step(self, epoch: float) -> None:
        """Take the weights into the mean."""
        if epoch < self._first - 1e-9:
            return
        if not self.seen:
            self.means = [parameter.detach().clone() for parameter in self.parameters()]
        self.seen += 1
        torch._foreach_lerp_(self.means, self.parameters(), 1 / self.seen)

    @property
    def judges_others(self) -> bool:  # type: ignore[override]
        """Once there is a mean."""
        return self.seen > 0

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Put the mean of the weights in their place, inside."""
        if not self.seen:
            yield
            return
        with swapped(self.parameters(), self.means):
            yield


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise UserError(f"option {name} must be a fraction of the run, above 0 up to 1, but got {value}")
