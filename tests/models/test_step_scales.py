"""Scales computed at once are those of Brevitas, layer by layer, to the bit, and never older than their weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from brevitas.core.scaling import ParameterScaling, StatsFromParameterScaling
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import qtrain.models.fast_forward as fast_forward_module
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.models.fast_quantizer import FastQuantizer
from qtrain.models.fused.carried import Product
from qtrain.models.fused.functions import multiplied
from qtrain.models.quantizers import Scales
from qtrain.models.step_scales import StepScales
from qtrain.models.straight_through import ALL, Scaled, edges_of
from tests.sampled import sampled

EXAMPLES = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
STEPS = 3
NETWORKS = [
    ("CNV_4W4A", {"scaling": "learned"}),
    ("CNV_3W2A", {"scaling": "learned", "power_of_two": True}),
    ("CNV_3W2A", {"scaling": "learned", "power_of_two": True, "per_channel": True}),
    ("VGG11_4W4A", {"scaling": "statistics"}),
    ("VGG11_2W8A", {"scaling": "learned", "per_channel": True}),
    ("RESNET20_4W4A", {"scaling": "statistics", "per_channel": True, "power_of_two": True}),
    ("RESNET20_4W4A", {"scaling": "learned"}),
    ("RESNET20_1W2A", {"scaling": "statistics", "power_of_two": True}),
]


def quantized(layer: nn.Module) -> FastQuantizer:
    """What stands in for the quantizer of a layer."""
    found = layer.fast
    assert isinstance(found, FastQuantizer)
    return found


def layer_by_layer(model: nn.Module) -> nn.Module:
    """The same network without the hooks: every layer asks Brevitas for its scale."""
    twin = copy.deepcopy(model)
    twin._forward_pre_hooks.clear()
    twin._forward_hooks.clear()
    twin._forward_hooks_always_called.clear()
    return twin


def train(model: nn.Module, losses: Callable[[nn.Module, int], Tensor], steps: int = STEPS) -> list[Tensor]:
    """Some steps; their losses, then every parameter, gradient and buffer."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = losses(model, step)
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    nothing = torch.zeros(0)
    gradients = [nothing if p.grad is None else p.grad for p in model.parameters()]
    return [*found, *gradients, *model.parameters(), *model.buffers()]


def same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    """Bit for bit, but for the sign of a zero."""
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def images_loss(size: int = 32, channels: int = 3) -> Callable[[nn.Module, int], Tensor]:
    """The loss of a step's own images."""

    def loss(model: nn.Module, step: int) -> Tensor:
        drawn = torch.Generator().manual_seed(step)
        images = torch.rand(4, channels, size, size, generator=drawn)
        return F.cross_entropy(model(images), torch.arange(4))

    return loss


@pytest.mark.parametrize("channels_last", [False, True], ids=["rows", "channels last"])
@pytest.mark.parametrize(("name", "options"), sampled(NETWORKS, NETWORKS[::3]))
def test_training_is_bit_equal_to_scales_layer_by_layer(
    name: str, options: dict[str, Any], channels_last: bool
) -> None:
    torch.manual_seed(0)
    model = build_model(name, width=0.25, **options).train()
    fast_forward(model)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    alone = layer_by_layer(model)
    assert same(train(model, images_loss()), train(alone, images_loss()))


def reference(x: Tensor, scale: Tensor, low: float, high: float, clamps: bool, gradient: Tensor) -> list[Tensor]:
    """Values and gradients, written as the definition: what was not clamped passes."""
    steps = x / scale
    rounded = steps.round()
    integer = rounded.clamp(low, high)
    passes = rounded == integer if clamps else torch.ones_like(rounded, dtype=torch.bool)
    to_scale = gradient * torch.where(passes, integer - steps, integer)
    return [integer * scale, gradient * passes, to_scale.sum_to_size(scale.shape)]


@EXAMPLES
@given(
    bits=st.integers(2, 8),
    signed=st.booleans(),
    clamps=st.booleans(),
    relu=st.booleans(),
    channels=st.booleans(),
    scale=st.floats(0.01, 1.0),
    halves=st.lists(st.integers(-600, 600), min_size=8, max_size=8),
    seed=st.integers(0, 999),
)
def test_a_quantizer_is_its_definition_to_the_bit(
    bits: int,
    signed: bool,
    clamps: bool,
    relu: bool,
    channels: bool,
    scale: float,
    halves: list[int],
    seed: int,
) -> None:
    torch.manual_seed(seed)
    low, high = (1.0 - 2 ** (bits - 1), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    scales = torch.full((4, 1) if channels else (), scale) * (torch.rand(4, 1) + 0.5 if channels else 1.0)
    ties = torch.tensor(halves, dtype=torch.float32).reshape(4, 2) * scales / 2
    x = torch.cat([torch.randn(4, 5), 300 * scale * torch.randn(4, 5), ties, torch.zeros(4, 1)], dim=1)
    gradient = torch.randn_like(x)
    fused = relu and clamps and not signed
    edges = edges_of(1.0, low, high) if clamps else ALL
    given_x, given_scale = x.clone().requires_grad_(), scales.clone().requires_grad_()
    y = Scaled.apply(given_x, given_scale, low, high, (0.0, edges[1]) if fused else edges)
    y.backward(gradient)
    before = torch.relu(x) if fused else x
    values, to_x, to_scale = reference(before, scales, low, high, clamps, gradient)
    if fused:
        to_x = torch.where(x > 0, to_x, 0)
    assert torch.equal(y, values)
    assert torch.equal(given_x.grad, to_x)  # type: ignore[arg-type]
    assert torch.equal(given_scale.grad, to_scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", ["CNV_4W4A", "VGG11_4W4A", "RESNET20_4W4A"])
def test_a_scale_is_computed_once_a_step_and_not_by_layers(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_forward_module, "grid_dtypes", lambda *_: (torch.float32, torch.bfloat16))
    model = build_model(name, width=0.25, **({"scaling": "learned"} if name == "CNV_4W4A" else {})).train()
    fast_forward(model, precision)  # type: ignore[arg-type]
    loss = images_loss()
    loss(model, 0)  # how often the forward pass calls a layer is known from here on
    asked = []
    for scaling in (ParameterScaling, StatsFromParameterScaling):
        own = scaling.forward
        monkeypatch.setattr(scaling, "forward", lambda self, *a, _own=own: (asked.append(1), _own(self, *a))[1])
    loss(model, 1).backward()
    assert asked == []
    found = model.get_submodule("conv1" if name != "CNV_4W4A" else "conv2")(torch.rand(1, *_input_of(model, name)))
    if isinstance(found, Product):  # it waits for its norm
        multiplied(found)
    assert asked  # a layer by itself does ask


def _input_of(model: nn.Module, name: str) -> tuple[int, int, int]:
    layer = model.get_submodule("conv1" if name != "CNV_4W4A" else "conv2")
    return layer.in_channels, 8, 8  # type: ignore[return-value]


class Small(nn.Module):
    """Two convolutions of one scale, a quantizer that is called as often as it is told, and a branch."""

    def __init__(self, calls: int = 1, scaling: str = "learned") -> None:
        super().__init__()
        scales = Scales(scaling)  # type: ignore[arg-type]
        weights = scales.weights(4, 0.7, binary_scale=0.3)
        self.act = QuantIdentity(**Scales("learned")._activation(4, -1.0, 1.0))
        self.conv = QuantConv2d(3, 4, 3, bias=False, **weights)
        self.other = QuantConv2d(3, 4, 3, bias=False, **weights)
        self.last = QuantLinear(4, 10, bias=True, **weights)
        self.calls = calls
        self.takes_other = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(x)
        for i in range(1, self.calls):
            y = y + self.act(x * (1 + i))
        reads = float(y.detach().sum())  # which no tracer can follow
        y = self.conv(y) + (self.other(y) if self.takes_other or reads > 1e9 else 0)
        out: Tensor = self.last(y.mean((2, 3)))
        return out


def small(**options: Any) -> tuple[nn.Module, nn.Module]:
    """A small network, and the same with scales layer by layer."""
    torch.manual_seed(0)
    model = Small(**options).train()
    assert fast_forward(model) == []
    return model, layer_by_layer(model)


@pytest.mark.parametrize("scaling", ["learned", "statistics"])
@pytest.mark.parametrize("calls", [1, 2, 3, 5])
def test_a_layer_that_is_called_again_gives_the_same_bits(calls: int, scaling: str) -> None:
    model, alone = small(calls=calls, scaling=scaling)
    assert same(train(model, images_loss(8)), train(alone, images_loss(8)))


@pytest.mark.parametrize("scaling", ["learned", "statistics"])
def test_what_a_step_leaves_out_has_no_gradient_and_does_not_move(scaling: str) -> None:
    model, alone = small(scaling=scaling)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if name.startswith("other")}
    assert same(train(model, images_loss(8)), train(alone, images_loss(8)))
    assert before
    for name, value in before.items():
        assert model.get_parameter(name).grad is None
        assert torch.equal(model.get_parameter(name), value)


def branches(model: Any, step: int) -> Tensor:
    """Steps that take the branch, leave it out, and call the quantizer more and less often."""
    model.takes_other = step % 2 == 0
    model.calls = 1 + step % 3
    return images_loss(8)(model, step)


def test_a_forward_pass_may_go_another_way_in_each_step() -> None:
    model, alone = small()
    assert same(train(model, branches, 8), train(alone, branches, 8))


@torch.no_grad()
def halve(layer: Any, inputs: Any) -> None:
    """Halve the weights of a layer."""
    layer.weight.mul_(0.5)


def moved(model: Any, step: int) -> Tensor:
    """A step after another forward pass and another change of all weights, as a line search takes it."""
    with torch.no_grad():
        images_loss(8)(model, step)
        for parameter in model.parameters():
            parameter.mul_(1.25)
    handle = model.last.register_forward_pre_hook(halve)  # after the scales of the network were computed
    try:
        return images_loss(8)(model, step)
    finally:
        handle.remove()


@pytest.mark.parametrize("scaling", ["learned", "statistics"])
def test_no_scale_is_older_than_its_weights(scaling: str) -> None:
    model, alone = small(scaling=scaling)
    assert same(train(model, moved), train(alone, moved))


def test_weights_that_a_hook_computes_anew_are_the_ones_that_count() -> None:
    model, alone = small(scaling="statistics")
    for network in (model, alone):
        torch.nn.utils.weight_norm(network.conv)  # type: ignore[arg-type]
    assert same(train(model, images_loss(8)), train(alone, images_loss(8)))


def test_nothing_outlives_a_forward_pass() -> None:
    model, _ = small(calls=2)
    model(torch.rand(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 5, 8, 8))
    for layer in (model.act, model.conv, model.other, model.last):
        assert quantized(layer).ready is None  # type: ignore[arg-type]


def test_evaluation_copies_and_loaded_states_compute_their_own() -> None:
    model, alone = small(scaling="statistics")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert same(train(twin, images_loss(8)), train(alone, images_loss(8)))
    other, other_alone = small(scaling="statistics")
    for network in (other, other_alone):
        network(torch.rand(2, 3, 8, 8))
        network.load_state_dict(twin.state_dict())
        network.eval()
        network(torch.rand(2, 3, 8, 8))
        network.train()
        network.conv.eval()  # type: ignore[union-attr]
    assert same(train(other, images_loss(8)), train(other_alone, images_loss(8)))


class Pair(nn.Module):
    """Two networks that share nothing but the forward pass that they are called in."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Small()
        self.two = Small()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.two(x)


def test_two_losses_may_be_differentiated_one_after_the_other() -> None:
    torch.manual_seed(0)
    model = Pair().train()
    fast_forward(model)
    alone = layer_by_layer(model)
    images = torch.rand(2, 3, 8, 8)
    for network in (model, alone):
        for output in network(images):
            output.square().sum().backward()
    used = [p for p in model.parameters() if p.grad is not None]
    theirs = [p for p in alone.parameters() if p.grad is not None]
    assert same([p.grad for p in used], [p.grad for p in theirs])  # type: ignore[misc]
    assert len(used) == 2 * 6


def test_the_hooks_go_with_the_fast_forward_pass() -> None:
    model, _ = small()
    fast_forward(model)
    hooks = [hook for hook in model._forward_pre_hooks.values() if isinstance(hook.__self__, StepScales)]
    assert len(hooks) == 1
    plain_forward(model)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    assert not model._forward_hooks_always_called


class Many(nn.Module):
    """Many quantizers of the same input, each with a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.acts = nn.ModuleList(QuantIdentity(**Scales("learned")._activation(4, -1.0, 1.0)) for _ in range(96))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([act(x) for act in self.acts])


def test_a_scale_has_the_bits_of_a_number_raised_to_a_power_by_itself() -> None:
    """Rows of numbers are raised by another algorithm on a CPU, which differs in every fiftieth."""
    model = Many().train()
    fast_forward(model)
    alone = layer_by_layer(model)
    x = torch.ones(1)
    for seed in range(10):
        drawn = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
                ours.uniform_(-8, 4, generator=drawn)
                theirs.copy_(ours)
        assert torch.equal(model(x), alone(x))


class Auxiliary(nn.Module):
    """In training the activation goes to a second head, which reads values."""

    def __init__(self) -> None:
        super().__init__()
        weights = Scales("learned").weights(4, 0.7, binary_scale=0.3)
        self.first = QuantIdentity(**Scales("learned")._activation(4, -1.0, 1.0))
        self.conv1 = QuantConv2d(3, 4, 3, bias=False, **weights)
        self.second = QuantIdentity(**Scales("learned")._activation(4, -1.0, 1.0))
        self.conv2 = QuantConv2d(4, 10, 3, bias=False, **weights)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.conv1(self.first(x)))
        out: Tensor = self.conv2(y).mean((2, 3))
        return out + y.mean() if self.training else out


def test_integers_are_handed_on_to_those_alone_who_multiply_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where the products of integers are exact, so that only the arrangement is tested."""
    monkeypatch.setattr(fast_forward_module, "grid_dtypes", lambda *_: (torch.float32, torch.float32))
    torch.manual_seed(0)
    model = Auxiliary().eval()
    plain = copy.deepcopy(model).train()
    fast_forward(model, "fast")
    assert not model.training
    model.train()
    assert model.first.fused.can_give
    assert not model.second.fused.can_give
    images = torch.rand(4, 3, 8, 8)
    read: list[Any] = []
    model.conv1.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model.conv2.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0.05)  # a tie may fall to the other side
    values = plain.first(images).detach()
    scale = plain.first.act_quant.scale()
    assert torch.equal(read[0].values * scale, values)
    assert not torch.equal(read[1], read[1].round())  # the second head reads these, too
    seen = []  # who looks at an activation expects its values
    model.first.register_forward_hook(lambda *found: seen.append(found[2].detach()))
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0.05)
    assert torch.equal(seen[0], values)
    assert torch.equal(read[2], values)
