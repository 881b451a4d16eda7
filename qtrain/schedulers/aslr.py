"""ASLR, the adaptive scheduler for learning rate.

Source: Khodamoradi, Denolf, Vissers, Kastner, "ASLR: an Adaptive Scheduler for Learning Rate", Section IV,
Algorithm 1 (the search for the centre: ``Search``) and Equation 10 (the draw around it: ``ASLR.draw``).
"""

import math
from dataclasses import asdict, dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

from qtrain.errors import UserError

# Wide enough for every sum over the whole range of a float: the search is exact or raises, never rounded.
EXACT = Context(prec=700, traps=[Inexact, InvalidOperation])
FLOAT_RANGE = (Decimal("5e-324"), Decimal("1e308"))
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
    ``U(c - s/2, c + s/2)``; after every validation ``step(cost)`` moves the centre ``c`` (see ``Search``).
    The draw happens by itself in an optimizer step pre-hook, so gradient accumulation, ``torch.amp.GradScaler``,
    accelerate and Lightning (``monitor=...``, ``reduce_on_plateau=True``) need nothing special. Between ``step``
    and the next optimizer step the groups hold their centres. The draws come from an own CPU generator: they leave the
    global random state alone and are equal on every rank.

    Args:
        optimizer: Any ``torch.optim.Optimizer``, or a wrapper that keeps it as ``.optimizer`` (accelerate). The first
            group's lr is the starting centre; other groups keep their ratio to it. ``layer_groups`` makes one group a
            layer, as in the paper. Groups added later are taken in at the ratio of their lr to the starting rate.
        seed: Seed of the draws, 0 to 2**63 - 1.
        min_lr: Lower bound of the centre (not of the draws), or None.
        max_lr: Upper bound of the centre (not of the draws), or None.
        tie: What a cost equal to the best does: "paper" resets the search, "reference" changes nothing, as the
            reference code does.
        snap: Round the starting centre to one significant digit (0.14 becomes 0.1).

    Attributes:
        search: State of the search; ``search.lr`` is the centre as an exact decimal.
        last_draws: Learning rates of the last optimizer step, one a group; the groups' own before the first.

    Raises:
        UserError: A learning rate that is not positive and finite (0 is allowed beyond the first group), bounds that
            exclude each other, an unknown tie or seed, an optimizer that has an ASLR already.
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
        default = optimizer.defaults.get("lr")
        if isinstance(default, Tensor):  # the groups hold the same tensor: a draw would become new groups' default
            optimizer.defaults["lr"] = default.clone()
        self.optimizer = optimizer
        self.tie = tie
        self.bounds = _checked_bounds(min_lr, max_lr)
        self.lr0 = exact_lr(optimizer.param_groups[0]["lr"])
        if self.lr0 == 0:
            raise UserError("the first group's learning rate is ASLR's start and must be above 0, but got 0")
        self.search = Search(self._clamped(Context(prec=1).plus(self.lr0) if snap else self.lr0))
        self.ratios: list[float] = []
        self.last_draws = self.centres()
        self.last_epoch = 0
        self._step_count = 1  # accelerate counts on it
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._write(self.last_draws)
        self._hook: RemovableHandle | None = optimizer.register_step_pre_hook(self._before_step)

    @property
    def lr(self) -> float:
        """The centre of the first group's draws."""
        return float(self.search.lr)

    def step(self, cost: float | Tensor | None = None) -> None:
        """Move the centre by the search's rule; call it once after each validation.

        Args:
            cost: Validation cost, lower is better: a number or a tensor of one element. The paper's is the top-1
                error. NaN and infinity count as worse than anything and are never stored as the best.

        Raises:
            UserError: No cost, or one that is not a number.
        """
        try:
            value = float(cost.detach() if isinstance(cost, Tensor) else cost)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            raise UserError(
                f"ASLR.step takes the validation cost, one number, but got {cost!r}; "
                "in Lightning set monitor=... and reduce_on_plateau=True beside the scheduler"
            ) from None
        self.search.update(value, self.tie)
        self.search.lr = self._clamped(self.search.lr)
        self.last_epoch += 1
        if self._hook is not None:
            self._write(self.centres())

    @torch._disable_dynamo  # as torch.optim's own: unlike torch.compiler.disable it loads Dynamo late
    def draw(self) -> list[float]:
        """Draw a learning rate for each group (Equation 10), write them into the groups and return them.

        The pre-hook calls this before each ``optimizer.step()``. Call it by hand only where steps run without that
        call: before each replay of a captured CUDA graph.
        """
        self._take_in_new_groups()
        c, s = float(self.search.lr), float(step_size(self.search.lr))
        uniform = torch.rand(len(self.ratios), dtype=torch.float64, device="cpu", generator=self._generator).tolist()
        self.last_draws = [ratio * (c + s * (u - 0.5)) for ratio, u in zip(self.ratios, uniform, strict=True)]
        self._write(self.last_draws)
        return self.last_draws

    def centres(self) -> list[float]:
        """Return the centre of each group's draws."""
        self._take_in_new_groups()
        return [ratio * self.lr for ratio in self.ratios]

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
        """Stop drawing: take the hook off the optimizer and leave each group at its centre."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
            self._write(self.centres())

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, random state included, in types that ``torch.load(weights_only=True)`` reads."""
        self._take_in_new_groups()
        return {
            "search": asdict(self.search) | {"lr": str(self.search.lr)},
            "lr0": str(self.lr0),
            "bounds": [str(bound) for bound in self.bounds],
            "tie": self.tie,
            "ratios": list(self.ratios),
            "last_draws": list(self.last_draws),
            "last_epoch": self.last_epoch,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken; the optimizer may be restored before or after.

        Args:
            state_dict: What ``state_dict`` returned, of an ASLR over the same number of groups. It brings bounds
                and tie with it.

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
        self._generator.set_state(state_dict["generator"].cpu())
        search = state_dict["search"]
        self.search = Search(**search | {"lr": Decimal(search["lr"])})
        self.lr0 = Decimal(state_dict["lr0"])
        self.bounds = (Decimal(state_dict["bounds"][0]), Decimal(state_dict["bounds"][1]))
        self.tie = state_dict["tie"]
        self.ratios = list(state_dict["ratios"])
        self.last_draws = list(state_dict["last_draws"])
        self.last_epoch = state_dict["last_epoch"]
        if self._hook is not None:
            self._write(self.centres())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_generator": self._generator.get_state(), "_hook": self._hook is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._generator = torch.Generator("cpu")
        self._generator.set_state(state["_generator"])
        # torch's optimizers leave their hooks behind when copied or pickled
        self._hook = self.optimizer.register_step_pre_hook(self._before_step) if state["_hook"] else None

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A write that is captured into a CUDA graph would undo every later draw at each replay.
        if not (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()):
            self.draw()

    def _take_in_new_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.ratios) :]:
            self.ratios.append(float(Context(prec=28).divide(exact_lr(group["lr"]), self.lr0)))

    def _clamped(self, lr: Decimal) -> Decimal:
        return min(max(lr, self.bounds[0]), self.bounds[1])

    def _write(self, lrs: list[float]) -> None:
        # The groups are read anew each time: optimizer.load_state_dict replaces them.
        seen = {id(self.optimizer.defaults.get("lr"))}
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            held = group["lr"]
            if not isinstance(held, Tensor):
                group["lr"] = lr
                continue
            if id(held) in seen:  # torch hands all groups the one tensor of SGD(groups, lr=tensor)
                held = group["lr"] = held.clone()
            seen.add(id(held))
            held.fill_(lr)  # in place: captured, fused and compiled steps hold on to this tensor


def exact_lr(lr: float | Tensor) -> Decimal:
    """Return the shortest decimal that a learning rate stands for: 0.1 also for a float32 tensor of 0.1.

    Raises:
        UserError: The learning rate is negative, NaN or infinite.
    """
    value = float(lr)
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"a learning rate must be a positive, finite number, but got {value}")
    if isinstance(lr, Tensor):
        texts = (f"{value:.{digits}g}" for digits in range(1, 18))
        return Decimal(next(t for t in texts if float(torch.tensor(float(t), dtype=lr.dtype)) == value))
    return Decimal(repr(value))


def _checked_bounds(min_lr: float | None, max_lr: float | None) -> tuple[Decimal, Decimal]:
    low = FLOAT_RANGE[0] if min_lr is None else max(exact_lr(min_lr), FLOAT_RANGE[0])
    high = FLOAT_RANGE[1] if max_lr is None else min(exact_lr(max_lr), FLOAT_RANGE[1])
    if low > high:
        raise UserError(f"min_lr must not be above max_lr, and max_lr above 0, but got {min_lr} and {max_lr}")
    return low, high
