"""The solver: nothing that keeps within the limits is better than what it chooses, tried against every network."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from qtrain.errors import UserError
from qtrain.experiments.fit.choose import Solver, _divisors
from qtrain.experiments.fit.cost import CostModel
from qtrain.experiments.fit.rounds import first_bounds
from qtrain.experiments.sensitivity.growth import growth_of
from tests.experiments.fit.fit_data import SIZES, STRUCTURE, WIDTHS, networks, sensitivities

CYCLES = 1500.0
GROWTH = growth_of(sensitivities(), STRUCTURE.widest())
LIMITS = {"LUT": 1e9, "BRAM_18K": 100.0, "DSP": 100.0}


@pytest.fixture(scope="module")
def model() -> CostModel:
    return CostModel(STRUCTURE, networks())


@pytest.fixture(scope="module")
def solver(model: CostModel) -> Solver:
    return Solver(model, GROWTH, LIMITS, CYCLES)


def smallest(model: CostModel, bits: dict[str, int]) -> float:
    """The fewest LUTs of a network, by trying every folding of every layer that is fast enough."""
    total = model.constant()["LUT"] + sum(model.of_quantizer(path, bits[path])["LUT"] for path in STRUCTURE.activations)
    for path, (columns, rows, positions) in SIZES.items():
        layer = STRUCTURE.layers[path]
        out = bits[layer.sinks[0]] if layer.sinks else 11
        ways = []
        for pe, simd in itertools.product(_divisors(rows), _divisors(columns)):
            if positions * columns * rows / (pe * simd) <= CYCLES:
                amounts = model.amounts(path, bits[path], bits.get(layer.source, 8), out, int(pe), int(simd))
                ways.append(float(amounts["LUT"]))
        total += min(ways)
    return total


def test_no_network_within_the_bound_is_better(model: CostModel, solver: Solver) -> None:
    all_of = [dict(zip(STRUCTURE.variables, bits, strict=True)) for bits in itertools.product(WIDTHS, repeat=5)]
    luts = [smallest(model, bits) for bits in all_of]
    losses = [sum(GROWTH[path][bits[path]] for path in bits) for bits in all_of]
    for bound in np.quantile(luts, (0.02, 0.2, 0.5, 0.9)):
        best = min(loss for loss, lut in zip(losses, luts, strict=True) if lut <= bound)
        found = solver.choose(float(bound) + 0.5)
        assert found is not None
        assert found.proven
        assert found.change == pytest.approx(best, abs=2e-3)  # equals are told apart by their LUTs
        assert found.predicted["LUT"] <= bound + 1
        assert found.predicted["cycles"] <= CYCLES


def test_the_least_network_is_the_smallest_of_all(model: CostModel, solver: Solver) -> None:
    all_of = [dict(zip(STRUCTURE.variables, bits, strict=True)) for bits in itertools.product(WIDTHS, repeat=5)]
    found = solver.least("LUT", {})
    assert found is not None
    assert found.predicted["LUT"] == pytest.approx(min(smallest(model, bits) for bits in all_of), rel=1e-4)
    assert solver.choose(found.predicted["LUT"] - 5) is None


def test_a_front_loses_less_the_more_it_may_use(solver: Solver) -> None:
    front = solver.front(1e9, 6)
    assert len(front) >= 4
    assert [one.change for one in front] == sorted((one.change for one in front), reverse=True)
    assert len({one.change for one in front}) == len(front)
    assert front[-1].change == 0


def test_what_was_tried_is_not_chosen_again(solver: Solver) -> None:
    first = solver.choose(1e9)
    assert first is not None
    second = solver.choose(1e9, [first.bits], 2)
    assert second is not None
    differs = [path for path, bits in first.bits.items() if second.bits[path] != bits]
    assert len(differs) >= 2
    third = solver.choose(1e9, [first.bits, second.bits], 1)
    assert third is not None
    assert third.bits not in (first.bits, second.bits)


def test_a_network_is_folded_as_cheaply_as_can_be(model: CostModel, solver: Solver) -> None:
    bits = {"a": 8, "b": 4, "c": 2, "act1": 4, "act2": 8}
    found = solver.fold(bits)
    assert found is not None
    assert found.bits == bits
    assert found.predicted["LUT"] == pytest.approx(smallest(model, bits), rel=1e-4)


def test_fewer_bits_never_count_for_less(solver: Solver) -> None:
    assert GROWTH["b"] == {8: 0.0, 4: 0.0, 2: pytest.approx(0.1)}  # a fall of the loss is noise
    for widths in GROWTH.values():
        assert widths[8] <= widths[4] <= widths[2]


def test_a_layer_that_no_folding_makes_fast_enough_is_named(model: CostModel) -> None:
    with pytest.raises(UserError, match="a takes 64 cycles a frame however it is folded, and only 50 are there"):
        Solver(model, GROWTH, LIMITS, 50.0)


def test_the_cheapest_network_within_a_growth_is_found(model: CostModel, solver: Solver) -> None:
    all_of = [dict(zip(STRUCTURE.variables, bits, strict=True)) for bits in itertools.product(WIDTHS, repeat=5)]
    for most in (0.0, 0.05, 0.7):
        fewest = min(smallest(model, bits) for bits in all_of if sum(GROWTH[path][bits[path]] for path in bits) <= most)
        found = solver.cheapest(most + 1e-9, LIMITS)
        assert found is not None
        assert found.change <= most + 1e-9
        assert found.predicted["LUT"] == pytest.approx(fewest, abs=1)
    assert solver.cheapest(0.05, {**LIMITS, "LUT": 1.0}) is None


def test_the_first_rounds_bounds_cover_what_luts_are_of_use_for(solver: Solver) -> None:
    limits = {"LUT": 1e6, "BRAM_18K": 100.0, "DSP": 100.0}
    least = solver.least("LUT", {"BRAM_18K": 100.0, "DSP": 100.0})
    assert least is not None
    enough = solver.cheapest(0.01 * least.change, LIMITS)
    assert enough is not None
    high, low = enough.predicted["LUT"], least.predicted["LUT"]
    assert high < solver.fold({path: 8 for path in STRUCTURE.variables}).predicted["LUT"]  # type: ignore[union-attr]
    bounds = first_bounds(solver, limits, 3, topped=True)
    assert [np.log(bound / low) / np.log(high / low) for bound in bounds] == pytest.approx([5 / 6, 1 / 2, 1 / 6])
    bounds = first_bounds(solver, limits, 3, topped=False)
    assert bounds[0] == 1e6  # all that may be used
    assert [np.log(bound / low) / np.log(high / low) for bound in bounds[1:]] == pytest.approx([2 / 3, 1 / 3])
    tight = {**limits, "LUT": low - 1}
    assert first_bounds(solver, tight, 2, topped=False) == [low - 1, low - 1]  # nothing fits: said elsewhere


def test_bits_at_which_the_loss_is_no_number_are_not_chosen(model: CostModel) -> None:
    found = sensitivities()
    entries = [replace(one, change=None) if (one.path, one.bits) == ("b", 2) else one for one in found.entries]
    growth = growth_of(replace(found, entries=tuple(entries)), STRUCTURE.widest())
    assert sorted(growth["b"]) == [4, 8]
    least = Solver(model, growth, LIMITS, CYCLES).least("LUT", {})
    assert least is not None
    assert least.bits["b"] == 4
    entries = [one for one in found.entries if one.path not in ("a", "act1")]  # measured at no width at all
    growth = growth_of(replace(found, entries=tuple(entries)), STRUCTURE.widest())
    least = Solver(model, growth, LIMITS, CYCLES).least("LUT", {})
    assert least is not None
    assert (least.bits["a"], least.bits["act1"]) == (8, 8)
