"""GreedyLR: when it raises and lowers the rate, what counts as better, its bounds, its state, what it refuses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.schedulers.greedy import GreedyLR

BETTER, WORSE = (0.9, 0.8, 0.7), (0.9, 0.9, 0.9)


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_after(costs: tuple[float, ...], lr: float = 0.1, **options: float | None) -> list[float]:
    scheduler = GreedyLR(optimizer(lr), **options)  # type: ignore[arg-type]
    rates = []
    for cost in costs:
        scheduler.step(cost)
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
    return rates


def test_the_rate_rises_after_more_than_patience_better_costs_and_falls_after_as_many_that_are_not() -> None:
    assert rates_after(BETTER, patience=2, factor=0.5) == [0.1, 0.1, 0.2]
    assert rates_after(BETTER, patience=0, factor=0.5) == [0.2, 0.4, 0.8]
    # the first of three equal costs is the best so far, and three more must follow it
    assert rates_after((*WORSE, 0.9), patience=2, factor=0.5) == [0.1, 0.1, 0.1, 0.05]
    assert rates_after((0.5, 0.6, 0.4, 0.6, 0.3), patience=1, factor=0.5) == [0.1] * 5  # never two in a row


def test_better_is_lower_than_the_best_not_than_the_last() -> None:
    assert rates_after((0.5, 0.9, 0.8, 0.7), patience=0, factor=0.5) == [0.2, 0.1, 0.05, 0.025]


def test_a_cost_that_is_no_number_is_worse_and_is_never_the_best() -> None:
    assert rates_after((math.nan, math.inf, 0.5), patience=0, factor=0.5) == [0.05, 0.025, 0.05]


def test_a_window_averages_the_last_costs() -> None:
    # means: 0.4, 0.5, 0.55 (worse), then 0.35 (better)
    assert rates_after((0.4, 0.6, 0.5, 0.2), patience=0, factor=0.5, window=2) == [0.2, 0.1, 0.05, 0.1]


def test_the_rate_stays_within_its_bounds_and_groups_move_alike() -> None:
    assert rates_after(BETTER, patience=0, factor=0.5, max_lr=0.3) == [0.2, 0.3, 0.3]
    assert rates_after(WORSE, patience=0, factor=0.5, min_lr=0.08) == [0.2, 0.1, 0.08]
    two = optimizer(0.1, 0.01)
    GreedyLR(two, patience=0, factor=0.5).step(0.5)
    assert [group["lr"] for group in two.param_groups] == [0.2, 0.02]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 3), st.integers(1, 3), st.data())
def test_a_scheduler_that_goes_on_from_a_saved_state_is_the_undisturbed_one(
    costs: list[float], patience: int, window: int, data: st.DataObject
) -> None:
    stop = data.draw(st.integers(1, len(costs) - 1))
    whole = rates_after(tuple(costs), patience=patience, window=window)
    before = GreedyLR(optimizer(0.1), patience=patience, window=window)
    for cost in costs[:stop]:
        before.step(cost)
    after = GreedyLR(optimizer(before.optimizer.param_groups[0]["lr"]), patience=patience, window=window)
    after.load_state_dict(before.state_dict())
    for cost in costs[stop:]:
        after.step(cost)
    assert after.optimizer.param_groups[0]["lr"] == whole[-1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"factor": 1.0}, "greedy's factor must be between 0 and 1, but got 1.0"),
        ({"factor": 0}, "greedy's factor must be between 0 and 1, but got 0"),
        ({"factor": math.nan}, "but got nan"),
        ({"patience": -1}, "greedy's patience is a whole number of epochs, 0 or more, but got -1"),
        ({"patience": 1.5}, "but got 1.5"),
        ({"window": 0}, "greedy's window is a whole number of epochs, 1 or more, but got 0"),
        ({"min_lr": 0.2, "max_lr": 0.1}, "greedy's min_lr must be from 0 to max_lr, but got 0.2 and 0.1"),
        ({"min_lr": -1}, "but got -1 and None"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        GreedyLR(optimizer(0.1), **options)  # type: ignore[arg-type]
