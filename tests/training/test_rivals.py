"""The rivals through their packages: one problem, judged weights, bit-exact resume, and options that are refused."""

import io
import sys
from statistics import median

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups
from qtrain.training.methods.make import make_method

KINDS = [
    ("schedulefree", "sgd"),
    ("schedulefree", "nag"),
    ("schedulefree", "adam"),
    ("prodigy", "adam"),
    ("dadaptation", "sgd"),
    ("dadaptation", "adam"),
    ("dog", "sgd"),
]
EVERY_KIND = pytest.mark.parametrize(("name", "optimizer"), KINDS)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def rival_of(model, name, optimizer="sgd", **changes):
    values = {"lr": 0.05, "weight_decay": 1e-4, "scheduler": name, "optimizer": optimizer} | changes
    return make_method(model, Recipe("mine", "digits", **values), 3)


def one_group(parameters):
    """Return a module whose parameters are one layer's."""
    return nn.ParameterList(parameters)


def train(model, rival, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        inputs = torch.randn(32, 6, generator=generator)
        labels = (inputs[:, 0] + inputs[:, 1] > 0).long()

        def closure(inputs=inputs, labels=labels):
            rival.optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            return loss

        losses.append(float(rival.optimizer.step(closure).detach()))
        rival.after_step(0.0)
    return losses


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@EVERY_KIND
def test_it_learns(name, optimizer):
    left = []
    for seed in range(7):  # D-Adaptation keeps jumping now and then, at which step is up to the processor's rounding
        model = net()
        rival = rival_of(model, name, optimizer)
        losses = train(model, rival, 300, seed)
        left.append(median(losses[-50:]) / median(losses[:10]))
        assert rival.rate() > 0
    assert median(left) < 0.5


@EVERY_KIND
def test_many_groups_are_one_problem(name, optimizer):
    apart, together = net(), net()
    first = rival_of(apart, name, optimizer)
    second = rival_of(one_group(together.parameters()), name, optimizer)
    assert len(layer_groups(apart)) == 2
    train(apart, first, 30)
    train(together, second, 30)
    assert first.rate() == pytest.approx(second.rate(), rel=1e-6)
    for a, b in zip(apart.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@EVERY_KIND
@pytest.mark.parametrize("stop", [0, 1, 10])
def test_saved_and_resumed_is_the_uninterrupted_run(name, optimizer, stop):
    whole = net()
    rival = rival_of(whole, name, optimizer)
    train(whole, rival, stop)
    with rival.judged():
        pass
    file = io.BytesIO()
    torch.save([whole.state_dict(), rival.state_dict()], file)
    train(whole, rival, 15, seed=1)

    resumed = net()
    file.seek(0)
    model_state, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(model_state)
    second = rival_of(resumed, name, optimizer)
    second.load_state_dict(state)
    train(resumed, second, 15, seed=1)
    assert same(weights(whole), weights(resumed))
    assert rival.rate() == second.rate()
    with rival.judged(), second.judged():
        assert same(weights(whole), weights(resumed))


@EVERY_KIND
def test_judging_leaves_the_training_weights_bit_for_bit(name, optimizer):
    watched, alone = net(), net()
    first, second = rival_of(watched, name, optimizer), rival_of(alone, name, optimizer)
    for _ in range(5):
        train(watched, first, 3)
        train(alone, second, 3)
        before = weights(watched)
        with first.judged():
            assert same(weights(watched), before) != first.judges_others
        assert same(weights(watched), before)
    assert same(weights(watched), weights(alone))


def test_training_weights_come_back_after_an_error_too():
    model = net()
    rival = rival_of(model, "schedulefree")
    train(model, rival, 3)
    before = weights(model)
    with pytest.raises(RuntimeError), rival.judged():
        raise RuntimeError
    assert same(weights(model), before)


def test_schedulefree_judges_the_mean_of_the_sgd_points():
    """Defazio et al. 2024, Equations 9 to 11 by hand: z is SGD's, x the mean of z, gradients are taken at y."""
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    rival = rival_of(one_group([parameter]), "schedulefree", lr=0.1, weight_decay=0.0)
    z = x = y = 1.0
    for t in range(1, 6):
        assert parameter.item() == pytest.approx(y, rel=1e-12)
        rival.optimizer.zero_grad()
        parameter.square().sum().backward()
        rival.optimizer.step()
        z -= 0.1 * 2 * y
        x += (z - x) / t
        y = 0.1 * z + 0.9 * x
        with rival.judged():
            assert parameter.item() == pytest.approx(x, rel=1e-12)


def test_dog_judges_the_polynomial_average_and_steps_by_distance_over_gradients():
    parameter = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    options = {"gamma": 1.0, "reps_rel": 0.1}
    # the rate is not DoG's business
    rival = rival_of(one_group([parameter]), "dog", lr=7.0, weight_decay=0.0, scheduler_options=options)
    assert rival.rate() == 0
    start, x, mean, squares, farthest = parameter.detach().clone(), parameter.detach().clone(), None, 1e-8, 0.1 * 6
    for t in range(1, 5):
        rival.optimizer.zero_grad()
        (parameter.square().sum() / 2).backward()
        rival.optimizer.step()
        rival.after_step(0.0)
        farthest = max(farthest, float((x - start).norm()))
        squares += float(x.square().sum())
        eta = farthest / squares**0.5
        x = x - eta * x
        mean = x if mean is None else mean + 2 / (1 + t) * (x - mean)
        assert rival.rate() == pytest.approx(eta)
        assert torch.allclose(parameter.detach(), x)
        with rival.judged():
            assert torch.allclose(parameter.detach(), mean)


@pytest.mark.parametrize("name", ["prodigy", "dadaptation", "dog"])
def test_the_recipes_rate_is_nothing_to_those_that_find_their_own(name):
    first, second = net(), net()
    train(first, rival_of(first, name, lr=0.001), 5)
    train(second, rival_of(second, name, lr=100.0), 5)
    assert same(weights(first), weights(second))


def test_learned_rates_grow_from_their_first_guess():
    for name, optimizer in (("prodigy", "adam"), ("dadaptation", "adam"), ("dadaptation", "sgd")):
        model = net()
        rival = rival_of(model, name, optimizer, scheduler_options={"d0": 1e-5})
        assert rival.rate() == pytest.approx(1e-5)
        train(model, rival, 100)
        assert rival.rate() > 1e-4


def test_a_parameter_without_gradient_stands_still_in_dog():
    model = net()
    model.unused = nn.Parameter(torch.ones(2))
    rival = rival_of(model, "dog", lr=1.0, weight_decay=0.0)
    unused = model.unused
    del model.unused
    train(model, rival, 5)
    assert unused.tolist() == [1, 1]


@EVERY_KIND
def test_a_binary_network_trains_silently(name, optimizer, capfd):
    torch.manual_seed(0)
    model = build_model("CNV_1W1A", width=0.125).train()
    rival = rival_of(model, name, optimizer)
    before = weights(model)
    for _ in range(2):
        rival.optimizer.zero_grad()
        model(torch.rand(8, 3, 32, 32)).square().mean().backward()
        rival.optimizer.step()
        rival.after_step(0.0)
    assert not same(before, weights(model))
    assert all(p.isfinite().all() for p in model.parameters())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prodigy", {"gamma": 1}, "scheduler prodigy has no option gamma; it has lr, betas, beta3, eps"),
        ("schedulefree", {"lr": 1}, "schedulefree has no option lr; it has warmup_steps, r"),
        ("dog", {"momentum": 1}, "it has reps_rel, lr, eps, init_eta, gamma"),
        ("prodigy", {"safeguard_warmup": 1}, "safeguard_warmup must be true or false, but got 1"),
        ("prodigy", {"betas": [0.9]}, r"betas must be a list of 2 numbers, but got \[0\.9\]"),
        ("prodigy", {"slice_p": 1.5}, r"slice_p must be a whole number, but got 1\.5"),
        ("dadaptation", {"d0": "a"}, "d0 must be a number, but got 'a'"),
        ("dadaptation", {"d0": -1.0}, r"DAdaptSGD: Invalid d0 value: -1\.0"),
    ],
)
def test_mistaken_options_are_named(name, options, message):
    with pytest.raises(UserError, match=message):
        rival_of(net(), name, scheduler_options=options)


def test_schedulefree_needs_a_momentum():
    with pytest.raises(UserError, match=r"Momentum must be between 0 and 1 exclusive: 0\.0"):
        rival_of(net(), "schedulefree", momentum=0.0)


def test_a_list_of_betas_is_taken():
    rival = rival_of(net(), "prodigy", scheduler_options={"betas": [0.8, 0.99], "beta3": None})
    assert rival.optimizer.param_groups[0]["betas"] == (0.8, 0.99)


@pytest.mark.parametrize(
    ("name", "module", "distribution"),
    [
        ("schedulefree", "schedulefree", "schedulefree"),
        ("prodigy", "prodigyopt", "prodigyopt"),
        ("dadaptation", "dadaptation", "dadaptation"),
        ("dog", "dog", "dog-optimizer"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, name, module, distribution):
    for loaded in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=rf"needs the package {distribution}; .* pip install .*\[rivals\]"):
        rival_of(net(), name)
