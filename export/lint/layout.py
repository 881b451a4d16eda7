"""Lint's rules about the order of an image's axes: FINN streams channels last, from graphs that have them first."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from qtrain.export.lint.finding import PARTITION, UNMAPPED, Finding
from qtrain.export.lint.streams import INVARIANT, PRODUCTS, QUANTIZERS, Network, Rule, attributes

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_ELEMENTWISE = ("Mul", "Div", "Add", "Sub")


def transposes(net: Network) -> Iterator[Finding]:
    """Transposes that hardware does not cancel: of the image that comes in, and of images in between."""
    for node in net.running("Transpose"):
        if _harmless(net, node) or len(net.shape(node.input[0])) > 4:  # of more axes, the reshape is named
            continue
        if _permutation(net, node) == TO_CHANNELS_FIRST and _from_the_image(net, node):
            says = "MultiThreshold input (NCHW) and output (NHWC) layout mismatch, or Threshold shape incorrect: it "
            says += "takes every input for channels first"
            mend = (
                "take the Transpose out and let the input be [1, channels, height, width]; hardware streams channels "
            )
            mend += "last all the same"
            yield Finding("channels-last", "error", net.layer(node), says, "step_convert_to_hardware", mend)
        else:
            says = UNMAPPED.format("Transpose")
            mend = "turn no axes inside the network: flatten with nn.Flatten(), and turn images before they come in"
            yield Finding("transpose", "error", net.layer(node), says, PARTITION, mend)


def _permutation(net: Network, node: NodeProto) -> list[int]:
    axes = len(net.shape(node.input[0]))
    return list(attributes(node).get("perm", range(axes)[::-1]))


def _harmless(net: Network, node: NodeProto) -> bool:
    """Whether a transpose does nothing, has its inverse beside it, or only orders the pixels of a flattened image."""
    turned = _permutation(net, node)
    if turned == sorted(turned):
        return True
    readers, before = net.consumers(node), net.producer(node.input[0])
    pairs = [(node, reader) for reader in readers if reader.op_type == "Transpose"]
    if before is not None and before.op_type == "Transpose" and len(net.consumers(before)) == 1:
        pairs = [(before, node)]
    elif len(pairs) != len(readers):
        pairs = []
    if pairs and all(_cancel(_permutation(net, first), _permutation(net, second)) for first, second in pairs):
        return True
    flat = all(reader.op_type in ("Flatten", "Reshape") and len(net.shape(reader.output[0])) == 2 for reader in readers)
    return turned == TO_CHANNELS_LAST and bool(readers) and flat


def _cancel(first: list[int], second: list[int]) -> bool:
    return len(first) == len(second) and [first[axis] for axis in second] == sorted(first)


def _from_the_image(net: Network, node: NodeProto) -> bool:
    """Whether nothing but constants and quantizers stands between the image and a node."""
    before = net.producer(node.input[0])
    while before is not None:
        if before.op_type not in (*_ELEMENTWISE, *QUANTIZERS, *INVARIANT, "BatchNormalization"):
            return False
        before = net.producer(net.dynamic(before)[0])
    return True


def constants_of_pixels(net: Network) -> Iterator[Finding]:
    """Constants that differ from pixel to pixel: FINN takes them from a convolution to its thresholds only."""
    for node in net.running(*_ELEMENTWISE):
        streams = net.dynamic(node)
        if len(streams) != 1 or not _differs_by_pixel(net, node) or net.streams[streams[0]].reported:
            continue
        before = net.producer(streams[0])
        while before is not None and before.op_type in (*_ELEMENTWISE, "BatchNormalization"):
            before = net.producer(net.dynamic(before)[0])
        if before is None or before.op_type not in PRODUCTS:
            says = UNMAPPED.format("what stands before a constant that differs from pixel to pixel")
            mend = "take one value a channel (of images one mean and one deviation, torchvision's Normalize), or put "
            mend += "the constant directly behind a convolution"
            yield Finding("pixel-constant", "error", net.layer(node), says, PARTITION, mend)


def _differs_by_pixel(net: Network, node: NodeProto) -> bool:
    """Whether a constant has more values than the image has channels, or one a feature of a flattened image."""
    shapes = [net.shape(name) for name in node.input if name not in net.streams]
    image = net.shape(net.dynamic(node)[0])
    if len(image) == 4:
        return any(max(shape[-2:], default=1) > 1 for shape in shapes)
    return any(max(shape, default=1) > 1 for shape in shapes) and _flattened(net, node)


def _flattened(net: Network, node: NodeProto) -> bool:
    """Whether an image was flattened, and nothing multiplied, since the last layer."""
    before = net.producer(net.dynamic(node)[0])
    while before is not None and before.op_type not in (*PRODUCTS, *QUANTIZERS, "Flatten", "Reshape"):
        before = net.producer(net.dynamic(before)[0])
    return before is not None and before.op_type in ("Flatten", "Reshape")


LAYOUT_RULES: tuple[Rule, ...] = (transposes, constants_of_pixels)
