"""The statistics of comparisons, against scipy's own and by hand."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qtrain.recipe import Recipe, Scheduler
from qtrain.report.statistics import (
    Difference,
    default_judged,
    deviation,
    epochs_to_reach,
    paired_difference,
    shortfall_words,
    shortfalls,
    tuned_numbers,
)

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
    assert found.bound == found.low
    assert found.seeds == len(pairs)


def test_one_pair_has_a_difference_and_no_interval() -> None:
    found = paired_difference([80.0], [81.5])
    assert found == Difference(-1.5, None, None, 1)
    assert found.bound == -1.5
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
    ("aslr", "multistep", "tolerance", "short"),
    [
        ([80.0], [80.5], 0.5, False),  # exactly the tolerance
        ([80.0], [80.75], 0.5, True),
        ([80.0, 81.0, 82.0], [80.5, 81.5, 82.5], 0.5, False),  # no spread
        ([81.0, 81.0], [80.0, 81.0], 5.0, True),  # +0.5 +- 6.35
        ([81.0, 81.0], [80.0, 81.0], 6.0, False),
    ],
)
def test_the_lower_end_is_held_against_the_tolerance(
    aslr: list[float], multistep: list[float], tolerance: float, short: bool
) -> None:
    found = {"aslr": dict(enumerate(aslr)), "multistep": dict(enumerate(multistep))}
    assert bool(shortfalls(found, range(len(aslr)), "aslr", ["multistep"], tolerance)) == short


def test_a_run_without_accuracy_cannot_be_judged() -> None:
    accuracies: dict[str, Mapping[int, float]] = {"aslr": {0: 80.0, 1: 80.0}, "multistep": {0: 10.0}}
    assert shortfalls(accuracies, [0, 1], "aslr", ["multistep"], 0.5) == {"multistep": None}
    assert shortfalls(accuracies, [0], "aslr", ["multistep"], 0.5) == {}


def test_what_fell_short_is_said_in_words() -> None:
    behind = {"cosine": Difference(-1.0, None, None, 1), "wsd": Difference(-1.0, -3.0, 1.0, 3), "dog": None}
    assert shortfall_words("aslr", behind, 0.5) == (
        "aslr is 1.00 points behind cosine (one seed: the difference itself) and aslr may be 3.00 points behind wsd "
        "(mean -1.00, 95 % interval -3.00 to +1.00) and aslr or dog has a run without an accuracy, so they cannot be "
        "compared; 0.5 points are allowed"
    )


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
    assert all(len(tuned_numbers(name, RECIPE)) <= 5 for name in get_args(Scheduler))
