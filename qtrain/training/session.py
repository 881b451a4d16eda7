"""What changes while a run trains, what of it a checkpoint keeps, and how it is set up."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.schedulers import ASLR, layer_groups
from qtrain.schedulers.schedules import constant, cosine, multistep
from qtrain.training import checkpoint


@dataclass
class Position:
    """Where a run is: what comes next, and what it has found so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = -1.0


@dataclass
class Session:
    """Everything that changes while a run trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    aslr: ASLR | None
    at: Position

    def begin_epoch(self, recipe: Recipe) -> float:
        """Set the epoch's learning rate where a schedule gives it; return the rate, for ASLR its centre."""
        if self.aslr is not None:
            return self.aslr.lr
        rate = scheduled_rate(recipe, self.at.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def draws(self) -> dict[str, float]:
        """Each layer's learning rate at the last step."""
        rates = self.aslr.last_draws if self.aslr else [float(g["lr"]) for g in self.optimizer.param_groups]
        return {group["name"]: rate for group, rate in zip(self.optimizer.param_groups, rates, strict=True)}

    def state(self, recipe: Recipe) -> dict[str, Any]:
        """What ``restore`` needs; tensors and plain values."""
        return {
            "recipe": recipe.to_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "aslr": self.aslr.state_dict() if self.aslr else None,
            "position": asdict(self.at),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def restore(self, path: Path, recipe: Recipe, device: torch.device) -> None:
        """Continue where the checkpoint was written."""
        state = checkpoint.load(path, device)
        checkpoint.check_recipe(state, recipe.to_dict(), path)
        if missing := [name for name in self.state(recipe) if name not in state]:
            raise UserError(f"{path} lacks {', '.join(missing)}; train again or take an older copy")
        checkpoint.load_weights(self.model, state["model"], path)
        # Loading makes new parameters of Brevitas' trained scales: an optimizer made before would train the old ones.
        anew = make_session(self.model, recipe)
        self.optimizer, self.aslr = anew.optimizer, anew.aslr
        self.optimizer.load_state_dict(state["optimizer"])
        if self.aslr:
            self.aslr.load_state_dict(state["aslr"])
        self.at = Position(**state["position"])
        torch.set_rng_state(state["rng"].cpu())
        if device.type == "cuda" and state["cuda_rng"]:
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda_rng"]])


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not available here; use auto, cpu or cuda:N")
    return device


def make_session(model: nn.Module, recipe: Recipe) -> Session:
    """Optimizer with one parameter group a layer, and ASLR where the recipe asks for it."""
    groups = layer_groups(model)
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = torch.optim.Adam(groups, recipe.lr, weight_decay=recipe.weight_decay)
    aslr = ASLR(optimizer, seed=recipe.seed) if recipe.scheduler == "aslr" else None
    return Session(model, optimizer, aslr, Position())


def scheduled_rate(recipe: Recipe, epoch: int) -> float:
    """Learning rate of an epoch (from 0) under the schedules that are functions of the epoch."""
    if recipe.scheduler == "multistep":
        return multistep(epoch, recipe.epochs, recipe.lr, recipe.milestones, recipe.gamma)
    return {"cosine": cosine, "constant": constant}[recipe.scheduler](epoch, recipe.epochs, recipe.lr)
