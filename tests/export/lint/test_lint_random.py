"""On random networks lint and the real compiler say the same; `make lint-oracle` tries many more."""

import pytest

from benchmarks.lint_oracle import judge
from tests.export.lint.random_networks import BAD, GOOD, random_network

SEEDS = (0, 1, 7)  # accepted, accepted, refused


def test_the_same_seed_draws_the_same_network() -> None:
    one, other = random_network(5), random_network(5)
    assert one.recipe == other.recipe
    for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert (a == b).all()


@pytest.mark.slow
def test_the_seeds_draw_every_block() -> None:
    words = " ".join(random_network(seed).recipe for seed in range(120))
    assert not [name for name in GOOD | BAD if name not in words]


@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize("seed", SEEDS)
def test_lint_and_the_real_finn_say_the_same(seed: int) -> None:
    record = judge(seed)
    assert bool(record["lint_errors"]) != record["accepted"], record


def test_the_few_networks_hold_both_verdicts() -> None:
    from qtrain.export.lint.check import lint_module
    from tests.export.lint.random_networks import SHAPE

    verdicts = {any(f.severity == "error" for f in lint_module(random_network(s).model, SHAPE)) for s in SEEDS}
    assert verdicts == {True, False}
