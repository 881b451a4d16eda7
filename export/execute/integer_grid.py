"""Which tensors of a graph lie on an integer grid, and convolutions that are computed there.

A quantizer with one constant scale and zero point 0 gives integers times that scale. A sum of products of such
integers is exact in float32 while it stays below 2**24: the convolution then costs a third of one in float64, and two
channels with equal sums get equal values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto
from torch import Tensor

EXACT_FLOAT32 = 2**24
WIDEST = 64  # bits; a number of more is damaged, and two to its power may not fit into memory
_KEEPS_GRID = ("MaxPool", "MaxPoolNHWC", "Im2Col", "Flatten", "Reshape", "Transpose", "Identity")


@dataclass(frozen=True)
class Grid:
    """Values are ``scale`` times integers of magnitude up to ``bound``."""

    scale: float
    bound: int

    def integers(self, x: Tensor) -> Tensor:
        """Return the integers, as float32."""
        return (x / self.scale).round_().float()


def grid_of(
    node: NodeProto, attributes: Mapping[str, Any], grids: Mapping[str, Grid], constants: Mapping[str, Tensor]
) -> Grid | None:
    """Return the grid of a node's output, None where there is none or it is not known."""
    if node.op_type in _KEEPS_GRID:
        return grids.get(node.input[0])
    if node.op_type == "MultiThreshold":
        return _of_thresholds(attributes, constants.get(node.input[1]))
    if node.op_type not in ("Quant", "IntQuant", "BipolarQuant"):
        return None
    parameters = [constants.get(name) for name in node.input[1:]]
    if any(p is None or p.numel() != 1 for p in parameters):
        return None
    scale, *rest = (float(p) for p in parameters if p is not None)
    if node.op_type == "BipolarQuant":
        return Grid(abs(scale), 1)
    zero_point, bits = rest
    return Grid(abs(scale), 2 ** int(bits)) if zero_point == 0 and 1 <= bits < WIDEST else None


def _of_thresholds(attributes: Mapping[str, Any], thresholds: Tensor | None) -> Grid | None:
    """Counts of thresholds, where they start at a whole number of steps."""
    scale = attributes.get("out_scale", 1.0)
    bias = attributes.get("out_bias", 0.0)
    if thresholds is None or not scale or bias % scale:
        return None
    return Grid(abs(scale), thresholds.shape[-1] + abs(int(bias / scale)))


def integer_grid(constant: Tensor) -> Grid | None:
    """The grid of a constant matrix or filter that holds whole numbers only, as weights inside FINN do."""
    if (
        constant.dim() < 2
        or not constant.numel()
        or not constant.is_floating_point()
        or not bool((constant == constant.round()).all())
    ):
        return None
    return Grid(1.0, int(constant.abs().amax())) if bool(constant.isfinite().all()) else None


def on_the_grid(
    node: NodeProto, operator: Callable[..., Any], grids: Mapping[str, Grid], constants: Mapping[str, Tensor]
) -> Callable[..., Any]:
    """Return ``operator`` itself, or for an exact convolution or product with constant weights its integer form."""
    if node.op_type not in ("Conv", "MatMul") or len(node.input) != 2:
        return operator
    x_name, w_name = node.input
    x_grid = grids.get(x_name)
    w_grid = grids.get(w_name)
    weight = constants.get(w_name)
    if x_grid is None or w_grid is None or weight is None:
        return operator
    integers = w_grid.integers(weight)
    # The largest sum any output can reach, whatever the input: a column of a MatMul's matrix, a filter of a Conv.
    filters = integers.T if node.op_type == "MatMul" else integers
    largest = x_grid.bound * filters.flatten(1).abs().sum(1).max().item()
    if largest >= EXACT_FLOAT32:
        return operator
    scale = x_grid.scale * w_grid.scale

    def integer_operator(attributes: Mapping[str, Any], x: Tensor, _weight: Tensor) -> Tensor:
        return operator(attributes, x_grid.integers(x), integers).double().mul_(scale)

    return integer_operator
