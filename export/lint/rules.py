"""What FINN refuses, gets wrong or leaves in software, one small function each: ``Network -> findings``.

Every rule was measured with the real compiler on a network that differs from an accepted one in this alone
(``tests/export/lint/probes.py``). What FINN takes with the steps that ``qtrain export`` puts into the folder is no
error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from qtrain.export.lint.finding import PARTITION, TO_FINN, UNMAPPED, WHOLE, Finding
from qtrain.export.lint.layout import LAYOUT_RULES
from qtrain.export.lint.quantizers import QUANTIZER_RULES
from qtrain.export.lint.streams import (
    INVARIANT,
    POOLS,
    PRODUCTS,
    QUANTIZERS,
    Network,
    Rule,
    attributes,
)
from qtrain.export.lint.windows import WINDOW_RULES

KNOWN = {*QUANTIZERS, *PRODUCTS, *INVARIANT, *POOLS, "Trunc", "Relu", "BatchNormalization", "TopK", "Pad"}
KNOWN -= {"Squeeze", "Unsqueeze"}
KNOWN |= {"Add", "Sub", "Mul", "Div", "Softmax", "LogSoftmax"}
ACTIVATION = "use a brevitas.nn.QuantReLU (unsigned) or a signed QuantIdentity or QuantHardTanh"
LEFT = {  # the image is subtracted, or divided by
    "Sub": "write c - x as x * -1.0 + c",
    "Div": "nothing divides by what comes of the image; multiply and add constants",
}
MENDS = {
    "Concat": "add the branches (one shared signed QuantIdentity on both) instead of concatenating them; widen a "
    "shortcut with a 1x1 QuantConv2d instead of channels of zeros",
    "ReduceMean": "take the mean over the whole image with nn.AdaptiveAvgPool2d(1)",
    "ConvTranspose": "FINN's steps have no transposed convolution; leave it to the processor or use QuantConv2d",
    "ArgMax": "return the logits; the export puts TopK behind them",
    "DequantizeLinear": "export with brevitas.export.export_qonnx instead of QCDQ",
    "QuantizeLinear": "export with brevitas.export.export_qonnx instead of QCDQ",
    **dict.fromkeys(("Squeeze", "Unsqueeze"), "flatten with nn.Flatten(); an axis that comes or goes has no hardware"),
    "Neg": "multiply by -1.0 instead",
    **dict.fromkeys(("Shape", "Gather", "Slice"), "flatten with nn.Flatten(), and keep shapes constant"),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), "use nn.BatchNorm2d"),
    **dict.fromkeys(("Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Erf", "HardSwish"), ACTIVATION),
}


def operators(net: Network) -> Iterator[Finding]:
    """Operators without hardware."""
    for node in net.nodes:
        kind, streams = node.op_type, len(net.dynamic(node))
        if not streams:
            continue
        if streams > 1 and kind in ("Mul", "Div", "Sub", *PRODUCTS):
            mend = "of two branches FINN takes the sum only (one shared signed QuantIdentity on both)"
        elif kind == "Reshape" and _rearranges(net, node):
            mend = "flatten for a linear layer only; what mixes or splits channels has no hardware"
        elif kind in ("Sub", "Div") and node.input[0] not in net.streams:
            mend = LEFT[kind]
        elif kind in KNOWN:
            continue
        else:
            mend = MENDS.get(kind, "build it from convolutions, linear layers, max-pools, additions and quantizers")
        yield Finding("operator", "error", net.layer(node), UNMAPPED.format(kind), PARTITION, mend)


def _rearranges(net: Network, node: NodeProto) -> bool:
    """Whether a reshape does more than flatten the image."""
    before, after = net.shape(node.input[0]), net.shape(node.output[0])
    return before != after and len(after) > 2 and len(before) > 2


def average_pools(net: Network) -> Iterator[Finding]:
    """Average pools divide, which is no integer; the global one leaves its division to TopK."""
    for node in net.running("AveragePool"):
        if any(reader.op_type == "Trunc" for reader in net.consumers(node)):
            continue
        yield average_pool_finding(net.layer(node), whole=net.shape(node.output[0])[2:] == (1, 1))


def average_pool_finding(layer: str, whole: bool) -> Finding:
    """Make the finding about an average pool, over the whole image or over windows."""
    mend = "use nn.MaxPool2d, or a stride of 2 in a convolution; a shortcut takes a 1x1 QuantConv2d of stride 2"
    mend = "use nn.AdaptiveAvgPool2d(1) instead" if whole else mend
    return Finding("average-pool", "error", layer, UNMAPPED.format("AveragePool"), PARTITION, mend)


def truncations(net: Network) -> Iterator[Finding]:
    """TruncAvgPool2d: FINN shifts bits out, which rounds down."""
    for node in net.running("Trunc"):
        before = net.producer(node.input[0])
        if before is None or before.op_type != "AveragePool":
            mend = "use nn.AdaptiveAvgPool2d(1), or TruncAvgPool2d with the image's size as its kernel"
            yield Finding("trunc-pool", "error", net.layer(node), UNMAPPED.format("Trunc"), PARTITION, mend)
        elif attributes(node).get("rounding_mode", "FLOOR").upper() == "FLOOR":
            says = "finn-plus and FINN's dev compute it right; official FINN main builds it and computes wrong classes"
            mend = "use nn.AdaptiveAvgPool2d(1) instead: right on all three"
            yield Finding("trunc-compilers", "warning", net.layer(node), says, "step_convert_to_hw (main)", mend)
        else:
            says = "The Trunc node must have the rounding_mode set to 'FLOOR'."
            mend = "use nn.AdaptiveAvgPool2d(1), or give the TruncAvgPool2d float_to_int_impl_type='FLOOR'"
            yield Finding("trunc-rounding", "error", net.layer(node), says, TO_FINN, mend)


def products(net: Network) -> Iterator[Finding]:
    """Convolutions and linear layers multiply integers with integers."""
    for node in net.running(*PRODUCTS):
        if len(net.dynamic(node)) > 1:
            continue
        if not net.integer_constant(node.input[1]):
            says = UNMAPPED.format(f"{node.op_type} with weights in float")
            mend = "use brevitas.nn.QuantConv2d or QuantLinear with a weight quantizer"
            yield Finding("float-weights", "error", net.layer(node), says, PARTITION, mend)
        stream = net.streams[net.dynamic(node)[0]]
        if stream.plain or stream.reported or (_depthwise(net, node) and stream.integers and not stream.offset):
            continue
        source = f" ({net.layer(stream.culprit)} made them so)" if stream.culprit else ""
        says = f"Unsupported/unmapped layer(s): Im2Col, MatMul; it does not get integers{source}"
        mend = "put a quantizer in front: a signed 8-bit QuantIdentity behind the pre-processing, a QuantReLU elsewhere"
        yield Finding("float-input", "error", net.layer(node), says, PARTITION, mend)


def factors(net: Network) -> Iterator[Finding]:
    """Factors of a Gemm, which FINN writes as constants in double beside tensors in float."""
    for node in net.running("Gemm"):
        options = attributes(node)
        if other := [name for name in ("alpha", "beta") if options.get(name, 1.0) != 1.0]:
            says = f"Type parameter (T) of Optype (Mul) bound to different types: of a Gemm's {' and '.join(other)}"
            mend = "multiply the scale of the weights (and the bias) with them, and leave the Gemm without"
            yield Finding("gemm-factors", "error", net.layer(node), says, TO_FINN, mend)


def _depthwise(net: Network, node: NodeProto) -> bool:
    return node.op_type == "Conv" and attributes(node).get("group", 1) == net.shape(node.input[0])[1] > 1


def additions(net: Network) -> Iterator[Finding]:
    """FINN adds integers of one scale."""
    for node in net.running("Add"):
        tensors = net.dynamic(node)
        if len(tensors) < 2 or any(net.streams[tensor].reported for tensor in tensors):
            continue
        pair = [net.quantizer_before(tensor) for tensor in tensors]
        shared = "put ONE signed QuantIdentity on both branches: s = QuantIdentity(...); s(x) + s(y)"
        for tensor, quantizer in zip(tensors, pair, strict=True):
            if quantizer is None and not net.streams[tensor].plain:
                layer, step = net.layer(net.producer(tensor) or node), "step_convert_to_hardware"
                says = (
                    "finn-plus multiplies and adds this branch in FLOAT32, in hardware: it is not quantized; official "
                )
                says += "FINN adds integers only"
                yield Finding("residual-float", "warning", layer, says, step, shared)
                break
        else:
            sources = (net.producer(tensor) for tensor in tensors)
            left, right = (q or source or node for q, source in zip(pair, sources, strict=True))
            if None in pair or not _same(net, left, right):
                layer, step = net.layer(right), "step_streamline (main)"
                says = f"{net.layer(left)} and {layer} differ: finn-plus and dev add multipliers; official FINN main "
                says += "fails: cycle-free graph violated"
                yield Finding("residual-quantizers", "warning", layer, says, step, shared)


def _same(net: Network, left: NodeProto, right: NodeProto) -> bool:
    """Whether two quantizers are one: the same module, or the same values where training does not part them."""
    paths = {net.path(left), net.path(right)}
    if None not in paths and (len(paths) == 1 or not paths <= set(net.fixed)):
        return len(paths) == 1
    values = [[net.constant(node, i) for i in range(1, len(node.input))] for node in (left, right)]
    equal = all(np.array_equal(a, b) for a, b in zip(*values, strict=False) if a is not None and b is not None)
    return equal and left.op_type == right.op_type and attributes(left) == attributes(right)


def averaged(net: Network) -> Iterator[Finding]:
    """The global average becomes a sum whose division waits for a layer's thresholds or for TopK."""
    for node in net.running(*QUANTIZERS):
        before = net.producer(node.input[0])
        while before is not None and before.op_type in INVARIANT:
            before = net.producer(before.input[0])
        if before is not None and before.op_type == "GlobalAveragePool":
            says = UNMAPPED.format("Transpose, between the average and its quantizer")
            mend = "take the quantizer out: the linear layer or 1x1 convolution behind takes the sum as it is"
            yield Finding("average-quantizer", "error", net.layer(node), says, PARTITION, mend)


def flattenings(net: Network) -> Iterator[Finding]:
    """A flattened image has one reader: its weights are put into the order in which hardware sends the pixels."""
    for node in net.running("Flatten", "Reshape"):
        shape, before = net.shape(node.input[0]), net.producer(node.input[0])
        averaged = before is not None and before.op_type == "GlobalAveragePool"
        if len(net.consumers(node)) < 2 or len(shape) != 4 or (shape[2:] == (1, 1) and not averaged):
            continue
        says = UNMAPPED.format("Transpose, Flatten") if not averaged else "Input shape mismatch behind GlobalAccPool"
        mend = "put one linear layer and its quantizer in front of the fork, or shrink the image to one pixel with "
        mend += "nn.MaxPool2d before it"
        yield Finding("forked-flatten", "error", net.layer(node), says, PARTITION, mend)


def heads(net: Network) -> Iterator[Finding]:
    """Only scalars between the last layer and TopK: a positive scale and an offset change no order."""
    for node in net.running("TopK"):
        stream, last = net.streams[node.input[0]], net.producer(node.input[0])
        while last is not None and last.op_type in INVARIANT:
            last = net.producer(last.input[0])
        says = "leaves TopK in software"
        if last is not None and last.op_type in ("Softmax", "LogSoftmax"):
            mend = f"return the logits: {last.op_type} changes no class"
            yield Finding("head", "error", net.layer(last), says, PARTITION, mend)
        if stream.channel_scale or stream.channel_offset:
            mend = "last layer: bias=False, weights per tensor, no BatchNorm1d (qtrain's ScalarNorm is fine)"
            yield Finding("head", "error", net.layer(stream.culprit), says, PARTITION, mend)


def list_only(net: Network) -> Iterator[Finding]:
    """One note about what FINN's default steps leave in software and ours take."""
    layers = [net.layer(node) for node in net.running("GlobalAveragePool")]
    layers += [net.layer(node) for node in net.running("Add") if len(net.dynamic(node)) > 1]
    for node in net.running("MaxPool"):
        before = net.quantizer_before(node.input[0])
        if before is None or any(reader.op_type in QUANTIZERS for reader in net.consumers(node)):
            layers.append(net.layer(node))
    if layers:
        names = ", ".join(dict.fromkeys(layers[:4])) + (", ..." if len(layers) > 4 else "")
        says = f"{names}: FINN's default steps leave them in software, the folder's own (custom_steps.py) take them"
        mend = "build with the folder's build_config.yaml (FINN+) or build.py (official FINN)"
        yield Finding("custom-steps", "note", WHOLE, says, "step_streamline", mend)


RULES: tuple[Rule, ...] = (
    operators,
    average_pools,
    truncations,
    products,
    factors,
    *WINDOW_RULES,
    *LAYOUT_RULES,
    additions,
    averaged,
    flattenings,
    heads,
    list_only,
    *QUANTIZER_RULES,
)
