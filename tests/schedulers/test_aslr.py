"""ASLR against shared/design/aslr.md: the rule, the draws, the state, and what it refuses."""

import copy
import io
import json
import math
import pickle
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from qtrain import ASLR
from qtrain.errors import UserError
from qtrain.schedulers.aslr import Search, step_size
from tests.optimizers.unit_gradients import group_lrs, make_optimizer

TRAJECTORIES = json.loads(Path(__file__).with_name("aslr_trajectories.json").read_text())
COSTS = st.lists(st.one_of(st.floats(), st.sampled_from([0.1, 0.2, 0.3])), max_size=60)
# Most of these tests feed costs alone; test_aslr_owner.py has what step() says where nothing was drawn.
pytestmark = pytest.mark.filterwarnings("ignore:no step of ASLR's optimizer:UserWarning")
ONE_DIGIT = st.builds(lambda digit, exponent: float(f"{digit}e{exponent}"), st.integers(1, 9), st.integers(-8, 2))


# --- the rule ---


@pytest.mark.parametrize("case", TRAJECTORIES, ids=lambda case: case["name"])
def test_centre_follows_the_published_trajectories_exactly(case):
    scheduler = ASLR(make_optimizer([case["lr0"]]))
    centres = []
    for cost in case["costs"]:
        scheduler.step(float(cost))
        centres.append(scheduler.lr)
    assert centres == case["lrs"]


def test_plateau_walks_legs_of_growing_length_and_refines_below_a_power_of_ten():
    search = Search(Decimal("0.1"))
    walk = []
    for cost in [0.3] + [0.31] * 10:
        search.update(cost)
        walk.append(str(search.lr))
    assert walk == ["0.1", "0.2", "0.1", "0.09", "0.1", "0.2", "0.3", "0.2", "0.1", "0.09", "0.08"]


def test_the_search_is_exact_over_many_decades_whatever_the_users_decimal_context():
    start = Decimal("1.2345678901234567")
    search = Search(start)
    with localcontext(prec=3):
        for better in range(200):
            search.update(-float(better))
            search.update(math.inf)
    assert search.lr > Decimal("1e20")
    assert str(search.lr).endswith(".2345678901234567")


def test_tie_resets_the_search_in_the_paper_and_changes_nothing_in_the_reference():
    costs = [0.3, 0.31, 0.31, 0.3]
    paper, reference = Search(Decimal("0.1")), Search(Decimal("0.1"))
    for cost in costs:
        paper.update(cost, "paper")
        reference.update(cost, "reference")
    assert (paper.lr, paper.direction, paper.search_range, paper.steps) == (Decimal("0.1"), 1, 1, 0)
    assert (reference.lr, reference.direction, reference.search_range, reference.steps) == (Decimal("0.1"), -1, 2, 1)


def test_step_accepts_floats_and_tensors_of_one_element():
    scheduler = ASLR(make_optimizer())
    scheduler.step(torch.tensor(0.5, requires_grad=True))
    scheduler.step(0.75)
    scheduler.step(torch.tensor([0.625]))
    assert (scheduler.search.best, scheduler.lr, scheduler.last_epoch) == (0.5, 0.1, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_counts_as_worse_and_is_never_stored(bad):
    scheduler = ASLR(make_optimizer())
    scheduler.step(bad)
    assert (scheduler.search.best, scheduler.lr) == (None, 0.2)
    scheduler.step(0.5)
    scheduler.step(bad)
    assert (scheduler.search.best, scheduler.lr) == (0.5, 0.3)


def test_bounds_clamp_the_centre():
    scheduler = ASLR(make_optimizer(), min_lr=0.08, max_lr=0.2)
    centres = []
    for _ in range(40):
        scheduler.step(math.nan)
        centres.append(scheduler.lr)
    assert (min(centres), max(centres)) == (0.08, 0.2)


@pytest.mark.parametrize(("lr", "snapped"), [(0.14, 0.1), (0.16, 0.2), (3e-4, 3e-4), (47.0, 50.0)])
def test_snap_rounds_the_start_to_one_significant_digit(lr, snapped):
    assert ASLR(make_optimizer([lr]), snap=True).lr == snapped
    assert ASLR(make_optimizer([lr])).lr == lr


@given(lr0=ONE_DIGIT, costs=COSTS)
def test_centre_of_one_digit_stays_positive_and_of_one_digit(lr0, costs):
    scheduler = ASLR(make_optimizer([lr0]))
    for cost in costs:
        scheduler.step(cost)
        assert scheduler.lr > 0
        assert len(scheduler.search.lr.normalize().as_tuple().digits) == 1


@pytest.mark.filterwarnings("ignore:ASLR starts from:UserWarning")
@given(lr0=st.floats(min_value=0, exclude_min=True, allow_infinity=False), costs=COSTS)
def test_centre_of_any_start_stays_positive_finite_and_a_multiple_of_its_grid(lr0, costs):
    scheduler = ASLR(make_optimizer([lr0]))
    start = scheduler.search.lr.normalize().as_tuple().exponent
    for cost in costs:
        scheduler.step(cost)
        assert 0 < scheduler.lr < math.inf
        assert all(0 < lr < math.inf for lr in scheduler.draw())
        centre = scheduler.search.lr.normalize()
        # the last digit is never finer than the start's or than the centre's own first digit
        assert centre.as_tuple().exponent >= min(start, centre.adjusted())


# --- the draws ---


def test_draws_are_uniform_around_the_centre_and_independent_between_layers():
    scheduler = ASLR(make_optimizer([0.3, 0.3]), seed=7)
    draws = torch.tensor([scheduler.draw() for _ in range(4000)], dtype=torch.float64)
    for column in draws.T.numpy():
        assert stats.kstest(column, stats.uniform(0.25, 0.1).cdf).pvalue > 0.01
        assert 0.25 <= column.min() < 0.2501 < 0.3499 < column.max() <= 0.35
        assert column.mean() == pytest.approx(0.3, abs=4 * 0.1 / math.sqrt(12 * 4000))
    assert abs(torch.corrcoef(draws.T)[0, 1]) < 0.05


def test_draw_width_follows_the_first_digit_of_the_centre():
    scheduler = ASLR(make_optimizer([0.09]), seed=1)
    before = [scheduler.draw()[0] for _ in range(500)]
    scheduler.step(math.nan)
    after = [scheduler.draw()[0] for _ in range(500)]
    assert 0.085 <= min(before) < 0.0852 < 0.0948 < max(before) <= 0.095
    assert 0.05 <= min(after) < 0.052 < 0.148 < max(after) <= 0.15


def test_each_optimizer_step_uses_a_new_draw_for_each_group():
    optimizer = make_optimizer([0.1] * 5)
    scheduler = ASLR(optimizer)
    assert scheduler.last_draws == [0.1] * 5
    drawn = set()
    for _ in range(3):
        old = [group["params"][0].detach().clone() for group in optimizer.param_groups]
        optimizer.step()
        drawn.update(scheduler.last_draws)
        for group, was, lr in zip(optimizer.param_groups, old, scheduler.last_draws, strict=True):
            torch.testing.assert_close(was - group["params"][0].detach(), torch.full((3,), lr))
    assert len(drawn) == 15


def test_equal_seeds_draw_equally_and_leave_the_global_random_state_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    same, again, other = (ASLR(make_optimizer([0.1, 0.1]), seed=seed) for seed in (5, 5, 6))
    first = [same.draw() for _ in range(10)]
    assert first == [again.draw() for _ in range(10)]
    assert first != [other.draw() for _ in range(10)]
    assert torch.equal(state, torch.get_rng_state())


def test_draws_do_not_depend_on_torchs_default_device():
    expected = ASLR(make_optimizer([0.1, 0.1]), seed=5).draw()
    with torch.device("meta"):
        elsewhere = ASLR(make_optimizer([0.1, 0.1]), seed=5).draw()
    assert elsewhere == expected


def test_groups_keep_the_ratio_of_their_rates():
    optimizer = make_optimizer([0.1, 0.01, 0.0])
    scheduler = ASLR(optimizer)
    draws = torch.tensor([scheduler.draw() for _ in range(500)])
    assert draws[:, 0].min() >= 0.05
    assert draws[:, 0].max() <= 0.15
    assert 0.005 <= draws[:, 1].min() < 0.006 < 0.014 < draws[:, 1].max() <= 0.015
    assert draws[:, 2].abs().max() == 0
    scheduler.step(math.nan)
    assert scheduler.get_last_lr() == [0.2, 0.2 * 0.1, 0.0]
    assert scheduler.base_lrs == pytest.approx([0.1, 0.01, 0.0])


def test_groups_added_later_are_taken_in_with_their_ratio():
    optimizer = make_optimizer([0.1])
    scheduler = ASLR(optimizer)
    optimizer.step()
    scheduler.step(math.nan)
    new = nn.Parameter(torch.zeros(3))
    new.grad = torch.ones(3)
    optimizer.add_param_group({"params": [new], "lr": 0.05})
    optimizer.step()
    assert scheduler.ratios == [1.0, 0.5]
    assert group_lrs(optimizer) == scheduler.last_draws
    assert 0.075 <= scheduler.last_draws[1] <= 0.125
    torch.testing.assert_close(new.detach(), torch.full((3,), -scheduler.last_draws[1]))


def test_between_validation_and_the_next_step_the_groups_hold_their_centres():
    optimizer = make_optimizer([0.1, 0.02])
    scheduler = ASLR(optimizer)
    optimizer.step()
    assert group_lrs(optimizer) == scheduler.last_draws != [0.1, 0.02]
    scheduler.step(math.nan)
    assert group_lrs(optimizer) == [0.2, 0.2 * 0.2]


def test_remove_ends_the_draws_and_leaves_the_centre():
    optimizer = make_optimizer()
    scheduler = ASLR(optimizer)
    optimizer.step()
    scheduler.remove()
    scheduler.remove()
    optimizer.step()
    assert group_lrs(optimizer) == [0.1]
    again = ASLR(optimizer, seed=3)
    optimizer.step()
    assert group_lrs(optimizer) == again.last_draws != [0.1]


# --- the state ---


@settings(max_examples=40)
@given(
    lr0=ONE_DIGIT,
    before=st.lists(st.one_of(st.none(), st.floats(0, 1), st.just(math.nan)), max_size=25),
    after=st.lists(st.one_of(st.none(), st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=25),
    tie=st.sampled_from(["paper", "reference"]),
)
def test_save_and_load_at_any_moment_continues_identically(lr0, before, after, tie):
    def run(scheduler, optimizer, events):
        trace = []
        for event in events:  # None: a mini-batch; a number: a validation
            optimizer.step() if event is None else scheduler.step(event)
            trace.append((scheduler.lr, list(scheduler.last_draws), scheduler.last_epoch, group_lrs(optimizer)))
        return trace

    optimizer = make_optimizer([lr0, lr0 / 2])
    scheduler = ASLR(optimizer, seed=4, tie=tie, max_lr=lr0 * 5)
    run(scheduler, optimizer, before)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    expected = run(scheduler, optimizer, after)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh_optimizer = make_optimizer([7.0, 3.0])
    fresh = ASLR(fresh_optimizer, seed=99)
    fresh.load_state_dict(saved["scheduler"])
    fresh_optimizer.load_state_dict(saved["optimizer"])
    assert run(fresh, fresh_optimizer, after) == expected


def test_ratios_survive_loading_an_optimizer_whose_groups_hold_draws():
    optimizer = make_optimizer([0.1, 0.01])
    scheduler = ASLR(optimizer)
    optimizer.step()
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    scheduler.step(math.nan)
    assert group_lrs(optimizer) == [0.2, 0.2 * 0.1]


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_a_copy_of_optimizer_and_scheduler_continues_identically_and_apart(clone):
    optimizer = make_optimizer([0.1, 0.01])
    scheduler = ASLR(optimizer, seed=2)
    optimizer.step()
    scheduler.step(0.5)
    other_optimizer, other = clone((optimizer, scheduler))
    assert other.optimizer is other_optimizer
    assert group_lrs(other_optimizer) == [0.1, 0.1 * 0.1]
    optimizer.step()
    expected = scheduler.last_draws
    other_optimizer.step()
    assert other.last_draws == group_lrs(other_optimizer) == expected
    assert scheduler.last_draws == expected


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    scheduler = ASLR(make_optimizer([0.1, 0.1]))
    before = scheduler.state_dict()
    with pytest.raises(UserError, match="1 parameter groups, the optimizer has 2"):
        scheduler.load_state_dict(ASLR(make_optimizer([0.3])).state_dict())
    with pytest.raises(UserError, match=r"not the state of an ASLR: .*generator.* missing"):
        scheduler.load_state_dict({"best": 1.0})
    after = scheduler.state_dict()
    assert torch.equal(before.pop("generator"), after.pop("generator"))
    assert before == after


# --- bad input ---


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan, math.inf])
def test_a_start_that_is_not_positive_and_finite_is_named(lr):
    optimizer = make_optimizer()
    optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(ValueError, match=rf"learning rate.*but got {lr if lr else 0}"):
        ASLR(optimizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 0.2, "max_lr": 0.1}, "got 0.2 and 0.1"),
        ({"max_lr": 0.0}, "max_lr above 0"),
        ({"min_lr": -1.0}, "got -1.0"),
        ({"tie": "first"}, "tie must be one of paper, reference, but got 'first'"),
        ({"seed": -1}, "seed must be an integer from 0 .* got -1"),
        ({"seed": 0.5}, "got 0.5"),
    ],
    ids=str,
)
def test_bad_arguments_are_named_with_what_is_allowed(arguments, message):
    with pytest.raises(UserError, match=message):
        ASLR(make_optimizer(), **arguments)


@pytest.mark.parametrize("cost", [None, torch.ones(2), "low", [0.1]], ids=str)
def test_a_cost_that_is_no_number_is_refused(cost):
    with pytest.raises(UserError, match="validation cost, one number, but got"):
        ASLR(make_optimizer()).step(cost)


def test_a_second_scheduler_on_one_optimizer_is_refused():
    optimizer = make_optimizer()
    ASLR(optimizer)
    with pytest.raises(UserError, match=r"call \.remove\(\)"):
        ASLR(optimizer)


def test_something_else_than_an_optimizer_is_refused():
    with pytest.raises(TypeError, match="got Linear"):
        ASLR(nn.Linear(2, 2))


# --- imports ---


@pytest.mark.slow
def test_importing_the_scheduler_needs_torch_alone():
    heavy = ("brevitas", "onnx", "onnxruntime", "qonnx", "matplotlib", "sklearn", "scipy", "jsonargparse", "rich")
    script = (
        "import sys, torch; before = set(sys.modules); from qtrain import ASLR, layer_groups; "
        "ASLR(torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)); "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(','.join(sorted(new)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    loaded = set(result.stdout.strip().split(","))
    assert "qtrain" in loaded
    assert loaded.isdisjoint(heavy)


def test_step_size_is_the_weight_of_the_first_digit():
    assert [str(step_size(Decimal(c))) for c in ("0.15", "0.09", "9", "10", "0.10")] == [
        "0.1",
        "0.01",
        "1",
        "1E+1",
        "0.1",
    ]
