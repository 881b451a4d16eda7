"""SGD whose step size is searched on each batch until the loss falls enough.

Source: Vaswani, Mishkin, Laradji, Schmidt, Gidel, Lacoste-Julien, "Painless Stochastic Gradient: Interpolation,
Line-Search, and Convergence Rates", NeurIPS 2019, arXiv 1905.09997, Equation 1 and Algorithm 1.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qtrain.optimizers.line_search import LineSearch, check_number


def armijo_accepts(trial_loss: float, loss: float, step_size: float, slope: float, c: float = 0.1) -> bool:
    """Whether the loss fell by at least the share ``c`` of what the slope promised.

    Args:
        trial_loss: L(theta - step_size * g) on the same batch.
        loss: L(theta).
        step_size: above 0.
        slope: ||g||^2, by which the loss falls with a unit step.
        c: share, above 0 and below 1.
    """
    # L(theta - eta g) <= L(theta) - c * eta * ||g||^2
    return math.isfinite(trial_loss) and trial_loss <= loss - c * step_size * slope


class SGDArmijo(LineSearch):
    """SGD with a backtracking Armijo line search (SLS) on each batch.

    A step's first trial is the last step's size times ``gamma ** (1 / steps_per_epoch)``; each rejected one is
    multiplied by ``beta``. All passes of a step see the same random numbers, and afterwards the random state is as
    after the first pass alone. A step is left out and counted where the loss or a gradient is not finite or all
    gradients are 0; parameters and step size stay. There is no weight decay: the search judges the loss alone.

    Where no trial is accepted the step has the size ``fall_back``; the search then goes on from the last rejected
    size, as in the authors' code, but not from below ``fall_back``, where no step could change a weight any more.

    Each loss is read on the host: one read for the first pass and one for each trial.

    Args:
        params: parameters or groups of them.
        steps_per_epoch: mini-batches an epoch.
        c: share of the promised fall that is asked for, above 0 and below 1.
        beta: factor of a rejected step size, above 0 and below 1.
        gamma: growth of the step size in an epoch without rejections, 1 or more.
        first_step: the step size before the first step, above 0.
        max_trials: at most so many extra forward passes a step.
        fall_back: step size where all of them failed, above 0.
        eta_max: upper bound of a first trial, or None.
        trial_context: wrapped around each trial pass; ``partial(frozen_statistics, model)`` keeps BatchNorm's and the
            quantizers' statistics as the first pass left them. None lets trials move them, as the authors' code does.

    Attributes:
        counts: {"forward_passes_extra": ..., "fallbacks": ..., "skipped_steps": ...}.

    Raises:
        UserError: an option outside its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        steps_per_epoch: int,
        c: float = 0.1,
        beta: float = 0.9,
        gamma: float = 2.0,
        first_step: float = 1.0,
        max_trials: int = 100,
        fall_back: float = 1e-6,
        eta_max: float | None = None,
        trial_context: Callable[[], AbstractContextManager[Any]] | None = None,
    ):
        check_number(self, "c", c, "above 0 and below 1", lambda x: 0 < x < 1)
        check_number(self, "beta", beta, "above 0 and below 1", lambda x: 0 < x < 1)
        check_number(self, "gamma", gamma, "1 or more", lambda x: x >= 1)
        for name, size in {"first_step": first_step, "fall_back": fall_back, "eta_max": eta_max}.items():
            if not (name == "eta_max" and size is None):
                check_number(self, name, size, "a step size above 0", lambda x: x > 0)
        for name, count in {"steps_per_epoch": steps_per_epoch, "max_trials": max_trials}.items():
            check_number(self, name, count, "a whole number above 0", lambda x: x >= 1 and x == int(x))
        self.c = c
        self.beta = beta
        self.max_trials = int(max_trials)
        self.fall_back = fall_back
        self.eta_max = math.inf if eta_max is None else eta_max
        self.growth = gamma ** (1 / steps_per_epoch)
        self.trial_context = trial_context or nullcontext
        counts = ["forward_passes_extra", "fallbacks", "skipped_steps"]
        search = {"step_size": float(first_step)}
        super().__init__(params, first_step=float(first_step), counts=counts, search=search)

    def step(self, closure: Callable[..., Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Take one step, along the gradient as far as the Armijo condition allows.

        Args:
            closure: ``closure()`` zeroes and fills the gradients and returns the batch loss;
                ``closure(backward=False)`` returns the loss of the same batch and leaves the gradients alone.

        Returns:
            The loss of the first pass, detached.

        Raises:
            UserError: no closure, or no gradient after it.
        """
        before = _RandomState.take(self.param_groups)
        loss = self._loss(closure)
        assert closure is not None
        with torch.no_grad():
            after = _RandomState.take(self.param_groups)
            try:
                self._search(loss, closure, before)
            finally:
                after.restore()
        return loss

    def _search(self, loss: Tensor, closure: Callable[..., Tensor], random: "_RandomState") -> None:
        parameters, gradients, _ = self._active()
        squared = torch.stack(list(torch._foreach_norm(gradients))).square().sum()
        value, slope = torch.stack([loss.to(squared), squared]).tolist()
        if not (math.isfinite(value) and math.isfinite(slope) and slope > 0):
            return self._skip()
        # Copied after the first pass, in which Brevitas may have set trained ranges.
        start = [p.clone() for p in parameters]

        def trial_loss(size: float) -> float:
            _move(parameters, start, gradients, size)
            random.restore()
            self.counts["forward_passes_extra"] += 1
            with self.trial_context():
                return closure(backward=False).item()

        size = min(self.search["step_size"] * self.growth, self.eta_max)
        try:
            for _ in range(self.max_trials):
                if armijo_accepts(trial_loss(size), value, size, slope, self.c):
                    self.search["step_size"] = size
                    return self._record(size)
                size *= self.beta
        except BaseException:
            torch._foreach_copy_(parameters, start)
            raise
        _move(parameters, start, gradients, self.fall_back)
        self.counts["fallbacks"] += 1
        self.search["step_size"] = max(size, self.fall_back)
        self._record(self.fall_back)


def _move(parameters: list[Tensor], start: list[Tensor], gradients: list[Tensor], size: float) -> None:
    """Put ``parameters`` at ``start - size * gradients``."""
    torch._foreach_copy_(parameters, start)
    torch._foreach_add_(parameters, gradients, alpha=-size)


@dataclass(frozen=True)
class _RandomState:
    """Of the CPU's generator, and of those of the GPUs in use."""

    cpu: Tensor
    gpus: dict[torch.device, Tensor]

    @classmethod
    def take(cls, groups: list[dict[str, Any]]) -> "_RandomState":
        devices = {p.device for group in groups for p in group["params"] if p.is_cuda}
        return cls(torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices})

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        for device, state in self.gpus.items():
            torch.cuda.set_rng_state(state, device)
