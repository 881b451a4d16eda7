"""Rules about quantizers: scales, zero points, bits, and what a ReLU's or a sign's must be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from qtrain.export.lint.finding import UNMAPPED, WHOLE, Spot
from qtrain.export.lint.streams import PRODUCTS, GraphView, attributes, followed_by_quantizer

MAX_BITS = 8  # FINN's max_multithreshold_bit_width
CHEAP_BITS = 4  # above, thresholds take most of the logic
ZERO_POINT = "Only Quant nodes with zero-point == 0 are currently supported."
SIGN_SCALE = "FINN only supports Bipolar identity activations with out per channel scaling and the scaling must be 1."
_NEAREST = ("ROUND", "HALF_EVEN")
_ALL = ("Quant", "IntQuant", "BipolarQuant")


def float_activations(graph: GraphView) -> Iterator[Spot]:
    """Find ReLUs that do not become the thresholds of a quantizer behind them."""
    for node in graph.running("Relu"):
        if not followed_by_quantizer(graph, node):
            yield graph.spot(node, UNMAPPED.format("Relu"))


def _behind_relu(graph: GraphView, node: NodeProto) -> bool:
    """Whether a quantizer reads a ReLU."""
    before = graph.producer(node.input[0])
    return before is not None and before.op_type == "Relu"


def relu_quantizers(graph: GraphView) -> Iterator[Spot]:
    """Find quantizers of ReLUs that are signed or narrow."""
    for node in graph.running("Quant", "IntQuant"):
        options = attributes(node)
        if _behind_relu(graph, node) and (options.get("signed", 1) or options.get("narrow", 0)):
            yield graph.spot(node, "FINN only supports unsigned and non-narrow Quant nodes for Relu activations.")


def unsigned_identities(graph: GraphView) -> Iterator[Spot]:
    """Find unsigned quantizers that do not stand behind a ReLU."""
    for node in graph.running("Quant", "IntQuant"):
        if not _behind_relu(graph, node) and not attributes(node).get("signed", 1):
            says = "finn-plus takes it; official FINN main and dev refuse an unsigned quantizer without a ReLU"
            yield graph.spot(node, says)


def one_bit_integers(graph: GraphView) -> Iterator[Spot]:
    """Find quantizers whose scale is no number that divides: the exporter makes it for an integer of one bit."""
    for node in graph.of_type("BipolarQuant"):  # as which the exporter writes every quantizer of one bit
        scale = graph.constant(node, 1)
        if scale is not None and not (np.isfinite(scale).all() and (scale != 0).all()):
            yield graph.spot(node, "Rounding error is too high to match set QONNX datatype (BIPOLAR)")


def roundings(graph: GraphView) -> Iterator[Spot]:
    """Find quantizers that do not round to the nearest."""
    for node in graph.of_type(*_ALL):
        rounding = attributes(node).get("rounding_mode", "ROUND")
        if rounding.upper() not in _NEAREST:
            yield graph.spot(node, rounding_words(rounding))


def rounding_words(rounding: str) -> str:
    """Return what is said of a quantizer that rounds in another way."""
    return f"nothing, and computes wrong classes: it rounds to the nearest, this quantizer's rounding is {rounding}"


def zero_points(graph: GraphView) -> Iterator[Spot]:
    """Find quantizers with a zero point."""
    for node in graph.of_type(*_ALL):
        zero_point = graph.constant(node, 2)
        if zero_point is not None and (zero_point != 0).any():
            yield graph.spot(node, ZERO_POINT)


def wide_activations(graph: GraphView) -> Iterator[Spot]:
    """Find activations of more bits than FINN makes thresholds for."""
    for node in graph.running(*_ALL):
        bits = graph.constant(node, 3)
        if bits is not None and bits.max() > MAX_BITS:
            says = f"leaves it and all behind it in software: {bits.max():g} bits are {2 ** bits.max():g} thresholds"
            yield graph.spot(node, says)


def channel_scales(graph: GraphView) -> Iterator[Spot]:
    """Find activations with a scale for each channel."""
    for node in graph.running(*_ALL):
        scale = graph.constant(node, 1)
        if scale is not None and scale.size > 1:
            yield graph.spot(node, "leaves what follows in software")


def scaled_signs(graph: GraphView) -> Iterator[Spot]:
    """Find activations of one bit whose scale is not 1."""
    for node in graph.running("BipolarQuant"):
        scale = graph.constant(node, 1)
        if scale is not None and np.isfinite(scale).all() and (scale != 1).any():
            yield graph.spot(node, SIGN_SCALE)


def costly_thresholds(graph: GraphView) -> Iterator[Spot]:
    """Name, in one spot, the activations inside the network whose thresholds take most of the logic."""
    layers = []
    for node in graph.running("Quant"):
        bits = graph.constant(node, 3)
        if bits is not None and CHEAP_BITS < bits.max() <= MAX_BITS and not _is_first(graph, node):
            layers.append(graph.layer(node))
    if layers:
        names = ", ".join(layers[:3]) + (", ..." if len(layers) > 3 else "")
        yield Spot(WHOLE, f"{names}: thresholds double with each bit and take most of the logic above 4 bits")


def _is_first(graph: GraphView, node: NodeProto) -> bool:
    """Whether no layer with weights lies before a quantizer: it quantizes the image."""
    before = graph.producer(node.input[0])
    while before is not None and before.op_type not in PRODUCTS:
        before = graph.producer(graph.dynamic(before)[0])
    return before is None
