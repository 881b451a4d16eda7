"""ASLR, the adaptive scheduler for learning rate.

Source: Khodamoradi, Denolf, Vissers, Kastner, "ASLR: an Adaptive Scheduler for Learning Rate", Section IV,
Algorithm 1 (the search for the centre: ``Search``) and Equation 10 (the draw around it: ``ASLR.draw``).
"""

import math
import warnings
from dataclasses import asdict, dataclass, replace
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

from qtrain.errors import UserError
from qtrain.schedulers.exact_rate import checked_bounds, exact_lr, starting_rate
from qtrain.schedulers.rate_owner import RateOwner

# Wide enough for every sum over the whole range of a float: the search is exact or raises, never rounded.
EXACT = Context(prec=700, traps=[Inexact, InvalidOperation])
TIES = ("paper", "reference")


def step_size(c: Decimal) -> Decimal:
    """Return ``10 ** floor(log10 c)``, the weight of the first significant digit of ``c``."""
    return Decimal((0, (1,), c.adjusted()))


@dataclass
class Search:
    """The greedy search for the centre (Algorithm 1), in exact decimals.

    In floats ``lr + move == 0`` never fires: a plateau from 0.1 ends at 2.8e-17, one from 0.02 below zero.

    Attributes:
        lr: The centre ``c``.
        best: Lowest finite cost so far; None before the first.
        direction: +1 where the centre climbs, -1 where it descends.
        search_range: Length of the present leg, in grid steps.
        steps: Grid steps already taken on this leg.
    """

    lr: Decimal
    best: float | None = None
    direction: int = 1
    search_range: int = 1
    steps: int = 0

    def update(self, cost: float, tie: str = "paper") -> None:
        """Take in one validation cost: an improvement resets the search, anything else moves the centre."""
        if tie == "reference" and cost == self.best:
            return
        if math.isfinite(cost) and (self.best is None or cost <= self.best):
            self.best, self.direction, self.search_range, self.steps = cost, 1, 1, 0
            return
        with localcontext(EXACT):
            move = self.direction * step_size(self.lr)
            self.lr = self.lr * Decimal("0.9") if self.lr + move == 0 else self.lr + move
            self.lr = self.lr.normalize()
        self.steps += 1
        if self.steps == self.search_range:
            self.search_range, self.steps, self.direction = self.search_range + 1, 0, -self.direction


class ASLR(LRScheduler):
    """Learning-rate scheduler with one number to choose: the starting rate, which is the optimizer's ``lr``.

    Before every optimizer step each parameter group gets a learning rate of its own, drawn from
    ``U(c - s/2, c + s/2)``; after every validation ``step(error)`` moves the centre ``c`` (see ``Search``).
    The draw happens by itself in an optimizer step pre-hook, so gradient accumulation, ``torch.amp.GradScaler``,
    accelerate and Lightning (``monitor=...``, ``reduce_on_plateau=True``) need nothing special. Between ``step``
    and the next optimizer step the groups hold their centres. The draws come from an own CPU generator: they leave the
    global random state alone and are equal on every rank. ASLR is the rates' only owner: another scheduler, or a hand
    that writes ``group["lr"]``, is refused.

    Args:
        optimizer: Any ``torch.optim.Optimizer``, or a wrapper that keeps it as ``.optimizer`` (accelerate). The first
            group's lr is the starting centre; other groups keep their ratio to it. ``layer_groups`` makes one group a
            layer, as in the paper. Groups added later are taken in at the ratio of their lr to the starting rate;
            groups may be taken away and reordered.
        seed: Seed of the draws, 0 to 2**63 - 1.
        min_lr: Lower bound of the centre (not of the draws), or None.
        max_lr: Upper bound of the centre (not of the draws), or None.
        tie: What a cost equal to the best does: "paper" resets the search, "reference" changes nothing, as the
            reference code does.
        snap: Round the starting centre to one significant digit (0.14 becomes 0.1).
        warmup_steps: Over so many optimizer steps at first the draws rise on a line: the first is scaled by
            1 / warmup_steps, the last not at all. The search rests meanwhile.

    Attributes:
        search: State of the search; ``search.lr`` is the centre as an exact decimal.
        last_draws: Learning rates of the last optimizer step, one a group; the groups' own before the first.
        drawn: Optimizer steps that rates were drawn for.

    Raises:
        UserError: A learning rate that is not positive and finite (0 is allowed beyond the first group), bounds that
            exclude each other, an unknown tie, seed or warm-up, an optimizer that has an ASLR or a waiting scheduler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        min_lr: float | None = None,
        max_lr: float | None = None,
        tie: str = "paper",
        snap: bool = False,
        warmup_steps: int = 0,
    ) -> None:
        while not hasattr(optimizer, "_optimizer_step_pre_hooks") and hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ASLR needs a torch.optim.Optimizer, but got {type(optimizer).__name__}")
        if any(isinstance(getattr(h, "__self__", 0), ASLR) for h in optimizer._optimizer_step_pre_hooks.values()):
            raise UserError("this optimizer has an ASLR already; call .remove() on that one first")
        if tie not in TIES:
            raise UserError(f"tie must be one of {', '.join(TIES)}, but got {tie!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise UserError(f"seed must be an integer from 0 to 2**63 - 1, but got {seed!r}")
        if isinstance(warmup_steps, bool) or not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise UserError(
                f"warmup_steps must be a whole number of optimizer steps, 0 or more, but got {warmup_steps!r}"
            )
        self._owner = RateOwner(optimizer)
        self._owner.refuse_waiting_schedulers()
        default = optimizer.defaults.get("lr")
        if isinstance(default, Tensor):  # the groups hold the same tensor: a draw would become new groups' default
            optimizer.defaults["lr"] = default.clone()
        self.optimizer = optimizer
        self.tie = tie
        self.bounds = checked_bounds(min_lr, max_lr)
        first = optimizer.param_groups[0]["lr"]
        self.lr0 = exact_lr(first)
        self.search = Search(self._clamped(starting_rate(first, snap)))
        self.warmup_steps = warmup_steps
        self.scale = 1.0
        self.drawn = 0
        self._drawn_at_step = 0
        self.ratios: list[float] = []
        self.last_draws = self.centres()
        self.last_epoch = 0
        self._step_count = 1  # accelerate counts on it
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._owner.write(self.last_draws)
        self._hooks: list[RemovableHandle] = []
        self._hook()

    @property
    def lr(self) -> float:
        """The centre ``c``: a group's draws lie around its ratio times it."""
        return float(self.search.lr)

    @property
    def scale(self) -> float:
        """What every draw is multiplied with, 1 at first; lower it before the steps of a final decay.

        The search rests while it is below 1: an error that falls with the rate says nothing of the centre.
        """
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        if not (math.isfinite(scale) and scale >= 0):
            raise UserError(f"scale must be a finite number, 0 or more, but got {scale}")
        self._scale = float(scale)

    @property
    def factor(self) -> float:
        """What the next draws are multiplied with: ``scale``, and during the warm-up a rising part of it."""
        if self._warms_up:
            return self.scale * (self.drawn + 1) / self.warmup_steps
        return self.scale

    def step(self, metrics: float | Tensor | None = None, *, cost: float | Tensor | None = None) -> None:
        """Move the centre by the search's rule; call it once after each validation.

        During the warm-up and below a scale of 1 the search rests. No optimizer step since the last call is warned of.

        Args:
            metrics: Validation cost, lower is better: a number or a tensor of one element. The paper's is the top-1
                error. NaN and infinity count as worse than anything and are never stored as the best.
            cost: The same under another name.

        Raises:
            UserError: No cost, or one that is not a number; another owner of the rates.
        """
        value = _one_cost(metrics, cost)
        self._follow_groups()
        if self._hooks:
            self._owner.check()
            self._warn_where_nothing_was_drawn()
        if not self._warms_up and self.scale >= 1:
            self.search.update(value, self.tie)
            self.search.lr = self._clamped(self.search.lr)
        self.last_epoch += 1
        self._drawn_at_step = self.drawn
        self._write_centres()

    @torch._disable_dynamo  # as torch.optim's own: unlike torch.compiler.disable it loads Dynamo late
    def draw(self) -> list[float]:
        """Draw a learning rate for each group (Equation 10), write them into the groups and return them.

        The pre-hook calls this before each ``optimizer.step()``. Call it by hand only where steps run without that
        call: before each replay of a captured CUDA graph.
        """
        self._follow_groups()
        self._owner.check()
        c, s = float(self.search.lr), float(step_size(self.search.lr))
        uniform = torch.rand(len(self.ratios), dtype=torch.float64, device="cpu", generator=self._generator).tolist()
        factor = self.factor
        self.last_draws = [ratio * (c + s * (u - 0.5)) * factor for ratio, u in zip(self.ratios, uniform, strict=True)]
        self._owner.write(self.last_draws)
        self.drawn += 1
        return self.last_draws

    def centres(self) -> list[float]:
        """Return the centre of each group's next draws."""
        self._follow_groups()
        centre = self.lr
        factor = self.factor
        return [ratio * centre * factor for ratio in self.ratios]

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the centre of each group's draws, as torch's interface asks; what was drawn is ``last_draws``."""
        return list(self.centres())

    get_lr = get_last_lr

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]
        """The groups' starting learning rates."""
        return [ratio * float(self.lr0) for ratio in self.ratios]

    @property
    def _last_lr(self) -> list[float | Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    def remove(self) -> None:
        """Stop drawing: take the hooks off the optimizer and leave each group at its centre."""
        self._write_centres()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, random state included, in types that ``torch.load(weights_only=True)`` reads."""
        self._follow_groups()
        return {
            "search": asdict(self.search) | {"lr": str(self.search.lr)},
            "lr0": str(self.lr0),
            "bounds": [str(bound) for bound in self.bounds],
            "tie": self.tie,
            "warmup_steps": self.warmup_steps,
            "scale": self.scale,
            "drawn": self.drawn,
            "ratios": list(self.ratios),
            "last_draws": list(self.last_draws),
            "last_epoch": self.last_epoch,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken; the optimizer may be restored before or after.

        Args:
            state_dict: What ``state_dict`` returned, of an ASLR over the same number of groups. It brings bounds,
                tie and warm-up with it.

        Raises:
            UserError: A dictionary of something else, or of another number of groups; nothing is changed then.
        """
        missing = {"search", "lr0", "bounds", "tie", "ratios", "last_draws", "last_epoch", "generator"} - set(
            state_dict
        )
        if missing:
            raise UserError(f"not the state of an ASLR: {', '.join(sorted(missing))} missing")
        if len(state_dict["ratios"]) != len(self.optimizer.param_groups):
            raise UserError(
                f"the ASLR state is of {len(state_dict['ratios'])} parameter groups, the optimizer has "
                f"{len(self.optimizer.param_groups)}; make the same groups first"
            )
        self._follow_groups()
        self._generator.set_state(state_dict["generator"].cpu())
        search = state_dict["search"]
        self.search = Search(**search | {"lr": Decimal(search["lr"])})
        self.lr0 = Decimal(state_dict["lr0"])
        self.bounds = (Decimal(state_dict["bounds"][0]), Decimal(state_dict["bounds"][1]))
        self.tie = state_dict["tie"]
        self.warmup_steps = state_dict.get("warmup_steps", 0)  # states from before there was one
        self.scale = state_dict.get("scale", 1.0)
        self.drawn = state_dict.get("drawn", 0)
        self._drawn_at_step = -1  # the first step after a resume is not asked what was drawn
        self.ratios = list(state_dict["ratios"])
        self.last_draws = list(state_dict["last_draws"])
        self.last_epoch = state_dict["last_epoch"]
        self._write_centres()

    def __repr__(self) -> str:
        direction = "up" if self.search.direction > 0 else "down"
        warmup = f", warmup={self.drawn}/{self.warmup_steps}" if self._warms_up else ""
        groups = len(self.optimizer.param_groups)
        return f"ASLR(lr={self.lr}, best={self.search.best}, direction={direction}{warmup}, groups={groups})"

    def __copy__(self) -> "ASLR":
        """Return a snapshot that draws nothing: an optimizer has one ASLR. ``copy.deepcopy`` copies both."""
        state = self.__getstate__()
        own = {"search": replace(self.search), "ratios": list(self.ratios), "last_draws": list(self.last_draws)}
        snapshot = object.__new__(type(self))
        snapshot.__setstate__(state | own | {"_hooks": False})
        return snapshot

    def __getstate__(self) -> dict[str, Any]:
        self._follow_groups()
        state = self.__dict__ | {"_generator": self._generator.get_state(), "_hooks": bool(self._hooks)}
        del state["_owner"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._generator = torch.Generator("cpu")
        self._generator.set_state(state["_generator"])
        self._owner = RateOwner(self.optimizer)
        self._owner.places()
        self._hooks = []
        if state["_hooks"]:  # torch's optimizers leave their hooks behind when copied or pickled
            self._hook()

    def _hook(self) -> None:
        before = self.optimizer.register_step_pre_hook(self._before_step)
        after = self.optimizer.register_step_post_hook(self._after_step)
        self._hooks = [before, after]

    @torch._disable_dynamo
    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A write that is captured into a CUDA graph would undo every later draw at each replay.
        captured = torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
        if captured or self._owner.is_trial():
            return
        self.draw()
        self._owner.step_began()

    @torch._disable_dynamo
    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._owner.step_ended()

    @property
    def _warms_up(self) -> bool:
        return self.drawn < self.warmup_steps

    def _follow_groups(self) -> None:
        """Keep the ratio of each group that was added to the optimizer, taken away or moved."""
        places = self._owner.places()
        if places is None:
            return
        before, self.ratios = self.ratios, []
        for group, place in zip(self.optimizer.param_groups, places, strict=True):
            new = Context(prec=28).divide(exact_lr(group["lr"]), self.lr0)
            self.ratios.append(float(new) if place is None else before[place])

    def _warn_where_nothing_was_drawn(self) -> None:
        parameters = (p for group in self.optimizer.param_groups for p in group["params"])
        untrained = self.last_epoch == 0 and all(p.grad is None for p in parameters)  # validated at the start
        if self.drawn == self._drawn_at_step and not untrained:
            warnings.warn(
                "no step of ASLR's optimizer since the last scheduler.step(), so that nothing was drawn: the optimizer "
                "was made anew, another steps in its place (of SAM's two give ASLR the base_optimizer), its steps were "
                "skipped, or scheduler.step() was called twice",
                stacklevel=3,
            )

    def _clamped(self, lr: Decimal) -> Decimal:
        return min(max(lr, self.bounds[0]), self.bounds[1])

    def _write_centres(self) -> None:
        if self._hooks:
            self._owner.write(self.centres())


def _one_cost(metrics: float | Tensor | None, cost: float | Tensor | None) -> float:
    if metrics is not None and cost is not None:
        raise UserError(f"ASLR.step takes one cost, but got metrics={metrics!r} and cost={cost!r}")
    given = cost if metrics is None else metrics
    try:
        return float(given.detach() if isinstance(given, Tensor) else given)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"ASLR.step takes the validation cost, one number, but got {given!r}; in Lightning set monitor=... and "
            "reduce_on_plateau=True beside the scheduler, and in place of SequentialLR use ASLR's warmup_steps"
        ) from None
