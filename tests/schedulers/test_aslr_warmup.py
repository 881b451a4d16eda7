"""ASLR's warm-up, ``warmup_steps``: the draws rise on a line while the search rests; resumed bit for bit."""

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qtrain import ASLR, layer_groups
from qtrain.errors import UserError
from qtrain.training.methods.make import make_method
from tests.optimizers.unit_gradients import group_lrs, make_optimizer


def test_draws_rise_on_a_line_and_then_are_the_plain_ones():
    lrs = [0.1, 0.02, 0.3]
    optimizer, plain = make_optimizer(lrs), make_optimizer(lrs)
    warming, cold = ASLR(optimizer, seed=3, warmup_steps=4), ASLR(plain, seed=3)
    for factor in (0.25, 0.5, 0.75, 1.0, 1.0, 1.0):
        assert warming.get_last_lr() == pytest.approx([factor * lr for lr in cold.get_last_lr()])
        optimizer.step()
        plain.step()
        assert warming.last_draws == pytest.approx([factor * lr for lr in cold.last_draws])
        assert group_lrs(optimizer) == warming.last_draws
    assert warming.last_draws == cold.last_draws


def test_the_groups_hold_reduced_rates_before_the_first_step_and_after_a_validation():
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer, warmup_steps=10)
    assert group_lrs(optimizer) == pytest.approx([0.01])
    optimizer.step()
    scheduler.step(0.5)
    assert group_lrs(optimizer) == pytest.approx([0.02])


@given(warmup=st.integers(0, 9), costs=st.lists(st.one_of(st.floats(), st.sampled_from([0.1, 0.2])), max_size=20))
def test_the_search_rests_until_the_warm_up_is_over_and_then_is_the_papers(warmup, costs):
    optimizer, plain = make_optimizer(), make_optimizer()
    warming, cold = ASLR(optimizer, warmup_steps=warmup), ASLR(plain)
    for i, cost in enumerate(costs, 1):
        optimizer.step()
        warming.step(cost)
        if i >= warmup:
            plain.step()
            cold.step(cost)
        assert warming.search == cold.search


@settings(max_examples=30)
@given(warmup=st.integers(1, 12), stop=st.integers(0, 15), scale=st.sampled_from([1.0, 0.5]))
def test_a_resumed_warm_up_goes_on_bit_for_bit(warmup, stop, scale):
    def epoch(scheduler, optimizer, i):
        optimizer.step()
        optimizer.step()
        scheduler.step(0.5 + 0.1 * (i % 3))
        return scheduler.search.lr, scheduler.last_draws, group_lrs(optimizer)

    optimizer = make_optimizer([0.1, 0.04])
    scheduler = ASLR(optimizer, seed=1, warmup_steps=warmup)
    scheduler.scale = scale
    for i in range(stop):
        epoch(scheduler, optimizer, i)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    expected = [epoch(scheduler, optimizer, i) for i in range(stop, stop + 8)]

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again_optimizer = make_optimizer([0.1, 0.04])
    again = ASLR(again_optimizer)
    again.load_state_dict(saved["scheduler"])
    again_optimizer.load_state_dict(saved["optimizer"])
    assert [epoch(again, again_optimizer, i) for i in range(stop, stop + 8)] == expected


def test_a_state_from_before_there_was_a_warm_up_still_loads():
    scheduler = ASLR(make_optimizer())
    old = {k: v for k, v in scheduler.state_dict().items() if k not in ("warmup_steps", "scale", "drawn")}
    fresh = ASLR(make_optimizer())
    fresh.load_state_dict(old)
    assert fresh.draw() == scheduler.draw()


@pytest.mark.parametrize("bad", [-1, 2.5, True, "5", None])
def test_a_warm_up_that_is_no_number_of_steps_is_named(bad):
    with pytest.raises(UserError, match="warmup_steps must be a whole number of optimizer steps, 0 or more, but got"):
        ASLR(make_optimizer(), warmup_steps=bad)


@pytest.mark.parametrize("bad", [-0.5, math.nan, math.inf])
def test_a_scale_that_no_rate_can_have_is_named(bad):
    scheduler = ASLR(make_optimizer())
    with pytest.raises(UserError, match="scale must be a finite number, 0 or more, but got"):
        scheduler.scale = bad
    assert scheduler.scale == 1.0


def test_draws_are_scaled_and_the_search_rests_meanwhile():
    optimizer, plain = make_optimizer([0.1, 0.2]), make_optimizer([0.1, 0.2])
    scaled, whole = ASLR(optimizer), ASLR(plain)
    scaled.scale = 0.25
    for cost in (0.5, 0.6, 0.4):
        optimizer.step()
        plain.step()
        assert scaled.last_draws == [0.25 * draw for draw in whole.last_draws]
        scaled.step(cost)
        assert scaled.search == whole.search
        assert scaled.get_last_lr() == [0.25 * lr for lr in whole.get_last_lr()]
    scaled.scale = 1.0
    for cost in (0.5, 0.6):
        scaled.draw()
        scaled.step(cost)
    assert (scaled.search.best, scaled.lr) == (0.5, 0.2)


# --- in the training loop ---


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", ["aslr", "aslr_decay", "aslr_capped", "aslr_smooth", "aslr_average"])
def test_the_loops_warm_up_is_the_plain_one(tiny, kind):
    recipe = tiny(scheduler=kind, optimizer="sgd", epochs=10, lr=0.1, seed=5, scheduler_options={"warmup_steps": 5})
    loops, own = network(), network()
    method = make_method(loops, recipe, 3)
    optimizer = torch.optim.SGD(layer_groups(own), 0.1, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    scheduler = ASLR(optimizer, seed=5, warmup_steps=5)
    images = torch.randn(4, 3)
    for epoch in range(3):
        for step in range(3):
            method.before_step(epoch + step / 3)
            assert method.rate() == scheduler.get_last_lr()[0]
            for model, stepped in ((loops, method.optimizer), (own, optimizer)):
                stepped.zero_grad()
                model(images).square().mean().backward()
                stepped.step()
            method.after_step(epoch + step / 3)
            assert method.rates() == scheduler.last_draws
        method.validated(0.5)
        scheduler.step(0.5)
    for a, b in zip(loops.parameters(), own.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_warm_up_as_long_as_the_run_is_refused(tiny):
    recipe = tiny(scheduler="aslr", epochs=2, scheduler_options={"warmup_steps": 6})
    with pytest.raises(UserError, match="warmup_steps must be below the run's 6 steps, but got 6"):
        make_method(network(), recipe, 3)
