"""Which layer of the network a layer of FINN's hardware graph is, as far as the two graphs tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx

WEIGHTED = ("Conv", "MatMul", "Gemm")
_MULTIPLIERS = ("MVAU", "VVAU")
_BUFFERS = ("ConvolutionInputGenerator", "FMPadding", "StreamingDataWidthConverter", "StreamingFIFO")
_AHEAD, _BACK = "before", "after"


def weighted_layers(graph: onnx.GraphProto) -> list[tuple[str, int]]:
    """Return the convolutions and matrix products of a network's graph with their number of weights, in graph order."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    sources = {name: node.input[0] for node in graph.node for name in node.output if node.input}
    found = []
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        tensor = node.input[1]
        while tensor not in sizes and tensor in sources:  # through the weights' quantizer
            tensor = sources[tensor]
        found.append((node.name, sizes.get(tensor, 0)))
    return found


def _hardware_weights(node: onnx.NodeProto) -> int:
    """Weights of a matrix unit (rows x columns) or of a vector unit (channels x kernel)."""
    found = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type.startswith("MVAU"):
        return int(found["MW"].i * found["MH"].i)
    return int(found["Channels"].i * math.prod(found["Kernel"].ints))


def _multiplier_names(hardware: onnx.GraphProto, network: onnx.GraphProto) -> dict[str, str]:
    """Pair the units with the layers by their order; none where numbers of weights disagree anywhere."""
    units = [node for node in hardware.node if node.op_type.startswith(_MULTIPLIERS)]
    layers = weighted_layers(network)
    if [_hardware_weights(unit) for unit in units] != [size for _, size in layers]:
        return {}
    return {unit.name: name for unit, (name, _) in zip(units, layers, strict=True)}


def places(hardware: Path, network: Path) -> dict[str, str]:
    """Say for every layer of the hardware which of the network's it is, or which it stands before or after.

    Both graphs are in order of execution, so units and layers pair by it; that is taken for right where every unit has
    as many weights as its layer.

    Args:
        hardware: FINN's graph of the partition, after its last step.
        network: the exported QONNX graph, whose nodes have the names of the network's layers.

    Returns:
        By name of the hardware layer ``conv3``, ``before conv3`` (its buffers) or ``after conv3``; empty where they
        cannot be paired.
    """
    if not hardware.is_file() or not network.is_file():
        return {}
    graphs = [onnx.load(str(path), load_external_data=False).graph for path in (hardware, network)]
    names = _multiplier_names(*graphs)
    if not names:
        return {}
    return {node.name: names.get(node.name) or _neighbour(node, graphs[0], names) for node in graphs[0].node}


def _neighbour(node: onnx.NodeProto, graph: onnx.GraphProto, names: Mapping[str, str]) -> str:
    """Name the unit that a buffer leads to, else the one before; ``input`` where there is none."""
    makers = {name: other for other in graph.node for name in other.output}
    takers = {name: other for other in graph.node for name in other.input}
    ahead: onnx.NodeProto | None = node
    while ahead is not None and ahead.op_type.startswith(_BUFFERS):
        ahead = takers.get(ahead.output[0])
    if ahead is not None and ahead is not node and ahead.name in names:
        return f"{_AHEAD} {names[ahead.name]}"
    back: onnx.NodeProto | None = node
    while back is not None and back.name not in names:
        back = _first(makers, back.input)
    return "input" if back is None else f"{_BACK} {names[back.name]}"


def _first(makers: Mapping[str, onnx.NodeProto], inputs: Iterable[str]) -> onnx.NodeProto | None:
    return next((makers[name] for name in inputs if name in makers), None)
