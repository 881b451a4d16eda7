"""Lint's rules about quantizers: scales, zero points, bits, and what a ReLU's or a sign's must be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from qtrain.export.lint.finding import PARTITION, TO_FINN, UNMAPPED, WHOLE, Finding
from qtrain.export.lint.streams import PRODUCTS, Network, Rule, attributes, followed_by_quantizer

MAX_BITS = 8  # FINN's max_multithreshold_bit_width
NEAREST = ("ROUND", "HALF_EVEN")
CHEAP_BITS = 4  # above, thresholds take most of the logic


def activations(net: Network) -> Iterator[Finding]:
    """A ReLU becomes the thresholds of the quantizer behind it."""
    for node in net.running("Relu"):
        if not followed_by_quantizer(net, node):
            says, mend = UNMAPPED.format("Relu"), "use brevitas.nn.QuantReLU in its place"
            yield Finding("float-activation", "error", net.layer(node), says, PARTITION, mend)
    for node in net.running("Quant", "IntQuant"):
        before, options = net.producer(node.input[0]), attributes(node)
        if before is not None and before.op_type == "Relu":
            if options.get("signed", 1) or options.get("narrow", 0):
                says = "FINN only supports unsigned and non-narrow Quant nodes for Relu activations."
                mend = "use an unsigned quantizer that is not narrow, e.g. brevitas.quant.Uint8ActPerTensorFloat"
                yield Finding("relu-quantizer", "error", net.layer(node), says, TO_FINN, mend)
        elif not options.get("signed", 1):
            says = "finn-plus takes it; official FINN main and dev refuse an unsigned quantizer without a ReLU"
            mend = "use a QuantReLU, or a signed quantizer, e.g. brevitas.quant.Int8ActPerTensorFloat"
            yield Finding("unsigned-identity", "warning", net.layer(node), says, f"{TO_FINN} (main, dev)", mend)


def quantizer_values(net: Network) -> Iterator[Finding]:
    """Zero points, bit widths and scales of all quantizers."""
    for node in net.of_type("Quant", "IntQuant", "BipolarQuant"):
        scale = net.constant(node, 1)
        if scale is not None and not (np.isfinite(scale).all() and (scale != 0).all()):
            yield one_bit_finding(net.layer(node), "Rounding error is too high to match set QONNX datatype (BIPOLAR)")
        rounding = attributes(node).get("rounding_mode", "ROUND")
        if rounding.upper() not in NEAREST:
            yield rounding_finding(net.layer(node), rounding)
        zero_point = net.constant(node, 2)
        if zero_point is not None and (zero_point != 0).any():
            yield zero_point_finding(net.layer(node))
        if not net.dynamic(node):
            continue
        bits = net.constant(node, 3)
        if bits is not None and bits.max() > MAX_BITS:
            says = f"leaves it and all behind it in software: {bits.max():g} bits are {2 ** bits.max():g} thresholds"
            mend = f"use at most {MAX_BITS} bits (each bit doubles the thresholds; 4 or less are cheap)"
            yield Finding("wide-activation", "error", net.layer(node), says, TO_FINN, mend)
        if scale is not None and scale.size > 1:
            says, mend = (
                "leaves what follows in software",
                "use one scale for the tensor: scaling_per_output_channel False",
            )
            yield Finding("activation-scale", "error", net.layer(node), says, PARTITION, mend)


def rounding_finding(layer: str, rounding: str) -> Finding:
    """Make the finding about a quantizer that does not round to the nearest."""
    says = f"nothing, and computes wrong classes: it rounds to the nearest, this quantizer's rounding is {rounding}"
    mend = "leave the rounding to Brevitas, or give float_to_int_impl_type='ROUND'"
    return Finding("quantizer-rounding", "error", layer, says, TO_FINN, mend)


def zero_point_finding(layer: str) -> Finding:
    """Make the finding about a quantizer with a zero point."""
    says = "Only Quant nodes with zero-point == 0 are currently supported."
    mend = "use a symmetric quantizer, e.g. Int8ActPerTensorFloat, Uint8ActPerTensorFloat, Int8WeightPerTensorFloat"
    return Finding("zero-point", "error", layer, says, TO_FINN, mend)


def one_bit(net: Network) -> Iterator[Finding]:
    """Activations of one bit are signs, of scale 1."""
    for node in net.running("BipolarQuant"):
        scale = net.constant(node, 1)
        if scale is not None and np.isfinite(scale).all() and (scale != 1).any():
            yield sign_scale_finding(net.layer(node))


def one_bit_finding(layer: str, says: str) -> Finding:
    """Make the finding about an integer quantizer of one bit."""
    mend = "use a binary quantizer: weights with quant_type BINARY and a BinaryQuant, activations with "
    mend += "SignedBinaryActPerTensorConst; or 2 bits"
    return Finding("integer-1-bit", "error", layer, says, TO_FINN, mend)


def sign_scale_finding(layer: str) -> Finding:
    """Make the finding about a sign whose scale is not 1."""
    says = "FINN only supports Bipolar identity activations with out per channel scaling and the scaling must be 1."
    mend = "use brevitas.quant.SignedBinaryActPerTensorConst (the sign, scale 1), or 2 bits"
    return Finding("sign-scale", "error", layer, says, TO_FINN, mend)


def thresholds(net: Network) -> Iterator[Finding]:
    """One note about the price of wide activations."""
    wide = [
        node for node in net.running("Quant") if (bits := net.constant(node, 3)) is not None and 4 < bits.max() <= 8
    ]
    hidden = [node for node in wide if not _is_first(net, node)]
    if hidden:
        names = ", ".join(net.layer(node) for node in hidden[:3]) + (", ..." if len(hidden) > 3 else "")
        says = f"{names}: thresholds double with each bit and take most of the logic above 4 bits"
        yield Finding(
            "thresholds", "note", WHOLE, says, "step_specialize_layers", "use 4 bits or less, if the board is full"
        )


def _is_first(net: Network, node: NodeProto) -> bool:
    """Whether no layer with weights lies before a quantizer: it quantizes the image."""
    before = net.producer(node.input[0])
    while before is not None and before.op_type not in PRODUCTS:
        before = net.producer(net.dynamic(before)[0])
    return before is None


QUANTIZER_RULES: tuple[Rule, ...] = (activations, quantizer_values, one_bit, thresholds)
