"""A float module becomes a FINN-safe network: same function in float, lint clean at any bits, exported with proof."""

from functools import cache
from pathlib import Path

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from torch import Tensor, nn

from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.export import export_finn
from qtrain.export.compiler.start import estimate_build
from qtrain.export.lint import lint_module
from qtrain.models.layers import ScalarNorm
from qtrain.models.quantize import Quantized, quantize
from qtrain.models.warm_start import initialise_from
from tests.export.lint.probe_builds import write_folder
from tests.models.quantize.float_networks import NETWORKS, ResNet, warmed
from tests.sampled import sampled


@cache
def made(key: str) -> tuple[nn.Module, Quantized]:
    kind, shape = NETWORKS[key]
    model = warmed(kind, shape)
    return model, quantize(model, shape)


def noise(shape: tuple[int, ...], count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("key", NETWORKS)
def test_in_float_the_new_network_computes_what_the_float_module_computes(key: str) -> None:
    model, found = made(key)
    images = noise(found.shape).float() / 255
    with torch.no_grad():
        wanted = model(images)
        given = found.float_network()(images)
    given = given.log_softmax(1) if key == "functional" else given
    assert (given - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("bits", sampled([1, 2, 4, 8], [4]))
@pytest.mark.parametrize("key", NETWORKS)
def test_lint_finds_nothing_at_any_bits(key: str, bits: int) -> None:
    _, found = made(key)
    network = found.calibrate(noise(found.shape), bits)
    assert [str(f) for f in lint_module(network, found.shape) if f.severity != "note"] == []
    weights = [m.weight_quant.bit_width() for m in network.modules() if isinstance(m, QuantConv2d | QuantLinear)]
    assert {int(b) for b in weights} == {bits}


@pytest.mark.parametrize("key", sampled(NETWORKS, ["functional"]))
def test_the_export_is_proven(key: str, tmp_path: Path) -> None:
    _, found = made(key)
    pixels = noise(found.shape, 30)
    network = found.calibrate(noise(found.shape), 4)
    export_finn(network, tmp_path / "finn", pixels=pixels, labels=torch.arange(30) % 10)


@pytest.mark.slow
@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize(
    ("key", "bits"), [("resnet", 4), ("mobilenet", 4), ("functional", 2), ("plain", 1), ("mlp", 8)]
)
def test_finn_takes_it_as_one_partition(key: str, bits: int, tmp_path: Path) -> None:
    _, found = made(key)
    write_folder(found.calibrate(noise(found.shape), bits), found.shape, tmp_path / "finn")
    result = estimate_build(tmp_path / "finn", board="ZCU104", target_fps=100, out=tmp_path / "b", timeout_s=300)
    assert result.accepted, result.reason
    assert result.software_nodes == ()


def test_the_source_is_a_file_that_stands_alone(tmp_path: Path) -> None:
    _, found = made("resnet")
    file = tmp_path / "q.py"
    file.write_text(found.source)
    space: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    network = space["ResNet"](weight_bits=2, act_bits=3, num_classes=7, bits="layer1.*=5w,fc=8")
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 7)
    assert network.name == "ResNet_2W3A"
    bits = {
        path: int(network.get_submodule(path).weight_quant.bit_width()) for path in ("conv1", "layer1.0.conv2", "fc")
    }
    assert bits == {"conv1": 2, "layer1.0.conv2": 5, "fc": 8}
    assert max(len(line) for line in found.source.splitlines()) <= 120


def test_weights_keep_the_names_of_the_float_module() -> None:
    model, found = made("resnet")
    own = found.build().state_dict()
    left_out = {"fc.bias"}
    assert {key for key in model.state_dict() if key not in own} == left_out
    assert all(own[key].shape == value.shape for key, value in model.state_dict().items() if key not in left_out)


def test_an_addition_has_one_signed_quantizer_and_a_shared_relu_one_each() -> None:
    _, found = made("resnet")
    network = found.build(4, 4)
    shared = network.get_submodule("layer2.0.sum")
    assert isinstance(shared, QuantIdentity)
    assert shared.act_quant.is_signed
    calls: list[nn.Module] = []
    shared.register_forward_hook(lambda module, given, out: calls.append(module))
    network.eval()(torch.rand(1, 3, 16, 16))
    assert len(calls) == 2
    relus = [network.get_submodule(f"layer2.0.{name}") for name in ("relu", "relu_2")]
    assert all(isinstance(relu, QuantReLU) for relu in relus)
    assert relus[0] is not relus[1]


def test_three_branches_share_one_quantizer() -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
            self.fc = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x))
            return self.fc((x + self.a(x) + self.b(x)).relu().mean((2, 3)))

    found = quantize(Three().eval(), (3, 8, 8))
    assert found.source.count("layers.add_sum(") == 1
    assert found.source.count("self.sum(") == 3
    assert not [f for f in lint_module(found.build(), (3, 8, 8)) if f.severity != "note"]


def test_the_last_layer_has_no_bias_and_one_scale() -> None:
    _, found = made("resnet")
    network = found.build(4, 4)
    last = network.get_submodule("fc")
    assert last.bias is None
    assert last.weight_quant.scale().numel() == 1
    assert isinstance(network.get_submodule("norm_out"), ScalarNorm)
    assert any("bias goes into its weights" in note for note in found.notes)


@pytest.mark.parametrize(("mean", "raw"), [(0.0, True), (0.5, False), ((0.49, 0.48, 0.45), False)])
def test_the_pads_of_the_first_layer_decide_how_pixels_come(mean: float | tuple[float, ...], raw: bool) -> None:
    found = quantize(warmed(ResNet, (3, 16, 16)), (3, 16, 16), mean=mean, std=0.25)
    network = found.build(4, 4)
    assert ("PixelNetwork" in found.source) == raw
    assert ("input" in dict(network.named_children())) != raw
    if not raw:
        scale = float(network.get_submodule("input").act_quant.scale())
        assert scale == 2**-7
    assert found.exact == (mean in (0.0, 0.5))


def test_an_activation_that_changes_what_others_read_later_is_seen() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.conv(self.relu(x))
            y += x  # the ReLU has changed x by now
            return self.fc(y.mean((2, 3)))

    model = InPlace().eval()
    found = quantize(model, (3, 8, 8))
    images = torch.rand(4, 3, 8, 8)
    assert torch.allclose(found.float_network()(images), model(images.clone()), atol=1e-5)


def test_a_name_that_networks_have_already_gets_another() -> None:
    _, found = made("functional")
    assert "logits_" in dict(found.build().named_children())
    assert any(note.startswith("logits_: was called logits") for note in found.notes)


def test_the_float_module_is_left_as_it_is() -> None:
    model = warmed(ResNet, (3, 16, 16)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    quantize(model, (3, 16, 16)).calibrate(noise((3, 16, 16)), 4)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, (0.3, 0.3, 0.3)])
def test_eight_bits_lose_less_than_a_point_before_training(mean: float | tuple[float, ...]) -> None:
    data = load_data("digits")
    shift = torch.as_tensor(mean).reshape(-1, 1, 1)
    std = 1.0 if mean == 0.0 else 0.35
    model = trained(data.train.images, data.train.labels, lambda images: (images.float() / 255 - shift) / std)
    found = quantize(model, (3, 32, 32), mean=mean, std=std)
    network = found.calibrate(data.train.images, 8)
    test = data.test
    with torch.no_grad():
        in_float = accuracy(model((test.images.float() / 255 - shift) / std), test.labels)
        quantized = accuracy(network(test.images.float() / 255), test.labels)
    assert in_float > 94
    assert quantized > in_float - 1


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) == labels).float().mean())


def trained(images: Tensor, labels: Tensor, prepare, epochs: int = 5) -> nn.Module:
    torch.manual_seed(0)
    model = ResNet()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64)[: len(images) // 64]:
            loss = nn.functional.cross_entropy(model(prepare(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def test_scales_may_follow_the_weights() -> None:
    _, found = made("plain")
    network = found.calibrate(noise(found.shape), 4, scaling="statistics", per_channel=False, power_of_two=True)
    assert not [f for f in lint_module(network, found.shape) if f.severity != "note"]


@pytest.mark.parametrize(
    ("images", "options", "says"),
    [
        (torch.zeros(64, 3, 16, 16), {}, r"takes images uint8 \[N, 3, 16, 16\], but got float32"),
        (torch.zeros(64, 1, 16, 16, dtype=torch.uint8), {}, r"but got uint8 \[64, 1, 16, 16\]"),
        (torch.zeros(8, 3, 16, 16, dtype=torch.uint8), {}, "needs 32 images or more, but got 8"),
        (
            torch.zeros(64, 3, 16, 16, dtype=torch.uint8),
            {"scaling": "constant"},
            "constant scales cannot be calibrated",
        ),
        (torch.zeros(64, 3, 16, 16, dtype=torch.uint8), {"weight_bits": 9}, "must have 1 to 8 bits, but got 9"),
        (torch.zeros(64, 3, 16, 16, dtype=torch.uint8), {"bits": "layer9=2"}, "names no such quantizer of ResNet_8W8A"),
    ],
)
def test_calibration_says_what_it_takes(images: Tensor, options: dict, says: str) -> None:
    _, found = made("resnet")
    with pytest.raises(UserError, match=says):
        found.calibrate(images, **options)


@pytest.mark.parametrize("key", ["resnet", "plain"])
def test_other_bits_start_from_calibrated_or_float_weights(key: str) -> None:
    model, found = made(key)
    images = noise(found.shape).float() / 255
    calibrated = found.calibrate(noise(found.shape), 8)
    fewer = found.build(4, 4)
    initialise_from(fewer, calibrated.state_dict(), found.build(8, 8))
    with torch.no_grad():
        assert accuracy(fewer.eval()(images), model(images).argmax(1)) > 80
    from_float = found.build(8, 8)
    initialise_from(from_float, model.state_dict())
    own = from_float.state_dict()
    layers = [key for key in model.state_dict() if key.endswith("weight")]
    assert all(torch.equal(own[key], model.state_dict()[key]) for key in layers)
