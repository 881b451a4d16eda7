"""What a network costs to compute, on any hardware: multiplications, bits of weights and of outputs, from the graph.

The counts are those of qonnx's ``inference_cost``; they need no compiler and say nothing of a board.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.inference_cost import inference_cost

from qtrain.errors import UserError
from qtrain.export.compiler.layer_names import WEIGHTED
from qtrain.export.foreign.boundary import DEBUG, one_line
from qtrain.export.foreign.graph_file import read_graph

LABEL = "counts from the graph, not hardware estimates"


@dataclass(frozen=True)
class LayerCost:
    """One convolution or matrix product, for one image.

    Attributes:
        name: of its node in the graph.
        operator: ONNX's.
        macs: multiply-accumulates.
        bops: bit operations: each multiply-accumulate times the bits of both factors.
        weight_bits: that its weights take.
        output_bits: that its output takes, as wide as the graph types it: accumulators of 32 bits, before the next
            quantizer.
    """

    name: str
    operator: str
    macs: int
    bops: int
    weight_bits: int
    output_bits: int


@dataclass(frozen=True)
class NetworkCost:
    """A whole network, for one image; the totals' meanings are those of a layer's.

    Attributes:
        label: what these figures are and are not.
        layers: in graph order.
    """

    label: str
    macs: int
    bops: int
    weight_bits: int
    output_bits: int
    layers: tuple[LayerCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and reports."""
        return asdict(self)


def network_cost(path: Path) -> NetworkCost:
    """Count a QONNX graph; weights that are zero count as the others do.

    Args:
        path: of the file, with fixed shapes.

    Raises:
        UserError: the file cannot be read, or qonnx cannot count it.
    """
    with one_line(path):
        model = ModelWrapper(read_graph(path))
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        raise UserError(f"{path} has no convolution and no matrix product, so there is nothing to count")
    weighted = [(node.name, node.op_type) for node in model.graph.node if node.op_type in WEIGHTED]
    try:
        counts = inference_cost(model, discount_sparsity=False, cost_breakdown=True)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"qonnx cannot count {path} ({reason}); give it fixed shapes with qonnx-cleanup") from error
    with one_line(path, "counted"):
        return _cost_of(counts, weighted)


def _cost_of(counts: dict[str, Any], weighted: list[tuple[str, str]]) -> NetworkCost:
    """The figures of qonnx's counts, under the names that the nodes had.

    Args:
        counts: of ``inference_cost``.
        weighted: name and operator of each convolution and matrix product.
    """
    # qonnx names nodes anew, Conv_0 and so on; folding constants may drop some, so names hold only for as many.
    counted = list(counts["node_cost"].items())
    names = [name for name, _ in weighted] if len(weighted) == len(counted) else [""] * len(counted)
    layers = tuple(
        LayerCost(ours or theirs, theirs.rpartition("_")[0], **_figures(cost))
        for ours, (theirs, cost) in zip(names, counted, strict=True)
    )
    return NetworkCost(label=LABEL, **_figures(counts["total_cost"]), layers=layers)


def _figures(cost: dict[str, Any]) -> dict[str, int]:
    keys = {"macs": "macs", "bops": "bops", "weight_bits": "mem_w_bits", "output_bits": "mem_o_bits"}
    return {ours: round(cost[f"total_{theirs}"]) for ours, theirs in keys.items()}
