"""ASLR is its rates' only owner: others are refused in one line, and nobody who leaves the rates alone is accused."""

import io
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from qtrain import ASLR
from qtrain.errors import UserError
from qtrain.training.captured.step import StaticStep, Work
from tests.optimizers.unit_gradients import group_lrs, make_optimizer


class WeightDecaySteps(lr_scheduler.LRScheduler):
    """Somebody's scheduler that moves the weight decay and leaves the rates where they are."""

    def __init__(self, optimizer):
        super().__init__(optimizer)

    def step(self, epoch=None):
        self._step_count += 1
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.1 / self._step_count


class OwnWarmUp(lr_scheduler.LRScheduler):
    """Somebody's own warm-up, as many packages have one."""

    def get_lr(self):
        return [lr * min(1.0, (self.last_epoch + 1) / 10) for lr in self.base_lrs]


OTHERS: dict[str, Callable] = {
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 1 / 3, total_iters=5),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.1, total_iters=5),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1.0),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 30),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [30]),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 50),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=50, cycle_momentum=False),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "SWALR": lambda o: SWALR(o, 0.05),
    "OwnWarmUp": OwnWarmUp,
}


def refused(what, name):
    """Run ``what``, which is refused with one line that names the other owner and the ways out."""
    with pytest.raises(UserError, match=rf"owner.*{name}|{name}.*owner") as error:
        what()
    text = str(error.value)
    assert "\n" not in text
    assert "warmup_steps" in text
    assert "remove()" in text


# --- other schedulers ---


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_scheduler_that_was_made_first_is_refused_when_aslr_is_made(name, rate):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone()])
    other = OTHERS[name](optimizer)
    refused(lambda: ASLR(optimizer), name)
    assert other.optimizer is optimizer


# Each looks through all objects for schedulers, a third of a second in a process that has run many tests.
EACH_OTHER = [*((name, 0.1) for name in OTHERS), ("StepLR", torch.tensor(0.1))]


@pytest.mark.parametrize(("name", "rate"), EACH_OTHER)
def test_a_scheduler_that_is_made_later_is_refused_at_the_first_step(name, rate):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone()])
    scheduler = ASLR(optimizer)
    optimizer.step()
    other = OTHERS[name](optimizer)
    weights = optimizer.param_groups[0]["params"][0].detach().clone()
    for _ in range(2):  # again as long as it is there
        refused(optimizer.step, name)
        refused(lambda: scheduler.step(0.5), name)
    assert torch.equal(optimizer.param_groups[0]["params"][0], weights)
    assert other.optimizer is optimizer


@pytest.mark.parametrize("order", ["made first", "made later"])
def test_reduce_on_plateau_is_refused_where_it_first_reduces(order):
    optimizer = make_optimizer()
    other = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0) if order == "made first" else None
    scheduler = ASLR(optimizer)
    other = other or lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    optimizer.step()
    scheduler.step(0.4)
    other.step(0.4)
    optimizer.step()
    scheduler.step(0.5)
    other.step(0.5)
    refused(optimizer.step, "ReduceLROnPlateau")


@pytest.mark.parametrize("aslr_first", [True, False], ids=["warm-up made later", "warm-up made first"])
def test_torchs_sequence_of_a_warm_up_and_aslr_is_refused(aslr_first):
    optimizer = make_optimizer()

    def use():
        if aslr_first:
            scheduler = ASLR(optimizer)
            warmup = lr_scheduler.LinearLR(optimizer, 0.01, total_iters=3)
        else:
            warmup = lr_scheduler.LinearLR(optimizer, 0.01, total_iters=3)
            scheduler = ASLR(optimizer)
        sequence = lr_scheduler.SequentialLR(optimizer, [warmup, scheduler], milestones=[3])
        optimizer.step()
        sequence.step()

    refused(use, "LinearLR")


def test_torchs_composites_are_told_that_aslr_needs_the_cost():
    optimizer = make_optimizer()
    chain = lr_scheduler.ChainedScheduler([ASLR(optimizer)])
    optimizer.step()
    with pytest.raises(UserError, match=r"takes the validation cost, .* in place of SequentialLR use .*warmup_steps"):
        chain.step()


def test_a_schedule_that_has_run_hands_over_and_is_refused_where_it_runs_on():
    optimizer = make_optimizer()
    before = lr_scheduler.StepLR(optimizer, 3)
    for _ in range(3):
        optimizer.step()
        before.step()
    scheduler = ASLR(optimizer)
    assert scheduler.lr == 0.01
    for _ in range(4):
        optimizer.step()
        scheduler.step(0.5)
    for _ in range(3):
        before.step()
    refused(optimizer.step, "StepLR")


def test_another_takes_over_after_remove():
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer)
    optimizer.step()
    scheduler.remove()
    other = SWALR(optimizer, 0.05, anneal_epochs=1)
    for _ in range(3):
        optimizer.step()
        other.step()
    assert group_lrs(optimizer) == [0.05]
    scheduler.step(0.5)
    assert group_lrs(optimizer) == [0.05]


def test_two_aslrs_over_the_same_groups_are_noticed():
    outer, inner = make_optimizer(), make_optimizer()
    inner.param_groups = outer.param_groups  # as SAM has it
    first, second = ASLR(outer), ASLR(inner)
    outer.step()
    with pytest.raises(UserError, match=r"group 0 was set to .* by another hand"):
        inner.step()
    assert (first.drawn, second.drawn) == (1, 0)


# --- hands ---


@pytest.mark.parametrize("then", ["step", "validation"])
@pytest.mark.parametrize("when", ["at first", "after a step", "after a validation"])
@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
def test_a_hand_that_writes_a_rate_is_refused(rate, when, then):
    optimizer = make_optimizer([0.1, rate if isinstance(rate, float) else rate.clone()])
    scheduler = ASLR(optimizer)
    if when != "at first":
        optimizer.step()
    if when == "after a validation":
        scheduler.step(0.5)
    optimizer.param_groups[1]["lr"] *= 0.5
    written = group_lrs(optimizer)
    refused(optimizer.step if then == "step" else lambda: scheduler.step(0.4), "another hand")
    with pytest.raises(UserError, match=f"parameter group 1 was set to {written[1]:.6g}"):
        scheduler.draw()
    assert group_lrs(optimizer) == written
    scheduler.remove()
    optimizer.param_groups[0]["lr"] = 0.05  # what the line says: a new one starts from a rate of one's own
    ASLR(optimizer)
    optimizer.step()


# --- nobody is accused ---


def scaled_inside(optimizer):
    """A hook of the user's scales the draws after ASLR's, as layer-wise rates do."""

    def shrink(optimizer, args, kwargs):
        for group in optimizer.param_groups:
            group["lr"] *= 0.5

    optimizer.register_step_pre_hook(shrink)


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken off"])
def test_hooks_inside_the_step_may_scale_the_draws(rate, broken):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone()])
    scheduler = ASLR(optimizer)
    scaled_inside(optimizer)

    def closure():
        if broken:
            raise MemoryError
        return 0.0

    for _ in range(3):
        if broken:
            with pytest.raises(MemoryError):
                optimizer.step(closure)
        else:
            optimizer.step(closure)
        assert group_lrs(optimizer) == pytest.approx([0.5 * scheduler.last_draws[0]])
    scheduler.step(0.5)
    assert group_lrs(optimizer) == pytest.approx([0.1])


def test_a_static_step_that_puts_tensors_in_the_rates_place_is_not_accused():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ASLR(optimizer)
    scaled_inside(optimizer)

    def compute(images, labels):
        loss = model(images).square().mean()
        loss.backward()
        return loss

    static = StaticStep(model, optimizer, 4)
    drawn = set()
    for _ in range(3):
        for _ in range(3):
            static.step(Work((torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)), 4, compute))
            drawn.add(scheduler.last_draws[0])
        scheduler.step(0.5)
    assert len(drawn) == 9


def test_drawing_by_hand_before_each_replay_is_not_accused():
    scheduler = ASLR(make_optimizer([0.1, 0.2]))
    for _ in range(3):
        scheduler.draw()
        scheduler.draw()
        scheduler.step(0.5)


def test_a_scheduler_that_leaves_the_rates_alone_is_not_accused():
    optimizer = make_optimizer()
    first = WeightDecaySteps(optimizer)
    scheduler = ASLR(optimizer)
    second = WeightDecaySteps(optimizer)
    for _ in range(3):
        optimizer.step()
        first.step()
        second.step()
        scheduler.step(0.5)
    assert optimizer.param_groups[0]["weight_decay"] < 0.1


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_scheduler_that_is_gone_is_not_accused(where):
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer) if where == "after" else None
    other = lr_scheduler.StepLR(optimizer, 30)
    del other
    scheduler = scheduler or ASLR(optimizer)
    optimizer.step()
    scheduler.step(0.5)


def test_an_optimizers_state_from_under_another_scheduler_is_not_accused():
    old = make_optimizer([0.3])
    decay = lr_scheduler.StepLR(old, 1)
    for _ in range(2):
        old.step()
        decay.step()
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer)
    optimizer.step()
    optimizer.load_state_dict(old.state_dict())
    optimizer.step()
    optimizer.load_state_dict(old.state_dict())
    scheduler.step(0.5)
    assert group_lrs(optimizer) == [0.1]


def test_a_rate_that_becomes_a_tensor_stays_the_same_rate():
    optimizer = make_optimizer([0.1, 0.1])
    scheduler = ASLR(optimizer)
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])  # for torch.compile
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].clone()  # as a move to another device does
    optimizer.step()
    scheduler.step(0.5)


def test_validating_in_inference_mode_is_not_accused():
    optimizer = make_optimizer([0.1, torch.tensor(0.1)])
    scheduler = ASLR(optimizer)
    for _ in range(3):
        optimizer.step()
        with torch.inference_mode():
            scheduler.step(0.5)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW], ids=["SGD", "AdamW"])
def test_a_checkpoints_trial_step_neither_draws_nor_moves_a_weight(kind):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1, weight_decay=0.5)
    scheduler = ASLR(optimizer)
    weights = model.weight.detach().clone()
    state = get_optimizer_state_dict(model, optimizer)
    assert torch.equal(model.weight, weights)
    assert scheduler.drawn == 0
    set_optimizer_state_dict(model, optimizer, state)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    scheduler.step(0.5)
    assert scheduler.drawn == 1


EVENTS = ("step", "draw", "validate", "load", "tensors", "break off", "scale", "hook", "save")


@settings(max_examples=40, deadline=None)
@given(events=st.lists(st.sampled_from(EVENTS), max_size=25), write=st.booleans())
def test_in_any_order_of_what_belongs_there_only_a_hand_is_accused(events, write):
    optimizer = make_optimizer([0.1, 0.05])
    scheduler = ASLR(optimizer)
    saved = optimizer.state_dict()

    def broken():
        raise MemoryError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for event in events:
            if event == "step":
                optimizer.step()
            elif event == "draw":
                scheduler.draw()
            elif event == "validate":
                scheduler.step(0.5)
            elif event == "load":
                optimizer.load_state_dict(saved)
            elif event == "tensors":
                for group in optimizer.param_groups:
                    group["lr"] = torch.tensor(float(group["lr"]))
            elif event == "break off":
                with pytest.raises(MemoryError):
                    optimizer.step(broken)
            elif event == "scale":
                scheduler.scale *= 0.9
            elif event == "hook":
                scaled_inside(optimizer)
            else:
                torch.save({"a": scheduler.state_dict(), "o": optimizer.state_dict()}, io.BytesIO())
    optimizer.step()
    if write:
        optimizer.param_groups[1]["lr"] = 0.5
        with pytest.raises(UserError, match=r"group 1 was set to 0\.5 by another hand"):
            optimizer.step()
