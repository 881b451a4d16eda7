"""Rules about convolutions: groups and biases, padding and kernels, and attributes that a file leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import NodeProto

from qtrain.export.lint.finding import LOWERING, TO_FINN, UNMAPPED, Spot
from qtrain.export.lint.streams import GraphView, attributes

CHANNELS_LAST = "step_channels_last"  # ours; official FINN makes its pools in step_convert_to_hw
# What ONNX lets a file leave out and FINN reads all the same.
WRITTEN_OUT = {"Conv": ("group", "pads", "strides"), "MaxPool": ("pads", "strides"), "Quant": ("narrow", "signed")}
_STEPS = {"MaxPool": CHANNELS_LAST, "Quant": TO_FINN, "Conv": LOWERING}
_NOT_SET = ("", "NOTSET")


def sizes_text(values: tuple[int, ...] | list[int]) -> str:
    """Return sizes as a user writes them, e.g. ``3x3``."""
    return "x".join(map(str, values))


def grouped_convolutions(graph: GraphView) -> Iterator[Spot]:
    """Find grouped convolutions that are not depthwise with one filter a channel."""
    for node in graph.running("Conv"):
        groups = attributes(node).get("group", 1)
        channels = graph.shape(node.input[0])[1]
        outputs = graph.shape(node.output[0])[1]
        if groups != 1 and not groups == channels == outputs:
            says = "cannot reshape array: of grouped convolutions only depthwise ones are lowered, one filter a channel"
            yield graph.spot(node, says)


def quantized_biases(graph: GraphView) -> Iterator[Spot]:
    """Find convolutions whose bias is quantized."""
    for node in graph.running("Conv"):
        if len(node.input) > 2 and graph.weight_quantizer(node.input[2]) is not None:
            says = "cannot reshape array of size 1 into shape (1,C,1,1); official FINN main computes wrong classes"
            yield graph.spot(node, says)


def paddings(graph: GraphView) -> Iterator[Spot]:
    """Find padding that is a layer of its own, for whatever values it pads with; one that adds nothing is none."""
    for node in graph.running("Pad"):
        if graph.shape(node.input[0]) != graph.shape(node.output[0]):
            yield graph.spot(node, UNMAPPED.format("Pad") + "; its default steps: IndexError")


def other_axes(graph: GraphView) -> Iterator[Spot]:
    """Find convolutions and max-pools over images that have not two axes."""
    for node in graph.running("Conv", "MaxPool"):
        axes = len(graph.shape(node.input[0])[2:])
        if axes != 2:
            says = f"IndexError: list index out of range; {node.op_type} has {axes} axes, FINN's images have two"
            yield graph.spot(node, says)


def thin_images(graph: GraphView) -> Iterator[Spot]:
    """Find images of one row or column under a kernel, or padding, that is not as thin."""
    for node in graph.running("Conv", "MaxPool"):
        options = attributes(node)
        sizes = graph.shape(node.input[0])[2:]
        kernel = options.get("kernel_shape") or list(graph.shape(node.input[1])[2:])
        pads = options.get("pads", [0, 0] * len(kernel))
        along = zip(sizes, kernel, pads, strict=False)  # pads: those of the beginnings, then those of the ends
        if len(sizes) == 2 and any(size == 1 and (width, pad) != (1, 0) for size, width, pad in along):
            says = f"Unexpected kernel shape and padding for an input image of {sizes_text(sizes)}"
            yield graph.spot(node, says, step=_STEPS[node.op_type])


def automatic_pads(graph: GraphView) -> Iterator[Spot]:
    """Find pads that a file leaves to ``auto_pad`` where FINN cannot tell them."""
    for node in graph.of_type(*WRITTEN_OUT):
        options = attributes(node)
        automatic = options.get("auto_pad", "NOTSET")
        if automatic not in _NOT_SET and _automatic_is_refused(graph, node, options):
            says = f"of auto_pad={automatic} it computes no pads here: Required attribute pads unspecified, or invalid "
            says += "dimensions"
            yield graph.spot(node, says, step=_STEPS[node.op_type])


def _automatic_is_refused(graph: GraphView, node: NodeProto, options: dict[str, Any]) -> bool:
    """Whether FINN cannot tell the pads, or takes others.

    It computes those of a convolution without stride and dilation; of a pool it reads ``pads``, where they are written.
    """
    if node.op_type == "Conv":
        plain = all(value == 1 for name in ("strides", "dilations") for value in options.get(name, [1]))
        return bool(options["auto_pad"] != "VALID" and not plain)
    if "pads" not in options:
        return True
    sizes = graph.shape(node.input[0])[2:]
    kernel = options["kernel_shape"]
    pads = options["pads"]
    strides = options.get("strides", [1] * len(kernel))
    axes = range(len(kernel))
    counts = [(sizes[i] + pads[i] + pads[i + len(kernel)] - kernel[i]) // strides[i] + 1 for i in axes]
    return counts != list(graph.shape(node.output[0])[2:])


def left_out(graph: GraphView) -> Iterator[Spot]:
    """Find attributes that a file leaves to ONNX's defaults and FINN reads."""
    for node in graph.of_type(*WRITTEN_OUT):
        options = attributes(node)
        pads_are_computed = options.get("auto_pad", "NOTSET") not in _NOT_SET
        read = [name for name in WRITTEN_OUT[node.op_type] if name != "pads" or not pads_are_computed]
        missing = ", ".join(name for name in read if name not in options)
        if missing:
            says = f"reads {missing}, which the file leaves to ONNX's defaults: Required attribute unspecified, or "
            says += "AttributeError: 'NoneType' object has no attribute 'ints'"
            mend = f"write {missing} out, as brevitas.export.export_qonnx does"
            yield graph.spot(node, says, mend=mend, step=_STEPS[node.op_type])
