"""finn-base's dialect: what is renamed, what is refused, and that the graph handed in stays as it was."""

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

from qtrain.errors import UserError
from qtrain.export.passes import PASSES
from qtrain.export.proof.dialect import to_finn_base
from tests.export.lint.probe_builds import exported
from tests.export.lint.probes import PROBES

QONNX = "qonnx.custom_op.general"


def one_node(node: NodeProto, shape: list[int], version: int = 1) -> ModelWrapper:
    """A graph of one node from x to y, its other inputs initializers of 1."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    imports = [helper.make_opsetid(QONNX, version), helper.make_opsetid("", 17)]
    model = ModelWrapper(qonnx_make_model(helper.make_graph([node], "one", ends[:1], ends[1:]), opset_imports=imports))
    for name in node.input[1:]:
        model.set_initializer(name, np.ones((1, 1) if node.op_type == "MultiThreshold" else (), dtype=np.float32))
    return model


def threshold(**layout: str) -> NodeProto:
    return helper.make_node("MultiThreshold", ["x", "t"], ["y"], "mt", domain=QONNX, out_dtype="UINT1", **layout)


def test_a_network_is_renamed_and_nothing_else() -> None:
    graph = exported(PROBES["base"])
    for step in PASSES:
        graph = step.apply(graph)
    before = graph.model.SerializeToString()
    found = to_finn_base(graph)
    assert graph.model.SerializeToString() == before
    custom = {"Quant", "BipolarQuant"}
    assert custom & {node.op_type for node in found.graph.node}
    for ours, theirs in zip(graph.graph.node, found.graph.node, strict=True):
        assert theirs.domain == ("finn.custom_op.general" if ours.op_type in custom else "")
        assert (ours.op_type, ours.input, ours.output, ours.attribute) == (
            theirs.op_type,
            theirs.input,
            theirs.output,
            theirs.attribute,
        )
    assert [o.domain for o in found.model.opset_import] == ["", "finn.custom_op.general"]
    assert found.model.opset_import[0].version == graph.model.opset_import[0].version
    assert found.graph.initializer == graph.graph.initializer


def test_brevitas_own_domain_is_renamed_too() -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], "q", domain="onnx.brevitas")
    assert to_finn_base(one_node(node, [1, 4])).graph.node[0].domain == "finn.custom_op.general"


def test_the_onnx_version_comes_first_where_finn_base_looks() -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], "q", domain=QONNX)
    imports = to_finn_base(one_node(node, [1, 4], version=2)).model.opset_import
    assert [(o.domain, o.version) for o in imports] == [("", 17), ("finn.custom_op.general", 1)]


def test_types_it_does_not_know_become_float() -> None:
    model = one_node(helper.make_node("BipolarQuant", ["x", "s"], ["y"], "q", domain=QONNX), [1, 4])
    model.set_tensor_datatype("x", DataType["SCALEDINT<8>"])
    model.set_tensor_datatype("y", DataType["BIPOLAR"])
    found = to_finn_base(model)
    assert [found.get_tensor_datatype(name).name for name in "xy"] == ["FLOAT32", "BIPOLAR"]


@pytest.mark.parametrize(
    ("layout", "shape", "named"),
    [
        ({}, [1, 4], "NCHW"),
        ({}, [1, 4, 2, 2], "NCHW"),
        ({"data_layout": "NC"}, [1, 4], "NCHW"),
        ({"data_layout": "NCW"}, [1, 4, 2], "NCHW"),
        ({"data_layout": "NHWC"}, [1, 2, 2, 4], "NHWC"),
    ],
)
def test_layouts_keep_their_meaning_under_its_names(layout: dict, shape: list, named: str) -> None:
    attributes = to_finn_base(one_node(threshold(**layout), shape)).graph.node[0].attribute
    found = {a.name: helper.get_attribute_value(a) for a in attributes}
    assert found == {"out_dtype": b"UINT1", "data_layout": named.encode()}


QUANT = ["x", "s", "z", "b"]
REFUSED = {
    "trunc v2": (helper.make_node("Trunc", [*QUANT, "os", "ob"], ["y"], "t", domain=QONNX), 2, "Trunc of version 2"),
    "trunc with 6 inputs": (helper.make_node("Trunc", [*QUANT, "os", "ob"], ["y"], "t", domain=QONNX), 1, "version 2"),
    "rounding": (
        helper.make_node("Quant", QUANT, ["y"], "q", domain=QONNX, rounding_mode="HALF_UP"),
        1,
        "node q: it has no rounding HALF_UP; it has ROUND, CEIL, FLOOR",
    ),
    "operator": (helper.make_node("FloatQuant", QUANT, ["y"], "f", domain=QONNX), 1, "no operator FloatQuant"),
    "hardware": (
        helper.make_node("MVAU", ["x"], ["y"], "m", domain="finn.custom_op.fpgadataflow"),
        1,
        "no operator MVAU of finn.custom_op.fpgadataflow",
    ),
    "layout guessed by qonnx": (threshold(), 1, "no layout NWC of 3 dimensions"),
    "layout": (threshold(data_layout="NWC"), 1, "no layout NWC of 3 dimensions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_would_not_compute_alike_is_refused_with_the_node(name: str) -> None:
    node, version, says = REFUSED[name]
    with pytest.raises(UserError, match="finn-base cannot take node") as refused:
        to_finn_base(one_node(node, [1, 4, 2], version))
    assert says in str(refused.value)


def test_version_1_of_trunc_passes() -> None:
    node = helper.make_node("Trunc", [*QUANT, "ob"], ["y"], "t", domain=QONNX, rounding_mode="FLOOR")
    assert to_finn_base(one_node(node, [1, 4])).graph.node[0].domain == "finn.custom_op.general"
