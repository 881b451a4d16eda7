"""The cost model: it finds the costs that a compiler counts by, and says how far it is off where it has not looked."""

import numpy as np
import pytest

from qtrain.errors import UserError
from qtrain.experiments.fit.cost import CostModel
from qtrain.experiments.fit.terms import Unit, bram_terms
from tests.experiments.fit.fit_data import PER_BIT, STRUCTURE, WINDOW, network, networks, unit_lut

FOLDING = {"a": (4, 9), "b": (2, 24), "c": (1, 8)}


def test_costs_are_found_at_bits_and_foldings_that_were_never_asked_about() -> None:
    model = CostModel(STRUCTURE, networks())
    bits = {"a": 4, "b": 2, "c": 8, "act1": 8, "act2": 4}
    asked = network("new", bits, FOLDING)
    found = model.predict(bits, FOLDING)
    assert found["LUT"] == pytest.approx(asked.used["LUT"], rel=0.01)
    assert found["cycles"] == max(one.cycles for one in asked.nodes)
    assert found["DSP"] == 0


def test_a_unit_costs_what_its_multipliers_and_adders_do() -> None:
    model = CostModel(STRUCTURE, networks())
    for weight in (2, 4, 8):
        found = model.amounts("b", weight, 4, 4, 2, 12)["LUT"]
        assert float(found) == pytest.approx(unit_lut(2, 12, weight, 4), rel=0.02)


def test_windows_cost_by_the_bits_before_them() -> None:
    model = CostModel(STRUCTURE, networks())
    grown = model.of_quantizer("act1", 8)["LUT"] - model.of_quantizer("act1", 2)["LUT"]
    assert grown == pytest.approx(6 * PER_BIT, rel=0.05)
    assert model.constant()["LUT"] + model.of_quantizer("act1", 4)["LUT"] == pytest.approx(
        WINDOW + 4 * PER_BIT, rel=0.05
    )
    assert model.of_quantizer("act2", 8)["LUT"] == 0  # nothing stands before c


def test_the_error_is_of_networks_that_the_model_was_not_fitted_to() -> None:
    found = networks(12, held_out=3)
    model = CostModel(STRUCTURE, found)
    error = model.error([one for one in found if one.held_out])
    assert error.networks == 3
    assert error.lut < 0.01 <= 0.01 + error.lut_most
    strange = network("strange", found[0].bits, {"a": (1, 3), "b": (1, 8), "c": (1, 1)})
    worse = [*strange.nodes[:-1], strange.nodes[-1].__class__(**{**vars(strange.nodes[-1]), "lut": 5000})]
    off = model.error([strange.__class__(**{**vars(strange), "nodes": tuple(worse)})])
    assert off.lut > 0.5


def test_vectors_of_foldings_give_what_single_ones_do() -> None:
    model = CostModel(STRUCTURE, networks())
    pe, simd = np.array([1, 2, 4]), np.array([8, 4, 2])
    together = model.amounts("b", 4, 4, 4, pe, simd)
    for i in range(3):
        single = model.amounts("b", 4, 4, 4, int(pe[i]), int(simd[i]))
        for kind, amounts in together.items():
            assert float(amounts[i]) == pytest.approx(float(single[kind]))


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [(1, 16384, 1), (1, 16385, 2), (4, 4096, 1), (9, 2048, 1), (18, 1024, 1), (36, 512, 1), (36, 513, 2), (72, 512, 2)],
)
def test_weights_fill_block_rams_in_their_shapes(width: int, depth: int, blocks: int) -> None:
    unit = Unit(
        pe=1, simd=1, columns=depth, rows=1, weight_bits=width, input_bits=1, output_bits=1, sum_bits=1, thresholds=0
    )
    assert bram_terms(unit)[..., 0] == blocks


def test_a_compiler_whose_layers_have_no_names_is_refused() -> None:
    nameless = [
        one.__class__(**{**vars(one), "nodes": tuple(n.__class__(**{**vars(n), "place": ""}) for n in one.nodes)})
        for one in networks(3)
    ]
    with pytest.raises(UserError, match="cannot be paired"):
        CostModel(STRUCTURE, nameless)
