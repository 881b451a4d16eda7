"""The export: every stage is compared with torch in float64, a wrong graph is caught and named, folders are whole."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from brevitas.nn import QuantConv2d, QuantLinear
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from torch import Tensor, nn

from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.export import ProofError, export_finn, verify
from qtrain.export.execute.executor import Executor
from qtrain.export.naming import layer_tensors
from qtrain.export.passes import PASSES
from qtrain.export.pipeline import prove_stages
from qtrain.export.proof.against_torch import check_stage, run_graph, run_qonnx
from qtrain.export.proof.reference import float64_reference, layer_outputs, predict
from qtrain.export.qonnx import to_qonnx
from qtrain.export.stages import graph_stages
from qtrain.models import build_model
from qtrain.models.quantizers import Scales, fixed_point_input
from qtrain.records.files import write_json
from tests.sampled import sampled

SHAPE = (3, 32, 32)
CASES = [(1, "constant"), (2, "constant"), (3, "constant"), (4, "learned"), (6, "constant"), (8, "learned")]


def digits(count: int) -> tuple[Tensor, Tensor]:
    test = load_data("digits").test
    return test.images[:count], test.labels[:count]


def trained(bits: int, scaling: str = "constant", steps: int = 12) -> nn.Module:
    """A small CNV after some real steps: statistics, scales and weights have moved."""
    torch.manual_seed(bits)
    train = load_data("digits").train
    model = build_model(f"CNV_{bits}W{bits}A", width=0.125, scaling=scaling)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(steps):
        at = slice(40 * step, 40 * (step + 1))
        loss = nn.functional.cross_entropy(model(train.images[at].float() / 255), train.labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.clip_weights()
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "finn"
    pixels, labels = digits(60)
    export_finn(trained(2), out, pixels=pixels, labels=labels, network="CNV_2W2A", source={"recipe": {"lr": 0.1}})
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "finn"))


@pytest.mark.parametrize(("bits", "scaling"), sampled(CASES, [(1, "constant"), (4, "learned")]))
def test_every_stage_equals_torch_at_every_bit_width(bits: int, scaling: str, tmp_path: Path) -> None:
    model = trained(bits, scaling)
    pixels, _ = digits(397)
    reference = float64_reference(model, pixels[:1].float() / 255)
    graph, checks = prove_stages(graph_stages(model, SHAPE), reference, pixels[:8], tmp_path / "stages")
    assert [c.stage for c in checks] == ["exported", *(p.name for p in PASSES)]
    assert len(list((tmp_path / "stages").glob("*.onnx"))) == len(checks)
    # 6 convolutions, 3 linear layers, 9 norms, 8 activations, input, 2 pools, flatten, and the output.
    assert {c.tensors for c in checks} == {31}
    assert max(c.largest_difference for c in checks) < 1e-6
    classes, logits = run_graph(graph, pixels)
    expected = predict(reference, pixels)
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
    assert len(classes.unique()) > 1


@pytest.mark.parametrize("name", sampled(["RESNET20_2W2A", "WRN20_1W1A"], ["WRN20_1W1A"]))
def test_both_uses_of_a_shared_quantizer_are_compared(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(name, width=0.5)
    model(torch.rand(16, 3, 32, 32))
    pixels, _ = digits(2)
    reference = float64_reference(model, pixels[:1].float() / 255)
    graph, checks = prove_stages(graph_stages(model, SHAPE), reference, pixels, tmp_path / "stages")
    assert len({c.tensors for c in checks}) == 1
    names = {node.name for node in graph.graph.node}
    block = "stage2_block1" if name.startswith("RESNET") else "stage2_unit1"
    assert {f"{block}_sum", f"{block}_sum_1"} <= names
    _, layers = layer_outputs(reference, pixels.double() / 255)
    first, second = layers[f"{block.replace('_', '.')}.sum"], layers[f"{block.replace('_', '.')}.sum[1]"]
    assert not torch.equal(first, second)
    with pytest.raises(ProofError, match=r"sum"):
        check_stage("swapped", _swapped(graph, f"{block}_sum", f"{block}_sum_1"), reference, pixels, True)


def _swapped(graph: ModelWrapper, one: str, other: str) -> ModelWrapper:
    by_name = {node.name: node for node in graph.graph.node}
    a, b = by_name[one], by_name[other]
    a.name, b.name = b.name, a.name  # now each claims to be the other's use
    return graph


def test_the_reference_keeps_the_float32_scales() -> None:
    model = trained(3, "learned")
    pixels, _ = digits(4)
    reference = float64_reference(model, pixels[:1].float() / 255)
    assert next(reference.parameters()).dtype == torch.float64
    _, layers = layer_outputs(reference, pixels.double() / 255)
    quantizer = model.act3.act_quant
    step = quantizer.scale().detach().double()
    levels = layers["act3"] / step
    assert torch.equal(levels, levels.round())
    assert not torch.equal(step, step.float().half().double())  # a scale that float64 arithmetic would change


def test_a_weight_between_two_steps_is_rounded_as_in_the_float32_network(tmp_path: Path) -> None:
    model = trained(8)
    layer = model.conv3
    scale = layer.quant_weight().scale.detach()
    middle = scale.flatten()[0] * (torch.arange(0, 100, 2) + 0.5)  # an even step is the float32 network's answer
    ties = middle[(middle / scale.flatten()[0]) % 1 == 0.5]
    ties = ties[ties.double() / scale.flatten()[0].double() > (ties / scale.flatten()[0]).double()]
    assert len(ties) > 5  # float64 would round these up
    with torch.no_grad():
        layer.weight.view(-1)[: len(ties)] = ties
    whole = layer.quant_weight().int(float_datatype=False)
    pixels, _ = digits(4)
    reference = float64_reference(model, pixels[:1].float() / 255)
    assert torch.equal(reference.conv3.quant_weight().int(float_datatype=False), whole)
    # Every stage holds, the raw export too.
    graph, _ = prove_stages(graph_stages(model, SHAPE), reference, pixels, tmp_path / "stages")
    weight = Executor(graph).constants["conv3_weight_quant_out"]
    assert torch.equal((weight / scale.double()).round(), whole.double())
    assert torch.equal(weight, whole * scale.double())


def test_the_final_graph_takes_pixels_gives_a_class_and_speaks_the_network_s_names(folder: Path) -> None:
    graph = ModelWrapper(str(folder / "model.onnx"))
    inp, out = graph.graph.input[0].name, graph.graph.output[0].name
    assert (inp, out) == ("global_in", "global_out")
    assert graph.get_tensor_datatype(inp) == DataType["UINT8"]
    assert graph.get_tensor_shape(inp) == [1, 3, 32, 32]
    assert graph.get_tensor_shape(out) == [1, 1]
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert {"conv1", "conv1_weight_quant", "norm1", "act1", "pool2", "flatten", "fc3", "top1"} <= set(names)
    assert graph.get_tensor_datatype("conv3_weight_quant_out") == DataType["INT2"]
    assert all(graph.get_tensor_shape(t) for node in graph.graph.node for t in node.output)
    assert str(graph.get_tensor_layout("conv1_out")) == "['N', 'C', 'H', 'W']"


def test_qonnx_own_executor_agrees_layer_by_layer(folder: Path) -> None:
    graph = ModelWrapper(str(folder / "model.onnx"))
    pixels, _ = digits(2)
    image = pixels[:1]
    reference = float64_reference(trained(2), image.float() / 255)
    _, layers = layer_outputs(reference, image.double() / 255)
    context = execute_onnx(graph, {"global_in": image.float().numpy()}, return_full_exec_context=True)
    for name, expected in layers.items():
        tensor = context[f"{name}_out"] if f"{name}_out" in context else context["norm9_Add_out"]
        np.testing.assert_allclose(tensor, expected.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("parameter", "named"),
    [("conv3_weight_quant_param0", "conv3_out"), ("norm2_param1", "norm2_out"), ("act5_param1", "act5_out")],
)
def test_a_changed_parameter_is_caught_at_its_layer(folder: Path, parameter: str, named: str) -> None:
    graph = ModelWrapper(str(folder / "model.onnx"))
    pixels, _ = digits(4)
    reference = float64_reference(trained(2), pixels[:1].float() / 255)
    check_stage("final", graph, reference, pixels, True)
    graph.set_initializer(parameter, -1.5 * graph.get_initializer(parameter))
    message = rf"stage 'final': tensor '{named}' is the first that differs .*: \d+ of \d+ values, largest difference"
    with pytest.raises(ProofError, match=message):
        check_stage("final", graph, reference, pixels, True)


def test_a_graph_that_only_answers_wrong_is_caught(folder: Path) -> None:
    graph = ModelWrapper(str(folder / "model.onnx"))
    pixels, _ = digits(40)
    reference = float64_reference(trained(2), pixels[:1].float() / 255)
    top = graph.graph.node[-1]
    graph.graph.node.remove(top)  # the class of the layer before the norm's scale turned round
    graph.set_initializer("negative", np.array(-1.0, dtype=np.float32))
    from onnx import helper

    graph.graph.node.append(helper.make_node("Mul", [top.input[0], "negative"], ["turned"], name="turn"))
    graph.graph.node.append(helper.make_node("TopK", ["turned", top.input[1]], list(top.output), name="top1", axis=-1))
    with pytest.raises(ProofError, match=r"top-1 differs on \d+ of 40 images; the first is image \d+"):
        check_stage("final", graph, reference, pixels, True)


def test_weights_are_not_touched_by_an_export(tmp_path: Path) -> None:
    model = trained(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    to_qonnx(model, (3, 32, 32))
    float64_reference(model, torch.rand(1, 3, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_folder_is_whole(folder: Path) -> None:
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {
        "model.onnx",
        "official_build_config.json",
        "build_config.yaml",
        "build.py",
        "input.npy",
        "expected_output.npy",
        "manifest.json",
        "README.md",
    } <= names
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert manifest["proof"]["equal"] == manifest["proof"]["images"] == 60
    assert manifest["proof"]["accuracy_torch"] == manifest["proof"]["accuracy_graph"]
    assert manifest["network"] == "CNV_2W2A"
    assert manifest["source"] == {"recipe": {"lr": 0.1}}
    config = yaml.safe_load((folder / "build_config.yaml").read_text())
    official = json.loads((folder / "official_build_config.json").read_text())
    assert official | {"steps": config["steps"]} == config | {"fpga_part": "xczu7ev-ffvc1156-2-e"}
    assert "initial_python" in config["verify_steps"]
    assert not (folder / "dataflow_build_config.json").exists()  # FINN's mode of that name cannot take our steps
    assert (config["board"], config["shell_flow_type"], config["target_fps"]) == ("ZCU104", "vivado_zynq", 1000)


def test_the_readme_says_how_each_compiler_builds_it_and_what_the_board_is_fed(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    files = {p.relative_to(folder).parts[0] for p in folder.rglob("*") if p.is_file()} - {"README.md"}
    assert not [name for name in files if f"`{name}" not in text]
    for said in (
        "finn build build_config.yaml model.onnx",
        "./run-docker.sh build_custom FOLDER",
        "python build.py --estimates",
        "39f0c9a6b",
        "73ba5ed64",
        "channels last, [N, 32, 32, 3]",
        "uint8",
        "10 ns are 100 MHz",
    ):
        assert said in text
    proof = json.loads((folder / "manifest.json").read_text())["proof"]
    assert f"{proof['accuracy_graph']:.2f} % top-1 on 60 test images" in text


def test_the_golden_pair_is_real_and_holds_in_float32(folder: Path) -> None:
    images, classes = np.load(folder / "input.npy"), np.load(folder / "expected_output.npy")
    assert images.shape == (8, 3, 32, 32)
    assert classes.shape == (8, 1)
    assert 0 <= images.min() < 50 < 200 < images.max() <= 255
    answers = run_qonnx(ModelWrapper(str(folder / "model.onnx")), torch.from_numpy(images))
    np.testing.assert_array_equal(answers, classes.flatten())


def test_qonnx_own_executor_begins_no_image_beyond_its_time_but_two(folder: Path) -> None:
    graph, (pixels, _) = ModelWrapper(str(folder / "model.onnx")), digits(4)
    assert len(run_qonnx(graph, pixels)) == 4
    assert len(run_qonnx(graph, pixels, seconds=0)) == 2


@pytest.mark.slow
def test_a_golden_pair_of_other_images_than_the_first_is_executed_too(copy: Path) -> None:
    graph, (pixels, _) = ModelWrapper(str(copy / "model.onnx")), digits(60)
    classes = run_qonnx(graph, pixels[40:42])
    manifest = json.loads((copy / "manifest.json").read_text())
    for name, value in (
        ("input", pixels[40:42].float().numpy()),
        ("expected_output", classes.float().numpy()[:, None]),
    ):
        np.save(copy / f"{name}.npy", value)
        manifest["files"][f"{name}.npy"] = hashlib.sha256((copy / f"{name}.npy").read_bytes()).hexdigest()
    write_json(copy / "manifest.json", manifest)
    assert verify(copy).equal == 60
    wrong = (classes.float().numpy()[:, None] + 1) % 10
    np.save(copy / "expected_output.npy", wrong)
    manifest["files"]["expected_output.npy"] = hashlib.sha256((copy / "expected_output.npy").read_bytes()).hexdigest()
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(ProofError, match="golden pair"):
        verify(copy)


def test_verify_repeats_the_proof_from_the_folder_alone(copy: Path) -> None:
    (copy / "output").mkdir()
    (copy / "output" / "estimate.json").write_text("{}")  # what a build adds is nobody's business
    proof = verify(copy)
    assert (proof.images, proof.equal) == (60, 60)


@pytest.mark.parametrize("name", ["model.onnx", "proof/expected.npz", "input.npy", "stages/1_clean.onnx"])
def test_verify_names_a_changed_or_missing_file(copy: Path, name: str) -> None:
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ProofError, match=f"changed: {name}"):
        verify(copy)
    path.unlink()
    with pytest.raises(ProofError, match=f"missing: {name}"):
        verify(copy)


def test_verify_runs_the_graph_and_does_not_trust_the_manifest(copy: Path) -> None:
    from qtrain.export.folder.contents import checksums

    graph = ModelWrapper(str(copy / "model.onnx"))
    graph.set_initializer("norm1_param1", -graph.get_initializer("norm1_param1"))
    graph.save(str(copy / "model.onnx"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"] = checksums(copy)
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(ProofError, match=r"differs"):
        verify(copy)


def test_verify_does_not_trust_the_recorded_accuracy(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["proof"]["accuracy_torch"] = 99.9
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(ProofError, match=r"says accuracy_torch 99\.9, but it is"):
        verify(copy)


@pytest.mark.slow
def test_what_finn_would_refuse_is_not_exported_unless_asked_for(tmp_path: Path) -> None:
    pixels, labels = digits(4)
    model = build_model("WRN20_PAPER_2W2A", width=0.5)
    model(torch.rand(8, 3, 32, 32))
    with pytest.raises(UserError, match=r"refuse this network at stage2\.unit1 \[operator\].*--refused-too"):
        export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels)
    assert not list(tmp_path.iterdir())
    proof = export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels, refused_too=True)
    assert proof.equal == 4
    manifest = json.loads((tmp_path / "finn" / "manifest.json").read_text())
    assert "operator" in {finding["rule"] for finding in manifest["lint"]}


def test_an_export_leaves_the_network_in_its_mode(tmp_path: Path) -> None:
    pixels, labels = digits(4)
    model = trained(1, steps=1).train()
    export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels)
    assert model.training


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}'])
def test_a_damaged_manifest_is_the_user_s_to_mend(copy: Path, content: str) -> None:
    (copy / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"export the run again"):
        verify(copy)


def test_a_destination_with_other_things_is_left_alone(tmp_path: Path) -> None:
    pixels, labels = digits(4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other things"):
        export_finn(trained(1, steps=1), tmp_path / "out", pixels=pixels, labels=labels)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "thesis.tex"]


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = digits(12)
    model = trained(1, steps=1)
    broken = type(PASSES[2])("broken", _break, True)
    monkeypatch.setattr("qtrain.export.stages.PASSES", (*PASSES[:2], broken, *PASSES[2:]))
    with pytest.raises(ProofError, match="stage 'broken': tensor 'act4_out' is the first"):
        export_finn(model, tmp_path / "deep" / "out", pixels=pixels, labels=labels, refused_too=True)
    assert not list(tmp_path.iterdir())


def _break(model: ModelWrapper) -> ModelWrapper:
    node = next(n for n in model.graph.node if n.name.startswith("/act4/"))
    node.input[0] = next(n for n in model.graph.node if n.name.startswith("/conv4/Conv")).output[0]
    node.output[0], old = "act4_out", node.output[0]
    for other in model.graph.node:
        other.input[:] = ["act4_out" if name == old else name for name in other.input]
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"board": "ZCU999"}, "ZCU104"),
        ({"target_fps": 0}, "target_fps must be .* but got 0"),
        ({"clock_ns": 0.0}, "clock_ns must be .* but got 0"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "with N labels"),
        ({"pixels": torch.rand(4, 3, 32, 32)}, "uint8"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict, message: str) -> None:
    pixels, labels = digits(4)
    with pytest.raises(UserError, match=message):
        export_finn(
            build_model("CNV_1W1A", width=0.125), tmp_path / "o", **{"pixels": pixels, "labels": labels, **arguments}
        )
    assert not list(tmp_path.iterdir())


class Passed(nn.Module):
    """Layers of a block called past it, with the names that the network has itself."""

    def __init__(self) -> None:
        super().__init__()
        scales = Scales("constant")
        weights = scales.weights(4, 0.5, binary_scale=1.0)
        self.input = fixed_point_input(8)
        self.conv = QuantConv2d(3, 4, 3, bias=False, **weights)
        self.act = scales.relu(4)
        self.block = nn.Module()
        self.block.conv = QuantConv2d(4, 8, 1, bias=False, **weights)
        self.block.act = scales.relu(4)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = QuantLinear(8, 10, bias=False, **weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.input(2 * x - 1)))
        x = self.block.act(self.block.conv(x))
        return self.fc(self.flatten(self.pool(x)))


def test_layers_called_past_their_block_are_compared_under_their_own_names() -> None:
    torch.manual_seed(0)
    model = Passed().eval()
    graph = to_qonnx(model, (3, 8, 8))
    tensors = layer_tensors(graph, ["conv", "act", "block.conv", "block.act", "fc"])
    assert set(tensors) == {"conv", "act", "block.conv", "block.act", "fc"}
    pixels = digits(4)[0][:, :, :8, :8]
    reference = float64_reference(model, pixels[:1].float() / 255)
    for stage in graph_stages(model, (3, 8, 8)):
        check_stage(stage.name, stage.graph, reference, pixels, stage.takes_pixels)
