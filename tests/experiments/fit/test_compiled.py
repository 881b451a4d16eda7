"""The compiler is asked about each network once: what an earlier fit of the same run was told is taken."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qtrain.experiments.fit.compiled import FITTED, HELD_OUT, Bench, asked, digest_of, questions
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe
from qtrain.records.fit import CompiledFile
from qtrain.training.context import RunContext
from tests.experiments.fit.fit_data import STRUCTURE, WIDTHS, network

FOLDING = {"a": (1, 3), "b": (1, 8), "c": (1, 1)}


@pytest.fixture
def bench(tiny: Callable[..., Recipe], tmp_path: Path) -> Bench:
    return Bench(tiny(network="TFC_8W8A"), tmp_path / "run", STRUCTURE, "Pynq-Z2", 1000, 10.0, None)


@pytest.fixture
def answers(bench: Bench) -> CompiledFile:
    told = tuple(network(one.name, one.bits, FOLDING, held_out=one.held_out) for one in questions(STRUCTURE, WIDTHS))
    return CompiledFile(network=digest_of(bench), versions={"finn-plus": "1.6.1"}, networks=told)


def test_an_earlier_fits_answers_are_not_asked_for_again(bench: Bench, answers: CompiledFile, tmp_path: Path) -> None:
    earlier, out = tmp_path / "earlier", tmp_path / "out"
    for place in (earlier, out):
        place.mkdir()
    candidate = replace(answers.networks[0], name="round1-1 before training, 1")
    replace(answers, networks=(*answers.networks, candidate)).write(earlier)
    never = RunContext(stop=lambda: True)
    assert asked(bench, WIDTHS, out, never, earlier) == answers  # its own candidates' are not of this fit
    assert len(answers.networks) == FITTED + HELD_OUT


def test_answers_to_other_questions_are_not_taken(bench: Bench, answers: CompiledFile, tmp_path: Path) -> None:
    said: list[str] = []
    never = RunContext(stop=lambda: True, say=said.append)
    out = tmp_path / "out"
    replace(answers, network="of another board").write(tmp_path)
    with pytest.raises(Interrupted, match="stopped before probe1"):
        asked(bench, WIDTHS, out, never, tmp_path)
    answers.write(tmp_path)
    with pytest.raises(Interrupted, match="stopped before probe3"):  # the first that depends on the widths
        asked(bench, (2, 3, 8), out, never, tmp_path)
    pairs = zip(questions(STRUCTURE, WIDTHS), questions(STRUCTURE, (2, 3, 8)), strict=True)
    others = sum(one.bits != other.bits for one, other in pairs)
    assert 2 < others < FITTED + HELD_OUT
    assert said[-1] == f"asking the FINN compiler about {others} networks at other bits"
