"""FINN's graph of a network, node by node with its estimates, and foldings as FINN reads them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from qtrain.experiments.sweep.winner import AUTO
from qtrain.export.compiler.estimate import LAST_STEP
from qtrain.export.folder.folding import read_folding
from qtrain.records.estimate import Estimate, LayerEstimate
from qtrain.records.fit import CompiledNetwork, HardwareNode

UNITS = ("MVAU", "VVAU")


def network_of(
    name: str,
    build: Path,
    estimate: Estimate,
    bits: Mapping[str, int],
    *,
    folding: Mapping[str, Any] | None = None,
    width: int,
    held_out: bool = False,
    seconds: float = 0.0,
) -> CompiledNetwork:
    """Return what the compiler says of a network.

    Args:
        name: of the network.
        build: folder of the build that wrote the estimates.
        estimate: of that build.
        bits: of every quantizer that may have others.
        folding: PE and SIMD by layer that were asked for; None where FINN folded by itself.
        width: bits of a weight stream that FINN's own folding might have.
        held_out: whether the cost model is judged on it.
        seconds: that it took.
    """
    return CompiledNetwork(
        name=name,
        bits=bits,
        folding=folding or {},
        width=width,
        held_out=held_out,
        fps=estimate.fps,
        nodes=hardware_nodes(build, estimate),
        seconds=round(seconds, 3),
    )


def folding_config(
    build: Path,
    layers: Sequence[LayerEstimate | HardwareNode],
    folding: Mapping[str, Sequence[int]],
    nodes: Mapping[str, str],
) -> dict[str, Any]:
    """Return FINN's own folding of a build with other numbers for its matrix units.

    Args:
        build: folder of the build.
        layers: of its estimate.
        folding: PE and SIMD by layer.
        nodes: a layer's name in graphs, by its path.

    Raises:
        UserError: there is no folding in the build.
    """
    config = read_folding(build / AUTO)
    paths = {node: path for path, node in nodes.items()}
    for layer in layers:
        path = paths.get(layer.place, "")
        if path in folding and layer.operator.startswith("MVAU") and layer.name in config:
            pe, simd = folding[path]
            config[layer.name] = {**config[layer.name], "PE": pe, "SIMD": simd}
    return config


def hardware_nodes(build: Path, estimate: Estimate) -> tuple[HardwareNode, ...]:
    """Read the nodes of FINN's graph, with what it estimates of each.

    Args:
        build: folder of the build that wrote the estimates.
        estimate: of that build.
    """
    path = build / "intermediate_models" / f"{LAST_STEP}.onnx"
    graph = onnx.load(str(path), load_external_data=False).graph
    by_name = {node.name: node for node in graph.node}
    return tuple(_node(layer, by_name.get(layer.name)) for layer in estimate.layers)


def _node(layer: LayerEstimate, node: onnx.NodeProto | None) -> HardwareNode:
    found = {} if node is None else {at.name: onnx.helper.get_attribute_value(at) for at in node.attribute}
    facts: dict[str, Any] = {
        "pe": int(found.get("PE", 0)),
        "simd": int(found.get("SIMD", 0)),
        "input_bits": _bits(found.get("inputDataType", found.get("InputDataType"))),
        "output_bits": _bits(found.get("outputDataType", found.get("OutputDataType"))),
    }
    if layer.operator.startswith(UNITS):
        matrix = layer.operator.startswith("MVAU")
        facts |= {
            "columns": int(found["MW"]) if matrix else math.prod(found["Kernel"]),
            "rows": int(found["MH"] if matrix else found["Channels"]),
            "positions": math.prod(found["numInputVectors"] if matrix else found["Dim"]),
            "weight_bits": _bits(found.get("weightDataType")),
            "sum_bits": _bits(found.get("accDataType")),
            "thresholds": not found.get("noActivation", 0),
        }
    amounts = {name: getattr(layer, name) for name in ("cycles", "lut", "bram_18k", "uram", "dsp")}
    return HardwareNode(name=layer.name, operator=layer.operator, place=layer.place, **facts, **amounts)


def _bits(datatype: bytes | str | None) -> int:
    """Return the bits of a datatype of FINN's, as INT4, UINT8, BIPOLAR, BINARY or TERNARY; 0 for none."""
    name = datatype.decode() if isinstance(datatype, bytes) else datatype or ""
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits) if digits else {"BIPOLAR": 1, "BINARY": 1, "TERNARY": 2}.get(name, 0)
