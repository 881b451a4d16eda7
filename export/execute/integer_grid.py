"""Which tensors of a graph lie on an integer grid, and between which integers.

A quantizer with one constant scale and zero point 0 gives integers times that scale. Products of two such tensors are
computed on the integers (``whole_products.py``), and two channels with equal sums get equal values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto
from torch import Tensor

WIDEST = 64  # bits; a number of more is damaged, and two to its power may not fit into memory
KEEPS_GRID = ("MaxPool", "MaxPoolNHWC", "Im2Col", "Flatten", "Reshape", "Transpose", "Identity")


@dataclass(frozen=True)
class Grid:
    """Values are ``scale``, which is positive, times whole numbers from ``least`` to ``most``."""

    scale: float
    least: int
    most: int

    def whole(self, x: Tensor) -> Tensor:
        """Return the whole numbers of values on the grid, in their dtype."""
        return (x / self.scale).round_()


def limits(width: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the smallest and the largest integer of ``width`` bits."""
    if signed:
        return -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
    return 0, 2**width - 1 - narrow


def grid_of(
    node: NodeProto, attributes: Mapping[str, Any], grids: Mapping[str, Grid], constants: Mapping[str, Tensor]
) -> Grid | None:
    """Return the grid of a node's output, None where there is none or it is not known."""
    if node.op_type in KEEPS_GRID:
        padded = bool(attributes.get("pad_value", 0))  # with a value that need not lie between the least and the most
        return None if padded else grids.get(node.input[0])
    if node.op_type == "MultiThreshold":
        return _of_thresholds(attributes, constants.get(node.input[1]))
    if node.op_type not in ("Quant", "IntQuant", "BipolarQuant"):
        return None
    parameters = [constants.get(name) for name in node.input[1:]]
    if any(p is None or p.numel() != 1 for p in parameters):
        return None
    scale, *rest = (float(p) for p in parameters if p is not None)
    if node.op_type == "BipolarQuant":
        return _on_grid(scale, -1, 1)
    zero_point, bits = rest
    if zero_point != 0 or not 1 <= bits < WIDEST:
        return None
    signed = bool(attributes.get("signed", 1))
    if signed and int(bits) == 1:
        return _on_grid(scale, -1, 1)
    return _on_grid(scale, *limits(int(bits), signed, bool(attributes.get("narrow", 1))))


def _on_grid(scale: float, least: int, most: int) -> Grid | None:
    """The grid of integers times a scale of any sign."""
    if scale == 0 or scale != scale:
        return None
    return Grid(scale, least, most) if scale > 0 else Grid(-scale, -most, -least)


def _of_thresholds(attributes: Mapping[str, Any], thresholds: Tensor | None) -> Grid | None:
    """Counts of thresholds, where they start at a whole number of steps."""
    scale = attributes.get("out_scale", 1.0)
    bias = attributes.get("out_bias", 0.0)
    if thresholds is None or not scale or bias % scale:
        return None
    start = int(bias / scale)
    return _on_grid(scale, start, start + thresholds.shape[-1])


def integer_grid(constant: Tensor) -> Grid | None:
    """The grid of a constant matrix or filter that holds whole numbers only, as weights inside FINN do."""
    if (
        constant.dim() < 2
        or not constant.numel()
        or not constant.is_floating_point()
        or not bool((constant == constant.round()).all())
        or not bool(constant.isfinite().all())
    ):
        return None
    return Grid(1.0, int(constant.amin()), int(constant.amax()))
