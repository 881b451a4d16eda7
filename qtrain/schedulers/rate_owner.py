"""An optimizer's learning rates have one owner: it writes them, and notices where somebody else does.

Two schedulers on one optimizer overwrite each other in silence. What is judged is what the groups hold: between two
optimizer steps nobody but the owner changes it. What happens inside a step (hooks that scale the rates, a CUDA graph
that puts tensors in their place) is the step's business, and groups that ``load_state_dict`` has made anew are taken
as they are. A scheduler of torch's leaves "initial_lr" in the groups, so that it is found before it does harm.
"""

import gc
import math
from dataclasses import dataclass
from operator import is_
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from qtrain.errors import UserError

# A float32 tensor in a number's place is the same rate; no schedule moves in steps as small.
SAME = 1e-6
ONE_OWNER = (
    "ASLR must be its only owner: leave the other away; ASLR(..., warmup_steps=N) warms up, scheduler.scale lowers the "
    "draws, scheduler.remove() hands over"
)


@dataclass(slots=True)
class _Known:
    """A parameter group and the rate that was left in it.

    Attributes:
        group: The optimizer's own dictionary.
        params: The list in it, which ``load_state_dict`` hands on to a new dictionary.
        rate: What the group held when the owner last looked.
        version: Counter of in-place writes to a tensor; comparing it waits for no GPU.
    """

    group: dict[str, Any]
    params: list[Tensor]
    rate: float | Tensor
    version: int

    def look(self) -> None:
        """Remember what the group holds."""
        rate = self.group["lr"]
        self.rate = rate
        if type(rate) is not float:
            self.version = _version(rate)

    def is_touched(self) -> bool:
        """Return whether the group holds another rate by now."""
        held = self.group["lr"]
        if held is not self.rate:
            return not math.isclose(float(held), float(self.rate), rel_tol=SAME)
        return type(held) is not float and _version(held) != self.version


class RateOwner:
    """The one that writes the rates of an optimizer's groups.

    Args:
        optimizer: Its groups may be added to, taken from, reordered and loaded at any time.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._known: list[_Known] = []
        self._groups: list[dict[str, Any]] = []  # theirs, for a quick comparison
        self._inside_step = False
        self._marked = self._is_marked()

    def refuse_waiting_schedulers(self) -> None:
        """Refuse an optimizer on which a scheduler was made that has not begun: its first rate would be the start.

        One that has run may have ended; what it does from now on is seen by ``check``.

        Raises:
            UserError: One line that names it.
        """
        if not self._marked:
            return
        group = self._optimizer.param_groups[0]
        held = float(group["lr"])
        meant = float(group["initial_lr"])
        moved = not math.isclose(held, meant, rel_tol=SAME)
        waiting = [s for s in _schedulers(self._optimizer) if not _has_run(s) and (moved or _is_torchs(s))]
        if waiting:
            rate = f"learning rate ({held:.6g}, set from {meant:.6g})" if moved else "learning rate"
            raise UserError(f"this optimizer's {rate} has an owner already, {_names(waiting)}; {ONE_OWNER}")

    def places(self) -> list[int | None] | None:
        """Return where each group stood when last asked, None for a new one; None in all where nothing has changed.

        Raises:
            UserError: None of the groups is known, and their number is another.
        """
        groups = self._optimizer.param_groups
        before = self._known
        if len(groups) == len(before) and all(map(is_, groups, self._groups)):
            return None
        places = [_place(group, before) for group in groups]
        if before and all(place is None for place in places):
            if len(groups) != len(before):
                raise UserError(
                    f"ASLR knows {len(before)} parameter groups, and the optimizer has {len(groups)} others; "
                    "make a new ASLR for them"
                )
            places = list(range(len(groups)))
        self._groups = list(groups)
        self._known = [_Known(g, g["params"], g["lr"], _version(g["lr"])) for g in groups]
        for i, place in enumerate(places):
            if place is not None and before[place].group is groups[i]:
                self._known[i] = before[place]
        return places

    def write(self, rates: list[float]) -> None:
        """Write a rate into each group; a tensor is filled in place, one tensor a group."""
        seen = {id(self._optimizer.defaults.get("lr"))}
        for known, rate in zip(self._known, rates, strict=True):
            held = known.group["lr"]
            if isinstance(held, Tensor):
                if id(held) in seen:  # torch hands all groups the one tensor of SGD(groups, lr=tensor)
                    held = known.group["lr"] = held.clone()
                seen.add(id(held))
                held.fill_(rate)  # in place: captured, fused and compiled steps hold on to this tensor
            else:
                known.group["lr"] = rate
            known.look()
        self._inside_step = False

    def step_began(self) -> None:
        """Look away until the step has ended: other hooks may scale the rates."""
        self._inside_step = True

    def step_ended(self) -> None:
        """Take what the groups hold for right."""
        if self._inside_step:
            self._inside_step = False
            for known in self._known:
                known.look()

    def check(self) -> None:
        """Refuse another hand, and a scheduler that was made since.

        Raises:
            UserError: One line that names it.
        """
        if not self._marked and self._is_marked():
            self._refuse_new_schedulers()
        if self._inside_step:  # the last one was broken off
            return
        for number, known in enumerate(self._known):
            if known.is_touched():
                others = _schedulers(self._optimizer)
                raise UserError(
                    f"the learning rate of parameter group {number} was set to {float(known.group['lr']):.6g} by "
                    f"{_names(others) or 'another hand'}; {ONE_OWNER}"
                )

    def is_trial(self) -> bool:
        """Whether a step is about to be taken that shall change nothing.

        ``torch.distributed.checkpoint`` makes an optimizer's state by a step at rate 0, and puts the rates back.
        """
        if self._optimizer.state:
            return False
        return all(known.group["lr"] is not known.rate and known.group["lr"] == 0 for known in self._known)

    def _is_marked(self) -> bool:
        return any("initial_lr" in group for group in self._optimizer.param_groups[:1])

    def _refuse_new_schedulers(self) -> None:
        # Other people's may leave the rates alone, as schedulers of weight decay do: what they write will tell.
        others = [s for s in _schedulers(self._optimizer) if _is_torchs(s)]
        if others:
            raise UserError(f"this optimizer's learning rate has another owner, {_names(others)}; {ONE_OWNER}")
        self._marked = True  # by a state that was loaded, or by a scheduler that is gone


def _place(group: dict[str, Any], known: list[_Known]) -> int | None:
    for place, old in enumerate(known):
        if old.group is group or old.params is group["params"]:
            return place
    return None


def _version(rate: float | Tensor) -> int:
    return rate._version if isinstance(rate, Tensor) else 0


def _schedulers(optimizer: Optimizer) -> list[LRScheduler]:
    """Return the schedulers that live on an optimizer, ASLRs aside; optimizers do not know them.

    It looks through all objects, which takes half a second beside a large package: only on a suspicion.
    """
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), LRScheduler)]
    others = [scheduler for scheduler in found if not isinstance(vars(scheduler).get("_owner"), RateOwner)]
    return [scheduler for scheduler in others if getattr(scheduler, "optimizer", None) is optimizer]


def _has_run(scheduler: LRScheduler) -> bool:
    first = scheduler.last_epoch + 1  # ReduceLROnPlateau does not count
    return getattr(scheduler, "_step_count", first) > 1


def _is_torchs(scheduler: LRScheduler) -> bool:
    return type(scheduler).__module__.startswith("torch.")


def _names(schedulers: list[LRScheduler]) -> str:
    return " and ".join(sorted({type(scheduler).__name__ for scheduler in schedulers}))
