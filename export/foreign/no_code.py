"""What of a graph qonnx would execute: annotations that it hands to ``eval``, domains that it imports as modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto

from qtrain.errors import UserError

_EVALUATED = ("tensor_layout", "tensor_sparsity")  # keys of annotations
_LONGEST = 10_000  # characters of one
_IMPORTED = re.compile(r"(qonnx|finn)\.custom_op(\.[a-z_]+)+")
# Operators of these are ONNX' own and its runtime's, or lie in a module of qonnx.
_KNOWN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "onnx.brevitas")


def check_no_code(model: ModelProto, path: Path) -> None:
    """See that nothing of a graph is executed by who reads it.

    Args:
        model: with or without the weights that lie in files beside it.
        path: for the error.

    Raises:
        UserError: names the tensor or the node.
    """
    for graph in _graphs(model.graph):
        for annotation in graph.quantization_annotation:
            for entry in annotation.quant_parameter_tensor_names:
                if entry.key in _EVALUATED and not _is_literal(entry.value):
                    raise UserError(
                        f"{path}: {entry.key} of tensor {annotation.tensor_name!r} is {entry.value[:60]!r}, no plain "
                        "list or mapping, and is not evaluated; write the graph without it"
                    )
        for node in graph.node:
            if node.domain not in _KNOWN and not _IMPORTED.fullmatch(node.domain):
                called = f"node {node.name[:60]!r} ({node.op_type[:40]})"
                raise UserError(
                    f"{path}: {called} is of the domain {node.domain[:60]!r}, which would be imported as a module; "
                    "operators of ONNX, qonnx and FINN are taken"
                )


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and those inside its nodes."""
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        yield found
        for node in found.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _is_literal(text: str) -> bool:
    """Whether a text is a list or a mapping of plain values."""
    try:
        return len(text) <= _LONGEST and isinstance(ast.literal_eval(text), list | dict)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
