"""Lint of QONNX files from other exporters: attributes left to defaults, axes in another order, newer names, ends."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.export import ProofError
from qtrain.export.compiler.start import estimate_build
from qtrain.export.lint.check import lint_file, lint_graph
from qtrain.export.proof.bare_graph import verify_graph
from qtrain.export.qonnx import to_qonnx
from tests.export.lint.probe_builds import moved, write_golden_folder
from tests.export.lint.probe_networks import conv, linear, net

SHAPE = (3, 8, 8)
Edit = Callable[[ModelWrapper], None]
NETWORKS = {
    "base": net,
    "3x3 pool": lambda: net({"pool1": nn.MaxPool2d(3, 2, 1)}),
    "stride": lambda: net({"conv2": conv(8, 8, stride=2), "pool2": None}),
    "dilation": lambda: net({"conv2": conv(8, 8, dilation=2, padding=2)}),
    "depthwise": lambda: net({"conv2": conv(8, 8, groups=8)}),
    "one logit": lambda: net({"fc": linear(32, 1)}),
}


@functools.cache
def _exported(network: str) -> ModelWrapper:
    torch.manual_seed(0)  # whether a wrongly rounded weight changes a class depends on the weights
    return to_qonnx(moved(NETWORKS[network](), SHAPE, batches=1), SHAPE)


def graph_of(network: str, edit: Edit) -> ModelWrapper:
    """A network as Brevitas exports it, changed as another exporter would write it."""
    graph = copy.deepcopy(_exported(network))
    edit(graph)
    del graph.graph.value_info[:]
    return graph


def attributes(kind: str, index: int, **values: Any) -> Edit:
    """Set attributes of one node, or leave them out (None)."""

    def edit(graph: ModelWrapper) -> None:
        node = [node for node in graph.graph.node if node.op_type == kind][index]
        for attribute in [attribute for attribute in node.attribute if attribute.name in values]:
            node.attribute.remove(attribute)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in values.items() if v is not None)

    return edit


def quantizer(part: str, **values: Any) -> Edit:
    """Set attributes of the quantizers of a layer."""

    def edit(graph: ModelWrapper) -> None:
        quantizers = [node for node in graph.graph.node if node.op_type == "Quant"]
        for index, node in enumerate(quantizers):
            if part in node.name:
                attributes("Quant", index, **values)(graph)

    return edit


def gemm(**values: float) -> Edit:
    """Write the last layer as a Gemm."""

    def edit(graph: ModelWrapper) -> None:
        node = next(node for node in graph.graph.node if node.op_type == "MatMul")
        node.op_type = "Gemm"
        node.attribute.extend(helper.make_attribute(k, v) for k, v in values.items())

    return edit


def reshape(*sizes: int) -> Edit:
    """Flatten by a Reshape."""

    def edit(graph: ModelWrapper) -> None:
        node = next(node for node in graph.graph.node if node.op_type == "Flatten")
        graph.set_initializer("sizes", np.array(sizes))
        node.op_type = "Reshape"
        node.input.append("sizes")
        del node.attribute[:]

    return edit


def unread(kind: str, **values: Any) -> Edit:
    """Compute something more of the first pool's output, which nothing reads."""

    def edit(graph: ModelWrapper) -> None:
        pool = next(node for node in graph.graph.node if node.op_type == "MaxPool")
        inputs = [pool.output[0]]
        if kind == "Mul":
            graph.set_initializer("two", np.array(2.0, np.float32))
            inputs.append("two")
        graph.graph.node.append(helper.make_node(kind, inputs, ["unread"], name="unread", **values))

    return edit


# Each as finn-plus 1.6.1 took or refused it: the name, the network, the change, the rule that lint must find.
REFUSED: dict[str, tuple[str, Edit, str]] = {
    "pool same upper": ("3x3 pool", attributes("MaxPool", 0, pads=None, auto_pad="SAME_UPPER"), "auto-pad"),
    "pool valid": ("base", attributes("MaxPool", 0, pads=None, auto_pad="VALID"), "auto-pad"),
    "pool uneven": ("3x3 pool", attributes("MaxPool", 0, pads=[0, 0, 1, 1]), "pool-padding"),
    "pool without pads": ("base", attributes("MaxPool", 0, pads=None), "left-out"),
    "stride same upper": ("stride", attributes("Conv", 1, pads=None, auto_pad="SAME_UPPER"), "auto-pad"),
    "stride same lower": ("stride", attributes("Conv", 1, pads=None, auto_pad="SAME_LOWER"), "auto-pad"),
    "dilation same upper": ("dilation", attributes("Conv", 1, pads=None, auto_pad="SAME_UPPER"), "auto-pad"),
    "without strides": ("base", attributes("Conv", 1, strides=None), "left-out"),
    "without group": ("base", attributes("Conv", 1, group=None), "left-out"),
    "quantizer without narrow": ("base", quantizer("act1", narrow=None), "left-out"),
    "floor": ("base", quantizer("act1", rounding_mode="FLOOR"), "quantizer-rounding"),
    "ceil": ("base", quantizer("act1", rounding_mode="CEIL"), "quantizer-rounding"),
    "weights floor": ("base", quantizer("conv2", rounding_mode="FLOOR"), "quantizer-rounding"),
    "alpha": ("base", gemm(alpha=0.5), "gemm-factors"),
    "unread product": ("base", unread("Mul"), "unread"),
    "unread copy": ("base", unread("Identity"), "unread"),
    "unread relu": ("base", unread("Relu"), "unread"),
    "unread pool": ("base", unread("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4), "unread"),
}
TAKEN: dict[str, tuple[str, Edit]] = {
    "same upper": ("base", attributes("Conv", 1, pads=None, auto_pad="SAME_UPPER")),
    "depthwise same upper": ("depthwise", attributes("Conv", 1, pads=None, auto_pad="SAME_UPPER")),
    "uneven": ("base", attributes("Conv", 1, pads=[0, 0, 2, 2])),
    "uneven depthwise": ("depthwise", attributes("Conv", 1, pads=[2, 0, 0, 2])),
    "uneven stride": ("stride", attributes("Conv", 1, pads=[0, 0, 1, 1])),
    "without kernel": ("base", attributes("Conv", 1, kernel_shape=None, dilations=None)),
    "pool without ceil": ("base", attributes("MaxPool", 0, ceil_mode=None, dilations=None)),
    "pool valid with pads": ("base", attributes("MaxPool", 0, auto_pad="VALID")),
    "epsilon": ("base", attributes("BatchNormalization", 0, epsilon=0.5)),
    "flatten from behind": ("base", attributes("Flatten", 0, axis=-3)),
    "reshape": ("base", reshape(1, -1)),
    "reshape of the batch": ("base", reshape(0, -1)),
    "gemm": ("base", gemm()),
}


def errors(graph: ModelWrapper) -> list[str]:
    return sorted({finding.rule for finding in lint_graph(graph) if finding.severity == "error"})


@pytest.mark.parametrize("case", REFUSED)
def test_what_finn_refuses_in_a_file_is_named(case: str) -> None:
    network, edit, rule = REFUSED[case]
    assert errors(graph_of(network, edit)) == [rule]


@pytest.mark.parametrize("case", TAKEN)
def test_what_finn_takes_in_a_file_is_no_error(case: str) -> None:
    assert errors(graph_of(*TAKEN[case])) == []


@pytest.mark.slow
@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize("case", [*REFUSED, *TAKEN])
def test_the_real_finn_says_the_same_of_files(case: str, tmp_path: Path) -> None:
    network, edit = (REFUSED | TAKEN)[case][:2]  # type: ignore[operator]
    write_golden_folder(graph_of(network, edit), SHAPE, tmp_path / "finn")
    build = estimate_build(
        tmp_path / "finn", board="Pynq-Z1", target_fps=100, out=tmp_path / "out", timeout_s=200, images=6
    )
    assert build.accepted == (case in TAKEN), build.reason


# --- What comes in and goes out --------------------------------------------------------------------------------------


def channels_last(graph: ModelWrapper) -> None:
    """Take images [N, H, W, C], as Keras' converter writes it; the batch is open."""
    image = graph.graph.input[0]
    graph.graph.node.insert(0, helper.make_node("Transpose", ["nhwc"], [image.name], perm=[0, 3, 1, 2], name="first"))
    image.name = "nhwc"
    for dim, size in zip(image.type.tensor_type.shape.dim, (0, 8, 8, 3), strict=True):
        dim.Clear()
        if size:
            dim.dim_value = size


def open_sizes(graph: ModelWrapper) -> None:
    for axis, name in ((0, "N"), (2, "H"), (3, "W")):
        graph.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name


def shapeless(graph: ModelWrapper) -> None:
    graph.graph.input[0].type.tensor_type.ClearField("shape")


def negative(axis: int) -> Edit:
    """Write an open size as some do; the compilers take it for a number."""

    def edit(graph: ModelWrapper) -> None:
        graph.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = -1

    return edit


def newer_names(graph: ModelWrapper) -> None:
    for node in graph.graph.node:
        node.op_type = "IntQuant" if node.op_type == "Quant" else node.op_type


def two_outputs(graph: ModelWrapper) -> None:
    conv1 = next(node for node in graph.graph.node if node.op_type == "Conv")
    graph.graph.output.append(helper.make_tensor_value_info(conv1.output[0], onnx.TensorProto.FLOAT, None))


@pytest.mark.parametrize(
    ("network", "edit", "rule", "says"),
    [
        ("base", channels_last, "channels-last", "layout mismatch"),
        ("base", open_sizes, "open-size", "[N, 3, H, W]"),
        ("base", shapeless, "open-size", "says no shape"),
        ("base", negative(0), "open-size", "[-1, 3, 8, 8]"),
        ("base", negative(2), "open-size", "[1, 3, -1, 8]"),
        ("one logit", lambda graph: None, "output", "one logit"),
        ("base", two_outputs, "output", "has 2"),
    ],
)
def test_ends_that_hardware_has_not_are_named(network: str, edit: Edit, rule: str, says: str, tmp_path: Path) -> None:
    graph_of(network, edit).save(str(tmp_path / "a.onnx"))
    (found,) = [finding for finding in lint_file(tmp_path / "a.onnx") if finding.severity == "error"]
    assert found.rule == rule
    assert says in found.says


def test_a_scale_of_0_is_named_and_not_its_bits() -> None:
    def without_scale(graph: ModelWrapper) -> None:
        node = next(node for node in graph.graph.node if node.op_type == "Quant" and "act1" in node.name)
        graph.set_initializer("nothing", np.zeros((), np.float32))
        node.input[1] = "nothing"

    (only,) = [found for found in lint_graph(graph_of("base", without_scale)) if found.severity == "error"]
    assert (only.rule, only.says) == ("not-finite", "nothing of use: it divides by its scale, which is 0")


def test_newer_names_are_a_warning_with_the_line_that_renames() -> None:
    found = [finding for finding in lint_graph(graph_of("base", newer_names)) if finding.severity != "note"]
    assert [(finding.rule, finding.severity) for finding in found] == [("renamed", "warning")]
    graph = graph_of("base", newer_names)
    line = found[0].mend.removeprefix("rename them: ").partition("; `")[0]
    exec(line, {"model": graph})
    assert not [finding for finding in lint_graph(graph) if finding.severity != "note"]


@pytest.mark.slow
@pytest.mark.usefixtures("finn_plus")
def test_a_file_with_newer_names_is_built_and_proven(tmp_path: Path) -> None:
    graph_of("base", newer_names).save(str(tmp_path / "a.onnx"))
    proof, failure = verify_graph(tmp_path / "a.onnx", images=16)
    assert failure is None
    assert proof.build.accepted


@pytest.mark.slow
@pytest.mark.usefixtures("finn_plus")
def test_the_transpose_of_channels_last_images_is_named_by_verify(tmp_path: Path) -> None:
    graph_of("base", channels_last).save(str(tmp_path / "a.onnx"))
    with pytest.raises(ProofError, match=r"layout mismatch.*take the Transpose out"):
        verify_graph(tmp_path / "a.onnx", images=16)


def test_the_networks_that_files_are_made_of_are_clean() -> None:
    assert [errors(_exported(network)) for network in NETWORKS if network != "one logit"] == [[]] * 5
