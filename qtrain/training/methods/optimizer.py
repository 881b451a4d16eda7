"""The optimizer that a recipe names."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups


def make_optimizer(model: nn.Module, recipe: Recipe, groups: list[dict[str, Any]] | None = None) -> Optimizer:
    """The recipe's optimizer over ``groups``, by default with one parameter group a layer."""
    groups = groups or layer_groups(model)
    if recipe.optimizer in ("adam", "adamw"):
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        return kind(groups, recipe.rate, weight_decay=recipe.weight_decay)
    nesterov = recipe.optimizer == "nag"
    if nesterov and recipe.momentum == 0:
        raise UserError("optimizer nag needs a momentum above 0, but got 0; choose sgd or a momentum such as 0.9")
    decay = recipe.weight_decay
    return torch.optim.SGD(groups, recipe.rate, momentum=recipe.momentum, weight_decay=decay, nesterov=nesterov)
