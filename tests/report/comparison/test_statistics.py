"""The statistics of comparisons, against scipy's own and by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qtrain.recipe import Recipe
from qtrain.report.statistics import (
    Difference,
    default_judged,
    deviation,
    epochs_to_reach,
    paired_difference,
    tuned_numbers,
)
from qtrain.schedulers.catalogue import SCHEDULERS

RECIPE = Recipe("CNV_1W1A").to_dict()
ACCURACIES = st.floats(0, 100, allow_nan=False)


@given(st.lists(st.tuples(ACCURACIES, ACCURACIES), min_size=2, max_size=8))
def test_the_interval_is_that_of_scipys_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = paired_difference(ours, theirs)
    if len({a - b for a, b in pairs}) == 1:
        assert found.low == found.high == found.mean  # scipy gives nan without any spread
        return
    wanted = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-6, abs=1e-6)
    assert found.deviation == deviation([a - b for a, b in pairs])
    assert found.seeds == len(pairs)


def test_one_pair_has_a_difference_and_no_interval() -> None:
    found = paired_difference([80.0], [81.5])
    assert found == Difference(-1.5, None, None, 1, None)
    assert deviation([80.0]) is None


def test_pairs_must_be_as_many_and_at_least_one() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        paired_difference([80.0, 81.0], [81.5])
    with pytest.raises(ValueError, match="at least one pair"):
        paired_difference([], [])


@pytest.mark.parametrize(
    ("curve", "target", "epoch"),
    [([50, 60, 70], 60, 2), ([50, 60, 70], 71, None), ([50, 40, 70], 50, 1), ([], 0, None)],
)
def test_the_first_epoch_that_reaches_the_target_counts(curve: list[float], target: float, epoch: int | None) -> None:
    assert epochs_to_reach(curve, target) == epoch


@pytest.mark.parametrize(
    ("schedulers", "challenger", "baseline", "judged"),
    [
        (["aslr", "multistep"], "aslr", "multistep", ("multistep",)),
        (["aslr", "cosine"], "aslr", "multistep", ("cosine",)),
        (["aslr", "l4mom"], "aslr", "multistep", ("l4mom",)),
        (["aslr", "multistep", "cosine", "prodigy"], "aslr", "multistep", ("multistep",)),
        (["aslr", "multistep", "cosine", "prodigy"], "aslr", "cosine", ("cosine",)),
        (["aslr", "cosine", "wsd", "prodigy"], "aslr", "multistep", ("cosine", "wsd")),
        (["multistep", "aslr_decay", "aslr"], "aslr_decay", "multistep", ("multistep",)),
    ],
)
def test_a_rival_is_judged_only_where_nothing_hand_tuned_takes_part(
    schedulers: list[str], challenger: str, baseline: str, judged: tuple[str, ...]
) -> None:
    assert default_judged(schedulers, challenger, baseline) == judged


@pytest.mark.parametrize(
    ("scheduler", "changes", "numbers"),
    [
        ("aslr", {}, ["lr0"]),
        ("aslr_average", {}, ["lr0"]),
        ("constant", {}, ["lr0"]),
        ("cosine", {}, ["lr0", "length"]),
        ("multistep", {}, ["lr0", "milestone 0.5", "milestone 0.75", "milestone 0.9", "gamma"]),
        (
            "multistep",
            {"milestones": [0.4, 0.8], "gamma": [0.1, 0.5]},
            ["lr0", "milestone 0.4", "milestone 0.8", "factor 0.1", "factor 0.5"],
        ),
        ("l4adam", {}, ["alpha", "gamma", "gamma0", "tau", "eps"]),
        ("armijo", {}, ["c", "beta", "gamma", "first step"]),
        ("prodigy", {}, []),
        ("schedulefree", {}, ["lr"]),
    ],
)
def test_the_numbers_to_choose_are_named(scheduler: str, changes: dict[str, Any], numbers: list[str]) -> None:
    assert tuned_numbers(scheduler, {**RECIPE, **changes}) == numbers


def test_keras_schedule_counts_nine_numbers_as_the_paper_does() -> None:
    keras = {"milestones": [0.4, 0.6, 0.8, 0.9], "gamma": [0.1, 0.1, 0.1, 0.5]}
    assert len(tuned_numbers("multistep", {**RECIPE, **keras})) == 9


def test_every_scheduler_is_counted() -> None:
    assert all(len(tuned_numbers(name, RECIPE)) <= 5 for name in SCHEDULERS.built_in)
