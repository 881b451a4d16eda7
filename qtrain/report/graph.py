"""What an exported QONNX graph says about its network: weights, bits, size."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from qtrain.errors import UserError
from qtrain.records.plain_files import read_plain


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

    @property
    def weights(self) -> int:
        """How many weights the quantized layers have."""
        return sum(layer.count for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Memory of these weights, in bits."""
        return sum(layer.count * layer.bits for layer in self.layers)


def graph_facts(path: Path, sha256: str | None = None) -> Graph:
    """Return weights, bits and size of an exported QONNX graph.

    Args:
        path: of the ONNX file.
        sha256: its recorded digest; not compared where None.

    Raises:
        UserError: missing, not ONNX, or not the file that was recorded.
    """
    try:
        content = read_plain(path, 1 << 32)
        graph = onnx.load_from_string(content).graph
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; export the run again") from None
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file ({error}); export the run again") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that was proven (its SHA-256 differs); export the run again")
    values = {tensor.name: tensor for tensor in graph.initializer}
    layers = _quantized_layers(graph, values)
    constants = sum(math.prod(tensor.dims) for tensor in values.values())
    weights = sum(layer.count for layer in layers)
    return Graph(tuple(layers), constants - weights, len(graph.node), len(content))


def _quantized_layers(graph: onnx.GraphProto, values: Mapping[str, onnx.TensorProto]) -> list[LayerWeights]:
    """Return the nodes that read a constant through a quantizer, in the graph's order.

    Args:
        graph: to look through.
        values: its constants by name.
    """
    quantizers = {}
    for node in graph.node:
        if node.op_type in ("Quant", "BipolarQuant") and node.input[0] in values:
            quantizers[node.output[0]] = node
    layers = []
    for node in graph.node:
        for name in node.input:
            if name in quantizers:
                quantizer = quantizers[name]
                shape = tuple(values[quantizer.input[0]].dims)
                layers.append(LayerWeights(node.name, shape, _bits_of(quantizer, values)))
    return layers


def _bits_of(quantizer: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> int:
    if quantizer.op_type == "BipolarQuant":
        return 1
    return int(onnx.numpy_helper.to_array(values[quantizer.input[3]]))
