"""GreedyLR: the rate rises while the cost falls, and falls while it does not.

Source: Subramanian, Krishnamoorthy, Murthy, "Dynamic Learning Rate Scheduling based on Loss Changes Leads to Faster
Convergence" (arXiv 2512.14527). Factor, patience, smoothing and bounds are the paper's; the defaults are those that its
authors give for a run of 20 evaluations in their contribution to Hugging Face transformers. Left out are its warm-up,
cool-down, threshold and reset, which do nothing at those numbers.
"""

import math
from statistics import mean
from typing import Any

from torch.optim import Optimizer

from qtrain.errors import UserError


class GreedyLR:
    """Moves the rate of an optimizer by the cost of each evaluation.

    With ``c`` the mean of the last ``window`` costs, ``step`` does this:

    - ``c`` below the best one so far: it is the best, and ``good`` counts up, ``bad`` is 0 again;
    - else, also where a cost is not finite: ``bad`` counts up, ``good`` is 0 again;
    - ``good`` above ``patience``: every group's rate is divided by ``factor``, and ``good`` is 0 again;
    - ``bad`` above ``patience``: it is multiplied by ``factor``, and ``bad`` is 0 again.

    Args:
        optimizer: whose parameter groups' rates are moved, each from where it stands.
        factor: between 0 and 1.
        patience: evaluations in a row that change nothing yet, 0 or more.
        window: evaluations whose costs are averaged, 1 or more.
        min_lr: the rate never falls below it.
        max_lr: the rate never rises above it; None: no bound.

    Attributes:
        best: lowest averaged cost so far; None before the first.
        good: evaluations in a row that were better than the best.
        bad: evaluations in a row that were not.
        costs: the last ones, at most ``window``.

    Raises:
        UserError: a number out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        factor: float = 0.9,
        patience: int = 2,
        window: int = 1,
        min_lr: float = 0.0,
        max_lr: float | None = None,
    ):
        if not 0 < factor < 1:
            raise UserError(f"greedy's factor must be between 0 and 1, but got {factor}")
        for name, value, least in (("patience", patience, 0), ("window", window, 1)):
            if not isinstance(value, int) or value < least:
                raise UserError(f"greedy's {name} is a whole number of epochs, {least} or more, but got {value}")
        highest = math.inf if max_lr is None else max_lr
        if not 0 <= min_lr <= highest:
            raise UserError(f"greedy's min_lr must be from 0 to max_lr, but got {min_lr} and {max_lr}")
        self.optimizer = optimizer
        self._factor = factor
        self._patience = patience
        self._window = window
        self._bounds = (min_lr, highest)
        self.best: float | None = None
        self.good = 0
        self.bad = 0
        self.costs: list[float] = []

    def step(self, cost: float) -> None:
        """Take in the cost of an evaluation, such as a validation error; lower is better."""
        self.costs = [*self.costs, cost][-self._window :]
        smooth = mean(self.costs)
        if math.isfinite(smooth) and (self.best is None or smooth < self.best):
            self.best = smooth
            self.good, self.bad = self.good + 1, 0
        else:
            self.good, self.bad = 0, self.bad + 1
        if self.good > self._patience:
            self._multiply(1 / self._factor)
            self.good = 0
        elif self.bad > self._patience:
            self._multiply(self._factor)
            self.bad = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs beside the optimizer's state, readable with ``weights_only=True``."""
        return {"best": self.best, "good": self.good, "bad": self.bad, "costs": list(self.costs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the rates are the optimizer's state."""
        self.best = state_dict["best"]
        self.good = state_dict["good"]
        self.bad = state_dict["bad"]
        self.costs = list(state_dict["costs"])

    def _multiply(self, factor: float) -> None:
        low, high = self._bounds
        for group in self.optimizer.param_groups:
            group["lr"] = min(max(group["lr"] * factor, low), high)
