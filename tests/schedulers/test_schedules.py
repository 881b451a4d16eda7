"""The schedules of the epoch against torch's own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from qtrain.errors import UserError
from qtrain.schedulers.schedules import constant, cosine, cosine_restarts, multistep, one_cycle, wsd

FRACTIONS = st.integers(0, 1000).map(lambda n: n / 1000)


def torch_rates(make, epochs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_is_constant():
    assert [constant(epoch, 10, 0.1) for epoch in range(10)] == [0.1] * 10


@pytest.mark.parametrize("epochs", [4, 100, 350])
@pytest.mark.parametrize("percents", [[], [50], [25, 50, 75]])
def test_multistep_equals_torch(epochs, percents):
    steps = [epochs * percent // 100 for percent in percents]
    ours = [multistep(epoch, epochs, 0.1, [percent / 100 for percent in percents], 0.2) for epoch in range(epochs)]
    if epochs == 350:  # 25 % of 350 is 87.5: the rate changes at the first whole epoch past it
        steps = [math.ceil(epochs * percent / 100) for percent in percents]
    assert ours == pytest.approx(torch_rates(lambda o: MultiStepLR(o, steps, gamma=0.2), epochs), rel=1e-12)


@pytest.mark.parametrize("percent", range(1, 100))
def test_milestones_in_percent_fall_on_the_whole_epoch_despite_float_rounding(percent):
    rates = [multistep(epoch, 100, 1.0, [percent / 100], 0.1) for epoch in range(100)]
    assert rates == [1.0] * percent + [0.1] * (100 - percent)


def test_multistep_with_a_factor_for_each_milestone_equals_torch_and_keras_recipe():
    factors = {80: 0.1, 120: 0.1, 160: 0.1, 180: 0.5}
    ours = [multistep(epoch, 200, 0.1, [e / 200 for e in factors], list(factors.values())) for epoch in range(200)]
    theirs = torch_rates(lambda o: MultiplicativeLR(o, lambda epoch: factors.get(epoch, 1.0)), 200)
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert [ours[e] for e in (79, 80, 120, 160, 180)] == pytest.approx([0.1, 1e-2, 1e-3, 1e-4, 5e-5], rel=1e-12)


@given(FRACTIONS, st.floats(0.01, 2), st.lists(st.floats(0.01, 0.99), max_size=4))
def test_one_factor_is_the_same_factor_at_each_milestone(at, gamma, milestones):
    one = multistep(at * 50, 50, 0.1, milestones, gamma)
    assert one == pytest.approx(multistep(at * 50, 50, 0.1, milestones, [gamma] * len(milestones)), rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 7, 100])
def test_cosine_equals_torch_and_ends_at_zero(epochs):
    ours = [cosine(epoch, epochs, 0.1) for epoch in range(epochs)]
    assert ours == pytest.approx(torch_rates(lambda o: CosineAnnealingLR(o, epochs), epochs), abs=1e-12)
    assert cosine(epochs, epochs, 0.1) == 0


def test_cosine_restarts_are_mcdonnells_cycles_of_2_to_128_epochs_as_torch_has_them():
    def make(optimizer):
        return CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2, eta_min=1e-4)

    assert [cosine_restarts(e, 254, 0.1) for e in range(254)] == pytest.approx(torch_rates(make, 254), abs=1e-12)
    starts = [e for e in range(254) if cosine_restarts(e, 254, 0.1) == 0.1]
    assert starts == [0, 2, 6, 14, 30, 62, 126]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 300))
def test_cosine_restarts_over_fewer_epochs_are_the_same_curve(at, epochs):
    full = cosine_restarts(at * 254, 254, 0.1)
    assert cosine_restarts(at * epochs, epochs, 0.1) == pytest.approx(full, abs=1e-6) or at * 127 % 1 < 1e-6
    assert cosine_restarts(epochs, epochs, 0.1) == pytest.approx(1e-4)
    assert cosine_restarts(at * epochs, epochs, 0.1, cycles=1, floor=0.0) == pytest.approx(
        cosine(at * epochs, epochs, 0.1), abs=1e-12
    )


def test_wsd_equals_torchs_linear_constant_linear():
    def make(optimizer):
        rise = LinearLR(optimizer, 1e-12, 1.0, 10)
        flat = ConstantLR(optimizer, 1.0, 1)
        fall = LinearLR(optimizer, 1.0, 0.0, 40)
        return SequentialLR(optimizer, [rise, flat, fall], [10, 160])

    assert [wsd(e, 200, 0.1) for e in range(200)] == pytest.approx(torch_rates(make, 200), abs=1e-10)


@given(FRACTIONS, FRACTIONS, FRACTIONS)
def test_wsd_rises_stays_and_falls_where_it_should(at, warmup, decay):
    decay = min(decay, 1 - warmup)
    rate = wsd(at * 30, 30, 0.1, warmup, decay)
    assert 0 <= rate <= 0.1
    if warmup <= at <= 1 - decay:
        assert rate == 0.1
    if at < warmup:
        assert rate == pytest.approx(0.1 * at / warmup, abs=1e-9)
    if at > 1 - decay:
        assert rate == pytest.approx(0.1 * (1 - at) / decay, abs=1e-9)


@pytest.mark.parametrize("steps", [11, 1001])
@pytest.mark.parametrize("rise", [0.3, 0.5])
def test_one_cycle_equals_torch(steps, rise):
    """torch's peak is at step ``rise * steps - 1`` of the last step ``steps - 1``, ours at ``rise`` of the run."""
    theirs = (rise * (steps - 1) + 1) / steps

    def make(optimizer):
        return OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=theirs, cycle_momentum=False)

    with_rise = [one_cycle(k / (steps - 1) * 20, 20, 0.1, rise) for k in range(steps)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = make(optimizer), []
    for k in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if k < steps - 1:
            scheduler.step()
    assert with_rise == pytest.approx(rates, abs=1e-10)


def test_one_cycle_has_torchs_defaults():
    assert one_cycle(0, 10, 0.1) == pytest.approx(0.1 / 25)
    assert one_cycle(3, 10, 0.1) == pytest.approx(0.1)
    assert one_cycle(10, 10, 0.1) == pytest.approx(0.1 / 25 / 1e4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: constant(0, 0, 0.1), "epochs must be at least 1, but got 0"),
        (lambda: cosine(-1, 10, 0.1), "epoch must be from 0 to 10, but got -1"),
        (lambda: cosine(11, 10, 0.1), "but got 11"),
        (lambda: constant(0, 10, 0.0), r"lr must be a positive, finite number, but got 0\.0"),
        (lambda: constant(0, 10, math.nan), "but got nan"),
        (lambda: multistep(0, 10, 0.1, [50], 0.1), "fractions of the epochs between 0 and 1, but got 50"),
        (lambda: multistep(0, 10, 0.1, [0.5], 0.0), r"gamma must be a positive, finite number, but got 0\.0"),
        (lambda: multistep(0, 10, 0.1, [], -1.0), r"gamma must be a positive, finite number, but got -1\.0"),
        (lambda: multistep(0, 10, 0.1, [0.5], [0.1, 0.1]), "one for each of the 1 milestones, but got 2"),
        (lambda: multistep(0, 10, 0.1, [0.5, 0.6], [0.1, math.inf]), "finite number, but got inf"),
        (lambda: wsd(0, 10, 0.1, 0.6, 0.6), r"at most 1 together, but got 0\.6 and 0\.6"),
        (lambda: wsd(0, 10, 0.1, -0.1), r"warmup must be a fraction from 0 to 1, but got -0\.1"),
        (lambda: wsd(11, 10, 0.1), "epoch must be from 0 to 10, but got 11"),
        (lambda: one_cycle(0, 10, 0.1, rise=1.0), r"rise must be a fraction of the run .* but got 1\.0"),
        (lambda: one_cycle(0, 10, 0.1, end=0.5), r"end must be a finite number of 1 or more, but got 0\.5"),
        (lambda: cosine_restarts(0, 10, 0.1, cycles=0), "cycles must be a whole number, 1 or more, but got 0"),
        (lambda: cosine_restarts(0, 10, 0.1, growth=0.0), r"growth must be a positive, finite number, but got 0\.0"),
        (lambda: cosine_restarts(0, 10, 0.1, floor=2.0), r"floor must be a fraction from 0 to 1, but got 2\.0"),
    ],
)
def test_values_out_of_range_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
