"""Before a network is trained the compiler is asked about it, and what it says counts more than the model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.fit.compiled import Question
from qtrain.experiments.fit.knowledge import TRIES, Knowledge
from qtrain.experiments.fit.plan import FitPlan
from qtrain.experiments.sensitivity.growth import growth_of
from qtrain.experiments.sweep.planned_cell import Target
from qtrain.recipe import Recipe
from qtrain.records.fit import CompiledFile, CompiledNetwork
from tests.experiments.fit.fit_data import STRUCTURE, network, networks, sensitivities


class Arithmetic:
    """Answers as the compiler of ``fit_data`` does, with more LUTs than it said before.

    Args:
        more: LUTs.
        refuses: how many questions are answered with a refusal first.
    """

    structure = STRUCTURE

    def __init__(self, more: int = 0, refuses: int = 0):
        self._more = more
        self._refuses = refuses
        self.asked: list[Question] = []

    def ask(self, question: Question) -> tuple[CompiledNetwork, Mapping[str, str]]:
        self.asked.append(question)
        if len(self.asked) <= self._refuses:
            raise UserError("FINN does not take it")
        assert question.folding is not None
        found = network(
            question.name, question.bits, {path: (pe, simd) for path, (pe, simd) in question.folding.items()}
        )
        last = found.nodes[-1]
        return replace(found, nodes=(*found.nodes[:-1], replace(last, lut=last.lut + self._more))), {}


@pytest.fixture
def known(tiny: Callable[..., Recipe], tmp_path: Path) -> Callable[..., Knowledge]:
    def make(bench: Arithmetic, lut: float) -> Knowledge:
        limits = {"LUT": lut, "BRAM_18K": 280.0, "URAM": 0.0, "DSP": 220.0}
        plan = FitPlan(tiny(network="TFC_8W8A"), Target("Pynq-Z2", 66_666, 10.0), limits)
        answers = CompiledFile(network="", versions={}, networks=tuple(networks()))
        tools: Any = bench
        return Knowledge(plan, tmp_path, tools, answers, growth_of(sensitivities(), STRUCTURE.widest()), [])

    return make


def test_a_choice_that_the_compiler_agrees_to_is_taken_at_once(known: Callable[..., Knowledge]) -> None:
    bench = Arithmetic()
    chosen = known(bench, 1900.0).within("new", 1900.0, [], 1)
    assert chosen is not None
    assert len(bench.asked) == 1
    assert bench.asked[0].bits == chosen.bits
    assert bench.asked[0].folding == chosen.folding


def test_a_choice_that_is_larger_than_predicted_is_made_anew_until_it_fits(
    known: Callable[..., Knowledge], tmp_path: Path
) -> None:
    honest = known(Arithmetic(), 1900.0).within("new", 1900.0, [], 1)
    bench = Arithmetic(more=150)
    chosen = known(bench, 1900.0).within("new", 1900.0, [], 1)
    assert chosen is not None
    assert honest is not None
    assert 1 < len(bench.asked) <= TRIES
    answer, _ = bench.ask(Question("again", chosen.bits, folding=chosen.folding))
    assert answer.used["LUT"] <= 1900
    assert chosen.change >= honest.change
    names = [one.name for one in CompiledFile.read(tmp_path).networks]
    assert names[-1].startswith("new before training, ")  # kept, for the model and for who goes on


def test_a_network_that_the_compiler_refuses_is_passed_over(known: Callable[..., Knowledge]) -> None:
    bench = Arithmetic(refuses=1)
    chosen = known(bench, 1900.0).within("new", 1900.0, [], 1)
    assert chosen is not None
    assert chosen.bits == bench.asked[1].bits != bench.asked[0].bits


def test_where_nothing_fits_there_is_no_candidate(known: Callable[..., Knowledge]) -> None:
    assert known(Arithmetic(more=5000), 1900.0).within("new", 1900.0, [], 1) is None
