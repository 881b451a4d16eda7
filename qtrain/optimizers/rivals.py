"""Optimizers that need no schedule or no learning rate, each from its authors' package (the extra ``rivals``).

- ``schedulefree``: Defazio et al. 2024, "The Road Less Scheduled" (arXiv 2405.15682);
- ``prodigy``: Mishchenko and Defazio 2023 (arXiv 2306.06101);
- ``dadaptation``: Defazio and Mishchenko 2023 (arXiv 2301.07733);
- ``dog``: Ivgi, Hinder, Carmon 2023, "DoG is SGD's Best Friend" (arXiv 2302.12022), with its averager.
"""

import importlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.optimizers.options import checked_options, options_of

Groups = list[dict[str, Any]]

# Name in the recipe -> distribution on PyPI (for the message) and module.
_PACKAGES = {
    "schedulefree": ("schedulefree", "schedulefree"),
    "prodigy": ("prodigyopt", "prodigyopt"),
    "dadaptation": ("dadaptation", "dadaptation"),
    "dog": ("dog-optimizer", "dog"),
}
# What is the recipe's to say, or not a matter of training.
_NOT_OPTIONS = {"momentum", "weight_decay", "foreach", "fsdp_in_use", "log_every"}
_WHOLE = {"warmup_steps", "slice_p"}


class Rival:
    """A package's optimizer, and what it needs around its steps.

    Attributes:
        optimizer: Steps with a closure or without.
        judges_others: Whether the weights to judge differ from those being trained.
    """

    judges_others = False

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Inside, the parameters are those to evaluate; afterwards the training ones again, bit for bit."""
        yield

    def after_step(self) -> None:
        """To be called after each optimizer step, and after the weights were clipped."""

    def learned_rate(self) -> float:
        """Return the step size that the optimizer uses at present: ``d * lr`` of Prodigy and D-Adaptation."""
        group = self.optimizer.param_groups[0]
        return float(group["d"] * group["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return all that ``load_state_dict`` needs; ``torch.load(weights_only=True)`` reads it."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken, with the parameters of that moment."""
        self.optimizer.load_state_dict(state["optimizer"])

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


class _ScheduleFree(Rival):
    """Trains at y, judges x."""

    judges_others = True

    def __init__(self, optimizer: Any):
        super().__init__(optimizer)
        optimizer.train()

    @contextmanager
    def judged(self) -> Iterator[None]:
        kept = [p.detach().clone() for p in self._parameters()]
        self.optimizer.eval()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self.optimizer.train()  # type: ignore[attr-defined]
            _write(self._parameters(), kept)  # the way back is rounded

    def learned_rate(self) -> float:
        """Return the rate, with its warm-up."""
        group = self.optimizer.param_groups[0]
        return float(group["scheduled_lr"] or group["lr"])


class _DoG(Rival):
    """Judges the polynomial decay average."""

    judges_others = True

    def __init__(self, optimizer: Optimizer, averager: Callable[[nn.Module], Any]):
        super().__init__(optimizer)
        self._averager = averager(nn.ParameterList(self._parameters()))

    @contextmanager
    def judged(self) -> Iterator[None]:
        kept = [p.detach().clone() for p in self._parameters()]
        _write(self._parameters(), list(self._averager.averaged_model))
        try:
            yield
        finally:
            _write(self._parameters(), kept)

    def after_step(self) -> None:
        self._averager.step()

    def learned_rate(self) -> float:
        """Return eta of the last step, 0 before the first."""
        eta = self.optimizer.param_groups[0].get("eta")
        return float(eta[0]) if eta else 0.0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"averager": self._averager.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._averager.load_state_dict(state["averager"])
        for group in self.optimizer.param_groups:  # the package leaves these on the CPU, and fails on a GPU
            device = group["params"][0].device
            for name in {"rbar", "G", "eta"} & set(group):
                value = group[name]
                group[name] = value.to(device) if isinstance(value, Tensor) else [v.to(device) for v in value]


def make_rival(
    name: str,
    groups: Groups,
    *,
    optimizer: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Rival:
    """Make a rival over a network's parameters.

    Args:
        name: "schedulefree", "prodigy", "dadaptation" or "dog".
        groups: Parameter groups of one network, as ``layer_groups`` makes them; they are one problem for every rival.
            DoG would find a step size for each group, so it gets one group "all".
        optimizer: "sgd", "nag" or "adam": which of schedule-free's and D-Adaptation's there is to be. Neither has
            Nesterov's momentum, so "nag" is "sgd" there. Prodigy is always Adam's, DoG always SGD without momentum.
        lr: Schedule-free's. The others find their own and are scaled by the packages' advised lr of 1, unless
            ``options`` has another.
        momentum: Of the SGD kinds; schedule-free needs one above 0.
        weight_decay: The package's kind: decoupled in Prodigy, added to the gradient in D-Adaptation, DoG and SGD.
        options: Further arguments of the package's class; of DoG also the averager's ``gamma``. DoG's ``reps_rel`` is
            1e-4, as its authors advise for networks with BatchNorm.

    Raises:
        UserError: The package is missing, an option it does not have, a value that it refuses.
    """
    if name not in _PACKAGES:
        raise UserError(f"rival must be one of {', '.join(_PACKAGES)}, but got {name!r}")
    package, adam = _package(name), optimizer == "adam"

    def checked(kind: Callable[..., Any], without: Set[str] = _NOT_OPTIONS, **extra: Any) -> dict[str, Any]:
        return checked_options(name, options_of(kind, without) | extra, options, _WHOLE)

    by_recipe: dict[str, Any] = {"weight_decay": weight_decay}
    if name == "schedulefree":
        kind = package.AdamWScheduleFree if adam else package.SGDScheduleFree
        by_recipe |= {"lr": lr} if adam else {"lr": lr, "momentum": momentum}
        return _ScheduleFree(_make(kind, groups, by_recipe, checked(kind, _NOT_OPTIONS | {"lr"})))
    if name == "dog":
        groups = [{"name": "all", "params": [p for group in groups for p in group["params"]]}]
        arguments = {"reps_rel": 1e-4, "gamma": 8.0} | checked(package.DoG, gamma=8.0)
        gamma = arguments.pop("gamma")
        dog = _make(_without_missing_gradients(package.DoG), groups, by_recipe, arguments)
        return _DoG(dog, lambda model: package.PolynomialDecayAverager(model, gamma=gamma))
    if name == "prodigy":
        kind = package.Prodigy
    else:
        kind = package.DAdaptAdam if adam else package.DAdaptSGD
        by_recipe |= {} if adam else {"momentum": momentum}
    return Rival(_make(kind, groups, by_recipe, checked(kind)))


def _package(name: str) -> Any:
    distribution, module = _PACKAGES[name]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"scheduler {name} needs the package {distribution}; install it with: "
            "pip install 'qtrain[rivals]' (in a checkout: pip install -c constraints.txt -e '.[rivals]')"
        ) from None


def _make(kind: Callable[..., Any], groups: Groups, by_recipe: dict[str, Any], options: dict[str, Any]) -> Any:
    try:
        with redirect_stdout(io.StringIO()):  # Prodigy announces its weight decay
            return kind(groups, **by_recipe | options)
    except ValueError as error:
        raise UserError(f"{kind.__name__}: {error}") from None


def _without_missing_gradients(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """DoG that takes a parameter without a gradient for one whose gradient is 0, where the package's fails."""

    class DoG(kind):  # type: ignore[valid-type, misc]
        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
            super().step()
            return loss

    return DoG


@torch.no_grad()
def _write(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
