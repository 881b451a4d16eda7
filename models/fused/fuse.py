"""Gives the layers of a network that can be fused their fused forward pass, and takes it away."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import torch
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


class Switch:
    """Whether fused layers hand each other what only they understand: while the whole network computes.

    A layer that is called by itself takes and gives tensors, and so do all where somebody looks at one with a hook.

    Args:
        modules: that take part.

    Attributes:
        on: is true during a forward pass of the network.
    """

    def __init__(self, modules: Collection[nn.Module]):
        self.on = False
        self._modules = list(modules)

    def begin(self, model: nn.Module, inputs: object) -> None:
        """Hook: a forward pass of the network begins."""
        if torch.compiler.is_compiling():  # a compiler joins kernels itself
            return
        self.on = not any(module._forward_hooks or module._forward_pre_hooks for module in self._modules)

    def end(self, model: nn.Module, inputs: object, outputs: object) -> None:
        """Hook: it has ended, with or without an error."""
        if torch.compiler.is_compiling():
            return
        self.on = False


@dataclass(frozen=True)
class Fused:
    """How a quantizer or a layer on the integer grid takes part.

    Attributes:
        switch: of the network; None where the layer takes no part. What follows is so while it is on.
        is_before_norm: a layer leaves its product to the quantizer behind the next norm.
        can_give: a quantizer gives integers.
    """

    switch: Switch | None = None
    is_before_norm: bool = False
    can_give: bool = False

    @property
    def before_norm(self) -> bool:
        """Whether a layer leaves its product to the quantizer behind the next norm."""
        return self._on and self.is_before_norm

    @property
    def gives(self) -> bool:
        """Whether a quantizer gives integers."""
        return self._on and self.can_give

    @property
    def _on(self) -> bool:
        return self.switch is not None and self.switch.on


NOT_FUSED = Fused()


def fuse(
    model: nn.Module,
    layers: Collection[nn.Module],
    quantizers: Collection[nn.Module],
    products: Collection[nn.Module],
) -> None:
    """Fuse what can be; arguments as ``pairs.find``'s."""
    found = find(model, layers, quantizers, products)
    paths = found.norms | found.carriers | found.layers | found.givers
    if not paths:
        return
    switch = Switch([model.get_submodule(path) for path in sorted(paths)])
    for path in found.norms | found.carriers:
        module = model.get_submodule(path)
        module.__class__ = _FUSED[type(module)]
    for path in found.layers:
        cast(Any, model.get_submodule(path)).fused = Fused(switch, is_before_norm=True)
    for path in found.givers:
        cast(Any, model.get_submodule(path)).fused = Fused(switch, can_give=True)
    model.register_forward_pre_hook(switch.begin)
    model.register_forward_hook(switch.end, always_call=True)


def unfuse(model: nn.Module) -> None:
    """Give norms, pools and the like their own forward pass back, and quantizers and layers theirs without fusing."""
    for module in model.modules():
        if type(module) in PLAIN_OF_FUSED:
            module.__class__ = PLAIN_OF_FUSED[type(module)]
        vars(module).pop("fused", None)
