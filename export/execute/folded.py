"""Operators on constants alone, which FINN folds before it builds: computed once, by onnx's reference in float64.

A network may make numbers of its parameters that no image has a part in, such as ``logits * scale.exp()``. What only
constants pass through needs no hardware, so that more operators are let through here than images may meet.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx.helper as oh
import torch
from onnx import NodeProto, OperatorSetIdProto
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from qtrain.export.execute.windows import check_size

# Of what is given, an operator makes no more values than this; none draws random numbers or holds a graph of its own.
_AS_MANY = frozenset(
    (
        *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Cos", "Cosh"),
        *("CumSum", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
        *("LogSoftmax", "Mish", "Neg", "Not", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum"),
        *("ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
        *("ReduceSumSquare", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice"),
        *("Softmax", "Softplus", "Softsign", "Squeeze", "Tan", "Tanh", "ThresholdedRelu", "Unsqueeze"),
    )
)
_AS_BROADCAST = frozenset(
    (
        *("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Or"),
        *("Pow", "PRelu", "Sum", "Where"),
    )
)
_EACH_WITH_EACH = frozenset(("Einsum", "Gather", "GatherElements"))
_AS_SAID = frozenset(("Expand",))  # by its second input
FOLDED = _AS_MANY | _AS_BROADCAST | _EACH_WITH_EACH | _AS_SAID


def is_folded(node: NodeProto, constants: Mapping[str, Tensor]) -> bool:
    """Whether a node is one of these operators, and no image has a part in what it computes.

    Args:
        node: of a graph.
        constants: all tensors before it that do not depend on the image.
    """
    given = [name for name in node.input if name]
    plain = node.op_type in FOLDED and node.domain in ("", "ai.onnx")
    return plain and bool(given) and all(name in constants for name in given)


def folded(node: NodeProto, constants: Mapping[str, Tensor], opsets: Sequence[OperatorSetIdProto]) -> dict[str, Tensor]:
    """Return what a node makes of constants, floats in float64.

    Args:
        node: that ``is_folded``.
        constants: its inputs, by name.
        opsets: of the graph, which say what the operator means.

    Raises:
        ProofError: a result is too large.
    """
    given = {name: constants[name].numpy() for name in node.input if name}
    check_size(_largest(node, [*given.values()]))
    values = [
        oh.make_tensor_value_info(name, oh.np_dtype_to_tensor_dtype(v.dtype), v.shape) for name, v in given.items()
    ]
    made = [oh.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = oh.make_graph([node], "constants", values, made)
    model = oh.make_model(graph, opset_imports=opsets)
    found = ReferenceEvaluator(model).run(None, given)
    tensors = {value.name: torch.from_numpy(np.array(result)) for value, result in zip(made, found, strict=True)}
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}


def _largest(node: NodeProto, given: Sequence[np.ndarray]) -> Sequence[int]:
    """Return the shape that a node's results have at most."""
    if node.op_type in _AS_SAID:
        return np.broadcast_shapes(given[0].shape, tuple(given[1].tolist()))
    if node.op_type in _AS_BROADCAST:
        return np.broadcast_shapes(*(value.shape for value in given))
    if node.op_type in _EACH_WITH_EACH:
        return [value.size for value in given]
    return given[0].shape
