"""The learning-rate range test: what it makes of a curve, and that it leaves no trace."""

import contextlib
import copy
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.recipe import Recipe
from qtrain.report.lr_range import range_lines
from qtrain.schedulers import layer_groups, lr_range
from qtrain.schedulers.lr_range import find_window, lr_range_test, smooth, suggest
from qtrain.training.losses import squared_hinge
from tests.checks import same
from tests.sampled import sampled

RATES = [i / 100 for i in range(41)]


def curve(rise: float, fall: float, low: float = 10.0, high: float = 80.0) -> list[float]:
    """Accuracies that step up at one rate and down at another."""
    return [high if rise <= rate < fall else low for rate in RATES]


def test_window_is_where_the_accuracy_has_risen_and_not_yet_fallen() -> None:
    window = find_window(RATES, curve(0.05, 0.30))
    assert (window.low, window.high, window.fell) == (0.05, 0.29, True)


def test_window_ends_at_the_highest_rate_where_nothing_falls() -> None:
    window = find_window(RATES, curve(0.05, 9.0))
    assert (window.low, window.high, window.fell) == (0.05, 0.4, False)


def test_fall_is_measured_from_the_running_peak_not_from_the_start() -> None:
    slope = [10 + 2 * i for i in range(21)] + [50 - 2 * i for i in range(1, 21)]  # peak of 50 at 0.20, then down
    window = find_window(RATES, slope)
    # 2 points a reading, the median cuts the peak to 48: 46 at 0.22 is not more than 2 points below, 44 at 0.23 is
    assert (window.low, window.high) == (0.02, 0.22)


def test_outliers_neither_open_nor_close_the_window() -> None:
    accuracies = curve(0.05, 0.30)
    accuracies[1], accuracies[15], accuracies[20] = 90.0, 0.0, 5.0
    window = find_window(RATES, accuracies)
    assert (window.low, window.high) == (0.05, 0.29)


def test_noise_widens_the_margin() -> None:
    noise = np.random.default_rng(0).normal(0, 4, len(RATES))
    flat = [float(a) for a in 10 + noise]
    with pytest.raises(UserError, match="never rose"):
        find_window(RATES, flat)
    assert find_window(RATES, [a + b - 10 for a, b in zip(flat, curve(0.1, 0.3), strict=True)]).margin > 4


def test_rise_below_two_points_is_no_window() -> None:
    with pytest.raises(UserError, match=r"never rose more than 2\.0 points above its start \(10\.0 %\); try a higher"):
        find_window(RATES, curve(0.05, 0.3, high=11.9))


@pytest.mark.parametrize("accuracies", [[], [10.0], [10.0, math.nan, math.nan], [10.0, 80.0]])
def test_too_few_readings_say_what_to_try(accuracies: list[float]) -> None:
    with pytest.raises(UserError, match="lower --high"):
        find_window(RATES[: len(accuracies)], accuracies)


def test_readings_that_are_not_finite_are_left_out() -> None:
    accuracies = curve(0.05, 0.30)
    accuracies[10] = math.nan
    assert find_window(RATES, accuracies).high == 0.29


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_smoothing_keeps_the_ends_and_the_range(accuracies: list[float]) -> None:
    smoothed = smooth(accuracies)
    assert len(smoothed) == len(accuracies)
    assert (smoothed[0], smoothed[-1]) == (accuracies[0], accuracies[-1])
    assert min(accuracies) <= min(smoothed)
    assert max(smoothed) <= max(accuracies)


@given(st.floats(1e-8, 1e3), st.floats(1.0, 1e4))
def test_suggestion_lies_inside_the_window_and_has_one_significant_digit(low: float, factor: float) -> None:
    high = low * factor
    try:
        rate = suggest(low, high)
    except UserError as error:
        assert "hold none of one significant digit" in str(error)  # noqa: PT017
        assert factor < 2.000001  # 1.1 to 1.9 holds none, and nothing wider does not
        return
    assert low <= rate <= high
    assert float(f"{rate:.0e}") == rate


@given(st.floats(1e-6, 1.0), st.floats(1.0, 100.0))
def test_suggestion_is_the_midpoint_where_its_rounding_stays_inside(low: float, factor: float) -> None:
    high = low * factor
    nearest = float(f"{(low + high) / 2:.0e}")  # in this form: another may fall to the other side of a tie
    assume(low <= nearest <= high)
    assert suggest(low, high) == nearest


@given(st.lists(st.floats(0, 100), min_size=3, max_size=41))
def test_every_curve_gives_a_window_in_order_or_an_error_of_ours(accuracies: list[float]) -> None:
    rates = RATES[: len(accuracies)]
    try:
        window = find_window(rates, accuracies)
    except UserError:
        return
    assert rates[0] < window.low <= window.high <= rates[-1]


class Fake:
    """A network whose accuracy is a function of the rate that its last step had, and counts its steps."""

    def __init__(self, accuracy: Callable[[float], float], loss: Callable[[float], float] = lambda rate: 1.0):
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.123)
        self.seen: list[float] = []
        self._accuracy, self._loss = accuracy, loss

    def step(self) -> float:
        assert self.model.training
        self.seen.append(self.optimizer.param_groups[0]["lr"])
        return self._loss(self.seen[-1])

    def accuracy(self) -> float:
        assert not self.model.training
        return self._accuracy(self.seen[-1] if self.seen else 0.0)

    def run(self, **numbers: Any) -> Any:
        return lr_range_test(self.model, self.optimizer, self.step, self.accuracy, **numbers)


def test_rates_rise_on_a_line_from_low_to_high_in_exactly_the_steps_given() -> None:
    fake = Fake(lambda rate: 80.0 if 0.2 <= rate < 0.8 else 10.0)
    found = fake.run(low=0.0, high=1.0, steps=101, every=2)
    assert fake.seen == pytest.approx([t / 100 for t in range(101)])
    assert found.steps == len(found.losses) == 101
    assert found.rates[:3] == pytest.approx((0.0, 0.01, 0.03))
    assert found.suggestion == 0.5
    assert found.stopped == ""
    assert fake.optimizer.param_groups[0]["lr"] == 0.123


def test_a_loss_that_is_not_finite_ends_the_test() -> None:
    fake = Fake(lambda rate: 80.0 if rate >= 0.2 else 10.0, lambda rate: math.inf if rate > 0.5 else 1.0)
    found = fake.run(high=1.0, steps=101, every=2)
    assert found.steps == 52
    assert found.stopped == "the loss was inf"
    assert found.window.high <= 0.5
    assert any("stopped early" in line for line in range_lines(found.to_dict(), 1.0))


def test_a_smoothed_loss_above_four_times_its_best_ends_the_test() -> None:
    def run(to: float) -> Any:
        fake = Fake(lambda rate: 80.0 if rate >= 0.2 else 10.0, lambda rate: to if rate > 0.5 else 1.0)
        return fake.run(high=1.0, steps=101, every=2)

    assert "above 4 times its best" in run(4.5).stopped
    assert run(4.5).steps == 51 + 19  # 1 + 3.5 (1 - 0.9 ** n) > 4 first for n = 19
    assert run(3.9).stopped == ""


def test_nothing_usable_is_an_error_never_a_guess() -> None:
    with pytest.raises(UserError, match="no usable learning rate from 0 to 1"):
        Fake(lambda rate: 10.0).run(high=1.0, steps=50, every=1)
    with pytest.raises(UserError, match="no usable learning rate: the test ended after 1 readings"):
        Fake(lambda rate: 10.0, lambda rate: math.nan).run(high=1.0, steps=50, every=1)


def test_groups_keep_their_ratios() -> None:
    fake = Fake(lambda rate: 80.0 if rate >= 0.2 else 10.0)
    fake.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.246})
    other: list[float] = []
    plain = fake.step
    fake.step = lambda: (other.append(fake.optimizer.param_groups[1]["lr"]), plain())[1]  # type: ignore[method-assign]
    fake.run(high=1.0, steps=50, every=1)
    assert other == pytest.approx([2 * rate for rate in fake.seen])


def test_a_scheduler_that_sets_the_rates_is_refused() -> None:
    fake = Fake(lambda rate: 80.0)
    plain = fake.step

    def step() -> float:
        loss = plain()
        fake.optimizer.param_groups[0]["lr"] = 0.5
        return loss

    fake.step = step  # type: ignore[method-assign]
    with pytest.raises(UserError, match="something else sets the optimizer's rates"):
        fake.run(high=1.0, steps=50, every=1)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"low": 0.5, "high": 0.5}, "high above it"),
        ({"low": -0.1, "high": 0.5}, "low must be 0 or more"),
        ({"high": math.inf}, "but got --low 0 and --high inf"),
        ({"high": math.nan}, "but got --low 0 and --high nan"),
        ({"high": 1.0, "every": 0}, "--every 0"),
        ({"high": 1.0, "every": 10}, "give 80 or more"),
    ],
)
def test_numbers_out_of_range_are_refused_before_any_step(numbers: dict[str, Any], message: str) -> None:
    fake = Fake(lambda rate: 10.0)
    with pytest.raises(UserError, match=message):
        fake.run(steps=50, **numbers)
    assert fake.seen == []


class Training:
    """Real training of a small quantized network on 80 digits, with noise drawn from every generator."""

    def __init__(self, recipe: Recipe, data: DataSet, *, fail_at: int | None = None):
        self.model = model_of(recipe)
        self.optimizer = torch.optim.Adam(layer_groups(self.model), 0.01)
        self.steps, self.fail_at, self.data = 0, fail_at, data

    def step(self) -> torch.Tensor:
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("as asked")
        index = torch.randint(len(self.data.train), (20,))
        noise = 0.01 * torch.randn(1) * random.random() * np.random.rand()
        images = self.data.train.images[index].float() / 255 + noise
        loss = squared_hinge(self.model(images), self.data.train.labels[index])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.model.clip_weights()
        return loss.detach()

    @torch.no_grad()
    def accuracy(self) -> float:
        right = self.model(self.data.validation.images.float() / 255).argmax(1) == self.data.validation.labels
        return 100 * float(right.float().mean())

    def test(self) -> None:
        """A short range test, whatever it finds."""
        with contextlib.suppress(RuntimeError, UserError):
            lr_range_test(self.model, self.optimizer, self.step, self.accuracy, high=0.05, steps=8, every=1)

    def trace(self) -> dict[str, Any]:
        """Everything there is to compare."""
        counters = {
            f"{name}.{attribute}": getattr(module, attribute)
            for name, module in self.model.named_modules()
            for attribute in ("counter", "init_done", "training")
            if hasattr(module, attribute)
        }
        found = {
            "state": self.model.state_dict(),
            "gradients": [None if p.grad is None else p.grad.clone() for p in self.model.parameters()],
            "optimizer": self.optimizer.state_dict(),
            "numbers": counters,
            "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()),
        }
        return copy.deepcopy(found)


NETWORKS = {
    "CNV": {"network": "CNV_1W1A"},
    "learned scales": {"network": "RESNET20_2W2A", "scaling": "learned", "width": 0.125, "loss": "cross_entropy"},
}


@pytest.mark.parametrize(("warm", "fails"), [(0, False), (2, True)], ids=["new", "trained, with an error"])
@pytest.mark.parametrize("kind", sampled(NETWORKS, ["CNV"]))
def test_every_state_is_restored_bit_for_bit(
    kind: str, warm: int, fails: bool, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    training = Training(tiny(**NETWORKS[kind]), few_digits, fail_at=warm + 5 if fails else None)
    for _ in range(warm):
        training.step()
    training.model.eval()
    parameters = list(training.model.parameters())
    before = training.trace()
    training.test()
    assert training.steps > warm + 3
    after = training.trace()
    for part in before:
        assert same(before[part], after[part]), part
    assert all(a is b for a, b in itertools.zip_longest(parameters, training.model.parameters()))


@pytest.mark.parametrize("kind", NETWORKS)
def test_training_after_the_test_is_training_without_it(
    kind: str, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    losses = []
    for tested in (False, True):
        torch.manual_seed(3), random.seed(3), np.random.seed(3)
        training = Training(tiny(**NETWORKS[kind]), few_digits)
        training.step()
        if tested:
            training.test()
        training.model.train()
        losses.append([float(training.step()) for _ in range(2)])
        trained = [p for group in training.optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in trained} == {id(p) for p in training.model.parameters()}  # not those of before
    assert losses[0] == losses[1]


@pytest.mark.parametrize("explodes", [0.33, 0.5, 0.981, 2.0])
def test_losses_on_a_gpu_are_read_with_the_accuracy_and_give_the_same_curve(
    explodes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnDevice(Fake):
        held = torch.zeros(())

        def step(self) -> Tensor:  # type: ignore[override]
            return self.held.fill_(super().step())  # as a captured step's, which the next one overwrites

    made = [lambda rate: 80.0 if rate >= 0.1 else 10.0, lambda rate: 9.0 if rate > explodes else 1.0]
    here, there = Fake(*made), OnDevice(*made)
    wanted = here.run(high=1.0, steps=101, every=5)
    monkeypatch.setattr(lr_range, "_is_elsewhere", lambda loss: True)
    reads = []
    monkeypatch.setattr(lr_range._Recorder, "take_all", _noting(lr_range._Recorder.take_all, reads))
    found = there.run(high=1.0, steps=101, every=5)
    assert found == wanted
    assert len(here.seen) <= len(there.seen) < len(here.seen) + 5
    assert set(reads[:-1]) == {5}


def _noting(take_all: Callable[..., None], reads: list[int]) -> Callable[..., None]:
    def noted(recorder: Any, waiting: list[Any]) -> None:
        reads.append(len(waiting))
        take_all(recorder, waiting)

    return noted
