"""Transition-rate scheduling: its equations by hand, and that it holds its target on a real quantized network."""

import io
import math

import pytest
import torch
from brevitas.nn import QuantLinear
from brevitas.quant import Int8WeightPerTensorFloat, SignedBinaryWeightPerTensorConst
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.schedulers import QuantizedWeight, TransitionRate, transition_groups


def toy(lr=1.0, optimizer=torch.optim.SGD, **options):
    """Four weights that round to integers, and one parameter beside them."""
    weight, other = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0])), nn.Parameter(torch.zeros(1))
    groups = [{"name": "w", "params": [weight]}, {"name": "rest", "params": [other]}]
    sgd = optimizer(groups, lr=lr)
    return weight, other, sgd, TransitionRate(sgd, [QuantizedWeight("w", 4, lambda: weight.round())], **options)


def test_updates_are_the_papers_equations():
    weight, other, sgd, scheduler = toy(lr=1.0, steps=4, factor=0.25, momentum=0.5, gain=2.0)
    assert scheduler.targets() == [0.5]  # 0.25 * sqrt(4 bits)
    for gradient, rate in (([0, 0, -1, -1], 0.5), ([0, 0, -1, 0], 0.25)):
        before = weight.detach().clone()
        u = sgd.param_groups[0]["lr"]
        weight.grad, other.grad = torch.tensor(gradient, dtype=torch.float32), torch.ones(1)
        k_before, u_before = scheduler.running[0], scheduler.rates[0]
        sgd.step()
        assert torch.equal(weight, before - u * weight.grad)
        assert (weight.round() != before.round()).float().mean() == rate
        k = 0.5 * k_before + 0.5 * rate
        assert scheduler.running == [k]
        assert scheduler.rates == [u_before + 2 * (scheduler.targets()[0] - k)] == [sgd.param_groups[0]["lr"]]
    assert scheduler.targets()[0] == pytest.approx(0.25)  # half way down the cosine
    assert sgd.param_groups[1]["lr"] == pytest.approx(0.5)


def test_first_step_by_numbers_alone():
    weight, other, sgd, scheduler = toy(lr=1.0, steps=2, factor=0.25, momentum=0.5, gain=2.0)
    weight.grad, other.grad = torch.tensor([0.0, 0.0, 0.0, -1.0]), torch.zeros(1)
    sgd.step()
    assert scheduler.running == [0.125]  # half of one change in four
    assert scheduler.rates == [pytest.approx(1 + 2 * (0.25 - 0.125))]


def test_rate_never_falls_below_zero_and_the_gain_is_the_first_rate_by_default():
    weight, _, sgd, scheduler = toy(lr=3.0, steps=1, momentum=0.0)
    weight.grad = -torch.ones(4)
    sgd.step()
    assert scheduler.running == [1.0]
    assert scheduler.rates == [0.0]  # 3 + 3 * (0 - 1)
    weight, _, sgd, scheduler = toy(lr=3.0, steps=10, momentum=0.0)
    weight.grad = torch.zeros(4)
    sgd.step()
    assert scheduler.rates == [pytest.approx(3 + 3 * 5e-3 * 2 * (1 + math.cos(math.pi / 10)) / 2)]


def test_after_the_last_step_target_and_other_rates_stay_at_zero():
    weight, other, sgd, scheduler = toy(steps=2)
    for _ in range(4):
        weight.grad, other.grad = torch.zeros(4), torch.zeros(1)
        sgd.step()
    assert scheduler.targets() == [0]
    assert sgd.param_groups[1]["lr"] == 0


def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 8 - 1, dtype=torch.float32), torch.tensor(labels)


def small_net():
    torch.manual_seed(0)
    kind = {"bias": False, "weight_quant": SignedBinaryWeightPerTensorConst}
    return nn.Sequential(
        QuantLinear(64, 32, **kind), nn.BatchNorm1d(32), nn.Hardtanh(), QuantLinear(32, 10, **kind), nn.BatchNorm1d(10)
    )


def trained(net, scheduler, optimizer, steps, *, seed=0, seen=None):
    images, labels = digits()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(images), (50,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        if seen is not None:
            seen.append((scheduler.running[:], scheduler.targets()))
    return net


@pytest.mark.parametrize("lr", [1e-3, pytest.param(0.1, marks=pytest.mark.slow)])
def test_measured_rate_follows_the_target_on_a_binary_net_from_a_rate_far_off(lr):
    net, seen = small_net(), []
    groups, weights = transition_groups(net)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    # Independently of the scheduler: signs of the float weights, counted here.
    changes, before = [], [net[0].weight.sign().clone(), net[3].weight.sign().clone()]

    def count(*_):
        now = [net[0].weight.sign().clone(), net[3].weight.sign().clone()]
        changes.append([(a != b).float().mean().item() for a, b in zip(now, before, strict=True)])
        before[:] = now

    scheduler = TransitionRate(optimizer, weights, steps=1500, factor=0.02, gain=1.0)
    optimizer.register_step_post_hook(count)
    trained(net, scheduler, optimizer, 1500, seen=seen)
    for start, stop in ((300, 600), (600, 900)):
        for layer in (0, 1):
            measured = sum(step[layer] for step in changes[start:stop]) / (stop - start)
            target = sum(targets[layer] for _, targets in seen[start:stop]) / (stop - start)
            assert target / 2 < measured < target * 2, (start, layer, measured, target)
    assert sum(step[0] for step in changes[-50:]) / 50 < 0.02 / 10  # nearly at rest in the end
    images, labels = digits()
    assert (net.eval()(images).argmax(1) == labels).float().mean() > 0.9


def test_groups_are_the_quantized_weights_and_the_rest_without_the_weights_scales():
    net = build_model("RESNET20_2W2A", width=0.25, scaling="learned")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    groups, weights = transition_groups(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [group["name"] for group in groups] == [*(weight.name for weight in weights), "rest"]
    assert {weight.bits for weight in weights} == {2}
    named = dict(net.named_parameters())
    assert all(group["params"] == [named[f"{group['name']}.weight"]] for group in groups[:-1])
    grouped = {id(p) for group in groups for p in group["params"]}
    assert len(grouped) == sum(len(group["params"]) for group in groups)
    left = [name for name, p in named.items() if id(p) not in grouped]
    assert left
    assert all("weight_quant" in name for name in left)
    assert all(len(weight.integers().unique()) in (2, 3) for weight in weights)


@pytest.mark.parametrize(("network", "levels"), [("CNV_1W1A", 2), ("CNV_4W4A", 15), ("WRN20_1W1A", 2)])
def test_integers_are_those_of_the_quantizer(network, levels):
    _, weights = transition_groups(build_model(network, width=0.125))
    for weight in weights:
        integers = weight.integers()
        assert len(integers.unique()) <= levels
        assert integers.abs().max() <= 2 ** max(weight.bits - 1, 1)


def test_eight_bits_are_counted_exactly():
    torch.manual_seed(0)
    net = nn.Sequential(QuantLinear(50, 40, bias=False, weight_quant=Int8WeightPerTensorFloat))
    groups, weights = transition_groups(net)
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = TransitionRate(optimizer, weights, steps=10, momentum=0.0)
    before = net[0].quant_weight().int().clone()
    net[0].weight.grad = torch.randn(40, 50) * 0.01
    optimizer.step()
    changed = int((net[0].quant_weight().int() != before).sum())
    assert 0 < changed < 2000
    assert scheduler.running == [changed / 2000]


@pytest.mark.parametrize(
    "make", [lambda g: torch.optim.SGD(g, 0.05, momentum=0.9), lambda g: torch.optim.Adam(g, 0.01)]
)
@pytest.mark.parametrize("stop", [0, 1, 15])
def test_a_run_saved_and_resumed_is_the_uninterrupted_run(make, stop):
    def start():
        net = small_net()
        groups, weights = transition_groups(net)
        optimizer = make(groups)
        return net, optimizer, TransitionRate(optimizer, weights, steps=40, factor=0.05)

    whole, optimizer, scheduler = start()
    trained(whole, scheduler, optimizer, stop, seed=1)
    file = io.BytesIO()
    torch.save([whole.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
    trained(whole, scheduler, optimizer, 20, seed=2)

    resumed, other, second = start()
    file.seek(0)
    model_state, optimizer_state, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(model_state)
    groups, weights = transition_groups(resumed)  # loading may make new parameters
    other = make(groups)
    second = TransitionRate(other, weights, steps=40, factor=0.05)
    other.load_state_dict(optimizer_state)
    second.load_state_dict(state)
    trained(resumed, second, other, 20, seed=2)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert scheduler.rates == second.rates
    assert scheduler.running == second.running


def test_a_float_network_is_refused():
    with pytest.raises(UserError, match="for quantized weights, and Sequential has none; choose another scheduler"):
        transition_groups(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    with pytest.raises(UserError, match="has none"):
        transition_groups(nn.Sequential(QuantLinear(3, 3, bias=True, weight_quant=None)))
    with pytest.raises(UserError, match="has none"):
        transition_groups(build_model("RESNET20_32W32A", width=0.25))


def test_mistakes_are_named():
    net = small_net()
    groups, weights = transition_groups(net)
    with pytest.raises(UserError, match=r"over transition_groups' groups, in their order, but got groups None"):
        TransitionRate(torch.optim.SGD(net.parameters(), lr=0.1), weights, steps=3)
    for options, message in (
        ({"steps": 0}, "steps must be at least 1, but got 0"),
        ({"factor": 2.0}, "factor is a share of the weights"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"gain": 0.0}, "gain must be a positive, finite number"),
    ):
        with pytest.raises(UserError, match=message):
            TransitionRate(torch.optim.SGD(groups, lr=0.1), weights, **{"steps": 3} | options)
    scheduler = TransitionRate(torch.optim.SGD(groups, lr=0.1), weights, steps=3)
    with pytest.raises(UserError, match="not the state of a TransitionRate: gains, integers"):
        scheduler.load_state_dict({})
    with pytest.raises(UserError, match="quantized weights w, not of 0, 3"):
        scheduler.load_state_dict(toy(steps=3)[3].state_dict())
