"""ASLR follows its optimizer's groups, and is printed, copied and pickled as an object should be."""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qtrain import ASLR
from qtrain.errors import UserError
from tests.optimizers.unit_gradients import group_lrs, make_optimizer

RATIOS = [1.0, 2.0, 3.0, 4.0]


def follows(scheduler, optimizer, ratios):
    """Whether each group's centre and draw is that of its ratio, and its weights move by its draw."""
    old = [group["params"][0].detach().clone() for group in optimizer.param_groups]
    optimizer.step()
    assert scheduler.ratios == pytest.approx(ratios)
    assert len(scheduler.last_draws) == len(ratios)
    for group, was, ratio, lr in zip(optimizer.param_groups, old, ratios, scheduler.last_draws, strict=True):
        assert 0.5 * ratio * scheduler.lr <= lr <= 1.5 * ratio * scheduler.lr
        torch.testing.assert_close(was - group["params"][0].detach(), torch.full((3,), lr))
    scheduler.step(0.5)
    assert group_lrs(optimizer) == pytest.approx([ratio * scheduler.lr for ratio in ratios])


def new_group(lr):
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    return {"params": [parameter], "lr": lr}


@pytest.mark.parametrize("place", range(4))
def test_a_group_that_is_taken_away_leaves_the_others_their_ratios(place):
    optimizer = make_optimizer([0.1 * ratio for ratio in RATIOS])
    scheduler = ASLR(optimizer)
    optimizer.step()
    del optimizer.param_groups[place]
    ratios = [ratio for i, ratio in enumerate(RATIOS) if i != place]
    follows(scheduler, optimizer, ratios)
    assert scheduler.get_last_lr() == pytest.approx([ratio * 0.1 for ratio in ratios])
    assert scheduler.state_dict()["ratios"] == pytest.approx(ratios)


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(
        st.one_of(
            st.tuples(st.just("order"), st.permutations(range(6))),
            st.tuples(st.just("take"), st.integers(0, 5)),
            st.tuples(st.just("add"), st.sampled_from([0.1, 0.5, 0.7])),
            st.tuples(st.just("load"), st.none()),
            st.tuples(st.just("use"), st.none()),
        ),
        max_size=8,
    )
)
def test_each_groups_ratio_stays_its_own_whatever_is_done_to_the_groups(changes):
    optimizer = make_optimizer([0.1 * ratio for ratio in RATIOS])
    scheduler = ASLR(optimizer)
    expected = {id(g["params"][0]): r for g, r in zip(optimizer.param_groups, RATIOS, strict=True)}

    def known():
        return {id(group["params"]) for group in optimizer.param_groups}

    seen = known()  # of them one at least must stay: else all are others, which is refused

    def ratios():
        return [expected[id(group["params"][0])] for group in optimizer.param_groups]

    for kind, value in changes:
        groups = optimizer.param_groups
        if kind == "order":
            optimizer.param_groups = [groups[i] for i in value if i < len(groups)] + groups[6:]
        elif kind == "take" and (known() - {id(groups[value % len(groups)]["params"])}) & seen:
            del groups[value % len(groups)]
        elif kind == "add":
            group = new_group(value)
            optimizer.add_param_group(group)
            expected[id(group["params"][0])] = value / 0.1
        elif kind == "load":
            scheduler.centres()  # it has seen the groups: their rates are its own
            seen = known()
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        else:
            follows(scheduler, optimizer, ratios())
            seen = known()
    follows(scheduler, optimizer, ratios())


def test_groups_that_are_all_others_are_refused_where_their_number_changed():
    optimizer = make_optimizer([0.1, 0.2])
    scheduler = ASLR(optimizer)
    optimizer.param_groups = make_optimizer([0.1]).param_groups
    with pytest.raises(UserError, match="knows 2 parameter groups, and the optimizer has 1 others; make a new ASLR"):
        scheduler.draw()


def test_a_group_moves_from_one_optimizer_to_another():
    giver, taker = make_optimizer([0.1, 0.2]), make_optimizer([0.1])
    first, second = ASLR(giver), ASLR(taker)
    giver.step()
    group = giver.param_groups.pop()
    group["lr"] = 0.3
    taker.add_param_group(group)
    for _ in range(2):
        giver.step()
        taker.step()
        first.step(0.5)
        second.step(0.5)
    assert (first.ratios, second.ratios) == ([1.0], [1.0, 3.0])


# --- print ---


def test_a_scheduler_prints_its_rate_its_best_and_where_it_goes():
    optimizer = make_optimizer([0.1, 0.2])
    scheduler = ASLR(optimizer, warmup_steps=2)
    assert repr(scheduler) == "ASLR(lr=0.1, best=None, direction=up, warmup=0/2, groups=2)"
    optimizer.step()
    optimizer.step()
    for cost in (0.25, 0.5):
        optimizer.step()
        scheduler.step(cost)
    assert str(scheduler) == "ASLR(lr=0.2, best=0.25, direction=down, groups=2)"


# --- copies ---


def test_a_shallow_copy_is_a_snapshot_and_leaves_the_original_the_only_owner():
    optimizer, twin_optimizer = make_optimizer([0.1, 0.2]), make_optimizer([0.1, 0.2])
    scheduler, twin = ASLR(optimizer, seed=2), ASLR(twin_optimizer, seed=2)
    for pair in ((scheduler, optimizer), (twin, twin_optimizer)):
        pair[1].step()
        pair[0].step(0.5)
    snapshot = copy.copy(scheduler)
    for cost in (0.6, 0.7, 0.4):
        optimizer.step()
        twin_optimizer.step()
        assert scheduler.last_draws == twin.last_draws == group_lrs(optimizer)
        scheduler.step(cost)
        twin.step(cost)
    assert (snapshot.lr, snapshot.search.best, snapshot.drawn) == (0.1, 0.5, 1)
    snapshot.step(0.9)
    assert (snapshot.lr, scheduler.search) == (0.2, twin.search)
    assert group_lrs(optimizer) == group_lrs(twin_optimizer)


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
def test_a_deep_copy_of_the_scheduler_alone_brings_its_optimizer_and_draws_on(clone, rate):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone(), 0.2])
    scheduler = ASLR(optimizer, seed=2, warmup_steps=3)
    scheduler.scale = 0.5
    optimizer.step()
    del optimizer.param_groups[0]
    again = clone(scheduler)
    assert again.optimizer is not optimizer
    for group in again.optimizer.param_groups:  # a copy of a parameter has no gradient
        group["params"][0].grad = torch.ones(3)
    for cost in (0.5, 0.6, 0.4):
        for one in (scheduler, again):
            one.optimizer.step()
            one.step(cost)
        assert again.last_draws == scheduler.last_draws
        assert group_lrs(again.optimizer) == group_lrs(optimizer)
        assert repr(again) == repr(scheduler)


def test_the_state_loads_with_weights_only_and_holds_plain_values():
    optimizer = make_optimizer([0.1, 0.2])
    scheduler = ASLR(optimizer, warmup_steps=4)
    optimizer.step()
    scheduler.step(0.5)
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = ASLR(make_optimizer([0.1, 0.2]))
    again.load_state_dict(state)
    assert again.draw() == scheduler.draw()
    assert (again.drawn, again.warmup_steps, again.factor) == (2, 4, 0.75)


# --- compiled ---


@pytest.mark.parametrize(
    ("rate", "backend"), [(0.1, "aot_eager"), (torch.tensor(0.1), "eager")], ids=["float", "tensor"]
)
def test_hooks_of_a_compiled_step_draw_follow_and_notice(rate, backend):
    optimizer = make_optimizer([rate if isinstance(rate, float) else rate.clone() for _ in range(2)])
    scheduler = ASLR(optimizer, warmup_steps=2)
    compiled = torch.compile(optimizer.step, backend=backend)
    for cost in (0.5, 0.6):
        for _ in range(2):
            old = [group["params"][0].detach().clone() for group in optimizer.param_groups]
            compiled()
            for group, was, lr in zip(optimizer.param_groups, old, scheduler.last_draws, strict=True):
                torch.testing.assert_close(was - group["params"][0].detach(), torch.full((3,), lr))
        scheduler.step(cost)
    assert scheduler.drawn == 4
    optimizer.param_groups[0]["lr"] *= 2
    with pytest.raises(UserError, match=r"group 0 was set to .* by another hand"):
        compiled()
    torch._dynamo.reset()
