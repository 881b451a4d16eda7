"""Execute a QONNX graph in float64 with torch, a batch at a time.

qonnx's own executor runs node by node in float32 and one image at a time; this one is exact to 1e-15 and fast enough
for a whole test set. Operators follow the ONNX and QONNX specifications; the proof compares it with qonnx's executor
on real images at every export.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.grid import Grid, grid_of, on_the_grid

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]
TIE = 1e-9
_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round,  # half to even, as numpy's and Brevitas'
    "HALF_EVEN": torch.round,
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "DOWN": torch.trunc,
}


def _rounding(a: Attributes) -> Callable[[Tensor], Tensor]:
    mode = a.get("rounding_mode", b"ROUND").decode().upper()
    if mode not in _ROUNDING:
        raise ProofError(f"rounding mode {mode!r} is not one of {', '.join(_ROUNDING)}")
    return _ROUNDING[mode]


def _quant(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, bits: Tensor) -> Tensor:
    signed, narrow, width = bool(a.get("signed", 1)), bool(a.get("narrow", 1)), int(bits)
    y = x / scale + zero_point
    if width == 1 and signed:
        y = torch.where(y >= 0, 1.0, -1.0).to(x.dtype)
    else:
        low = (-(2 ** (width - 1)) + narrow) if signed else 0
        high = 2 ** (width - 1) - 1 if signed else 2**width - 1 - narrow
        y = _rounding(a)(y.clamp(low, high))
    return (y - zero_point) * scale


def _bipolar_quant(_: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    return torch.where(x >= 0, scale, -scale)


def _symmetric_pads(a: Attributes, x: Tensor, value: float) -> Tensor:
    pads = list(a.get("pads", [0] * (2 * (x.dim() - 2))))
    half = len(pads) // 2
    # ONNX lists all starts, then all ends; torch wants (start, end) pairs from the last axis.
    torch_order = [p for axis in reversed(range(half)) for p in (pads[axis], pads[axis + half])]
    return F.pad(x, torch_order, value=value) if any(pads) else x


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = _symmetric_pads(a, x, 0.0)
    options = {"stride": a.get("strides", [1, 1]), "dilation": a.get("dilations", [1, 1]), "groups": a.get("group", 1)}
    return F.conv2d(x, weight, bias, **options)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x = _symmetric_pads(a, x, float("-inf"))
    return F.max_pool2d(
        x,
        a["kernel_shape"],
        a.get("strides", [1, 1]),
        dilation=a.get("dilations", 1),
        ceil_mode=bool(a.get("ceil_mode")),
    )


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    x, y = (x.T if a.get("transA") else x), (y.T if a.get("transB") else y)
    out = a.get("alpha", 1.0) * (x @ y)
    return out if c is None else out + a.get("beta", 1.0) * c


def top1(logits: Tensor, axis: int = -1) -> Tensor:
    """Index of the largest value, the lowest one among equals, axis kept.

    Two classes with equal integer sums tie exactly in hardware, where the lower index wins; float64 leaves up to 1e-15
    between them, so that values closer than ``TIE`` count as equal. Distinct sums are a quantizer's step apart.
    """
    return tied(logits, axis).int().argmax(axis, keepdim=True)


def tied(logits: Tensor, axis: int = -1) -> Tensor:
    """Where the value equals the largest one, as bool of the same shape."""
    best = logits.amax(axis, keepdim=True)
    return logits >= best - TIE * best.abs().clamp(min=1)


def _top_k(a: Attributes, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    axis = a.get("axis", -1)
    if int(k) != 1 or not a.get("largest", 1):
        raise ProofError(f"TopK with k={int(k)}: only the largest one is executed")
    index = top1(x, axis)
    return x.gather(axis, index), index


def _reshape(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[0], *shape.tolist()[1:]])  # graphs are exported for one image


OPERATORS: dict[str, Operator] = {
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "Div": lambda _, x, y: x / y,
    "Sqrt": lambda _, x: x.sqrt(),
    "Relu": lambda _, x: x.relu(),
    "Identity": lambda _, x: x,
    "MatMul": lambda _, x, y: x @ y,
    "Transpose": lambda a, x: x.permute(a["perm"]) if "perm" in a else x.permute(*reversed(range(x.dim()))),
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Reshape": _reshape,
    "Conv": _conv,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "GlobalAveragePool": lambda _, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "Quant": _quant,
    "BipolarQuant": _bipolar_quant,
    "TopK": _top_k,
}


def _constant(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def _run(
    node: NodeProto, attributes: Attributes, operator: Operator, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    out = operator(attributes, *(values[name] if name else None for name in node.input))
    return dict(zip(node.output, out if isinstance(out, tuple) else (out,), strict=False))


class Executor:
    """A QONNX graph, ready to run in float64.

    Args:
        model: exported for a batch of one; executed with any batch size.

    Raises:
        ProofError: the graph holds an operator outside ``OPERATORS``.
    """

    def __init__(self, model: ModelWrapper):
        self.input: str = model.graph.input[0].name
        self.output: str = model.graph.output[0].name
        initializers = [init.name for init in model.graph.initializer]
        self._constants = {name: _constant(model.get_initializer(name)) for name in initializers}
        self._nodes: list[tuple[NodeProto, Attributes, Operator]] = []
        grids: dict[str, Grid] = {}
        for node in model.graph.node:
            if node.op_type not in OPERATORS:
                raise ProofError(f"node {node.name!r}: cannot execute operator {node.op_type!r}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operator = OPERATORS[node.op_type]
            if grid := grid_of(node, attributes, grids, self._constants):
                grids[node.output[0]] = grid
            if all(name in self._constants for name in node.input if name):
                self._constants.update(_run(node, attributes, operator, self._constants))  # quantized weights, once
            else:
                operator = on_the_grid(node, operator, grids, self._constants)
                self._nodes.append((node, attributes, operator))

    @torch.no_grad()
    def __call__(self, x: Tensor, keep: Collection[str] = ()) -> dict[str, Tensor]:
        """Execute on ``x`` [N, C, H, W]; return the graph's output and the tensors named in ``keep``."""
        wanted = {self.output, *keep}
        last_use = {name: i for i, (node, _, _) in enumerate(self._nodes) for name in node.input}
        values = {**self._constants, self.input: x.double()}
        for i, (node, attributes, operator) in enumerate(self._nodes):
            values.update(_run(node, attributes, operator, values))
            for name in node.input:
                if last_use[name] == i and name not in wanted:
                    values.pop(name, None)
        return {name: values[name] for name in wanted}
