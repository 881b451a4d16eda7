"""What a scheduler's name stands for in the training loop: an optimizer, and what is done around its steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from qtrain.optimizers.rivals import Rival
from qtrain.schedulers.transition import TransitionRate


class Method:
    """An optimizer whose rate stays as it is; the others change one thing each.

    Args:
        optimizer: steps with a closure; has one parameter group a layer, each with a "name".

    Attributes:
        optimizer: the same.
        judges_others: whether the weights that are judged are others than those being trained, so that BatchNorm's
            statistics must be estimated anew for them.
        skips_non_finite: whether a step whose loss is not finite is left out instead of ending the run.
        finds_rate: whether the optimizer changes its rate by itself from step to step.
    """

    judges_others = False
    skips_non_finite = False
    finds_rate = False

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def before_step(self, epoch: float) -> None:
        """Told before each step where the run is: 2.5 is the middle of the third epoch."""

    def after_step(self, epoch: float) -> None:
        """Told after each step, and after the weights were clipped."""

    def validated(self, error: float) -> None:
        """Take in the top-1 error, 0 to 1, on the validation images after an epoch."""

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Inside, the parameters are those to be judged, exported and kept; afterwards those being trained again."""
        yield

    def rate(self) -> float:
        """The learning rate that an epoch's record shows."""
        return self.rates()[0]

    def rates(self) -> list[float]:
        """The rate of each parameter group at the last step."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    @property
    def counts(self) -> dict[str, int]:
        """What the method did beside ordinary steps, since the start: extra forward passes, steps left out."""
        return dict(getattr(self.optimizer, "counts", {}))

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the model that ``load_state_dict`` needs to go on bit for bit."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])


class Scheduled(Method):
    """A rate that is a function of the epoch.

    Args:
        optimizer: as ``Method``'s.
        schedule: from the epoch, counted from 0, to the rate.
        each_step: ask it before each step with the fraction of the epoch; else once an epoch, as recipes mean it.
    """

    def __init__(self, optimizer: Optimizer, schedule: Callable[[float], float], *, each_step: bool = False):
        super().__init__(optimizer)
        self._schedule, self._each_step = schedule, each_step

    def before_step(self, epoch: float) -> None:
        """Set every group's rate."""
        rate = self._schedule(epoch if self._each_step else int(epoch))
        for group in self.optimizer.param_groups:
            group["lr"] = rate


class Plateau(Method):
    """torch's ReduceLROnPlateau on the validation error."""

    def __init__(self, optimizer: Optimizer, factor: float, patience: int):
        super().__init__(optimizer)
        self._plateau = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)

    def validated(self, error: float) -> None:
        """Lower the rate after ``patience`` epochs without a better error."""
        self._plateau.step(error)

    def state_dict(self) -> dict[str, Any]:
        """With the plateau's own."""
        return super().state_dict() | {"plateau": self._plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """With the plateau's own."""
        super().load_state_dict(state)
        self._plateau.load_state_dict(state["plateau"])


class LineSearch(Method):
    """L4 and Armijo: the optimizer finds its step size from the loss itself."""

    skips_non_finite = True
    finds_rate = True


class DecayingLineSearch(LineSearch):
    """A line search that judges the loss alone, with decoupled weight decay after each step."""

    def __init__(self, optimizer: Optimizer, weight_decay: float):
        super().__init__(optimizer)
        self._weight_decay = weight_decay

    @torch.no_grad()
    def after_step(self, epoch: float) -> None:
        """Shrink the weights in proportion to the step."""
        if self._weight_decay:
            shrink = 1 - min(1.0, self.rate() * self._weight_decay)
            torch._foreach_mul_([p for group in self.optimizer.param_groups for p in group["params"]], shrink)


class Transition(Method):
    """Transition-rate scheduling: hooks of the optimizer's step move the rates."""

    finds_rate = True

    def __init__(self, schedule: TransitionRate):
        super().__init__(schedule.optimizer)
        self._schedule = schedule

    def state_dict(self) -> dict[str, Any]:
        """With the schedule's own."""
        return super().state_dict() | {"transition": self._schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """With the schedule's own."""
        super().load_state_dict(state)
        self._schedule.load_state_dict(state["transition"])


class Packaged(Method):
    """A rival from its own package; what it needs around a step is its ``Rival``'s business."""

    finds_rate = True

    def __init__(self, rival: Rival):
        super().__init__(rival.optimizer)
        self.judges_others = rival.judges_others
        self._rival = rival

    def after_step(self, epoch: float) -> None:
        """Let an averager see the weights."""
        self._rival.after_step()

    @contextmanager
    def judged(self) -> Iterator[None]:
        """The package's evaluation weights."""
        with self._rival.judged():
            yield

    def rate(self) -> float:
        """What the package has learned that the rate should be."""
        return self._rival.learned_rate()

    def rates(self) -> list[float]:
        """That rate for every group: the packages find one for all."""
        return [self.rate()] * len(self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """The rival's."""
        return self._rival.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The rival's."""
        self._rival.load_state_dict(state)


@torch.no_grad()
def swap(parameters: list[torch.Tensor], others: list[torch.Tensor]) -> None:
    """Exchange the values of two lists of tensors, in place."""
    for parameter, other in zip(parameters, others, strict=True):
        kept = parameter.clone()
        parameter.copy_(other)
        other.copy_(kept)
