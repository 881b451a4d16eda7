"""``aslr_climb``: ``aslr_decay`` whose start finds its own height."""

import math
from decimal import Decimal
from typing import Any

from torch import nn
from torch.optim import Optimizer

from qtrain.schedulers.aslr import Search
from qtrain.schedulers.climb import Climb, Restore
from qtrain.training.adaptive import Decaying
from qtrain.training.kept import Kept


class Climbing(Decaying):
    """``aslr_decay`` after a climb (see ``Climb``), at whose end the rate is the ceiling of ASLR's own search.

    Args:
        optimizer: as ``Method``'s.
        model: whose weights are put back.
        decay: as ``Decaying``'s.
        options: further ones of ``Adaptive``.
    """

    def __init__(self, optimizer: Optimizer, *, model: nn.Module, decay: float = 0.2, **options: Any):
        super().__init__(optimizer, decay=decay, **options)
        self._model, self._put_back = model, 0
        self._climb = Climb.at(self.aslr.search.lr)
        self._kept = {Restore.START: Kept(model, optimizer)}

    def validated(self, error: float) -> None:
        """Climb; once that is over, move the centre as ASLR does."""
        if self._climb.over or (self.aslr.factor < 1 and math.isfinite(error)):
            super().validated(error)
            return
        restore = self._climb.judge(error)
        if restore is None:
            self._kept[Restore.BEST] = Kept(self._model, self.optimizer)
        else:
            self._kept[restore].put_back()
            self._put_back += 1
        self.aslr.search = Search(self._climb.rate, best=error)
        super().validated(error)  # writes the rate, and moves nothing: an equal error is as good
        self.aslr.search.best = self._climb.best
        if self._climb.over:
            self.aslr.bounds = (self.aslr.bounds[0], self.aslr.search.lr)
            self._kept = {}

    @property
    def recovers(self) -> bool:  # type: ignore[override]
        """While it climbs."""
        return not self._climb.over

    @property
    def counts(self) -> dict[str, int]:
        """How often weights were put back."""
        return {"put_back": self._put_back}

    def state_dict(self) -> dict[str, Any]:
        """With the climb, and what it may put back."""
        climb = {name: str(value) if isinstance(value, Decimal) else value for name, value in vars(self._climb).items()}
        kept = {str(name): kept.state_dict() for name, kept in self._kept.items()}
        return super().state_dict() | {"climb": climb, "kept": kept, "put_back": self._put_back}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """With the climb, and what it may put back."""
        super().load_state_dict(state)
        rates = {name: Decimal(value) for name, value in state["climb"].items() if isinstance(value, str)}
        self._climb = Climb(**state["climb"] | rates)
        self._put_back = state["put_back"]
        self._kept = {Restore(name): Kept(self._model, self.optimizer) for name in state["kept"]}
        for name, kept in self._kept.items():
            kept.load_state_dict(state["kept"][name])
