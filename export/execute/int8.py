"""Convolutions of whole numbers of eight bits on the processor's integer units, four times as fast as in float32.

The sums are the same whole numbers: the units add in 32 bits, and no sum reaches 2**24, so that float32 holds it.
A processor without such units adds two products in 16 bits, which may not fit, so nothing is believed: at first use
the worst inputs are compared with float64, and each convolution's first image with float32; where one differs, or torch
has no such operator, float32 computes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.execute.whole_products import WholeProduct
from qtrain.export.execute.windows import symmetric_pads

_LEAST_WEIGHT = -128
_MOST_WEIGHT = 127
_SIGN = 128  # the bit whose change adds 128 to a number of eight bits


def _zero_of(least: float, most: float) -> int | None:
    """What stands for 0 among the numbers 0 to 255 that a range is shifted to; None where it has more numbers."""
    if least >= 0 and most <= 255:
        return 0
    return _SIGN if least >= -128 and most <= 127 else None


class Int8Convolution:
    """A convolution of whole numbers with constant weights.

    Args:
        weight: whole numbers of eight bits, [outputs, channels, height, width].
        stride: in both directions.
        padding: with zeros, at both ends of a direction.
        dilation: in both directions.
        groups: of channels.
        zero: what stands for 0 among the inputs' 0 to 255.
    """

    def __init__(
        self, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int, zero: int
    ):
        self._zero = zero
        self._scale = torch.ones(len(weight))
        self._zero_weight = torch.zeros(len(weight), dtype=torch.int32)
        self._how = (stride, padding, dilation, groups)
        pack = torch.ops.onednn.qconv_prepack
        self._packed = pack(weight.to(torch.int8).contiguous(), self._scale, 1.0, zero, *self._how, None)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the sums, float32, of whole numbers [N, C, H, W]."""
        small = x.to(torch.int8).view(torch.uint8).bitwise_xor_(_SIGN) if self._zero else x.to(torch.uint8)
        small = small.contiguous(memory_format=torch.channels_last)
        weights = (self._packed, self._scale, self._zero_weight, None)
        plain: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        convolve = torch.ops.onednn.qconv2d_pointwise
        sums: Tensor = convolve(small, 1.0, self._zero, *weights, *self._how, *plain)
        return sums


class Int8Product:
    """A node's convolution with all parts of its weights.

    Args:
        product: the weights.
        zero: what stands for 0 among the inputs' 0 to 255.
        attributes: of the node.
        padding: with zeros, at both ends of a direction.
    """

    def __init__(self, product: WholeProduct, zero: int, attributes: Mapping[str, Any], padding: list[int]):
        self._product = product
        stride = list(attributes.get("strides", [1, 1]))
        dilation = list(attributes.get("dilations", [1, 1]))
        groups = attributes.get("group", 1)
        self._convolutions = {
            id(part): Int8Convolution(part, stride, padding, dilation, groups, zero) for part in product.parts()
        }

    def __call__(self, steps: Tensor) -> Tensor:
        """Return the sums, float64 [N, outputs, H, W], channels last, of whole numbers [N, C, H, W]."""
        return self._product(lambda filters: self._convolutions[id(filters)](steps), 1)


def int8_product(product: WholeProduct, least: float, most: float, attributes: Mapping[str, Any]) -> Int8Product | None:
    """Return how to convolve on the integer units; None where numbers do not fit into eight bits, or cannot be there.

    Args:
        product: weights of a node ``Conv``.
        least: of the inputs.
        most: of the inputs.
        attributes: of the node.
    """
    zero = _zero_of(least, most)
    padding = symmetric_pads(attributes)
    images = product.low.dim() == 4 and product.low.numel() > 0 and product.low.device.type == "cpu"
    if zero is None or padding is None or not images or not exact_here():
        return None
    if not _sees_images(padding, product.low.shape[2:], attributes.get("dilations", [1, 1])):
        return None
    fit = all(part.amin() >= _LEAST_WEIGHT and part.amax() <= _MOST_WEIGHT for part in product.parts())
    return Int8Product(product, zero, attributes, padding) if fit else None


def _sees_images(padding: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]) -> bool:
    """Whether every window holds some of the image: of one that lies in the padding torch 2.13 gives what it likes."""
    reach = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    return all(pad <= end for pad, end in zip(padding, reach, strict=True))


@functools.cache
def exact_here() -> bool:
    """Whether this processor and torch convolve whole numbers of eight bits exactly, by the worst of them."""
    draw = torch.Generator().manual_seed(0)
    try:
        return all(_is_exact(zero, channels, draw) for zero in (0, 128) for channels in (3, 16, 51))
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):  # no such operator in this torch
        return False


def _is_exact(zero: int, channels: int, draw: torch.Generator) -> bool:
    """Whether sums up to just below 2**24 come out."""
    least = -zero
    most = 255 - zero
    weight = torch.randint(_LEAST_WEIGHT, _MOST_WEIGHT + 1, (16, channels, 3, 3), generator=draw)
    weight[0] = _MOST_WEIGHT
    weight[1] = _LEAST_WEIGHT
    x = torch.randint(least, most + 1, (3, channels, 6, 6), generator=draw).double()
    x[0] = most
    x[1] = least
    sums = Int8Convolution(weight, [1, 1], [1, 1], [1, 1], 1, zero)(x)
    return torch.equal(sums.double(), F.conv2d(x, weight.double(), padding=1))
