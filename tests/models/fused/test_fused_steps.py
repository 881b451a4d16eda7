"""In precision "fast" a layer, its norm and its quantizer are one, and train as the three of them do."""

import copy
from typing import Any

import pytest
import torch
from brevitas.nn import QuantLinear
from torch import Tensor, nn
from torch.nn import functional as F

import qtrain.models.fast_forward as forward
from benchmarks.gpu.traffic import Traffic
from qtrain.models import build_model
from qtrain.models.fast_forward import FastConv2d, fast_forward, plain_forward
from qtrain.models.fused.layers import CarryingMaxPool2d, FusedNorm1d, FusedNorm2d
from qtrain.models.quantizers import Scales as Kinds
from tests.fitting import shape_for

IN_FLOAT32 = (torch.float32, torch.float32)
ON_A_GPU = (torch.float32, torch.bfloat16)
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("CNV_1W1A", {}),
    ("CNV_4W4A", {}),
    ("CNV_8W8A", {"scaling": "statistics", "per_channel": True}),
    ("CNV_3W2A", {"scaling": "learned", "power_of_two": True}),
    ("VGG11_2W4A", {"scaling": "learned", "per_channel": True}),
    ("RESNET20_4W4A", {}),
    ("WRN20_2W2A", {}),
    ("MOBILENETV1_4W4A", {"per_channel": True}),
]


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product in float32, in which nothing is lost."""
    monkeypatch.setattr(forward, "grid_dtypes", lambda *_: IN_FLOAT32)


def pair(name: str, **options: Any) -> tuple[nn.Module, nn.Module, Tensor]:
    """A network on the integer grid, the same fused, and images."""
    torch.manual_seed(0)
    channels, *size = shape_for(name)
    separate = build_model(
        name, width=1.0 if name.startswith("WRN") else 0.125, in_channels=channels, image_size=size, **options
    )  # type: ignore[arg-type]
    separate = separate.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = copy.deepcopy(separate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "fuse", lambda *_, **__: None)
        fast_forward(separate, "fast")
    fast_forward(fused, "fast")
    return separate, fused, torch.rand(8, channels, *size)


def step(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients, dropout drawn alike."""
    torch.manual_seed(1)
    model.zero_grad()
    loss = F.cross_entropy(model(images), torch.arange(len(images)) % 10)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_fused_network_trains_as_the_separate_layers(name: str, options: dict[str, Any], in_float32: None) -> None:
    separate, fused, images = pair(name, **options)
    assert any(isinstance(m, FusedNorm1d | FusedNorm2d) for m in fused.modules())
    (theirs, their_gradients), (ours, our_gradients) = step(separate, images), step(fused, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert our_gradients.keys() == their_gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in their_gradients.values())
    for path, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[path], gradient, rtol=2e-3, atol=1e-5 * largest, msg=path)
    for (path, theirs), ours in zip(separate.named_buffers(), fused.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=path)


def test_integers_are_handed_on_behind_pools_and_nobody_else_sees_them(in_float32: None) -> None:
    _, fused, _ = pair("CNV_4W4A")
    assert isinstance(fused.get_submodule("pool2"), CarryingMaxPool2d)
    given = {path: m.fused.can_give for path, m in fused.named_modules() if hasattr(m, "fused")}
    assert [path for path, gives in given.items() if gives] == ["input", *(f"act{i}" for i in range(1, 9))]
    resnet = pair("RESNET20_4W4A")[1]
    ends = [path for path, m in resnet.named_modules() if path.endswith("act2") and m.fused.can_give]
    assert ends == ["stage1.block3.act2", "stage2.block3.act2"]  # the others' values are added to the next block's


@pytest.mark.parametrize("part", ["everything", "norms", "quantizers", "layers"])
def test_any_part_may_be_in_evaluation_mode(part: str, in_float32: None) -> None:
    """A user who freezes statistics sets norms so in the middle of training."""
    separate, fused, images = pair("CNV_4W4A")
    kinds = {"norms": nn.BatchNorm2d, "quantizers": forward._QUANTIZERS, "layers": FastConv2d}
    outputs = []
    for model in (separate, fused):
        for module in model.modules():
            if part == "everything" or isinstance(module, kinds[part]):  # type: ignore[arg-type]
                module.training = False
        outputs.append(step(model, images))
    torch.testing.assert_close(outputs[1][0], outputs[0][0], rtol=1e-5, atol=1e-6)
    for path, gradient in outputs[0][1].items():
        torch.testing.assert_close(outputs[1][1][path], gradient, rtol=1e-3, atol=1e-5, msg=path)


def test_a_cumulative_average_of_statistics_is_torchs_own(in_float32: None) -> None:
    separate, fused, images = pair("CNV_2W2A")
    for model in (separate, fused):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # type: ignore[assignment]
        step(model, images)
        step(model, images.flip(0))
    for (path, theirs), ours in zip(separate.named_buffers(), fused.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=path)


def test_a_copy_and_a_loaded_state_train_their_own_tensors(in_float32: None) -> None:
    _, fused, images = pair("CNV_4W4A", scaling="learned")
    start = copy.deepcopy(fused.state_dict())
    twin = copy.deepcopy(fused)
    theirs = step(fused, images)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    twin.load_state_dict(start)
    ours = step(twin, images)
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(ours[1][path], gradient) for path, gradient in theirs[1].items())


def test_a_layer_by_itself_takes_and_gives_tensors(in_float32: None) -> None:
    separate, fused, images = pair("CNV_4W4A")
    step(fused, images)
    x = fused.input(2 * images - 1)  # type: ignore[operator]
    y = fused.norm1(fused.conv1(x))  # type: ignore[operator]
    theirs = separate.norm1(separate.conv1(separate.input(2 * images - 1)))  # type: ignore[operator]
    assert isinstance(x, Tensor)
    torch.testing.assert_close(y, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", ["conv2", "norm2", "act2", "pool2"])
def test_who_looks_at_a_layer_sees_tensors(path: str, in_float32: None) -> None:
    separate, fused, images = pair("CNV_4W4A")
    seen: list[Any] = []
    for model in (separate, fused):
        model.get_submodule(path).register_forward_hook(lambda module, inputs, output: seen.append(output))
    (theirs, _), (ours, _) = step(separate, images), step(fused, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert all(isinstance(output, Tensor) for output in seen)


def test_a_forward_pass_that_fails_leaves_layers_as_they_are_by_themselves(in_float32: None) -> None:
    _, fused, images = pair("CNV_4W4A")
    with pytest.raises(RuntimeError):
        fused(images[:, :1])
    assert isinstance(fused.conv1(fused.input(images)), Tensor)  # type: ignore[operator]


def test_the_plain_forward_takes_all_of_it_away() -> None:
    _, fused, _ = pair("CNV_4W4A")
    plain_forward(fused)
    bare = build_model("CNV_4W4A", width=0.125)
    assert [type(m) for m in fused.modules()] == [type(m) for m in bare.modules()]
    assert [sorted(vars(m)) for m in fused.modules()] == [sorted(vars(m)) for m in bare.modules()]


def test_exact_is_not_fused() -> None:
    model = build_model("CNV_4W4A", width=0.125)
    fast_forward(model)
    assert not any(isinstance(m, FusedNorm1d | FusedNorm2d | CarryingMaxPool2d) for m in model.modules())


class Tokens(nn.Module):
    """A fully connected layer for each of several places of an input."""

    def __init__(self) -> None:
        super().__init__()
        scales = Kinds("learned")
        self.act = scales.signed(4)
        self.fc = QuantLinear(6, 10, bias=True, **scales.weights(4, 0.7, binary_scale=0.3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.act(x)).mean(1)
        return found


def test_a_fully_connected_layer_may_have_several_places(in_float32: None) -> None:
    torch.manual_seed(0)
    model = Tokens().train()
    twin = copy.deepcopy(model)
    fast_forward(model, "fast")
    ours, theirs = (
        step(each, torch.rand(8, 5, 6, generator=torch.Generator().manual_seed(3))) for each in (model, twin)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """A network whose one norm serves two layers, and whose activation is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = build_model("CNV_4W4A", width=0.125)

    def forward(self, x: Tensor) -> Tensor:
        body: Any = self.body
        x = body.act1(body.norm1(body.conv1(body.input(2 * x - 1))))
        y = body.act2(body.norm1(body.conv2(x)))
        return y.mean((2, 3)) + x.mean((2, 3))


def test_what_is_called_twice_is_left_alone(in_float32: None) -> None:
    torch.manual_seed(0)
    separate = Shared().train()
    fused = copy.deepcopy(separate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "fuse", lambda *_, **__: None)
        fast_forward(separate, "fast")
    fast_forward(fused, "fast")
    images = torch.rand(8, 3, 32, 32)
    outputs = [model(images) for model in (separate, fused)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "most_mb", "most_launches"),
    [
        ("CNV_4W4A", {}, 700, 140),
        ("CNV_1W1A", {}, 700, 140),
        ("CNV_4W4A", {"scaling": "learned"}, 700, 160),
        ("VGG11_4W4A", {"scaling": "constant"}, 1000, 130),
    ],
)
def test_bytes_and_launches_of_a_step(
    name: str, options: dict[str, Any], most_mb: int, most_launches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward of 100 images at full width, on the meta device; CNV_4W4A moved 1,910 MB unfused."""
    monkeypatch.setattr(forward, "grid_dtypes", lambda *_: ON_A_GPU)
    model = build_model(name, **options).train()
    fast_forward(model, "fast")
    model.to("meta").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(100, 3, 32, 32, device="meta")
    labels = torch.zeros(100, dtype=torch.int64, device="meta")
    model(images)  # constants are made
    with Traffic() as traffic:
        F.cross_entropy(model(images), labels).backward()
    assert 0.9 * most_mb < traffic.bytes / 1e6 <= most_mb
    assert 0.8 * most_launches < traffic.calls <= most_launches
