"""A network that casts floats to float32, as ``x.float()`` and ``x.to(device)`` do, is exported without the casts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.lint.check import lint_graph
from qtrain.export.passes import clean
from qtrain.export.qonnx import to_qonnx
from tests.export.small import SHAPE, Small, exported, found, settled


class Cast(Small):
    """The small network with casts of its image, of a layer's output and of its logits."""

    def __init__(self, cast: Callable[[Tensor], Tensor]):
        super().__init__()
        self.cast = cast

    def features(self, x: Tensor) -> Tensor:
        x = self.cast(self.act1(self.norm1(self.conv1(self.inp(self.cast(x))))))
        return torch.flatten(self.pool(self.act2(self.norm2(self.conv2(x)))), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cast(super().forward(x))


CASTS = [
    lambda x: x.float(),
    lambda x: x.cpu(),
    lambda x: x.to(x.device),
    lambda x: x.to(torch.float32),
    lambda x: x.to("cpu", torch.float32),
    lambda x: x.type(torch.FloatTensor),
    lambda x: torch.as_tensor(x, dtype=torch.float32),
]


@pytest.mark.parametrize("cast", CASTS)
def test_a_cast_to_what_it_is_already_is_exported_and_proven(cast: Callable, tmp_path: Path) -> None:
    network = settled(Cast(cast))
    assert not [finding for finding in found(network) if finding.severity == "error"]
    proof = exported(network, tmp_path)
    assert proof.equal == proof.images
    graph = ModelWrapper(str(tmp_path / "finn" / "model.onnx"))
    assert not graph.get_nodes_by_op_type("Cast")


@pytest.mark.parametrize("cast", [lambda x: x.half().float(), lambda x: (8 * x).int().float()])
def test_a_cast_that_rounds_is_named_with_its_mend(cast: Callable) -> None:
    errors = [finding for finding in found(settled(Cast(cast))) if finding.severity == "error"]
    assert {finding.rule for finding in errors} >= {"operator"}
    assert all("leave out .half()" in finding.mend for finding in errors if "Cast" in finding.says)


def test_the_graph_keeps_the_name_of_its_output() -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])
    nodes = [helper.make_node("Relu", ["image"], ["positive"])]
    nodes.append(helper.make_node("Cast", ["positive"], ["logits"], to=TensorProto.FLOAT))
    cleaned = clean(ModelWrapper(helper.make_model(helper.make_graph(nodes, "graph", [image], [logits]))))
    (node,) = cleaned.graph.node
    assert (node.op_type, *node.output) == ("Relu", "logits")


def test_a_file_that_has_casts_is_refused_as_the_compiler_refuses_it() -> None:
    graph = to_qonnx(settled(Cast(CASTS[0])), SHAPE)
    assert "Cast" in {node.op_type for node in graph.graph.node}
    assert any(finding.rule == "operator" and "Cast" in finding.says for finding in lint_graph(graph))
