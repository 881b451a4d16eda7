"""Gives the layers of a network that can be fused their fused forward pass, and takes it away."""

from collections.abc import Collection
from typing import Any, NamedTuple, cast

from torch import nn

from qtrain.models.fused.layers import (
    CarryingFlatten,
    CarryingIdentity,
    CarryingMaxPool2d,
    FusedNorm1d,
    FusedNorm2d,
)
from qtrain.models.fused.pairs import find

_FUSED: dict[type, type] = {
    nn.BatchNorm1d: FusedNorm1d,
    nn.BatchNorm2d: FusedNorm2d,
    nn.MaxPool2d: CarryingMaxPool2d,
    nn.Flatten: CarryingFlatten,
    nn.Identity: CarryingIdentity,
}
PLAIN_OF_FUSED = {fused: plain for plain, fused in _FUSED.items()}


class Fused(NamedTuple):
    """How a quantizer or a layer on the integer grid takes part.

    Attributes:
        before_norm: a layer leaves its product to the quantizer behind the next norm.
        gives: a quantizer gives integers, where it normalises as well.
    """

    before_norm: bool = False
    gives: bool = False


NOT_FUSED = Fused()


def fuse(model: nn.Module, quantizers: Collection[nn.Module], products: Collection[nn.Module]) -> None:
    """Fuse what can be; arguments as ``pairs.find``'s."""
    found = find(model, quantizers, products)
    for path in found.norms | found.carriers:
        module = model.get_submodule(path)
        module.__class__ = _FUSED[type(module)]
    for path in found.layers:
        cast(Any, model.get_submodule(path)).fused = Fused(before_norm=True)
    for path in found.givers:
        cast(Any, model.get_submodule(path)).fused = Fused(gives=True)


def unfuse(model: nn.Module) -> None:
    """Give norms, pools and the like their own forward pass back, and quantizers and layers theirs without fusing."""
    for module in model.modules():
        if type(module) in PLAIN_OF_FUSED:
            module.__class__ = PLAIN_OF_FUSED[type(module)]
        vars(module).pop("fused", None)
