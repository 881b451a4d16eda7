"""``scheduler.step()``: steps without a draw are noticed, and the cost is given as ReduceLROnPlateau has it."""

import pytest
import torch
from torch import nn

from qtrain import ASLR
from qtrain.errors import UserError
from tests.optimizers.unit_gradients import make_optimizer

NOTHING_DRAWN = r"no step of ASLR's optimizer since the last scheduler\.step\(\)"


def train(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().mean().backward()
    optimizer.step()


class Sam(torch.optim.Optimizer):
    """Two steps around another optimizer, called by hand: its own ``step`` never is."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.1)

    def step(self, closure=None):
        raise NotImplementedError

    def both_steps(self):
        self.base_optimizer.step()


def test_an_optimizer_that_was_made_anew_is_noticed():
    model = nn.Linear(3, 2)
    scheduler = ASLR(torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    with pytest.warns(UserWarning, match=NOTHING_DRAWN) as seen:
        scheduler.step(0.5)
    assert seen[0].filename == __file__


def test_a_wrapper_that_steps_the_optimizer_inside_is_noticed_and_the_one_inside_is_not():
    model = nn.Linear(3, 2)
    sam = Sam(model.parameters())
    scheduler = ASLR(sam)
    model(torch.ones(4, 3)).square().mean().backward()
    sam.both_steps()
    with pytest.warns(UserWarning, match=NOTHING_DRAWN + ".*base_optimizer"):
        scheduler.step(0.5)
    scheduler.remove()
    inside = ASLR(sam.base_optimizer)
    sam.both_steps()
    inside.step(0.5)
    assert inside.drawn == 1


def test_an_epoch_whose_steps_grad_scaler_skipped_is_noticed():
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = ASLR(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def epoch(factor):
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale((parameter * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

    epoch(1.0)
    scheduler.step(0.5)
    epoch(float("inf"))
    with pytest.warns(UserWarning, match=NOTHING_DRAWN + ".*skipped"):
        scheduler.step(0.5)
    epoch(1.0)
    scheduler.step(0.5)


def test_two_validations_in_a_row_are_noticed_and_one_before_training_is_not():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ASLR(optimizer)
    scheduler.step(0.9)
    train(model, optimizer)
    scheduler.step(0.5)
    with pytest.warns(UserWarning, match=NOTHING_DRAWN + r".*called twice"):
        scheduler.step(0.5)


def test_a_resumed_or_removed_scheduler_is_not_asked_what_it_drew():
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer)
    optimizer.step()
    scheduler.step(0.5)
    again = ASLR(make_optimizer())
    again.load_state_dict(scheduler.state_dict())
    again.step(0.5)
    scheduler.remove()
    scheduler.step(0.5)


# --- its cost ---


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.step(0.25),
        lambda s: s.step(metrics=0.25),
        lambda s: s.step(cost=0.25),
        lambda s: s.step(metrics=torch.tensor(0.25)),
        lambda s: s.step(cost=torch.tensor([0.25])),
    ],
    ids=["positional", "metrics", "cost", "tensor", "one element"],
)
def test_the_cost_is_given_as_reduce_on_plateau_has_it(call):
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer)
    optimizer.step()
    call(scheduler)
    assert scheduler.search.best == 0.25


def test_two_costs_are_refused():
    with pytest.raises(UserError, match=r"takes one cost, but got metrics=0\.1 and cost=0\.2"):
        ASLR(make_optimizer()).step(metrics=0.1, cost=0.2)
