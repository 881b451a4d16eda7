"""The schedules of the epoch against torch's own."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from qtrain.errors import UserError
from qtrain.schedulers.schedules import constant, cosine, multistep


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


@pytest.mark.parametrize("epochs", [1, 7, 100])
def test_cosine_equals_torch_and_ends_at_zero(epochs):
    ours = [cosine(epoch, epochs, 0.1) for epoch in range(epochs)]
    assert ours == pytest.approx(torch_rates(lambda o: CosineAnnealingLR(o, epochs), epochs), abs=1e-12)
    assert cosine(epochs, epochs, 0.1) == 0


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
    ],
)
def test_values_out_of_range_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
