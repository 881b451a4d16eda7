"""Rules about operators and layers: what has no hardware, and what a convolution or linear layer reads.

What FINN takes with the steps that ``qtrain export`` puts into the folder is no error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from qtrain.export.lint.finding import UNMAPPED, WHOLE, Spot
from qtrain.export.lint.streams import INVARIANT, POOLS, PRODUCTS, QUANTIZERS, GraphView, attributes

KNOWN = {*QUANTIZERS, *PRODUCTS, *INVARIANT, *POOLS, "Trunc", "Relu", "BatchNormalization", "TopK", "Pad"}
KNOWN -= {"Squeeze", "Unsqueeze"}
KNOWN |= {"Add", "Sub", "Mul", "Div", "Softmax", "LogSoftmax"}
_ACTIVATION = "use a brevitas.nn.QuantReLU (unsigned) or a signed QuantIdentity or QuantHardTanh"
_TWO_BRANCHES = "of two branches FINN takes the sum only (one shared signed QuantIdentity on both)"
_REARRANGED = "flatten for a linear layer only; what mixes or splits channels has no hardware"
_NO_SCALE = "let the quantizer measure its scale again, or load weights from before it became 0"
_SHAPES = "flatten with nn.Flatten(), and keep shapes constant"
_CHOSEN = "nothing picks or reorders channels or pixels; prepare images before the network, or let a convolution choose"
_SPATIAL = "take the mean over the whole image with nn.AdaptiveAvgPool2d(1)"
_STATISTICS = "nothing takes means of channels or batches; normalize images by constants, features by nn.BatchNorm2d"
# Behind the logits they change no class: the largest stays the largest.
_RISING = frozenset(("Erf", "Exp", "Sigmoid", "Softplus", "Softsign", "Tanh"))
_LEFT = {  # the image is subtracted, or divided by
    "Sub": "write c - x as x * -1.0 + c",
    "Div": "nothing divides by what comes of the image; multiply and add constants",
}
_MENDS = {
    "Concat": "add the branches (one shared signed QuantIdentity on both) instead of concatenating them; widen a "
    "shortcut with a 1x1 QuantConv2d instead of channels of zeros",
    "ConvTranspose": "FINN's steps have no transposed convolution; leave it to the processor or use QuantConv2d",
    "ArgMax": "return the logits; the export puts TopK behind them",
    "DequantizeLinear": "export with brevitas.export.export_qonnx instead of QCDQ",
    "QuantizeLinear": "export with brevitas.export.export_qonnx instead of QCDQ",
    **dict.fromkeys(("Squeeze", "Unsqueeze"), "flatten with nn.Flatten(); an axis that comes or goes has no hardware"),
    "Cast": "leave out .half(), .double() and .int(): FINN takes the types of values from their quantizers",
    "Neg": "multiply by -1.0 instead",
    "Shape": _SHAPES,
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), "use nn.BatchNorm2d"),
    **dict.fromkeys(("Clip", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "HardSwish", "HardSigmoid"), _ACTIVATION),
    **dict.fromkeys(("Gelu", "Mish", "Softsign", "ThresholdedRelu"), _ACTIVATION),
    "Sigmoid": f"nn.SiLU holds one, as nn.Sigmoid does; {_ACTIVATION}",
    "Tanh": f"nn.Mish and nn.GELU of tanh hold one, as nn.Tanh does; {_ACTIVATION}",
    "Erf": f"nn.GELU holds one; {_ACTIVATION}",
    "Softplus": f"nn.Mish holds one, as nn.Softplus does; {_ACTIVATION}",
}


def without_hardware(graph: GraphView) -> Iterator[Spot]:
    """Find operators that FINN has no hardware for."""
    for node in graph.nodes:
        kind = node.op_type
        streams = len(graph.dynamic(node))
        if not streams or not graph.is_read(node):
            continue
        if streams > 1 and kind in ("Mul", "Div", "Sub", *PRODUCTS):
            mend = _TWO_BRANCHES
        elif kind == "Reshape" and _rearranges(graph, node):
            mend = _REARRANGED
        elif kind in _LEFT and node.input[0] not in graph.streams:
            mend = _LEFT[kind]
        elif kind in KNOWN:
            continue
        elif kind in _RISING and _is_last(graph, node):
            mend = f"return the logits: {kind} changes no class"
        elif kind in ("Gather", "Slice"):
            mend = _CHOSEN if len(graph.shape(node.input[0])) > 1 else _SHAPES  # else of what Shape gives
        elif kind == "ReduceMean":
            mend = _SPATIAL if _axes(graph, node) == {2, 3} else _STATISTICS
        else:
            mend = _MENDS.get(kind, "")
        yield graph.spot(node, UNMAPPED.format(kind), mend=mend)


def unread(graph: GraphView) -> Iterator[Spot]:
    """Find what is computed from the image and goes nowhere: the compiler stumbles over the fork, or keeps it."""
    for node in graph.nodes:
        if graph.dynamic(node) and not graph.is_read(node):
            yield graph.spot(
                node, f"AssertionError, or Unsupported/unmapped layer(s): nothing reads its {node.op_type}"
            )


def not_finite_constants(graph: GraphView) -> Iterator[Spot]:
    """Find constants that are NaN or infinite, made on the way where no weight holds them, and scales of 0."""
    mend = "look at what makes it: a logarithm or root of a negative number, a division by zero, a number too large"
    for node in graph.nodes:
        if node.op_type == "Clip":  # may be open on a side
            continue
        sign = node.op_type == "BipolarQuant"  # whose scale is no number where integers were meant: a rule of its own
        scale = graph.constant(node, 1) if node.op_type in QUANTIZERS and not sign else None
        if scale is not None and not np.all(scale):
            yield graph.spot(node, "nothing of use: it divides by its scale, which is 0", mend=_NO_SCALE)
        for index in range(1 if sign else len(node.input)):
            constant = graph.constant(node, index)
            if constant is None or constant.dtype.kind != "f" or np.isfinite(constant).all():
                continue
            wrong = int((~np.isfinite(constant)).sum())
            says = f"nothing of use: a constant of {node.op_type} holds {wrong} of {constant.size} values that are NaN "
            says += "or infinite"
            yield graph.spot(node, says, mend=mend)


def _is_last(graph: GraphView, node: NodeProto) -> bool:
    """Whether nothing reads what a node makes but the choice of a class."""
    return all(reader.op_type == "TopK" for reader in graph.consumers(node))


def _axes(graph: GraphView, node: NodeProto) -> set[int]:
    """Return the axes that a reduction is over, counted from the front; all of them where it names none."""
    rank = len(graph.shape(node.input[0]))
    given = graph.constant(node, 1)  # an input since opset 18
    axes = attributes(node).get("axes", range(rank)) if given is None else given.tolist()
    return {int(axis) % rank for axis in axes} if rank else set()


def _rearranges(graph: GraphView, node: NodeProto) -> bool:
    """Whether a reshape does more than flatten the image."""
    before = graph.shape(node.input[0])
    after = graph.shape(node.output[0])
    return before != after and len(after) > 2 and len(before) > 2


def _layers(graph: GraphView) -> Iterator[NodeProto]:
    """Yield the convolutions and matrix products of the image with weights, in graph order."""
    return (node for node in graph.running(*PRODUCTS) if len(graph.dynamic(node)) == 1)


def float_weights(graph: GraphView) -> Iterator[Spot]:
    """Find layers whose weights are floats."""
    for node in _layers(graph):
        if not graph.integer_constant(node.input[1]):
            yield graph.spot(node, UNMAPPED.format(f"{node.op_type} with weights in float"))


def float_inputs(graph: GraphView) -> Iterator[Spot]:
    """Find layers that do not get integers."""
    for node in _layers(graph):
        stream = graph.streams[graph.dynamic(node)[0]]
        if stream.plain or stream.reported:
            continue
        if _is_depthwise(graph, node) and stream.integers and not stream.offset:
            continue  # it keeps the channels apart, so that each may have its own scale
        source = f" ({graph.layer(stream.culprit)} made them so)" if stream.culprit else ""
        says = f"Unsupported/unmapped layer(s): Im2Col, MatMul; it does not get integers{source}"
        yield graph.spot(node, says)


def _is_depthwise(graph: GraphView, node: NodeProto) -> bool:
    """Whether a layer is a convolution with as many groups as channels, of which it has several."""
    channels = graph.shape(node.input[0])[1]
    return node.op_type == "Conv" and attributes(node).get("group", 1) == channels > 1


def gemm_factors(graph: GraphView) -> Iterator[Spot]:
    """Find factors of a Gemm, which FINN writes as constants in double beside tensors in float."""
    for node in graph.running("Gemm"):
        options = attributes(node)
        other = [name for name in ("alpha", "beta") if options.get(name, 1.0) != 1.0]
        if other:
            says = f"Type parameter (T) of Optype (Mul) bound to different types: of a Gemm's {' and '.join(other)}"
            yield graph.spot(node, says)


def left_in_software(graph: GraphView) -> Iterator[Spot]:
    """Name the layers, in one spot, that FINN's default steps leave in software and ours take."""
    layers = [graph.layer(node) for node in graph.running("GlobalAveragePool")]
    layers += [graph.layer(node) for node in graph.running("Add") if len(graph.dynamic(node)) > 1]
    for node in graph.running("MaxPool"):
        before = graph.quantizer_before(node.input[0])
        if before is None or any(reader.op_type in QUANTIZERS for reader in graph.consumers(node)):
            layers.append(graph.layer(node))
    if layers:
        names = ", ".join(dict.fromkeys(layers[:4])) + (", ..." if len(layers) > 4 else "")
        says = f"{names}: FINN's default steps leave them in software, the folder's own (custom_steps.py) take them"
        yield Spot(WHOLE, says)
