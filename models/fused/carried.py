"""What flows between fused layers in place of dequantized tensors.

Only layers that torch.fx has found to follow each other see these. They are made anew in every forward pass and held by
no module.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qtrain.models.fast_quantizer import FastQuantizer

Scale = float | Tensor  # a constant, or a tensor of one number or of one for each output channel
Dtypes = tuple[torch.dtype, torch.dtype]  # of the forward and of the backward pass


class Integers(NamedTuple):
    """What a quantizer has given: ``values`` times ``scale``.

    Attributes:
        values: integers, in a floating type that holds them exactly. The gradient that they take is that of the
            dequantized values, which the quantizer turns into those of its input and of its scale.
        scale: of all values.
    """

    values: Tensor
    scale: Scale


class Product(NamedTuple):
    """A layer with its input, still to be multiplied.

    Attributes:
        layer: a convolution or a linear layer without bias.
        x: its input.
        quantizer: of its weights.
        dtypes: to multiply in.
    """

    layer: nn.Module
    x: Integers
    quantizer: FastQuantizer
    dtypes: Dtypes


class Normed(NamedTuple):
    """A product that is still to be normalised.

    Attributes:
        product: of the layer before.
        norm: the BatchNorm behind it, in training mode.
    """

    product: Product
    norm: nn.Module


def over_outputs(scale: Scale, dims: int) -> Any:
    """One number for each output, shaped for [N, outputs, ...] of so many dimensions; one number stays as it is."""
    if isinstance(scale, float) or scale.numel() == 1:
        return scale
    return scale.reshape(1, -1, *[1] * (dims - 2))


def held(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return integers in another floating type that holds them."""
    return values if values.dtype == dtype else values.to(dtype)
