"""Networks from public reports: what is right is exported and proven, what is not is named with its mend."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from brevitas.quant import Int8AccumulatorAwareWeightQuant
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from qtrain.errors import UserError
from qtrain.export import ProofError, export_finn, verify
from qtrain.export.bare import bare_copy
from qtrain.export.lint.check import lint_graph, lint_module
from qtrain.export.pipeline import prove_stages
from qtrain.export.proof.against_torch import check_stage
from qtrain.export.proof.bare_graph import image_shape
from qtrain.export.proof.reference import float64_reference, layer_outputs
from qtrain.export.proof.vacuous import caveats
from qtrain.export.qonnx import to_qonnx
from qtrain.export.stages import graph_stages
from tests.export.lint.probe_networks import conv, identity, linear, norm, relu
from tests.export.small import SHAPE, Small, exported, found, images, settled

# --- Modules used more than once -------------------------------------------------------------------------------------


class SharedReLU(Small):
    """One QuantReLU behind both convolutions, as torchvision writes its blocks."""

    def __init__(self) -> None:
        super().__init__()
        del self.act2
        self.act1 = self.activation()

    def activation(self) -> nn.Module:
        """The shared module."""
        return relu()

    def features(self, x: Tensor) -> Tensor:
        """As the small network's, but with a pool between, so that the uses have different shapes."""
        x = self.pool(self.act1(self.norm1(self.conv1(self.inp(x)))))
        return torch.flatten(self.act1(self.norm2(self.conv2(x))), 1)


class DeepSharedReLU(SharedReLU):
    """The shared one lies deeper in the network."""

    def activation(self) -> nn.Module:
        return nn.Sequential(nn.Sequential(relu()))


class SharedConvolution(Small):
    """One convolution and norm used twice, then a ReLU whose name looks like the second use of another."""

    def __init__(self) -> None:
        super().__init__()
        self.act1_1 = self.act2
        del self.act2

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        x = self.act1(self.norm2(self.conv2(x)))
        return torch.flatten(self.pool(self.act1_1(self.norm2(self.conv2(x)))), 1)


class SharedBlock(Small):
    """A whole block used twice, which holds one ReLU that it uses twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(conv(8, 8), norm(), self.act2, conv(8, 8), norm(), self.act2)

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        return torch.flatten(self.pool(self.block(self.block(x))), 1)


class Residual(SharedReLU):
    """A residual block with one ReLU, and one quantizer on both branches of the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = identity()

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        x = self.act1(self.sum(self.norm2(self.conv2(x))) + self.sum(x))
        return torch.flatten(self.pool(x), 1)


@pytest.mark.parametrize(
    ("kind", "uses"),
    [
        (SharedReLU, ["act1", "act1[1]"]),
        (DeepSharedReLU, ["act1.0.0", "act1.0.0[1]"]),
        (SharedConvolution, ["conv2", "conv2[1]", "act1", "act1[1]", "act1_1"]),
        (SharedBlock, ["block.3", "block.3[1]", "act2", "act2[1]", "act2[2]", "act2[3]"]),
        (Residual, ["act1", "act1[1]", "sum", "sum[1]"]),
    ],
)
def test_each_use_of_a_shared_module_is_compared_with_its_own(
    kind: type[nn.Module], uses: list, tmp_path: Path
) -> None:
    network = settled(kind())
    pixels, _ = images()
    reference = float64_reference(network, pixels[:1].float() / 255)
    _, checks = prove_stages(graph_stages(network, SHAPE), reference, pixels, tmp_path / "stages")
    _, outputs = layer_outputs(reference, pixels.double() / 255)
    assert set(uses) <= set(outputs)
    assert {check.tensors for check in checks} == {len(outputs) + 1}  # every use, and the network's output


def test_a_residual_block_with_one_relu_is_exported_and_proven(tmp_path: Path) -> None:
    assert exported(settled(Residual()), tmp_path).equal == 12


def test_a_change_between_two_uses_is_found_at_the_second(tmp_path: Path) -> None:
    network = settled(DeepSharedReLU())
    pixels, _ = images()
    reference = float64_reference(network, pixels[:1].float() / 255)
    graph, _ = prove_stages(graph_stages(network, SHAPE), reference, pixels, tmp_path / "stages")
    second = next(node for node in graph.graph.node if node.op_type == "Quant" and node.name.startswith("act1_0_0_1"))
    graph.set_initializer(second.input[1], 2 * graph.get_initializer(second.input[1]))
    with pytest.raises(Exception, match="act1_0_0_1_out' is the first that differs"):
        check_stage("changed", graph, reference, pixels, True)


# --- Wrapped, pruned and parametrized modules ------------------------------------------------------------------------


def pruned() -> nn.Module:
    network = settled(Small())
    prune.l1_unstructured(network.conv2, "weight", 0.5)
    prune.random_structured(network.conv2, "weight", 0.2, dim=0)  # a mask upon a mask
    prune.remove(prune.l1_unstructured(network.fc, "weight", 0.3), "weight")
    return network


def most_pruned() -> nn.Module:
    """The largest weight, from which the scale comes, lies behind the mask."""
    network = settled(Small())
    mask = (network.conv2.weight.abs() < network.conv2.weight.abs().max()).float()
    prune.custom_from_mask(network.conv2, "weight", mask)
    return network


def weight_norm() -> nn.Module:
    network = Small()
    parametrizations.weight_norm(network.conv2)
    return settled(network)


def old_weight_norm() -> nn.Module:
    network = Small()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(network.conv2)
    return settled(network)


def keeps_an_activation() -> nn.Module:
    """A module that holds what it computed, which deepcopy refuses."""
    network = settled(Small())
    network.seen = [network.conv1.weight * 2]
    return network


def inner_compiled() -> nn.Module:
    network = settled(Small())
    network.conv2 = torch.compile(network.conv2, backend="eager")
    return network


WRAPPED = {
    "pruned": pruned,
    "most_pruned": most_pruned,
    "weight_norm": weight_norm,
    "old_weight_norm": old_weight_norm,
    "keeps_an_activation": keeps_an_activation,
    "inner_compiled": inner_compiled,
    "compiled": lambda: torch.compile(settled(Small()), backend="eager"),
    "parallel": lambda: nn.DataParallel(settled(Small())),
    "compiled_parallel": lambda: torch.compile(nn.DataParallel(settled(Small())), backend="eager"),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(settled(Small())).eval(),
}


DAILY = {"pruned", "keeps_an_activation", "averaged"}


@pytest.mark.parametrize(
    "kind", [kind if kind in DAILY else pytest.param(kind, marks=pytest.mark.slow) for kind in WRAPPED]
)
@torch.compiler.set_stance("force_eager")
def test_what_is_wrapped_around_a_network_is_taken_off_a_copy(kind: str, tmp_path: Path) -> None:
    network = WRAPPED[kind]()
    pixels, _ = images()
    x = pixels.float() / 255
    with torch.no_grad():
        before = network(x)
        assert torch.equal(bare_copy(network)(x), before)
    assert not found(network)
    proof = exported(network, tmp_path)
    assert proof.equal == len(pixels)
    with torch.no_grad():
        assert torch.equal(network(x), before)  # the network itself is as it was
    assert not found(network)


def test_a_scripted_network_is_named() -> None:
    with pytest.raises(UserError, match=r"compiled by torch.jit; give the module that torch.jit.script"):
        lint_module(torch.jit.script(nn.Linear(2, 2)), SHAPE)


# --- Quantizers that give more than values ---------------------------------------------------------------------------


class QuantTensors(Small):
    """Quantized tensors up to the network's output."""

    def __init__(self) -> None:
        super().__init__()
        self.act2 = relu(return_quant_tensor=True)
        self.fc = linear(128, return_quant_tensor=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


class AccumulatorAware(Small):
    """Weights that are aware of the accumulator's width."""

    def __init__(self) -> None:
        super().__init__()
        self.act1 = relu(return_quant_tensor=True)
        self.conv2 = conv(8, 8, quant=Int8AccumulatorAwareWeightQuant)


@pytest.mark.parametrize("kind", [QuantTensors, AccumulatorAware])
def test_networks_of_quantized_tensors_are_exported_and_proven(kind: type[nn.Module], tmp_path: Path) -> None:
    network = settled(kind())
    assert not found(network)
    assert exported(network, tmp_path).equal == 12


# --- Proofs that say nothing -----------------------------------------------------------------------------------------


def test_one_logit_is_refused_before_training_and_never_proven(tmp_path: Path) -> None:
    network = settled(Small(classes=1))
    (only,) = found(network)
    assert (only.severity, only.rule, "two outputs" in only.mend) == ("error", "output", True)
    pixels, labels = images()
    with pytest.raises(ProofError, match="one logit"):
        export_finn(network, tmp_path / "o", pixels=pixels, labels=0 * labels, refused_too=True)
    assert not (tmp_path / "o").exists()


def without_weights() -> nn.Module:
    network = settled(Small())
    network.fc.weight.data.zero_()
    return network


def hidden_without_weights() -> nn.Module:
    network = settled(Small())
    network.conv2.weight.data.zero_()
    return network


@pytest.mark.parametrize(("make", "layer"), [(without_weights, "fc"), (hidden_without_weights, "conv2")])
def test_weights_that_are_all_zero_are_named_and_never_proven(make: Callable, layer: str, tmp_path: Path) -> None:
    assert ("zero-weights", layer) in [(finding.rule, finding.layer) for finding in found(make())]
    pixels, labels = images()
    with pytest.raises(ProofError, match="all 12 images get the same logits"):
        export_finn(make(), tmp_path / "o", pixels=pixels, labels=labels, refused_too=True)


def test_what_the_test_set_leaves_open_is_said(tmp_path: Path) -> None:
    assert exported(settled(Small()), tmp_path).caveats == ()  # all ten classes are there
    said: list[str] = []
    pixels, labels = images()
    network = settled(Small())
    proof = export_finn(network, tmp_path / "o", pixels=pixels, labels=labels.clamp(max=7), say=said.append)
    assert proof.caveats == ("no test image is of classes 8, 9",)
    assert any("no test image is of classes 8, 9" in line for line in said)
    assert verify(tmp_path / "o").caveats == proof.caveats


def test_one_class_of_answers_or_labels_is_said() -> None:
    answers, labels = torch.full((5,), 3), torch.full((5,), 2)
    found = caveats(answers, labels, 4)
    assert found[0] == "every test image gets class 3: no other answer was seen"
    assert found[1:] == ("all test images are of class 2", "no test image is of classes 0, 1, 3")
    assert caveats(answers[:1], labels[:1], 4) == ("one test image only",)


# --- Labels ----------------------------------------------------------------------------------------------------------

LABELS = {
    "1 to 10": (lambda n: torch.arange(n) % 10 + 1, "go from 1 to 10, but the network has 10 logits.*subtract 1"),
    "negative": (lambda n: torch.full((n,), -1), "go from -1 to -1"),
    "float": (lambda n: torch.rand(n), "float32"),
    "bool": (lambda n: torch.arange(n) > 3, "bool"),
    "int32": (lambda n: (torch.arange(n) % 10).int(), r"int32 \[12\]; make whole numbers int64 with labels.long"),
    "one-hot": (lambda n: torch.eye(10)[torch.arange(n) % 10], r"float32 \[12, 10\]; of one-hot rows take"),
    "column": (lambda n: torch.zeros(n, 1, dtype=torch.int64), r"int64 \[12, 1\]"),
    "short": (lambda n: torch.arange(n - 1) % 10, r"int64 \[12\].* but got int64 \[11\]"),
    "list": (lambda n: list(range(n)), "labels must be a torch tensor, but got a list"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_no_classes_are_one_line(kind: str, tmp_path: Path) -> None:
    make, line = LABELS[kind]
    with pytest.raises(UserError, match=line) as caught:
        exported(settled(Small()), tmp_path, labels=make(12))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# --- Weights that are no numbers -------------------------------------------------------------------------------------


def spoiled(path: str, value: float) -> nn.Module:
    network = settled(Small())
    module, _, name = path.rpartition(".")
    getattr(network.get_submodule(module), name).data.view(-1)[0] = value
    return network


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fc.weight", float("nan")),
        ("conv1.weight", float("inf")),
        ("norm1.weight", float("nan")),
        ("norm2.bias", -float("inf")),
        ("norm2.running_mean", float("nan")),
        ("norm1.running_var", -1.0),
    ],
)
def test_what_is_not_finite_is_named_and_nothing_else(path: str, value: float) -> None:
    (only,) = found(spoiled(path, value))
    assert (only.rule, only.layer) == ("not-finite", path.rpartition(".")[0])
    assert "not finite" in only.says


# --- Files of foreign origin ------------------------------------------------------------------------------------------


def test_int_quant_is_linted_as_quant() -> None:
    graph = to_qonnx(settled(Small()), SHAPE)
    before = lint_graph(graph)
    for node in graph.graph.node:
        node.op_type = "IntQuant" if node.op_type == "Quant" else node.op_type
    assert tuple(finding for finding in lint_graph(graph) if finding.rule != "renamed") == before
    assert not [finding for finding in before if finding.severity == "error"]


def test_an_open_size_is_one_line_that_names_the_input() -> None:
    graph = to_qonnx(settled(Small()), SHAPE)
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(UserError, match=f"input {graph.graph.input[0].name} has an open size"):
        image_shape(graph)
