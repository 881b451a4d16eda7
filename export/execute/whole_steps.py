"""Tensors in whole steps of their grid, from the quantizer that makes them to the product that takes them.

A quantizer's output is whole numbers times a scale, and a product on integers wants the numbers back. Between the two
nothing is lost: the values, where something else wants them, are the quantizer's to the bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import NodeProto
from torch import Tensor

from qtrain.export.execute.integer_grid import KEEPS_GRID, Grid
from qtrain.export.execute.quantize import steps_of
from qtrain.export.execute.whole_products import WholeProduct, whole_product

QUANTIZERS = ("Quant", "IntQuant")


@dataclass(frozen=True)
class Steps:
    """A tensor on an integer grid.

    Attributes:
        whole: its whole steps, float64.
        scale: of one step; positive, one value.
    """

    whole: Tensor
    scale: Tensor

    def numel(self) -> int:
        """Return the number of values."""
        return self.whole.numel()

    def values(self) -> Tensor:
        """Return what the quantizer gives."""
        return self.whole * self.scale


Operator = Callable[..., Any]


def values_of(x: Any) -> Any:
    """Return the values of a tensor in steps; anything else as it is."""
    return x.values() if isinstance(x, Steps) else x


def on_steps(
    node: NodeProto,
    operator: Operator,
    grids: Mapping[str, Grid],
    constants: Mapping[str, Tensor],
    device: torch.device,
) -> Operator | None:
    """Return the form of ``operator`` that takes or gives ``Steps``, None where it has none.

    Args:
        node: whose grids are known.
        operator: on values.
        grids: of tensors, by name.
        constants: by name.
        device: that executes.
    """
    if node.op_type in ("Conv", "MatMul"):
        return _on_the_grid(node, operator, grids, constants, device)
    if node.output[0] not in grids:
        return None
    if node.op_type in KEEPS_GRID:
        return _keeping(operator)
    if node.op_type in QUANTIZERS and float(constants[node.input[1]]) > 0:
        return _quantizing
    return None


def _keeping(operator: Operator) -> Operator:
    """An operator that moves or chooses values, which are those of the steps that it moves or chooses."""

    def keep(attributes: Mapping[str, Any], x: Tensor | Steps, *others: Tensor) -> Tensor | Steps:
        if isinstance(x, Steps):
            return Steps(operator(attributes, x.whole, *others), x.scale)
        moved: Tensor = operator(attributes, x, *others)
        return moved

    return keep


def _quantizing(
    attributes: Mapping[str, Any], x: Tensor | Steps, scale: Tensor, zero_point: Tensor, bits: Tensor
) -> Steps:
    return Steps(steps_of(attributes, values_of(x), scale, zero_point, bits), scale)


def _on_the_grid(
    node: NodeProto,
    operator: Operator,
    grids: Mapping[str, Grid],
    constants: Mapping[str, Tensor],
    device: torch.device,
) -> Operator | None:
    """The integer form of a convolution or product with constant weights, None where that is not exact."""
    if len(node.input) != 2:
        return None
    x_name, w_name = node.input
    x_grid = grids.get(x_name)
    w_grid = grids.get(w_name)
    weight = constants.get(w_name)
    if x_grid is None or w_grid is None or weight is None:
        return None
    whole = w_grid.whole(weight)
    matrix = node.op_type == "MatMul"
    grouped = any(a.name == "group" and a.i != 1 for a in node.attribute)
    found = whole_product(whole.T if matrix else whole, x_grid.least, x_grid.most, together=grouped)
    if found is None:
        return None
    return _multiplying(operator, found.on(device), x_grid, x_grid.scale * w_grid.scale, matrix)


def _multiplying(operator: Operator, product: WholeProduct, x_grid: Grid, scale: float, matrix: bool) -> Operator:
    def multiply(attributes: Mapping[str, Any], x: Tensor | Steps, _weight: Tensor) -> Tensor:
        steps = x.whole if isinstance(x, Steps) else x_grid.whole(x)
        single = steps.float()

        def sums(filters: Tensor) -> Tensor:
            found: Tensor = operator(attributes, single, filters.T if matrix else filters)
            return found

        axis = -1 if matrix else 1
        return product(sums, axis).mul_(scale)

    return multiply
