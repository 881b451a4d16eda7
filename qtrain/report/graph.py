"""What an exported QONNX graph says about its network: weights, bits, size."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from qtrain.errors import UserError


@dataclass(frozen=True)
class LayerWeights:
    """The quantized weights of one layer, as the exported graph holds them."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def count(self) -> int:
        """How many weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Graph:
    """Size of an exported graph.

    Attributes:
        layers: those with quantized weights, in the graph's order.
        other_values: in its remaining constants (normalisation, scales), all 32-bit floats or indices.
        nodes: of the graph.
        file_bytes: of ``model.onnx``.
    """

    layers: tuple[LayerWeights, ...]
    other_values: int
    nodes: int
    file_bytes: int


def graph_facts(path: Path, sha256: str | None = None) -> Graph:
    """Return weights, bits and size of an exported QONNX graph.

    Args:
        path: of the ONNX file.
        sha256: its recorded digest; not compared where None.

    Raises:
        UserError: missing, not ONNX, or not the file that was recorded.
    """
    try:
        content = path.read_bytes()
        graph = onnx.load_from_string(content).graph
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; export the run again") from None
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file ({error}); export the run again") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that was proven (its SHA-256 differs); export the run again")
    values = {i.name: i for i in graph.initializer}
    quantizers = {n.output[0]: n for n in graph.node if n.op_type in ("Quant", "BipolarQuant") and n.input[0] in values}
    layers = []
    for node in graph.node:
        for quantizer in (quantizers[name] for name in node.input if name in quantizers):
            bits = 1 if quantizer.op_type == "BipolarQuant" else onnx.numpy_helper.to_array(values[quantizer.input[3]])
            layers.append(LayerWeights(node.name, tuple(values[quantizer.input[0]].dims), int(bits)))
    others = sum(math.prod(v.dims) for v in values.values()) - sum(layer.count for layer in layers)
    return Graph(tuple(layers), others, len(graph.node), len(content))
