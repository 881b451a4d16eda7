"""Execute a QONNX graph in float64 with torch, a batch at a time.

qonnx's own executor runs node by node in float32 and one image at a time; this one is exact to 1e-15 and fast enough
for a whole test set. Operators follow the ONNX and QONNX specifications; the proof compares it with qonnx's executor
on real images at every export.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.errors import ProofError
from qtrain.export.grid import grid_of, integer_grid, on_the_grid
from qtrain.export.operators import ON_CONSTANTS, OPERATORS, Attributes, Operator


def _constant(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def _run(
    node: NodeProto, attributes: Attributes, operator: Operator, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    try:
        out = operator(attributes, *(values[name] if name else None for name in node.input))
    except (RuntimeError, ValueError, IndexError) as error:  # a graph of foreign origin may hold anything
        reason = " ".join(str(error).split())
        raise ProofError(f"node {node.name!r}: cannot execute this {node.op_type}: {reason}") from error
    return dict(zip(node.output, out if isinstance(out, tuple) else (out,), strict=False))


def _rounded_as_float32(
    node: NodeProto, attributes: Attributes, operator: Operator, constants: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """``constants`` with a quantizer's weights where float32 rounds them to, as in the network and FINN.

    Where a weight lies between two steps to float32's precision, float64 may see the other one nearer.
    """
    if node.op_type != "Quant" or constants[node.input[0]].dim() < 2:  # a bias' scale is no constant in the network
        return constants
    rounded = operator(attributes, *(constants[name].float() for name in node.input))
    assert isinstance(rounded, Tensor)
    return {**constants, node.input[0]: rounded.double()}


class Executor:
    """A QONNX graph, ready to run in float64.

    Args:
        model: exported for a batch of one; executed with any batch size.
        operators: by ONNX operator type.

    Attributes:
        input: the graph's input.
        output: its output.
        constants: all tensors that do not depend on the input.

    Raises:
        ProofError: the graph holds an operator outside ``operators``.
    """

    def __init__(self, model: ModelWrapper, operators: Mapping[str, Operator] = OPERATORS):
        self.input: str = model.graph.input[0].name
        self.output: str = model.graph.output[0].name
        initializers = [init.name for init in model.graph.initializer]
        self.constants = {name: _constant(model.get_initializer(name)) for name in initializers}
        self._nodes: list[tuple[NodeProto, Attributes, Operator]] = []
        grids = {name: grid for name, value in self.constants.items() if (grid := integer_grid(value))}
        for node in model.graph.node:
            if node.op_type not in operators:
                raise ProofError(f"node {node.name!r}: cannot execute operator {node.op_type!r}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operator = operators[node.op_type]
            if grid := grid_of(node, attributes, grids, self.constants):
                grids[node.output[0]] = grid
            if all(name in self.constants for name in node.input if name):
                operator = ON_CONSTANTS.get(node.op_type, operator)
                values = _rounded_as_float32(node, attributes, operator, self.constants)
                self.constants.update(_run(node, attributes, operator, values))  # quantized weights, once
            else:
                operator = on_the_grid(node, operator, grids, self.constants)
                self._nodes.append((node, attributes, operator))

    @torch.no_grad()
    def __call__(self, x: Tensor, keep: Collection[str] = ()) -> dict[str, Tensor]:
        """Execute on ``x`` [N, C, H, W]; return the graph's output and the tensors named in ``keep``."""
        wanted = {self.output, *keep}
        last_use = {name: i for i, (node, _, _) in enumerate(self._nodes) for name in node.input}
        values = {**self.constants, self.input: x.double()}
        for i, (node, attributes, operator) in enumerate(self._nodes):
            values.update(_run(node, attributes, operator, values))
            for name in node.input:
                if last_use[name] == i and name not in wanted:
                    values.pop(name, None)
        return {name: values[name] for name in wanted}
