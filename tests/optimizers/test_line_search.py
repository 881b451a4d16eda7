"""L4 and Armijo: minima reached, agreement with a plain transcription, what trials and bad batches leave alone."""

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.optimizers import L4Adam, L4Mom, SGDArmijo, armijo_accepts, frozen_statistics, l4_step_size
from qtrain.optimizers.line_search import LineSearch
from tests.optimizers.line_search_problems import (
    Closure,
    LogisticRegression,
    PlainArmijo,
    PlainL4,
    Quadratic,
    closure_of,
)

METHODS = ["l4mom", "l4adam", "armijo"]
PROBLEMS: dict[str, Callable[[], Any]] = {
    "quadratic": lambda: Quadratic(2),
    "ill-conditioned": lambda: Quadratic(1000),
    "above-zero": lambda: Quadratic(10, floor=1.0),
    "digits": LogisticRegression,
}


def make(method: str, parameters: Any, **options: Any) -> LineSearch:
    if method == "armijo":
        return SGDArmijo(parameters, **{"steps_per_epoch": 5, **options})
    return {"l4mom": L4Mom, "l4adam": L4Adam}[method](parameters, **options)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_data("digits", validation_size=40)
    return data.train.images[:40].float() / 255, data.train.labels[:40]


def network_closure(model: nn.Module, optimizer: torch.optim.Optimizer, digits: tuple[Tensor, Tensor]) -> Closure:
    images, labels = digits

    def closure(backward: bool = True) -> Tensor:
        loss = nn.functional.cross_entropy(model(images), labels)
        if backward:
            optimizer.zero_grad()
            loss.backward()
        return loss

    return closure


# --- the grid: methods x problems with known minima


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", METHODS)
def test_method_reaches_the_known_minimum(method: str, problem: str) -> None:
    loss = PROBLEMS[problem]()
    minimum, start = loss.minimum(), loss().item()
    optimizer = make(method, loss.parameters())
    losses = [float(optimizer.step(closure_of(loss, optimizer))) for _ in range(300)]
    assert min(losses) >= minimum - 1e-9
    # L4 aims at a share of the lowest loss, so it closes in at its own pace, and jumps about a minimum above 0.
    share = 1e-3 if method == "armijo" else 0.03
    assert min(losses) - minimum < share * (start - minimum)
    if method == "armijo":
        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("network", ["TFC_1W1A", "CNV_1W1A"])
@pytest.mark.parametrize("method", METHODS)
def test_method_trains_a_quantized_network_and_counts_its_passes(
    method: str, network: str, digits: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    model = build_model(network, width=0.125, image_size=32).train()
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    options = {"trial_context": partial(frozen_statistics, model)} if method == "armijo" else {}
    optimizer = make(method, model.parameters(), **options)
    steps = 4 if method == "armijo" else 12  # its trials soon fill the time: quantized losses do not follow the slope
    losses = [float(optimizer.step(network_closure(model, optimizer, digits))) for _ in range(steps)]
    assert min(losses[-3:]) < losses[0] - 0.1
    extra = optimizer.counts.get("forward_passes_extra", 0)
    assert len(passes) == steps + extra
    assert optimizer.counts["skipped_steps"] == 0
    assert (extra >= steps) == (method == "armijo")


# --- the rules and their plain transcription


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("method", ["l4mom", "l4adam"])
def test_l4_agrees_with_its_plain_transcription(method: str, decay: float, problem: str) -> None:
    fast, plain = PROBLEMS[problem](), PROBLEMS[problem]()
    optimizer = make(method, fast.parameters(), weight_decay=decay)
    reference = PlainL4(list(plain.parameters()), adam=method == "l4adam", weight_decay=decay)
    for _ in range(30):
        optimizer.step(closure_of(fast, optimizer))
        size = reference.step(closure_of(plain, torch.optim.SGD(plain.parameters())))
        assert optimizer.last_step_size == pytest.approx(size, rel=1e-6)
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_armijo_agrees_with_its_plain_transcription(problem: str) -> None:
    fast, plain = PROBLEMS[problem](), PROBLEMS[problem]()
    optimizer, reference = make("armijo", fast.parameters()), PlainArmijo(list(plain.parameters()), 5)
    for _ in range(30):
        optimizer.step(closure_of(fast, optimizer))
        size = reference.step(closure_of(plain, torch.optim.SGD(plain.parameters())))
        assert optimizer.last_step_size == pytest.approx(size)
    assert optimizer.counts == {"forward_passes_extra": reference.trials, "fallbacks": 0, "skipped_steps": 0}
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_l4_step_brings_a_linear_loss_to_the_reachable_one() -> None:
    size = l4_step_size(2.0, 1.0, 4.0, alpha=1.0, gamma=0.9, eps=0.0)
    assert 2.0 - size * 4.0 == pytest.approx(0.9 * 1.0)
    assert l4_step_size(2.0, 1.0, 4.0, gamma=0.9, eps=0.0) == pytest.approx(0.15 * size)


def test_armijo_accepts_what_falls_by_the_share_c_of_the_promise() -> None:
    assert armijo_accepts(1.5, 2.0, 0.5, 4.0, c=0.25)
    assert not armijo_accepts(math.nextafter(1.5, 2.0), 2.0, 0.5, 4.0, c=0.25)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_armijo_accepts_no_loss_that_is_not_finite(loss: float) -> None:
    assert not armijo_accepts(loss, 2.0, 0.5, 4.0)


def test_decay_of_a_huge_l4_step_never_turns_a_weight() -> None:
    problem = Quadratic(2)
    optimizer = make("l4mom", problem.parameters(), weight_decay=1e9)
    nn.init.ones_(problem.first)
    loss = optimizer.step(closure_of(problem, optimizer))
    assert problem.first.grad is not None
    assert torch.equal(problem.first.data, -optimizer.last_step_size * problem.first.grad)
    assert loss > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_gets_its_first_gradient_late_starts_then(method: str) -> None:
    used, unused = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = make(method, [used, unused])
    for _ in range(3):
        optimizer.step(closure_of(LossOf(lambda: used.square().sum() + 1), optimizer))
    assert torch.equal(unused.data, torch.ones(2))
    optimizer.step(closure_of(LossOf(lambda: unused.square().sum() + 1), optimizer))
    if method == "l4mom":  # one gradient, so its mean without bias is that gradient
        assert torch.allclose(unused.data, torch.ones(2) - 2 * optimizer.last_step_size)
    assert (unused < 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_group_shows_the_step_size(method: str) -> None:
    problem = Quadratic(2)
    groups = [{"name": "a", "params": [problem.first]}, {"name": "b", "params": [problem.second]}]
    optimizer = make(method, groups)
    optimizer.step(closure_of(problem, optimizer))
    assert [group["lr"] for group in optimizer.param_groups] == [optimizer.last_step_size] * 2
    assert optimizer.last_step_size > 0


# --- what trial passes leave alone


@pytest.mark.parametrize("frozen", [True, False])
def test_trial_passes_move_batch_norm_only_where_asked_to(frozen: bool, digits: tuple[Tensor, Tensor]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10)).train()
    options = {"trial_context": partial(frozen_statistics, model)} if frozen else {}
    optimizer = make("armijo", model.parameters(), **options)
    optimizer.step(network_closure(model, optimizer, digits))
    trials = optimizer.counts["forward_passes_extra"]
    assert trials >= 1
    assert int(model[2].num_batches_tracked) == (1 if frozen else 1 + trials)  # type: ignore[arg-type]


def test_all_passes_of_a_step_see_the_same_dropout_and_the_next_step_another() -> None:
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 1)).train()
    optimizer = make("armijo", model.parameters(), first_step=100.0)
    images, masks = torch.randn(8, 6), list[Tensor]()
    model[1].register_forward_hook(lambda _, given, out: masks.append((out != 0) | (given[0] == 0)))

    def loss() -> Tensor:
        return (model(images) - 1).square().mean()

    steps = []
    for _ in range(2):
        masks.clear()
        before = torch.get_rng_state()
        optimizer.step(closure_of(LossOf(loss), optimizer))
        after = torch.get_rng_state()
        assert len(masks) >= 2
        assert all(torch.equal(mask, masks[0]) for mask in masks)
        steps.append(masks[0])
        torch.set_rng_state(before)
        loss()
        assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(*steps)


def test_random_numbers_that_only_trials_draw_do_not_count() -> None:
    problem = Quadratic(2)
    optimizer = make("armijo", problem.parameters())
    good = closure_of(problem, optimizer)
    before = torch.get_rng_state()
    optimizer.step(lambda backward=True: good(backward) if backward else good(backward) + 0 * torch.rand(()))
    assert torch.equal(torch.get_rng_state(), before)


class LossOf(nn.Module):
    def __init__(self, loss: Callable[[], Tensor]):
        super().__init__()
        self.loss = loss

    def forward(self) -> Tensor:
        return self.loss()


# --- save and resume


@pytest.mark.parametrize("method", METHODS)
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(method: str, digits: tuple[Tensor, Tensor]) -> None:
    def steps(model: nn.Module, optimizer: LineSearch, batches: range) -> None:
        for i in batches:
            part = slice(8 * i % 40, 8 * i % 40 + 8)
            optimizer.step(network_closure(model, optimizer, (digits[0][part], digits[1][part])))

    def start() -> tuple[nn.Module, LineSearch]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(196, 10))
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, make(method, model.parameters())

    model, optimizer = start()
    steps(model, optimizer, range(4))
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    steps(model, optimizer, range(4, 9))
    other, resumed = start()
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    steps(other, resumed, range(4, 9))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert (resumed.counts, resumed.search) == (optimizer.counts, optimizer.search)
    assert resumed.last_step_size == optimizer.last_step_size


def test_state_of_another_optimizer_is_refused() -> None:
    problem = Quadratic(2)
    for state in (torch.optim.SGD(problem.parameters()).state_dict(), make("l4mom", problem.parameters()).state_dict()):
        with pytest.raises(UserError, match="not one of SGDArmijo"):
            make("armijo", problem.parameters()).load_state_dict(state)


# --- steps that are left out


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_a_bad_batch_is_counted_and_changes_nothing(method: str, value: float, bad: str) -> None:
    runs = []
    for bad_steps in (set(), {0, 4, 5}):
        problem = Quadratic(2)
        optimizer = make(method, problem.parameters())
        good = closure_of(problem, optimizer)

        def broken(backward: bool = True, good: Closure = good, problem: Quadratic = problem) -> Tensor:
            loss = good(backward)
            assert problem.second.grad is not None
            if bad == "gradient":
                problem.second.grad[0, 1] = value
            return loss * value if bad == "loss" else loss

        done = 0
        for i in range(8 + len(bad_steps)):
            optimizer.step(broken if i in bad_steps else good)
            done += i in bad_steps
            assert optimizer.counts["skipped_steps"] == done
            assert (optimizer.last_step_size == 0) == (i in bad_steps)
        runs.append((problem, optimizer.search))
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0].parameters(), runs[1][0].parameters(), strict=True))
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("method", METHODS)
def test_a_slope_of_zero_is_counted_and_moves_neither_weights_nor_search(method: str) -> None:
    problem = Quadratic(2)
    optimizer = make(method, problem.parameters())
    search = dict(optimizer.search)
    optimizer.step(closure_of(LossOf(lambda: 1 + 0 * problem()), optimizer))
    assert optimizer.counts["skipped_steps"] == 1
    assert optimizer.search == search
    assert all(bool((p == 0).all()) for p in problem.parameters())
    optimizer.step(closure_of(problem, optimizer))  # and the next step is a step again
    assert optimizer.counts["skipped_steps"] == 1


@pytest.mark.parametrize("method", ["l4mom", "l4adam"])
def test_l4_never_goes_uphill_on_a_loss_below_zero(method: str) -> None:
    problem = Quadratic(2, floor=-10.0)
    optimizer = make(method, problem.parameters())
    optimizer.step(closure_of(problem, optimizer))
    assert optimizer.counts["skipped_steps"] == 1
    assert all(bool((p == 0).all()) for p in problem.parameters())


def test_armijo_rejects_a_trial_without_a_finite_loss() -> None:
    x = nn.Parameter(torch.tensor(3.0))
    optimizer = SGDArmijo([x], steps_per_epoch=1, first_step=5.0)
    for _ in range(30):
        optimizer.step(closure_of(LossOf(lambda: x - x.log()), optimizer))  # the first trial is at x < 0
    assert x.item() == pytest.approx(1.0, abs=1e-3)
    assert optimizer.counts["forward_passes_extra"] > 30


def test_armijo_falls_back_to_a_tiny_step_and_goes_on_from_the_last_rejected_size() -> None:
    x = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
    optimizer = SGDArmijo([x], steps_per_epoch=1, gamma=1, max_trials=7)

    def uphill(backward: bool = True) -> Tensor:
        if backward:
            x.grad = -2 * x.detach()
        return x.square()

    optimizer.step(uphill)
    assert optimizer.counts == {"forward_passes_extra": 7, "fallbacks": 1, "skipped_steps": 0}
    assert x.item() == pytest.approx(3 + 6e-6, abs=1e-9)
    assert optimizer.last_step_size == 1e-6
    assert optimizer.search["step_size"] == pytest.approx(0.9**7)
    for _ in range(20):
        optimizer.step(uphill)
    assert optimizer.search["step_size"] == 1e-6


def test_armijo_grows_by_gamma_in_an_epoch_up_to_eta_max() -> None:
    sizes = []
    for eta_max in (None, 10.0):
        x = nn.Parameter(torch.tensor(-1e6))
        optimizer = SGDArmijo([x], steps_per_epoch=4, eta_max=eta_max)
        for _ in range(4 * 5):
            optimizer.step(closure_of(LossOf(lambda x=x: (-x).clamp(min=0).sum()), optimizer))  # type: ignore[misc]
        sizes.append(optimizer.last_step_size)
    assert sizes == [pytest.approx(2.0**5), 10.0]


def test_weights_are_back_after_an_error_in_a_trial() -> None:
    problem = Quadratic(2)
    optimizer = make("armijo", problem.parameters())
    good = closure_of(problem, optimizer)

    def failing(backward: bool = True) -> Tensor:
        if not backward:
            raise MemoryError
        return good()

    with pytest.raises(MemoryError):
        optimizer.step(failing)
    assert all(bool((p == 0).all()) for p in problem.parameters())


# --- mistakes


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("l4mom", {"alpha": 0}, "L4Mom's alpha must be above 0, but got 0"),
        ("l4adam", {"gamma": 1.5}, "L4Adam's gamma must be from 0 to 1, but got 1.5"),
        ("l4mom", {"gamma0": 0}, "L4Mom's gamma0 must be above 0 up to 1, but got 0"),
        ("l4mom", {"tau": -1}, "L4Mom's tau must be a number of steps above 0, but got -1"),
        ("l4mom", {"eps": math.nan}, "L4Mom's eps must be 0 or more, but got nan"),
        ("l4mom", {"weight_decay": -0.1}, "L4Mom's weight_decay must be 0 or more, but got -0.1"),
        ("armijo", {"c": 1}, "SGDArmijo's c must be above 0 and below 1, but got 1"),
        ("armijo", {"beta": "high"}, "SGDArmijo's beta must be above 0 and below 1, but got 'high'"),
        ("armijo", {"gamma": 0.5}, "SGDArmijo's gamma must be 1 or more, but got 0.5"),
        ("armijo", {"first_step": 0}, "SGDArmijo's first_step must be a step size above 0, but got 0"),
        ("armijo", {"eta_max": -1}, "SGDArmijo's eta_max must be a step size above 0, but got -1"),
        ("armijo", {"max_trials": 0}, "SGDArmijo's max_trials must be a whole number above 0, but got 0"),
        ("armijo", {"steps_per_epoch": 2.5}, "SGDArmijo's steps_per_epoch must be a whole number above 0, but got 2.5"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make(method, Quadratic(2).parameters(), **options)
    assert str(error.value) == message


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_closure_or_gradient_says_so(method: str) -> None:
    problem = Quadratic(2)
    optimizer = make(method, problem.parameters())
    with pytest.raises(UserError, match="needs a closure"):
        optimizer.step()
    with pytest.raises(UserError, match="found no gradient"):
        optimizer.step(lambda backward=True: problem())
