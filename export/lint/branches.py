"""Rules about branches: what two of them must have in common to be added, and forks that hardware cannot send."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from qtrain.export.lint.finding import UNMAPPED, Spot
from qtrain.export.lint.streams import GraphView, attributes


def _additions(graph: GraphView) -> Iterator[tuple[NodeProto, list[str]]]:
    """Yield each addition of two branches with their tensors, where no rule names what made one of them."""
    for node in graph.running("Add"):
        tensors = graph.dynamic(node)
        if len(tensors) == 2 and not any(graph.streams[tensor].reported for tensor in tensors):
            yield node, tensors


def _float_branch(graph: GraphView, tensors: list[str]) -> str | None:
    """Return the first of the tensors that are added which is not quantized, None where all are."""
    for tensor in tensors:
        if graph.quantizer_before(tensor) is None and not graph.streams[tensor].plain:
            return tensor
    return None


def float_branches(graph: GraphView) -> Iterator[Spot]:
    """Find additions of a branch that is not quantized; FINN adds integers of one scale."""
    for node, tensors in _additions(graph):
        tensor = _float_branch(graph, tensors)
        if tensor is not None:
            says = "finn-plus multiplies and adds this branch in FLOAT32, in hardware: it is not quantized; official "
            says += "FINN adds integers only"
            yield graph.spot(node, says, blamed=graph.producer(tensor))


def parted_quantizers(graph: GraphView) -> Iterator[Spot]:
    """Find additions of branches that have two quantizers."""
    for node, tensors in _additions(graph):
        if _float_branch(graph, tensors) is not None:
            continue
        quantizers = [graph.quantizer_before(tensor) for tensor in tensors]
        left = quantizers[0] or graph.producer(tensors[0]) or node
        right = quantizers[1] or graph.producer(tensors[1]) or node
        if None in quantizers or not _are_one(graph, left, right):
            says = f"{graph.layer(left)} and {graph.layer(right)} differ: finn-plus and dev add multipliers; official "
            says += "FINN main fails: cycle-free graph violated"
            yield graph.spot(node, says, blamed=right)


def _are_one(graph: GraphView, left: NodeProto, right: NodeProto) -> bool:
    """Whether two quantizers are one: the same module, or the same values where training does not part them."""
    paths = {graph.path(left), graph.path(right)}
    if None not in paths and (len(paths) == 1 or not paths <= set(graph.fixed)):
        return len(paths) == 1
    if left.op_type != right.op_type or attributes(left) != attributes(right):
        return False
    for index in range(1, min(len(left.input), len(right.input))):
        values = graph.constant(left, index)
        others = graph.constant(right, index)
        if values is not None and others is not None and not np.array_equal(values, others):
            return False
    return True


def forked_flattenings(graph: GraphView) -> Iterator[Spot]:
    """Find flattened images that two layers read: the weights of one are put into the order of the pixels."""
    for node in graph.running("Flatten", "Reshape"):
        shape = graph.shape(node.input[0])
        before = graph.producer(node.input[0])
        averaged = before is not None and before.op_type == "GlobalAveragePool"
        one_pixel = shape[2:] == (1, 1) and not averaged
        if len(graph.consumers(node)) < 2 or len(shape) != 4 or one_pixel:
            continue
        says = "Input shape mismatch behind GlobalAccPool" if averaged else UNMAPPED.format("Transpose, Flatten")
        yield graph.spot(node, says)
