"""Costs without a compiler: MACs, BOPs and bits of the exported graph are those that counting by hand gives."""

from pathlib import Path

import onnx
import pytest
import torch

from qtrain.errors import UserError
from qtrain.export.compiler.cost import network_cost
from qtrain.export.foreign.graph_file import read_graph
from qtrain.export.passes import PASSES
from qtrain.export.qonnx import to_qonnx
from qtrain.models import build_model
from qtrain.models.count import count

# CNV on 3x32x32: (output channels, positions, weights of one output channel) of each layer, from its paper's figure.
CNV = [(64, 30 * 30, 3 * 9), (64, 28 * 28, 64 * 9), (128, 12 * 12, 64 * 9), (128, 10 * 10, 128 * 9)]
CNV += [(256, 3 * 3, 128 * 9), (256, 1, 256 * 9), (512, 1, 256), (512, 1, 512), (10, 1, 512)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = to_qonnx(build_model("CNV_2W2A").eval(), (3, 32, 32))
    for step in PASSES:
        model = step.apply(model)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    model.save(str(path))
    return path


def test_macs_and_bops_are_those_of_a_hand_count(graph: Path) -> None:
    cost = network_cost(graph)
    macs = [channels * positions * weights for channels, positions, weights in CNV]
    assert [layer.macs for layer in cost.layers] == macs
    bits = [8 * 2, *[2 * 2] * 8]  # the input has 8 bits
    assert [layer.bops for layer in cost.layers] == [m * b for m, b in zip(macs, bits, strict=True)]
    assert (cost.macs, cost.bops) == (sum(macs), sum(m * b for m, b in zip(macs, bits, strict=True)))


def test_the_counts_are_those_of_the_torch_network(graph: Path) -> None:
    cost, counted = network_cost(graph), count(build_model("CNV_2W2A"), (3, 32, 32))
    assert (cost.macs, cost.weight_bits) == (counted.macs, counted.weight_bits)
    assert [layer.weight_bits for layer in cost.layers] == [layer.weights * 2 for layer in counted.layers]


def test_layers_have_the_networks_names_and_outputs_the_accumulators_width(graph: Path) -> None:
    layers = network_cost(graph).layers
    assert [layer.name for layer in layers] == [*(f"conv{i}" for i in range(1, 7)), "fc1", "fc2", "fc3"]
    assert [layer.operator for layer in layers] == ["Conv"] * 6 + ["MatMul"] * 3
    assert layers[0].output_bits == 64 * 30 * 30 * 32


def outside(graph: Path, folder: Path) -> Path:
    """The same graph with its weights in a file beside it."""
    path = folder / "model.onnx"
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(onnx.load(str(graph)), str(path), **options)
    return path


def test_weights_in_another_file_are_read(graph: Path, tmp_path: Path) -> None:
    assert network_cost(outside(graph, tmp_path)) == network_cost(graph)


def test_a_missing_file_of_weights_is_named(graph: Path, tmp_path: Path) -> None:
    path = outside(graph, tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"keeps its weights in weights\.bin, which is missing or cut short"):
        read_graph(path)


def test_a_short_file_of_weights_is_named(graph: Path, tmp_path: Path) -> None:
    path = outside(graph, tmp_path)
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"weights\.bin, which is missing or cut short"):
        read_graph(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_one_line(graph: Path, tmp_path: Path, share: float) -> None:
    content = graph.read_bytes()
    (tmp_path / "short.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="is not an ONNX file, or cut short"):
        network_cost(tmp_path / "short.onnx")


def test_a_graph_without_products_has_nothing_to_count(tmp_path: Path) -> None:
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, [1, 2]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "relu.onnx"))
    with pytest.raises(UserError, match="nothing to count"):
        network_cost(tmp_path / "relu.onnx")
