"""L4, step sizes that aim at a fraction of the lowest loss seen.

Source: Rolinek, Martius, "L4: Practical loss-based stepsize adaptation for deep learning", NeurIPS 2018,
arXiv 1802.05074, Equation 4 and Algorithm 1.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from qtrain.optimizers.line_search import LineSearch, check_number

MEAN_DECAY = 0.9  # of the running mean of gradients, and Adam's beta1
SQUARE_DECAY = 0.999  # Adam's beta2
ADAM_EPS = 1e-4


def l4_step_size(
    loss: float, lowest: float, slope: float, *, alpha: float = 0.15, gamma: float = 0.9, eps: float = 1e-12
) -> float:
    """Step size that would bring a linear loss the fraction ``alpha`` of the way down to ``gamma * lowest``.

    Args:
        loss: of this batch, L.
        lowest: the lowest so far, Lmin.
        slope: <v, gm>, by which the loss falls with a unit step.
        alpha: fraction of the way.
        gamma: share of the lowest loss that is taken to be reachable.
        eps: added to the slope.
    """
    return alpha * (loss - gamma * lowest) / (slope + eps)


class _L4(LineSearch, ABC):
    """L4 over a direction that subclasses give; see ``L4Mom``.

    The running means are computed out of place and kept only where they are finite: one bad batch leaves out one step
    and does not poison the following ones. One number pair a step is read on the host.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        alpha: float = 0.15,
        gamma: float = 0.9,
        gamma0: float = 0.75,
        tau: float = 1000.0,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
    ):
        check_number(self, "alpha", alpha, "above 0", lambda x: x > 0)
        check_number(self, "gamma", gamma, "from 0 to 1", lambda x: 0 <= x <= 1)
        check_number(self, "gamma0", gamma0, "above 0 up to 1", lambda x: 0 < x <= 1)
        check_number(self, "tau", tau, "a number of steps above 0", lambda x: x > 0)
        check_number(self, "eps", eps, "0 or more", lambda x: x >= 0)
        self.alpha = alpha
        self.gamma = gamma
        self.gamma0 = gamma0
        self.tau = tau
        self.eps = eps
        counts = ["skipped_steps"]
        defaults = {"weight_decay": weight_decay}
        super().__init__(params, counts=counts, search={"lowest_loss": None}, defaults=defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Torch's, with the weight decay checked."""
        decay = param_group.get("weight_decay", self.defaults["weight_decay"])
        check_number(self, "weight_decay", decay, "0 or more", lambda x: x >= 0)
        super().add_param_group(param_group)

    def step(self, closure: Callable[..., Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Take one step, of the length that L4 finds for the loss.

        Args:
            closure: zeroes and fills the gradients, returns the batch loss.

        Returns:
            That loss, detached.

        Raises:
            UserError: no closure, or no gradient after it.
        """
        loss = self._loss(closure)
        with torch.no_grad():
            self._update(loss)
        return loss

    def _update(self, loss: Tensor) -> None:
        parameters, gradients, groups = self._active()
        moments = self._moments(parameters, gradients)
        means = _corrected(moments["mean"], MEAN_DECAY, moments["updates"])
        directions = self._directions(means, moments)
        # A product is a square over something positive, so that the norm of order 1 is <v, gm>.
        products = torch._foreach_norm(torch._foreach_mul(directions, means), 1)
        slope_sum = torch.stack(list(products)).sum()
        value, slope = torch.stack([loss.to(slope_sum), slope_sum]).tolist()
        if not (math.isfinite(value) and math.isfinite(slope)):
            return self._skip()
        for i, parameter in enumerate(parameters):
            self.state[parameter] = {name: values[i] for name, values in moments.items()}
        lowest = self.search["lowest_loss"]
        lowest = self.gamma0 * value if lowest is None else min(lowest, value)
        if slope <= 0:
            return self._skip()
        size = l4_step_size(value, lowest, slope, alpha=self.alpha, gamma=self.gamma, eps=self.eps)
        if not (math.isfinite(size) and size >= 0):  # a loss below 0 would send the step uphill
            return self._skip()
        self.search["lowest_loss"] = lowest * (1 + 1 / self.tau)
        if any(group["weight_decay"] for group in groups):
            # L4's steps can be huge; a decay of more than everything would turn the weights' signs.
            torch._foreach_mul_(parameters, [1 - min(1.0, size * group["weight_decay"]) for group in groups])
        torch._foreach_add_(parameters, directions, alpha=-size)
        self._record(size)

    def _moments(self, parameters: list[Tensor], gradients: list[Tensor]) -> dict[str, Any]:
        """Each parameter's state after this gradient, by name; the present state is left alone."""
        updates = [self.state[p]["updates"] + 1 if p in self.state else 1 for p in parameters]
        means = torch._foreach_lerp(self._kept("mean", parameters), gradients, 1 - MEAN_DECAY)
        return {"updates": updates, "mean": means}

    def _kept(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        return [self.state[p][name] if p in self.state else torch.zeros_like(p) for p in parameters]

    @abstractmethod
    def _directions(self, means: list[Tensor], moments: dict[str, Any]) -> list[Tensor]:
        """V of each parameter, from the corrected means of its gradients and the rest of its state."""


class L4Mom(_L4):
    """L4 along the running mean of the gradients, v = gm.

    A step is left out and counted where the loss or a gradient is not finite (nothing changes), or where the slope
    <v, gm> is not above 0 (the running means take the gradient in, parameters and lowest loss stay).

    Args:
        params: parameters or groups; a group may have its own ``weight_decay``.
        alpha: fraction of the way down to the reachable loss that a step aims at, above 0.
        gamma: share of the lowest loss that is taken to be reachable, 0 to 1.
        gamma0: share of the first loss that the lowest starts at, above 0 up to 1.
        tau: steps in which the lowest loss is forgotten, above 0.
        eps: added to the slope, 0 or more.
        weight_decay: decoupled: weights are multiplied by 1 - step size * weight_decay, at least 0, before the step.

    Attributes:
        counts: {"skipped_steps": ...}.

    Raises:
        UserError: an option outside its range.
    """

    def _directions(self, means: list[Tensor], moments: dict[str, Any]) -> list[Tensor]:
        return means


class L4Adam(_L4):
    """L4 along Adam's direction, v = m / (sqrt(s) + 1e-4), m and s bias-corrected.

    Args, counts and steps left out are those of ``L4Mom``.
    """

    def _moments(self, parameters: list[Tensor], gradients: list[Tensor]) -> dict[str, Any]:
        squares = torch._foreach_mul(self._kept("square", parameters), SQUARE_DECAY)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - SQUARE_DECAY)
        return {**super()._moments(parameters, gradients), "square": squares}

    def _directions(self, means: list[Tensor], moments: dict[str, Any]) -> list[Tensor]:
        roots = torch._foreach_sqrt(_corrected(moments["square"], SQUARE_DECAY, moments["updates"]))
        torch._foreach_add_(roots, ADAM_EPS)
        return list(torch._foreach_div(means, roots))


def _corrected(averages: list[Tensor], decay: float, updates: list[int]) -> list[Tensor]:
    """Running averages that began at 0, without that bias."""
    return list(torch._foreach_div(averages, [1 - decay**n for n in updates]))
