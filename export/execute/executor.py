"""Execute a QONNX graph in float64 with torch, a batch at a time.

qonnx's own executor runs node by node in float32 and one image at a time; this one is exact to 1e-15 and fast enough
for a whole test set. Operators follow the ONNX and QONNX specifications; the proof compares it with qonnx's executor
on real images at every export.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import NodeProto, TensorProto
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.errors import ProofError
from qtrain.export.execute.batches import images_at_a_time
from qtrain.export.execute.folded import folded, is_folded
from qtrain.export.execute.integer_grid import Grid, grid_of, integer_grid
from qtrain.export.execute.nodes import attributes_of, check_written, refusing, run_node
from qtrain.export.execute.operators import AS_WRITTEN, OPERATORS, Attributes, Operator
from qtrain.export.execute.precision import exact_float32
from qtrain.export.execute.whole_steps import in_order, on_steps, values_of

_INTEGERS = {
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
}
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class _Step(NamedTuple):
    """A node that depends on the images.

    Attributes:
        operator: for any number of images, where the graph was written for one.
        as_written: for as many images as the graph declares.
        takes_steps: whether both take, or give, tensors in whole steps of their grid.
    """

    node: NodeProto
    attributes: Attributes
    operator: Callable[..., Any]
    as_written: Callable[..., Any]
    takes_steps: bool


def _constant(name: str, array: np.ndarray) -> Tensor:
    try:
        tensor = torch.from_numpy(np.array(array))
    except TypeError:
        raise ProofError(f"constant {name!r} holds {array.dtype}, which is not executed") from None
    return tensor.double() if tensor.is_floating_point() else tensor


def _rounded_as_float32(
    node: NodeProto, attributes: Attributes, operator: Operator, constants: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """``constants`` with a quantizer's weights where float32 rounds them to, as in the network and FINN.

    Where a weight lies between two steps to float32's precision, float64 may see the other one nearer.
    """
    if node.op_type not in ("Quant", "IntQuant") or constants[node.input[0]].dim() < 2:
        return constants  # a bias' scale is no constant in the network
    floats = {name: constants[name].float() for name in node.input}
    rounded = run_node(node, attributes, operator, floats)[node.output[0]]
    return {**constants, node.input[0]: rounded.double()}


class Executor:
    """A QONNX graph, ready to run in float64.

    Args:
        model: exported for a batch of one; executed with any batch size.
        operators: by ONNX operator type.
        device: that executes; what goes in and comes out lies on the CPU.

    Attributes:
        input: the graph's input.
        output: its output.
        constants: all tensors that do not depend on the input.
        device: that executes.
        largest: values of an image's largest tensor, as far as images were executed.

    Raises:
        ProofError: the image meets an operator outside ``operators``, or one that is not executed as it is specified,
            or it is no graph of one input whose nodes follow each other.
    """

    def __init__(
        self, model: ModelWrapper, operators: Mapping[str, Operator] = OPERATORS, device: torch.device | None = None
    ):
        self.device = device or torch.device("cpu")
        self.largest = 0
        initializers = {init.name: model.get_initializer(init.name) for init in model.graph.initializer}
        self.constants = {name: _constant(name, value) for name, value in initializers.items()}
        self.output: str = _names(model.graph.output, "output")[0]
        self._take_input(model)
        self._nodes: list[_Step] = []
        grids = {name: grid for name, value in self.constants.items() if (grid := integer_grid(value))}
        made = {self.input}
        for node in model.graph.node:
            check_written(node, made | self.constants.keys())
            if is_folded(node, self.constants):
                with refusing(node):
                    self.constants.update(folded(node, self.constants, model.model.opset_import))
            else:
                self._add(node, operators, grids)
            made.update(name for name in node.output if name)
        if self.output not in made | self.constants.keys():
            raise ProofError(f"the graph's output {self.output!r} is made by no node")
        self._held = {name: _beside(value, self.device) for name, value in self.constants.items()}

    def _add(self, node: NodeProto, operators: Mapping[str, Operator], grids: dict[str, Grid]) -> None:
        """Compute a node of constants now, and keep another for the images."""
        attributes = attributes_of(node, operators)
        operator = operators[node.op_type]
        as_written = AS_WRITTEN.get(node.op_type, operator)
        with refusing(node):
            if grid := grid_of(node, attributes, grids, self.constants):
                grids[node.output[0]] = grid
            on_grid = on_steps(node, operator, grids, self.constants, self.device)
            on_grid_as_written = on_steps(node, as_written, grids, self.constants, self.device)
        if all(name in self.constants for name in node.input if name):
            values = _rounded_as_float32(node, attributes, as_written, self.constants)
            self.constants.update(run_node(node, attributes, as_written, values))  # quantized weights, once
            return
        if on_grid is None or on_grid_as_written is None:
            self._nodes.append(_Step(node, attributes, operator, as_written, takes_steps=False))
        else:
            self._nodes.append(_Step(node, attributes, on_grid, on_grid_as_written, takes_steps=True))

    def _take_input(self, model: ModelWrapper) -> None:
        """Find the graph's one input, its type and the number of images that it declares."""
        names = _names(model.graph.input, "input")
        open_inputs = [name for name in names if name not in self.constants]
        if len(open_inputs) > 1:
            raise ProofError(f"the graph has the inputs {', '.join(open_inputs)}; a graph of one is executed")
        self.input: str = (open_inputs or names)[0]
        declared = next(value for value in model.graph.input if value.name == self.input)
        kind = declared.type.tensor_type.elem_type
        if kind not in _FLOATS and kind not in _INTEGERS:
            raise ProofError(f"the graph's input {self.input!r} is no tensor of numbers that are executed")
        self._dtype = _INTEGERS.get(kind, torch.float64)
        dims = declared.type.tensor_type.shape.dim
        self._declared = max(1, dims[0].dim_value) if dims else 1  # an open one is read as one image

    @torch.no_grad()
    def __call__(self, x: Tensor, keep: Collection[str] = ()) -> dict[str, Tensor]:
        """Execute on ``x`` [N, C, H, W]; return the graph's output and the tensors named in ``keep``."""
        wanted = {self.output, *keep}
        last_use = {name: i for i, step in enumerate(self._nodes) for name in step.node.input}
        values = {**self._held, self.input: x.to(self.device, self._dtype)}
        as_declared = x.dim() == 0 or len(x) == self._declared
        if self._declared != 1 and not as_declared:
            raise ProofError(
                f"the graph declares {self._declared} images at a time; declare 1, and any number is executed"
            )
        with exact_float32(self.device):
            for i, step in enumerate(self._nodes):
                operator = step.as_written if as_declared else step.operator
                made = run_node(step.node, step.attributes, operator, values, step.takes_steps)
                self.largest = max(self.largest, *(value.numel() // max(1, len(x)) for value in made.values()))
                values.update(made)
                for name in step.node.input:
                    if last_use[name] == i and name not in wanted:
                        values.pop(name, None)
        return {name: in_order(values_of(values[name])).cpu() for name in wanted}

    def batches(self, x: Tensor, keep: Collection[str] = ()) -> Iterator[dict[str, Tensor]]:
        """Execute on any number of images, as many at a time as are computed fast; yield what each batch gives."""
        if len(x) > 1 and not self.largest:
            self(x[:1])
        yield from (self(batch, keep) for batch in x.split(images_at_a_time(self.largest, self.device)))


def _beside(value: Tensor, device: torch.device) -> Tensor:
    """A constant on the device; what operators read stays, a single number or a shape, so that none waits for it."""
    return value.to(device) if value.dim() and value.is_floating_point() else value


def _names(values: Collection[Any], what: str) -> list[str]:
    """The names of a graph's inputs or outputs.

    Raises:
        ProofError: there is none.
    """
    if not values:
        raise ProofError(f"the graph has no {what}")
    return [value.name for value in values]
