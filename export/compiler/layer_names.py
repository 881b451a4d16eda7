"""Which layer of the network a layer of FINN's hardware graph is, as far as the two graphs tell."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import onnx

WEIGHTED = ("Conv", "MatMul", "Gemm")
_MULTIPLIERS = ("MVAU", "VVAU")
_BUFFERS = ("ConvolutionInputGenerator", "FMPadding", "StreamingDataWidthConverter", "StreamingFIFO")
_AHEAD = "before"
_BACK = "after"


def _depths(graph: onnx.GraphProto, counted: Collection[str]) -> dict[str, int]:
    """How many of the nodes named ``counted`` the longest way from the input to each of them has, itself included."""
    reached: dict[str, int] = {}
    found = {}
    for node in graph.node:  # in order of execution
        depth = max((reached.get(name, 0) for name in node.input), default=0) + (node.name in counted)
        reached.update(dict.fromkeys(node.output, depth))
        if node.name in counted:
            found[node.name] = depth
    return found


def weighted_layers(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the convolutions and matrix products of a network's graph with their number of weights, in graph order."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    sources = {name: node.input[0] for node in graph.node for name in node.output if node.input}
    found = {}
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        tensor = node.input[1]
        while tensor not in sizes and tensor in sources:  # through the weights' quantizer
            tensor = sources[tensor]
        found[node.name] = sizes.get(tensor, 0)
    return found


def _hardware_weights(node: onnx.NodeProto) -> int:
    """Weights of a matrix unit (rows x columns) or of a vector unit (channels x kernel)."""
    found = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type.startswith("MVAU"):
        return int(found["MW"].i * found["MH"].i)
    return int(found["Channels"].i * math.prod(found["Kernel"].ints))


def _placed(graph: onnx.GraphProto, weights: Mapping[str, int]) -> dict[tuple[int, int], list[str]]:
    """The names of ``weights`` by their depth and number of weights."""
    found: dict[tuple[int, int], list[str]] = {}
    for name, depth in _depths(graph, weights.keys()).items():
        found.setdefault((depth, weights[name]), []).append(name)
    return found


def _multiplier_names(hardware: onnx.GraphProto, network: onnx.GraphProto) -> dict[str, str]:
    """Pair the units with the layers by their depth and number of weights; none where these disagree anywhere.

    By depth, because FINN may put the two branches of a residual block in the other order. Units that share both are
    left out: nothing tells which is which.
    """
    units = [node for node in hardware.node if node.op_type.startswith(_MULTIPLIERS)]
    ours = _placed(network, weighted_layers(network))
    theirs = _placed(hardware, {unit.name: _hardware_weights(unit) for unit in units})
    if {key: len(names) for key, names in ours.items()} != {key: len(names) for key, names in theirs.items()}:
        return {}
    return {theirs[key][0]: names[0] for key, names in ours.items() if len(names) == 1}


def places(hardware: Path, network: Path) -> dict[str, str]:
    """Say for every layer of the hardware which of the network's it is, or which it stands before or after.

    Units and layers pair by how many others lie before them and by their number of weights; that is taken for right
    where all of them pair.

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
