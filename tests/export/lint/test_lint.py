"""Lint says of every network what the real FINN says, names the layer, and its mend is one that FINN takes."""

import os
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx.core.datatype import DataType
from torch import nn

from qtrain.errors import UserError
from qtrain.export.compiler.start import estimate_build
from qtrain.export.lint.check import Finding, lint_file, lint_graph, lint_module
from qtrain.export.lint.finding import WHOLE
from qtrain.export.passes import PASSES, clean
from qtrain.models import build_model
from qtrain.report.findings import summary
from tests.export.lint.probe_builds import exported, warmed_up, write_folder
from tests.export.lint.probe_networks import linear, net
from tests.export.lint.probes import PROBES, Probe
from tests.sampled import sampled

REFUSED = {name: probe for name, probe in PROBES.items() if not probe.accepted}
ONLY_IN_TORCH = ("weights-clamped",)  # the graph is right, the module changes with every forward


def errors(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def loud(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "note"]


# --- The verdict table -----------------------------------------------------------------------------------------------


# Three of four among the slow tests: each is exported once more.
MARKED = [
    pytest.param(probe, id=name, marks=pytest.mark.slow if number % 4 else ())
    for number, (name, probe) in enumerate(PROBES.items())
]


@pytest.mark.parametrize("probe", MARKED)
def test_lint_says_what_finn_says_and_names_the_layer(probe: Probe) -> None:
    findings = lint_module(probe.make(), probe.shape)
    assert bool(errors(findings)) != probe.accepted
    assert {finding.rule for finding in loud(findings)} == {probe.rule, *probe.also} - {None}
    if probe.rule is not None:
        assert (probe.layer or WHOLE) in [finding.layer for finding in loud(findings) if finding.rule == probe.rule]
    assert all(finding.says and finding.step and finding.mend for finding in findings)


def test_every_refused_network_has_a_mended_twin_that_finn_takes() -> None:
    assert len(REFUSED) > 40
    for probe in REFUSED.values():
        assert PROBES[str(probe.mended)].accepted, probe.name


@pytest.mark.parametrize("name", ["residual_two_pre", "identity_zero_point", "sign", "equal_constants"])
def test_the_verdict_is_the_same_before_and_after_training(name: str) -> None:
    probe = PROBES[name]
    assert lint_module(warmed_up(probe), probe.shape) == lint_module(probe.make(), probe.shape)


def test_the_network_is_left_as_it_was() -> None:
    model = PROBES["binary_clamped"].make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lint_module(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "shrinks"), [("binary_clamped", True), ("binary_mean", False)])
def test_clamped_weights_do_shrink_in_evaluation_and_the_mend_stops_it(name: str, shrinks: bool) -> None:
    model = warmed_up(PROBES[name])
    before = model.get_submodule("conv2").weight.clone()  # type: ignore[union-attr,operator]
    with torch.no_grad():
        model(torch.rand(1, 3, 8, 8))
    after = model.get_submodule("conv2").weight
    assert torch.equal(before, after) != shrinks  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"), sampled([("TFC_1W1A", 28), ("VGG11_1W1A", 32), ("RESNET20_2W2A", 32)], [("VGG11_1W1A", 32)])
)
def test_the_zoo_is_clean(name: str, size: int) -> None:
    assert not loud(lint_module(build_model(name, width=0.125), (3, size, size)))


@pytest.mark.slow
def test_of_the_papers_wide_resnet_the_pools_are_named() -> None:
    found = errors(lint_module(build_model("WRN20_PAPER_2W2A", width=0.125)))
    assert {f.layer for f in found if f.rule == "average-pool"} == {"stage2.unit1.pool", "stage3.unit1.pool"}


def test_several_mistakes_are_all_found_errors_first() -> None:
    changes = {"input": None, "pool1": nn.AvgPool2d(2), "act2": PROBES["identity_unsigned"].make().act1}
    findings = loud(lint_module(net(changes), (3, 8, 8)))
    assert [f.rule for f in findings] == ["average-pool", "float-input", "unsigned-identity"]
    assert [f.layer for f in findings] == ["pool1", "conv1", "act2"]


def test_what_rules_about_the_same_layers_find_stands_layer_by_layer() -> None:
    leaping, dilated = nn.MaxPool2d(1, 2), nn.MaxPool2d(2, 1, dilation=2)
    changes = {"pool1": nn.MaxPool2d(2, 1, dilation=2), "pool2": nn.Sequential(leaping, dilated), "fc": linear(8)}
    found = errors(lint_module(net(changes), (3, 8, 8)))
    assert [(f.layer, f.rule) for f in found] == [
        ("pool1", "pool-dilation"),
        ("pool2.0", "pool-stride"),
        ("pool2.1", "pool-dilation"),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"act2": nn.ReLU(), "fc": linear(32, bias=True)}, {"float-activation": "act2", "head": "fc"}),
        (
            {"conv1": nn.Conv2d(3, 8, 3, padding=1), "fc": linear(32, bias=True)},
            {"float-weights": "conv1", "head": "fc"},
        ),
        ({"pool2": nn.AvgPool2d(2), "fc": linear(32, bias=True)}, {"average-pool": "pool2", "head": "fc"}),
        (
            {"fc": nn.Sequential(linear(32), nn.ReLU(), nn.BatchNorm1d(10))},
            {"float-activation": "fc.1", "head": "fc.2"},
        ),
    ],
)
def test_a_head_that_finn_refuses_is_named_beside_an_earlier_error(changes: dict, expected: dict) -> None:
    found = errors(lint_module(net(changes), (3, 8, 8)))
    assert {f.rule: f.layer for f in found} == expected


def test_a_head_behind_a_softmax_and_the_softmax_are_both_named() -> None:
    changes = {"fc": nn.Sequential(linear(32, bias=True), nn.Softmax(1))}
    found = errors(lint_module(net(changes), (3, 8, 8)))
    assert {(f.rule, f.layer) for f in found} == {("head", "fc.0"), ("head", "fc.1")}


def test_activations_whose_mend_takes_a_bias_in_hide_no_head() -> None:
    changes = {"fc": nn.Sequential(linear(32, bias=True), nn.ReLU())}
    assert [f.rule for f in errors(lint_module(net(changes), (3, 8, 8)))] == ["float-activation"]


class Deciding(nn.Module):
    """The base behind Python that looks at the image, or at its shape only."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.body = kind, net()
        self.register_buffer("flag", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "shape" and x.shape[2] == 8 and int(x.size(0)) == 1:
            return self.body(x)
        if self.kind == "constant" and self.flag.sum() > 0 and not self.training:
            return self.body(x)
        if self.kind == "branch" and x.mean() > 0.5:
            return self.body(1 - x)
        if self.kind == "value":
            x = x * float(x.amax())
        if self.kind == "array":
            x = x * float(np.max(x.numpy()))
        if self.kind == "list":
            x = x * sum(x.flatten().tolist())
        if self.kind == "how many":
            x = x * len(x[x > 0.5])
        if self.kind == "where":
            x = x * len(torch.nonzero(x))
        return self.body(x)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("branch", 'if self.kind == "branch" and x.mean() > 0.5:'),
        ("value", "x = x * float(x.amax())"),
        ("array", "x = x * float(np.max(x.numpy()))"),
        ("list", "x = x * sum(x.flatten().tolist())"),
        ("how many", "x = x * len(x[x > 0.5])"),
        ("where", "x = x * len(torch.nonzero(x))"),
    ],
)
def test_python_that_looks_at_the_image_is_a_warning_that_names_its_line(kind: str, line: str) -> None:
    network = nn.Sequential(OrderedDict(inner=Deciding(kind)))
    (found,) = loud(lint_module(network, (3, 8, 8)))
    assert (found.rule, found.severity, found.layer) == ("frozen-branch", "warning", "inner")
    number = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.strip() == line)
    assert f"the trace freezes one branch or value at {Path(__file__)}:{number} ({line})" in found.says.replace(
        "at tests/", f"at {Path(__file__).parents[2]}/"
    )
    assert "otherwise than torch" in summary([asdict(found)])[0]


def test_a_branch_is_named_though_the_export_fails() -> None:
    class Both(Odd):
        def forward(self, x: torch.Tensor) -> object:
            return super().forward(x if x.sum() > 1 else x + 0.1)

    assert [f.rule for f in lint_module(Both("matrix"), (3, 8, 8))] == ["export", "frozen-branch"]


@pytest.mark.parametrize("kind", ["shape", "constant"])
def test_python_that_looks_at_shapes_or_constants_is_fine(kind: str) -> None:
    assert not loud(lint_module(Deciding(kind), (3, 8, 8)))


class Odd(nn.Module):
    """Networks that are no classifiers, or cannot be exported."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.body = kind, net()

    def forward(self, x: torch.Tensor) -> object:
        y = self.body(x)
        if self.kind == "pair":
            return y, y
        if self.kind == "image":
            return self.body.conv1(x)
        return torch.linalg.matrix_exp(y.reshape(-1, 2, 5) @ y.reshape(-1, 5, 2)).flatten(1).repeat(1, 3)[:, :10]


@pytest.mark.parametrize(("kind", "rule"), [("pair", "output"), ("image", "output"), ("matrix", "export")])
def test_what_is_no_exportable_classifier_is_one_error(kind: str, rule: str, capfd: pytest.CaptureFixture[str]) -> None:
    findings = lint_module(Odd(kind), (3, 8, 8))
    assert [f.rule for f in findings] == [rule]
    assert findings[0].severity == "error"
    assert "Torch IR graph" not in "".join(capfd.readouterr())


def test_a_network_that_cannot_take_the_images_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"cannot take images of 1x8x8.*--input-shape"):
        lint_module(net(), (1, 8, 8))
    with pytest.raises(UserError, match=r"^TFC_1W1A cannot take images of 3x8x8"):
        lint_module(build_model("TFC_1W1A"), (3, 8, 8))


# --- QONNX files -----------------------------------------------------------------------------------------------------


ONE_A_RULE = {probe.rule: name for name, probe in REFUSED.items() if probe.rule not in ONLY_IN_TORCH}


@pytest.mark.parametrize("name", sampled(ONE_A_RULE.values(), [*ONE_A_RULE.values()][::3]))
def test_a_raw_export_of_a_refused_network_is_refused(name: str) -> None:
    rule = "sign-scale" if name == "identity_1_bit" else REFUSED[name].rule  # its integer is not in the graph
    assert rule in {finding.rule for finding in errors(lint_graph(exported(REFUSED[name])))}


@pytest.mark.parametrize("name", ["base", "residual_pre", "cnv_1w1a", "trunc_floor", "flat"])
def test_a_raw_export_of_an_accepted_network_is_accepted_with_notes(name: str) -> None:
    findings = lint_graph(exported(PROBES[name]))
    assert not errors(findings)
    assert {"input-type", "no-top1"} <= {f.rule for f in findings if f.severity == "note"}


def test_the_finished_graph_is_clean_and_linting_leaves_it_alone() -> None:
    graph = exported(PROBES["base"])
    for step in PASSES:
        graph = step.apply(graph)
    before = graph.model.SerializeToString(deterministic=True)
    assert lint_graph(graph) == ()
    assert graph.model.SerializeToString(deterministic=True) == before


def test_a_graph_without_names_and_with_an_open_batch_is_linted() -> None:
    graph = exported(PROBES["avgpool_middle"])
    for node in graph.graph.node:
        node.name = ""
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert [f.rule for f in errors(lint_graph(graph))] == ["average-pool"]


def test_weights_that_are_integers_by_their_type_are_quantized() -> None:
    graph = clean(exported(PROBES["base"]))
    for node in [n for n in graph.graph.node if n.op_type == "Quant" and "weight_quant" in n.name]:
        reader = graph.find_consumer(node.output[0])
        index = list(reader.input).index(node.output[0])
        shape = graph.get_tensor_shape(node.input[0]) or graph.get_initializer(node.input[0]).shape
        graph.set_initializer(f"{node.name}_int", np.ones(shape, dtype=np.float32))
        graph.set_tensor_datatype(f"{node.name}_int", DataType["INT4"])
        reader.input[index] = f"{node.name}_int"
        graph.graph.node.remove(node)
    assert not errors(lint_graph(graph))


def test_a_float_graph_is_not_quantized(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    exported(PROBES["float_twin"]).save(str(path))
    assert [f.rule for f in lint_file(path)] == ["not-quantized"]


# --- The real compiler -----------------------------------------------------------------------------------------------

FEW = ("identity_after_average", "average_head")
BUILT = [n for n, p in PROBES.items() if p.rule not in ONLY_IN_TORCH] if os.environ.get("QTRAIN_ALL_PROBES") else FEW


@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize("name", BUILT)
def test_the_real_finn_agrees(name: str, tmp_path: Path) -> None:
    write_folder(warmed_up(PROBES[name]), PROBES[name].shape, tmp_path / "finn")
    build = estimate_build(
        tmp_path / "finn", board="Pynq-Z1", target_fps=100, out=tmp_path / "out", timeout_s=120, images=2
    )
    assert build.accepted == PROBES[name].accepted, build.reason
