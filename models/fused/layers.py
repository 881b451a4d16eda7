"""Layers with the fused forward pass: in training mode they take and give what ``carried`` describes."""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qtrain.models.fused.carried import Dtypes, Integers, Normed, Product, over_outputs
from qtrain.models.fused.functions import integers_of, multiplied, quantized


class _FusedNorm(nn.Module):
    """A norm that leaves its work to the quantizer behind it."""

    def forward(self, x: Any) -> Any:
        if not isinstance(x, Product):
            return super().forward(x)
        norm = cast(Any, self)
        flat = isinstance(x.layer, nn.Linear) and x.x.values.dim() != 2  # channels are another dimension there
        if not self.training or norm.momentum is None or flat:
            return super().forward(multiplied(x))
        return Normed(x, self)


class FusedNorm1d(_FusedNorm, nn.BatchNorm1d):
    """BatchNorm1d with the fused forward pass."""


class FusedNorm2d(_FusedNorm, nn.BatchNorm2d):
    """BatchNorm2d with the fused forward pass."""


class _Carrier(nn.Module):
    """Selects or arranges values, and so integers as well."""

    def forward(self, x: Tensor | Integers) -> Any:
        if isinstance(x, Integers):
            return Integers(super().forward(x.values), x.scale)
        return super().forward(x)


class CarryingMaxPool2d(_Carrier, nn.MaxPool2d):
    """MaxPool2d of integers."""


class CarryingFlatten(_Carrier, nn.Flatten):
    """Flatten of integers."""


class CarryingIdentity(_Carrier, nn.Identity):
    """Identity of integers."""


def product(layer: Any, x: Tensor | Integers, dtypes: Dtypes) -> Product | Tensor:
    """What a convolution or a linear layer on the integer grid gives: sums, or the product before a fused norm.

    Args:
        layer: with the fast forward pass.
        x: integers, or values of the grid.
        dtypes: of the forward and of the backward pass.
    """
    if not isinstance(x, Integers):
        x = integers_of(x, layer.source, dtypes[1])
    found = Product(layer, x, layer.fast, dtypes)
    if layer.fused.before_norm:
        return found
    sums = multiplied(found)
    if layer.bias is None:
        return sums
    outputs_last = isinstance(layer, nn.Linear)
    return sums + (layer.bias if outputs_last else over_outputs(layer.bias, sums.dim()))


def activated(layer: Any, x: Normed, otherwise: Callable[[Tensor], Any]) -> Any:
    """What a quantizer gives for a product that is still to be normalised.

    Args:
        layer: with the fast forward pass.
        x: what comes to it.
        otherwise: its own forward pass, in evaluation mode.
    """
    if not layer.training:
        return otherwise(_BatchNorm.forward(cast(_BatchNorm, x.norm), multiplied(x.product)))
    return quantized(x, layer.fast, hands_on=layer.fused.gives)
