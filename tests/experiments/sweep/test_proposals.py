"""A search that begins with sensitivities: its proposals are the best by the sum of changes, and counted right."""

import dataclasses
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.sensitivity.growth import Growth, growth_of, summed
from qtrain.experiments.sweep.bops import Bops, _counted
from qtrain.experiments.sweep.file import read_plan
from qtrain.experiments.sweep.least_growth import TIE, LeastGrowth
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.proposals import choose, is_beyond, proposed, widest_cell
from qtrain.experiments.sweep.row import new_row
from qtrain.experiments.sweep.run import sweep
from qtrain.experiments.sweep.search import next_trials
from qtrain.experiments.sweep.search_plan import SENSITIVITY, SearchPlan
from qtrain.experiments.sweep.search_space import SearchSpace, Widths
from qtrain.records.fit import Sensitivity, SensitivityFile
from qtrain.records.proposals import Proposal, ProposalsFile
from qtrain.report.sweep.search import print_search
from qtrain.training.context import RunContext
from tests.experiments.sweep.test_search import trained_row, trials_of
from tests.experiments.sweep.test_sweep import TINY, rows_of

START = SearchPlan(4, "bops", 1, start=SENSITIVITY)


def plan(network: str = "TFC", **changes: Any) -> SweepPlan:
    return plan_sweep(network, **{"weight_bits": [1, 2], "act_bits": [2, 8], **TINY, "search": START} | changes)


def drawn_growth(space: SearchSpace, seed: int) -> Growth:
    """Growth that falls with the bits of each quantizer, drawn."""
    draw = random.Random(seed)
    growth: Growth = {}
    for path, choices in space.choices.items():
        steps = [draw.random() * 0.3 for _ in choices[1:]]
        growth[path] = {bits: sum(steps[i:]) for i, bits in enumerate(choices)}
    return growth


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace(plan())


@pytest.fixture(scope="module")
def bops(space: SearchSpace) -> Bops:
    return Bops(space)


def every(space: SearchSpace) -> list[Widths]:
    return [dict(zip(space.choices, bits, strict=True)) for bits in itertools.product(*space.choices.values())]


# counting


def test_bit_operations_are_those_of_the_graph(space: SearchSpace, bops: Bops) -> None:
    for bits in random.Random(1).sample(every(space), 2):
        assert bops.count(bits) == _counted(space, bits, None)[0].bops


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("CNV", {"width": 0.125, "expressions": ("", "first=8")}),
        ("RESNET20", {"width": 0.125, "weight_bits": [2, 8], "act_bits": []}),
    ],
)
def test_bit_operations_behind_pools_and_branches_too(network: str, changes: dict[str, Any]) -> None:
    space = SearchSpace(plan(network, **changes))
    bops = Bops(space)
    draw = random.Random(2)
    for _ in range(2):
        bits = {path: draw.choice(choices) for path, choices in space.choices.items()}
        assert bops.count(bits) == _counted(space, bits, None)[0].bops


# choosing


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_network_within_the_bound_grows_less(space: SearchSpace, bops: Bops, seed: int) -> None:
    growth = drawn_growth(space, seed)
    solver = LeastGrowth(growth, bops)
    networks = every(space)
    costs = sorted(map(bops.count, networks))
    largest = max(max(by_bits.values()) for by_bits in growth.values())
    slack = TIE * largest  # that a cheaper network may be worse by
    others: list[Widths] = []
    for bound in costs[10], costs[50], costs[90], costs[90]:
        found = solver.choose(bound, others)
        assert found is not None
        bits, proven = found
        able = [one for one in networks if bops.count(one) <= bound and one not in others]
        assert bits in able
        assert proven
        assert summed(growth, bits) <= min(summed(growth, one) for one in able) + slack
        others.append(bits)
    assert solver.choose(costs[0] - 1.0) is None


def test_of_networks_that_grow_alike_the_cheapest_is_taken(space: SearchSpace, bops: Bops) -> None:
    growth = {path: dict.fromkeys(choices, 0.0) for path, choices in space.choices.items()}
    narrowest = {path: min(choices) for path, choices in space.choices.items()}
    assert LeastGrowth(growth, bops).choose(bops.count(space.widest())) == (narrowest, True)


def test_bits_at_which_the_loss_is_no_number_are_never_proposed(space: SearchSpace, bops: Bops) -> None:
    growth = {path: dict.fromkeys(choices, 0.0) for path, choices in space.choices.items()}
    del growth["act1"][2], growth["fc2"][1]
    trained = [space.widths(cell) for cell in plan().cells()]
    found = choose(growth, bops, space, trained, 3)
    assert found
    assert {(one.bits["act1"], one.bits["fc2"]) for one in found} == {(8, 2)}
    assert all(one.beyond and one.growth == 0.0 for one in found[:1])


@pytest.mark.parametrize(
    ("ours", "known", "expected"),
    [
        ((10.0, 0.5), [], True),
        ((10.0, 0.5), [(12.0, 0.4), (8.0, 0.6)], True),
        ((10.0, 0.5), [(9.0, 0.4)], False),  # cheaper and better
        ((10.0, 0.5), [(10.0, 0.5)], False),  # as cheap and as good
        ((10.0, 0.5), [(11.0, 0.5)], True),  # as good for more
        ((10.0, 0.5), [(10.0, 0.6)], True),  # worse for as much
    ],
)
def test_a_network_is_beyond_the_front_where_all_as_good_cost_more(
    ours: tuple[float, float], known: list[tuple[float, float]], expected: bool
) -> None:
    assert is_beyond(ours, known) is expected


def test_proposals_are_new_networks_at_falling_bounds(space: SearchSpace, bops: Bops) -> None:
    growth = drawn_growth(space, 3)
    trained = [space.widths(cell) for cell in plan().cells()]
    found = choose(growth, bops, space, trained, 5)
    assert len(found) == 5
    assert [one.bound for one in found] == sorted((one.bound for one in found), reverse=True)
    assert all(one.bops <= one.bound for one in found)
    chosen = [space.chosen(one.bits) for one in found]
    assert len({*chosen, *map(space.chosen, trained)}) == len(chosen) + len(trained)
    known = [(bops.count(bits), summed(growth, bits)) for bits in trained]
    for one in found:
        assert one.beyond is is_beyond((one.bops, one.growth), known)
        known += [(one.bops, one.growth)] * one.beyond


def test_growth_never_falls_with_fewer_bits_and_ends_at_the_widest() -> None:
    entries = [Sensitivity("a", "weights", bits, change, 90.0, 0.1) for bits, change in ((1, 0.3), (2, 0.4), (4, -0.1))]
    found = SensitivityFile(weights="0", images=1, norm_images=1, loss=0.5, accuracy=90.0, entries=tuple(entries))
    assert growth_of(found, {"a": 8}) == {"a": {8: 0.0, 4: 0.0, 2: 0.4, 1: 0.4}}


# trials


def test_proposals_come_first_those_within_the_front_never_and_then_optuna_asks() -> None:
    whole = plan(search=SearchPlan(6, "bops", 1, start=SENSITIVITY))
    space = SearchSpace(whole)
    widest = space.widest()
    bits = [widest | {"fc1": 1}, widest | {"fc2": 1}, widest | {"fc3": 1}]
    given = [Proposal(one, 1e6, 0.1, 2e6, True, beyond) for one, beyond in zip(bits, (True, False, True), strict=True)]
    rows = [trained_row(cell, 50.0 + i, 1e6 * (i + 1)) for i, cell in enumerate(whole.cells())]
    first = next_trials(whole, space, rows, 1, given)
    assert [(trial.name, trial.bits, trial.proposal) for trial in first] == [("TFC_2W8A-trial1-seed0", "fc1=1", 1)]
    onward = dataclasses.replace(whole, trials=tuple(first))
    second, third = next_trials(onward, space, rows, 2, given)
    assert (second.bits, second.proposal) == ("fc3=1", 3)
    assert third.proposal == 0
    assert space.chosen(space.widths(third)) not in {space.chosen(one) for one in (bits[0], bits[2])}


# what does not go


def test_a_widest_cell_that_failed_is_named_with_the_command_that_tries_it_anew(tmp_path: Path) -> None:
    whole = plan()
    rows = [new_row(cell) | {"state": "failed", "error": "the loss is nan"} for cell in whole.cells()]
    with pytest.raises(UserError) as refused:
        proposed(whole, SearchSpace(whole), tmp_path, rows, RunContext())
    said = str(refused.value)
    assert said.startswith("search_from sensitivity begins at TFC_2W8A-seed0, which is not trained: the loss is nan; ")
    assert said.endswith(f"qtrain sweep --resume {tmp_path} --again")


def test_the_widest_cell_has_the_most_bits_in_every_layer() -> None:
    whole = plan(expressions=("", "first=8"))
    assert widest_cell(whole, SearchSpace(whole)).name == "TFC_2W8A-first8-seed0"
    apart = plan(expressions=("first=8", "last=8"))
    with pytest.raises(
        UserError, match="a cell with the most bits in every layer, and the expressions of bits leave none"
    ):
        widest_cell(apart, SearchSpace(apart))


def test_proposals_of_other_networks_are_damage(tmp_path: Path) -> None:
    whole = plan()
    space = SearchSpace(whole)
    for bits in ({"fc1": 1}, space.widest() | {"fc1": 4}):
        ProposalsFile(cell="TFC_2W8A-seed0", proposals=(Proposal(bits, 1.0, 0.0, 1.0, True, True),)).write(tmp_path)
        with pytest.raises(UserError, match=r"is damaged .*its networks are not those of the sweep"):
            proposed(whole, space, tmp_path, [], RunContext())


# a real one


@pytest.mark.slow
def test_a_search_trains_what_its_sensitivities_propose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    whole = plan(act_bits=[], weight_bits=[1, 8])
    rows = sweep(whole, out, RunContext(device="cpu"))
    assert [row["state"] for row in rows] == ["done"] * 6
    found = ProposalsFile.read(out)
    assert found.cell == "TFC_8W8A-seed0"
    measured = SensitivityFile.read(out)
    assert measured.complete
    assert [(one.path, one.bits) for one in measured.entries] == [
        (path, 1) for path in ("fc1", "fc2", "fc3", "fc4", "act1", "act2", "act3")
    ]
    taken = [one for one in found.proposals if one.beyond]
    trials = read_plan(out).trials
    assert len(found.proposals) == 2  # half of the trials
    numbers = [found.proposals.index(one) + 1 for one in taken]
    assert [trial.proposal for trial in trials] == [*numbers, *[0] * (4 - len(taken))]
    space = SearchSpace(whole)
    for trial, row, one in zip(trials, trials_of(rows_of(out)), taken, strict=False):
        assert space.chosen(space.widths(trial)) == space.chosen(one.bits)
        assert row["cost"]["bops"] == one.bops
    print_search(out)
    assert f"of the {len(taken)} that the sensitivities proposed" in " ".join(capsys.readouterr().out.split())
