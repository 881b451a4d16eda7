"""The fast forward pass computes what Brevitas computes, on Brevitas' own parameters."""

import copy

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import qtrain.models.integer_multiply as grid
from qtrain.errors import UserError
from qtrain.export import export_finn
from qtrain.models import build_model
from qtrain.models.fast_forward import FastConv2d, fast_forward, plain_forward
from qtrain.models.quantizers import Scales, fixed_point_input
from qtrain.models.straight_through import edges_of
from tests.fitting import shape_for
from tests.sampled import sampled

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NETWORKS = [
    ("CNV_1W1A", {}),
    ("CNV_4W4A", {}),
    ("CNV_8W8A", {}),
    ("CNV_3W2A", {"scaling": "learned", "power_of_two": True}),
    ("VGG11_2W4A", {"scaling": "learned"}),
    ("RESNET20_4W4A", {"scaling": "statistics", "per_channel": True}),
    ("RESNET20_1W1A", {}),
    ("WRN20_2W2A", {}),
    ("WRN20_PAPER_2W2A", {}),
    ("TFC_2W2A", {}),
    ("MOBILENETV1_1W1A", {}),
    ("MOBILENETV1_4W4A", {"per_channel": True}),
    ("VGG10_RADIOML_4W4A", {}),
    ("MLP_2W2A", {}),
    ("CNV_FLOAT", {}),
]


def gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one step in training mode, dropout drawn alike."""
    torch.manual_seed(1)
    model.zero_grad()
    loss = F.cross_entropy(model(images), torch.arange(len(images)) % 10)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def pair(name: str, precision: str = "exact", **options: object) -> tuple[nn.Module, nn.Module, Tensor]:
    """A network, its fast twin, and images for them."""
    torch.manual_seed(0)
    channels, *size = (3, 28, 28) if name.startswith("TFC") else shape_for(name)
    width = 0.125 if "WRN" not in name else 1.0
    plain = build_model(name, width=width, in_channels=channels, image_size=size, **options).train()  # type: ignore[arg-type]
    fast = copy.deepcopy(plain)
    assert fast_forward(fast, precision) == []  # type: ignore[arg-type]
    return plain, fast, torch.rand(8, channels, *size)


def far(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> float:
    """The largest difference, against the largest gradient of the network."""
    assert set(theirs) == set(ours)
    largest = max(float(g.abs().max()) for g in theirs.values())
    return max(float((theirs[n] - ours[n]).abs().max()) for n in theirs) / largest


@pytest.mark.parametrize(("name", "options"), sampled(NETWORKS, NETWORKS[::3]))
def test_a_network_gives_brevitas_loss_to_the_bit_and_its_gradients(name: str, options: dict[str, object]) -> None:
    plain, fast, images = pair(name, **options)
    for _ in range(2):  # the second step sees moved statistics
        (theirs, their_gradients), (ours, our_gradients) = gradients(plain, images), gradients(fast, images)
        assert torch.equal(theirs, ours)
        assert far(their_gradients, our_gradients) < 1e-5
    for (name, theirs), (other, ours) in zip(plain.state_dict().items(), fast.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(theirs, ours), name


def quantizer(kind: str, bits: int, scales: Scales, limit: float) -> nn.Module:
    """One activation."""
    if kind == "input":
        return fixed_point_input(bits)
    return scales.signed(bits, limit) if kind == "signed" else scales.relu(bits)


@EXAMPLES
@given(
    kind=st.sampled_from(["signed", "relu", "input"]),
    bits=st.integers(1, 8),
    scaling=st.sampled_from(["constant", "learned"]),
    power_of_two=st.booleans(),
    limit=st.floats(0.01, 8),
    values=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=24),
    steps=st.lists(st.integers(-300, 300), max_size=8),
)
def test_an_activation_quantizes_and_passes_gradients_as_brevitas(
    kind: str,
    bits: int,
    scaling: str,
    power_of_two: bool,
    limit: float,
    values: list[float],
    steps: list[int],
) -> None:
    plain = quantizer(kind, bits, Scales(scaling, power_of_two), limit)  # type: ignore[arg-type]
    fast = copy.deepcopy(plain)
    assert fast_forward(fast) == []
    scale = float(plain.act_quant.scale().detach())
    at = torch.tensor([*values, *(scale * step / 2 for step in steps), 0.0, -0.0])  # halves of a step are ties
    outputs = []
    for layer in (plain, fast):
        layer.train().zero_grad()
        x = at.clone().requires_grad_()
        y = layer(x)
        (y * torch.arange(1.0, len(at) + 1)).sum().backward()
        parameters = [p.grad for p in layer.parameters()]
        outputs.append((y.detach(), x.grad, parameters))
    (their_y, their_x, theirs), (our_y, our_x, ours) = outputs
    assert torch.equal(their_y, our_y)
    torch.testing.assert_close(our_x, their_x, rtol=1e-6, atol=0)
    for own, other in zip(ours, theirs, strict=True):  # a sum of up to 34 products below 34 * 64
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-2)


@EXAMPLES
@given(
    bits=st.integers(1, 8),
    scaling=st.sampled_from(["constant", "learned", "statistics"]),
    per_channel=st.booleans(),
    power_of_two=st.booleans(),
    linear=st.booleans(),
    channels=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 99),
)
def test_weights_quantize_and_learn_as_brevitas(
    bits: int, scaling: str, per_channel: bool, power_of_two: bool, linear: bool, channels: int, seed: int
) -> None:
    torch.manual_seed(seed)
    scales = Scales(scaling, power_of_two, per_channel)  # type: ignore[arg-type]
    options = scales.weights(bits, 0.7, binary_scale=0.3, channels=8)
    plain: nn.Module
    if linear:
        plain, x = QuantLinear(channels, 8, bias=False, **options), torch.randn(5, channels)
    else:
        plain, x = QuantConv2d(channels, 8, 3, padding=1, bias=False, **options), torch.randn(5, channels, 4, 4)
    fast = copy.deepcopy(plain)
    assert fast_forward(fast) == []
    outputs = []
    for layer in (plain, fast):
        layer.train().zero_grad()
        given_x = x.clone().requires_grad_()
        y = layer(given_x)
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        outputs.append((y.detach(), given_x.grad, [p.grad for p in layer.parameters()]))
    assert torch.equal(outputs[0][0], outputs[1][0])
    for theirs, ours in zip(outputs[0][2] + [outputs[0][1]], outputs[1][2] + [outputs[1][1]], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "low", "high"), [(1 / 7, -7, 7), (1.0, -1, 1), (0.37, -128, 127), (2**-7, 0, 255)])
def test_edges_lie_next_to_the_last_floats_that_round_into_the_range(scale: float, low: int, high: int) -> None:
    below, above = (torch.tensor(edge) for edge in edges_of(scale, low, high))
    assert (torch.nextafter(above, torch.tensor(0.0)) / scale).round() == high < (above / scale).round()
    assert (torch.nextafter(below, torch.tensor(0.0)) / scale).round() == low > (below / scale).round()


def test_evaluation_export_and_state_are_brevitas(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plain, fast, images = pair("CNV_2W2A")
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), fast.eval()(images))
    assert list(plain.state_dict()) == list(fast.state_dict())
    pixels = (255 * images).to(torch.uint8)
    proof = export_finn(fast, tmp_path / "finn", pixels=pixels, labels=torch.zeros(len(pixels), dtype=torch.int64))
    assert proof.equal == proof.images == len(pixels)


def test_the_plain_forward_comes_back() -> None:
    plain, fast, images = pair("CNV_1W1A")
    plain_forward(fast)
    assert [type(m) for m in plain.modules()] == [type(m) for m in fast.modules()]
    assert not any(hasattr(m, "fast") for m in fast.modules())
    assert torch.equal(gradients(plain, images)[0], gradients(fast, images)[0])


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_copy_trains_its_own_parameters(precision: str) -> None:
    _, fast, images = pair("CNV_4W4A", precision, scaling="learned")
    twin = copy.deepcopy(fast)
    fresh = copy.deepcopy(fast)
    with torch.no_grad():
        for parameter in fast.parameters():  # trained scales among them
            parameter.mul_(1.5)
    _, theirs = gradients(fresh, images)
    _, ours = gradients(twin, images)
    assert {n for n, p in twin.named_parameters() if p.grad is not None} == set(theirs)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    plain_forward(twin)
    if precision == "fast":  # on a CPU with bfloat16 products its loss is another than Brevitas' own
        plain_forward(fresh)
    assert torch.equal(gradients(fresh, images)[0], gradients(twin, images)[0])


def test_layers_that_do_more_stay_brevitas_own() -> None:
    model = build_model("RESNET18_PYNQ_4W4A", width=0.125)
    left = fast_forward(model)
    assert "act1" in left
    assert not isinstance(model.get_submodule("stage1.block1.act1"), FastConv2d)


def test_another_precision_is_refused() -> None:
    with pytest.raises(UserError, match="precision must be one of exact, fast, but got 'half'"):
        fast_forward(build_model("CNV_1W1A", width=0.125), "half")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["CNV_1W1A", "CNV_4W4A", "RESNET20_4W4A", "DENSENET40_FLOAT"])
def test_the_integer_grid_gives_brevitas_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where nothing is lost, so that only the arrangement is tested."""
    monkeypatch.setattr(grid, "grid_dtypes", lambda *_: (torch.float32, torch.float32))
    monkeypatch.setattr("qtrain.models.fast_forward.grid_dtypes", grid.grid_dtypes)
    options = {"scaling": "statistics", "per_channel": True} if name.startswith("RESNET") else {}
    plain, fast, images = pair(name, "fast", **options)
    consumers = [m for m in fast.modules() if getattr(m, "source", None) is not None]
    quantized = [m for m in fast.modules() if isinstance(m, FastConv2d)]
    assert len(consumers) >= 0.5 * len(quantized)
    (theirs, their_gradients), (ours, our_gradients) = gradients(plain, images), gradients(fast, images)
    assert abs(float(theirs - ours)) < 1e-3 * float(theirs)
    if name == "CNV_1W1A":  # sums of signs: nothing is rounded
        assert torch.equal(theirs, ours)
        assert far(their_gradients, our_gradients) < 1e-5


def test_bfloat16_gradients_are_near_those_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtrain.models.fast_forward.grid_dtypes", lambda *_: (torch.float32, torch.bfloat16))
    plain, fast, images = pair("CNV_1W1A", "fast")
    (theirs, their_gradients), (ours, our_gradients) = gradients(plain, images), gradients(fast, images)
    assert torch.equal(theirs, ours)  # the forward pass is exact
    for name, gradient in their_gradients.items():
        if name.endswith("weight") and gradient.dim() > 1:
            assert F.cosine_similarity(gradient.flatten(), our_gradients[name].flatten(), dim=0) > 0.99, name


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (7, 5), (8, 0), (9, 0), (10, 3)])
def test_what_cuda_multiplies_in(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    model = build_model("CNV_2W2A", width=0.125)
    fast_forward(model)
    two, eight = model.get_submodule("conv2").fast, model.get_submodule("input").fast  # type: ignore[union-attr]
    device = torch.device("cuda")
    small = grid.grid_dtypes(device, two, two, torch.ones(8, 8, 3, 3))
    large = grid.grid_dtypes(device, two, two, torch.ones(1, 3000))  # sums that float16 would round
    bytes_ = grid.grid_dtypes(device, eight, two, torch.ones(8, 8, 3, 3))
    if capability >= (8, 0):
        assert small == (torch.float16, torch.bfloat16)
        assert large == bytes_ == (torch.float32, torch.bfloat16)
    else:
        assert small == ((torch.float16, torch.float32) if capability >= (7, 0) else None)
        assert large is bytes_ is None


@pytest.mark.parametrize("capability", [(7, 5), (8, 0)])
@pytest.mark.parametrize(("largest", "bound"), [(1, 1.0), (1, 2047.0), (2, 2048.0), (2, 2052.0), (1, 40_000.0)])
def test_no_sum_is_rounded_in_what_cuda_multiplies_in(
    capability: tuple[int, int], largest: float, bound: float
) -> None:
    """Every integer up to the bound, as the output's type holds it."""
    dtypes = grid.cuda_dtypes(capability, largest, bound)
    sums = torch.arange(-bound, bound + 1)
    assert torch.equal(sums.to(dtypes[0] if dtypes else torch.float32).float(), sums)
