"""Where ASLR starts from: rates that come out of arithmetic are what was meant, others are kept with a warning."""

import copy
import math
import warnings
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from qtrain import ASLR
from qtrain.recipe import Recipe
from qtrain.schedulers.aslr import Search, exact_lr
from qtrain.training.methods.make import make_method
from tests.optimizers.unit_gradients import make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore:no step of ASLR's optimizer:UserWarning")
TWO_DIGITS = st.builds(lambda digits, exponent: f"{digits}e{exponent}", st.integers(1, 99), st.integers(-7, 1))
ULPS = st.integers(-3, 3)


def plateau(lr, **options):
    scheduler = ASLR(make_optimizer([lr]), **options)
    return [scheduler.lr for cost in [1.0] + [2.0] * 24 if scheduler.step(cost) is None]


def nudged(value, ulps):
    """The float that lies so many floats above ``value``."""
    for _ in range(abs(ulps)):
        value = math.nextafter(value, math.copysign(math.inf, ulps))
    return value


@given(text=TWO_DIGITS, ulps=ULPS)
@example("3e-1", 1)  # 0.1 * 3
def test_the_last_bits_of_a_double_do_not_change_the_search(text, ulps):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "no step of ASLR's optimizer")
        assert plateau(nudged(float(text), ulps)) == plateau(float(text))


@given(text=TWO_DIGITS, ulps=ULPS)
@example("1e-1", 0)
def test_a_float32_scalar_is_the_decimal_it_was_made_of_whatever_holds_it(text, ulps):
    value = np.float32(text)
    for _ in range(abs(ulps)):
        value = np.nextafter(value, np.float32(math.copysign(math.inf, ulps)))
    holders = [value, torch.tensor(value), np.array(value), float(value), torch.tensor(value).item()]
    found = {exact_lr(holder) for holder in holders}
    assert found == {Decimal(text)}


@pytest.mark.parametrize(
    ("lr", "meant"),
    [
        (0.1 * 3, "0.3"),
        (1 - 0.9, "0.1"),
        (0.7 + 0.1, "0.8"),
        (0.01 + 2 * 0.01, "0.03"),
        (np.float64(0.1) * 3, "0.3"),
        (np.float32(0.1) * np.float32(3), "0.3"),
        (np.float32(0.1).item(), "0.1"),
        (np.float16(0.1), "0.1"),
        (torch.tensor(0.1), "0.1"),
        (torch.tensor(0.1) * 3, "0.3"),
        (torch.tensor(0.1, dtype=torch.float64) * 3, "0.3"),
        (torch.tensor(0.3, dtype=torch.bfloat16), "0.3"),
        (torch.linspace(0.01, 0.1, 10)[2], "0.03"),
        (np.linspace(0, 1, 11)[3], "0.3"),
        (10 ** np.float64(-3.0), "0.001"),
        (1, "1"),
        (np.int64(2), "2"),
        (torch.tensor(3), "3"),
    ],
    ids=repr,
)
def test_rates_of_common_arithmetic_are_what_was_meant(lr, meant):
    assert exact_lr(lr) == Decimal(meant)


@pytest.mark.parametrize("steps", [7, 50, 500])
@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "float32 tensor"])
@pytest.mark.parametrize(
    ("make", "end"),
    [
        (lambda o, n: lr_scheduler.LinearLR(o, 0.01, total_iters=n), "0.1"),
        (lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, eta_min=0.001), "0.001"),
        (lambda o, n: lr_scheduler.PolynomialLR(o, 2 * n, power=1), "0.05"),
        (lambda o, n: lr_scheduler.OneCycleLR(o, 0.1, total_steps=n + 1), "4e-7"),
        (lambda o, n: lr_scheduler.OneCycleLR(o, 0.1, total_steps=n + 1, anneal_strategy="linear"), "4e-7"),
        (lambda o, n: lr_scheduler.StepLR(o, max(1, n // 3)), "1e-4"),
    ],
    ids=["linear", "cosine", "polynomial", "onecycle", "onecycle_linear", "step"],
)
def test_aslr_takes_over_where_a_schedule_has_ended(make, end, rate, steps):
    optimizer = make_optimizer([copy.deepcopy(rate)])
    before = make(optimizer, steps)
    for _ in range(steps):
        optimizer.step()
        before.step()
    if steps % 3 and before.__class__ is lr_scheduler.StepLR:
        steps -= steps % 3
    scheduler = ASLR(optimizer)
    assert scheduler.search.lr == Decimal(end)
    optimizer.step()
    scheduler.step(0.5)


@pytest.mark.parametrize("lr", [0.10234567, 0.123456789012345, 0.1000001, 0.00125, np.float32(0.1023456)], ids=repr)
def test_a_start_of_more_digits_is_kept_with_one_warning_that_names_the_way_out(lr):
    with pytest.warns(
        UserWarning, match=r"ASLR starts from 0\.\d+, .* leaves the grid .* snap=True starts from"
    ) as seen:
        scheduler = ASLR(make_optimizer([lr]))
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert scheduler.search.lr == Decimal(str(lr))
    literal = Search(Decimal(str(lr)))
    for cost in [1.0] + [2.0] * 24:
        literal.update(cost)
        scheduler.step(cost)
        assert scheduler.search == literal


@pytest.mark.parametrize("lr", [0.1, 0.15, 3e-4, 0.99, 10.0, 120.0, 0.1 * 3, np.float32(0.15)], ids=repr)
def test_a_start_of_two_digits_or_a_snapped_one_warns_of_nothing(lr):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ASLR(make_optimizer([lr]))
        ASLR(make_optimizer([0.10234567]), snap=True)


def test_bounds_and_ratios_are_rid_of_noise_as_well():
    scheduler = ASLR(make_optimizer([0.1, 0.1 * 3, np.float32(0.05)]), min_lr=0.1 * 0.3, max_lr=np.float32(0.2))
    assert scheduler.ratios == [1.0, 3.0, 0.5]
    assert scheduler.bounds == (Decimal("0.03"), Decimal("0.2"))


def test_tensors_are_read_under_any_default_device():
    rate = torch.tensor(0.1)
    with torch.device("meta"):
        assert exact_lr(rate) == Decimal("0.1")


@pytest.mark.parametrize("lr", [0.1 * 3, np.float64(0.1) * 3, np.float32(0.3)], ids=repr)
def test_a_recipes_rate_is_rid_of_noise_as_well(tiny, lr):
    recipe: Recipe = tiny(scheduler="aslr", lr=lr)
    method = make_method(torch.nn.Linear(2, 2), recipe, 3)
    method.validated(1.0)
    for _ in range(24):
        method.validated(2.0)
    assert method.rate() == plateau(0.3)[-1]


def test_the_command_line_says_once_that_a_start_leaves_the_grid(cli, tmp_path):
    words = ["train", "CNV_1W1A", "--data", "digits", "--width", "0.05", "--epochs", "1", "--scheduler", "aslr"]
    with pytest.warns(UserWarning, match="ASLR starts from 0.10234567") as seen:
        outcome = cli(*words, "--train-size", "40", "--lr", "0.10234567", "--out", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert len([w for w in seen if "ASLR starts from" in str(w.message)]) == 1
