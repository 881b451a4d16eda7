"""Optimizers that need no schedule or no learning rate, each from its authors' package (the extra ``rivals``).

- ``schedulefree``: Defazio et al. 2024, "The Road Less Scheduled" (arXiv 2405.15682);
- ``prodigy``: Mishchenko and Defazio 2023 (arXiv 2306.06101);
- ``dadaptation``: Defazio and Mishchenko 2023 (arXiv 2301.07733);
- ``dog``: Ivgi, Hinder, Carmon 2023, "DoG is SGD's Best Friend" (arXiv 2302.12022), with its averager.

The parameter groups of a network are one problem for every rival, and each has its package's kind of weight decay:
decoupled in Prodigy and D-Adaptation's AdamW, added to the gradient in its Adam, DoG and SGD. Options are the arguments
of the package's class.
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
from qtrain.extras import install_line
from qtrain.optimizers.options import checked_options, options_of
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups
from qtrain.training.methods.method import Method

# What is the recipe's to say, or not a matter of training.
_NOT_OPTIONS = {"momentum", "weight_decay", "foreach", "fsdp_in_use", "log_every"}
_WHOLE = {"warmup_steps", "slice_p"}


class Rival(Method):
    """A package's optimizer, which finds one rate for all groups."""

    finds_rate = True

    def rate(self) -> float:
        """Return the step size that the optimizer uses at present: ``d * lr`` of Prodigy and D-Adaptation."""
        group = self.optimizer.param_groups[0]
        return float(group["d"] * group["lr"])

    def rates(self) -> list[float]:
        """Return that rate for every group."""
        return [self.rate()] * len(self.optimizer.param_groups)


class Prodigy(Rival):
    """Prodigy, which is always Adam's and finds its rate itself."""

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "Prodigy":
        """Train so; the rate that it finds is scaled by the package's advised lr of 1, unless ``options`` has another.

        Raises:
            UserError: the package is missing, an option that it does not have, a value that it refuses.
        """
        kind = _package(recipe.scheduler, "prodigyopt", "prodigyopt").Prodigy
        arguments = {"weight_decay": recipe.weight_decay} | _checked(recipe, kind, options)
        return cls(_made(kind, layer_groups(model), arguments))


class DAdaptation(Rival):
    """D-Adaptation, Adam's or SGD's, which finds its rate itself."""

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "DAdaptation":
        """Train so; its SGD has no Nesterov's momentum, so "nag" is "sgd". The rate is scaled as Prodigy's is.

        Its Adam's weight decay is added to the gradient, and decoupled where the optimizer is "adamw".

        Raises:
            UserError: the package is missing, an option that it does not have, a value that it refuses.
        """
        package = _package(recipe.scheduler, "dadaptation", "dadaptation")
        arguments: dict[str, Any] = {"weight_decay": recipe.weight_decay}
        if recipe.optimizer in ("adam", "adamw"):
            kind = package.DAdaptAdam
            arguments["decouple"] = recipe.optimizer == "adamw"
        else:
            kind = package.DAdaptSGD
            arguments["momentum"] = recipe.momentum
        arguments |= _checked(recipe, kind, options)
        return cls(_made(kind, layer_groups(model), arguments))


class ScheduleFree(Rival):
    """Schedule-free SGD or AdamW, which trains at y and judges x."""

    judges_others = True

    def __init__(self, optimizer: Any):
        super().__init__(optimizer)
        optimizer.train()

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "ScheduleFree":
        """Train so from the recipe's lr; its SGD has no Nesterov's momentum, so "nag" is "sgd", and needs one above 0.

        Raises:
            UserError: the package is missing, an option that it does not have, a value that it refuses.
        """
        package = _package(recipe.scheduler, "schedulefree", "schedulefree")
        arguments: dict[str, Any] = {"weight_decay": recipe.weight_decay, "lr": recipe.rate}
        if recipe.optimizer in ("adam", "adamw"):
            kind = package.AdamWScheduleFree
        else:
            kind = package.SGDScheduleFree
            arguments["momentum"] = recipe.momentum
        arguments |= _checked(recipe, kind, options, _NOT_OPTIONS | {"lr"})
        return cls(_made(kind, layer_groups(model), arguments))

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Judge the package's evaluation weights."""
        kept = [p.detach().clone() for p in self.parameters()]
        self.optimizer.eval()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self.optimizer.train()  # type: ignore[attr-defined]
            _write(self.parameters(), kept)  # the way back is rounded

    def rate(self) -> float:
        """Return the rate, with its warm-up."""
        group = self.optimizer.param_groups[0]
        return float(group["scheduled_lr"] or group["lr"])


class DoG(Rival):
    """DoG, always SGD without momentum, which finds its rate itself and judges the polynomial decay average."""

    judges_others = True
    parts = ("optimizer", "averager")

    def __init__(self, optimizer: Optimizer, averager: Callable[[nn.Module], Any]):
        super().__init__(optimizer)
        self.averager = averager(nn.ParameterList(self.parameters()))

    @classmethod
    def make(cls, model: nn.Module, recipe: Recipe, steps_per_epoch: int, **options: Any) -> "DoG":
        """Train so, over one group "all", as it would find a step size for each.

        Its ``reps_rel`` is 1e-4, as its authors advise for networks with BatchNorm; ``gamma`` is the averager's.

        Raises:
            UserError: the package is missing, an option that it does not have, a value that it refuses.
        """
        package = _package(recipe.scheduler, "dog-optimizer", "dog")
        parameters = [p for group in layer_groups(model) for p in group["params"]]
        arguments = {"weight_decay": recipe.weight_decay, "reps_rel": 1e-4, "gamma": 8.0}
        arguments |= _checked(recipe, package.DoG, options, gamma=8.0)
        gamma = arguments.pop("gamma")
        dog = _made(_mended(package.DoG), [{"name": "all", "params": parameters}], arguments)
        return cls(dog, lambda model: package.PolynomialDecayAverager(model, gamma=gamma))

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Judge the averaged weights."""
        kept = [p.detach().clone() for p in self.parameters()]
        _write(self.parameters(), list(self.averager.averaged_model))
        try:
            yield
        finally:
            _write(self.parameters(), kept)

    def after_step(self, epoch: float) -> None:
        """Let the averager see the weights."""
        self.averager.step()

    def rate(self) -> float:
        """Return eta of the last step, 0 before the first."""
        eta = self.optimizer.param_groups[0].get("eta")
        return float(eta[0]) if eta else 0.0


def _checked(
    recipe: Recipe, kind: Callable[..., Any], options: Mapping[str, Any], without: Set[str] = _NOT_OPTIONS, **extra: Any
) -> dict[str, Any]:
    return checked_options(recipe.scheduler, options_of(kind, without) | extra, options, _WHOLE)


def _package(scheduler: str, distribution: str, module: str) -> Any:
    """Import a rival's module.

    Args:
        scheduler: the rival, for the error.
        distribution: the package's name on PyPI, for the error.
        module: its name in Python.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"scheduler {scheduler} needs the package {distribution}; install it with: {install_line('rivals')}"
        ) from None


def _made(kind: Callable[..., Any], groups: list[dict[str, Any]], arguments: Mapping[str, Any]) -> Any:
    try:
        with redirect_stdout(io.StringIO()):  # Prodigy announces its weight decay
            return kind(groups, **arguments)
    except ValueError as error:
        raise UserError(f"{kind.__name__}: {error}") from None


def _mended(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """DoG that takes a parameter without a gradient, and a state from the CPU on a GPU, where the package's fails."""

    class DoG(kind):  # type: ignore[valid-type, misc]
        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            """Take a parameter without a gradient for one whose gradient is 0."""
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

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """Bring what the package leaves on the CPU to where the parameters are."""
            super().load_state_dict(state_dict)
            for group in self.param_groups:
                device = group["params"][0].device
                for name in {"rbar", "G", "eta"} & set(group):
                    value = group[name]
                    group[name] = value.to(device) if isinstance(value, Tensor) else [v.to(device) for v in value]

    return DoG


@torch.no_grad()
def _write(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
