"""What the line searches share: one step size for all parameters, counts, and a state that can be saved."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from qtrain.errors import UserError


class LineSearch(Optimizer):
    """Base of the optimizers that find their step size from the loss.

    Args:
        params: parameters or groups of them, as every torch optimizer takes.
        first_step: what the groups' "lr" shows before the first step.
        counts: names of what is counted.
        search: numbers that the search carries from step to step.
        defaults: options of a group, beside "lr".

    Attributes:
        counts: since the start, by name; saved with the state.
        last_step_size: of the last step, also each group's "lr"; 0 where that step was left out.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        first_step: float = 0.0,
        counts: Iterable[str],
        search: dict[str, Any],
        defaults: dict[str, Any] | None = None,
    ):
        self.counts: dict[str, int] = dict.fromkeys(counts, 0)
        self.last_step_size = first_step
        self.search = search
        super().__init__(params, {"lr": first_step, **(defaults or {})})

    def state_dict(self) -> dict[str, Any]:
        """Torch's, with the counts and the search's numbers."""
        own = {"counts": dict(self.counts), "search": dict(self.search), "last_step_size": self.last_step_size}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken, bit for bit.

        Raises:
            UserError: the state is another optimizer's.
        """
        found = state_dict.get("counts", {}), state_dict.get("search", {})
        if (found[0].keys(), found[1].keys()) != (self.counts.keys(), self.search.keys()):
            raise UserError(f"this state is not one of {type(self).__name__}; load what its state_dict() gave")
        super().load_state_dict(state_dict)
        self.counts = dict(found[0])
        self.search = dict(found[1])
        self.last_step_size = float(state_dict["last_step_size"])

    def _loss(self, closure: Callable[..., Tensor] | None) -> Tensor:
        """The batch loss, detached; the gradients are filled."""
        if closure is None:
            raise UserError(f"{type(self).__name__}.step needs a closure that returns the loss after backward()")
        with torch.enable_grad():
            return closure().detach().reshape(())

    def _active(self) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
        """Parameters that have a gradient, their gradients, their groups."""
        found = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not found:
            raise UserError(f"{type(self).__name__}.step found no gradient; the closure must call backward()")
        return [p for p, _, _ in found], [g for _, g, _ in found], [group for _, _, group in found]

    def _record(self, step_size: float) -> None:
        """Show a step's size where records look for the rate."""
        self.last_step_size = step_size
        for group in self.param_groups:
            group["lr"] = step_size

    def _skip(self) -> None:
        """Count a step that is left out."""
        self.counts["skipped_steps"] += 1
        self._record(0.0)


def check_number(owner: object, name: str, value: object, allowed: str, fits: Callable[[float], bool]) -> None:
    """See that an option is a finite number in its range.

    Raises:
        UserError: with the option, the range and the value.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not fits(value):  # type: ignore[arg-type]
        raise UserError(f"{type(owner).__name__}'s {name} must be {allowed}, but got {value!r}")
