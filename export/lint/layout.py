"""Rules about the order of an image's axes: FINN streams channels last, from graphs that have them first."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from qtrain.export.lint.finding import UNMAPPED, Spot
from qtrain.export.lint.streams import INVARIANT, PRODUCTS, QUANTIZERS, GraphView, attributes

TO_CHANNELS_FIRST = [0, 3, 1, 2]
TO_CHANNELS_LAST = [0, 2, 3, 1]
_ELEMENTWISE = ("Mul", "Div", "Add", "Sub")


def _turns(graph: GraphView) -> Iterator[tuple[NodeProto, bool]]:
    """Yield each transpose that hardware does not cancel, and whether it turns the image that comes in."""
    for node in graph.running("Transpose"):
        if _is_harmless(graph, node) or len(graph.shape(node.input[0])) > 4:  # of more axes, the reshape is named
            continue
        to_first = _permutation(graph, node) == TO_CHANNELS_FIRST
        yield node, to_first and _is_of_the_image(graph, node)


def turned_images(graph: GraphView) -> Iterator[Spot]:
    """Find images that come in with their channels last."""
    for node, of_the_image in _turns(graph):
        if of_the_image:
            says = "MultiThreshold input (NCHW) and output (NHWC) layout mismatch, or Threshold shape incorrect: it "
            says += "takes every input for channels first"
            yield graph.spot(node, says)


def transposes(graph: GraphView) -> Iterator[Spot]:
    """Find transposes inside the network."""
    for node, of_the_image in _turns(graph):
        if not of_the_image:
            yield graph.spot(node, UNMAPPED.format("Transpose"))


def _permutation(graph: GraphView, node: NodeProto) -> list[int]:
    """Return the order into which a transpose puts the axes; without an attribute it turns all of them round."""
    axes = len(graph.shape(node.input[0]))
    return list(attributes(node).get("perm", range(axes)[::-1]))


def _is_harmless(graph: GraphView, node: NodeProto) -> bool:
    """Whether a transpose does nothing, has its inverse beside it, or only orders the pixels of a flattened image."""
    turned = _permutation(graph, node)
    if turned == sorted(turned):
        return True
    readers = graph.consumers(node)
    before = graph.producer(node.input[0])
    pairs = [(node, reader) for reader in readers if reader.op_type == "Transpose"]
    if before is not None and before.op_type == "Transpose" and len(graph.consumers(before)) == 1:
        pairs = [(before, node)]
    elif len(pairs) != len(readers):
        pairs = []
    if pairs and all(_cancel(_permutation(graph, first), _permutation(graph, second)) for first, second in pairs):
        return True
    if turned != TO_CHANNELS_LAST or not readers:
        return False
    return all(r.op_type in ("Flatten", "Reshape") and len(graph.shape(r.output[0])) == 2 for r in readers)


def _cancel(first: list[int], second: list[int]) -> bool:
    """Whether a permutation and one behind it leave the axes as they were."""
    return len(first) == len(second) and [first[axis] for axis in second] == sorted(first)


def _is_of_the_image(graph: GraphView, node: NodeProto) -> bool:
    """Whether nothing but constants and quantizers stands between the image and a node."""
    before = graph.producer(node.input[0])
    while before is not None:
        if before.op_type not in (*_ELEMENTWISE, *QUANTIZERS, *INVARIANT, "BatchNormalization"):
            return False
        before = graph.producer(graph.dynamic(before)[0])
    return True


def constants_of_pixels(graph: GraphView) -> Iterator[Spot]:
    """Find constants that differ from pixel to pixel: FINN takes them from a convolution to its thresholds only."""
    for node in graph.running(*_ELEMENTWISE):
        streams = graph.dynamic(node)
        if len(streams) != 1 or not _differs_by_pixel(graph, node) or graph.streams[streams[0]].reported:
            continue
        before = graph.producer(streams[0])
        while before is not None and before.op_type in (*_ELEMENTWISE, "BatchNormalization"):
            before = graph.producer(graph.dynamic(before)[0])
        if before is None or before.op_type not in PRODUCTS:
            yield graph.spot(node, UNMAPPED.format("what stands before a constant that differs from pixel to pixel"))


def _differs_by_pixel(graph: GraphView, node: NodeProto) -> bool:
    """Whether a constant has more values than the image has channels, or one a feature of a flattened image."""
    shapes = [graph.shape(name) for name in node.input if name not in graph.streams]
    image = graph.shape(graph.dynamic(node)[0])
    if len(image) == 4:
        return any(max(shape[-2:], default=1) > 1 for shape in shapes)
    return any(max(shape, default=1) > 1 for shape in shapes) and _is_flattened(graph, node)


def _is_flattened(graph: GraphView, node: NodeProto) -> bool:
    """Whether an image was flattened, and nothing multiplied, since the last layer."""
    before = graph.producer(graph.dynamic(node)[0])
    while before is not None and before.op_type not in (*PRODUCTS, *QUANTIZERS, "Flatten", "Reshape"):
        before = graph.producer(graph.dynamic(before)[0])
    return before is not None and before.op_type in ("Flatten", "Reshape")
