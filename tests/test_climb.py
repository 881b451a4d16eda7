"""A start that finds its own rate: the rule by itself, then in a training run."""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.schedulers.climb import Climb, Restore, notched
from qtrain.training import Interrupted
from qtrain.training.kept import Kept


def run(rate: str, errors: list[float]) -> tuple[list[str], list[str]]:
    """Return the rates of the epochs, one more than errors, and what each judgement put back."""
    climb = Climb.at(Decimal(rate))
    rates, put_back = [str(climb.rate)], []
    for error in errors:
        put_back.append(str(climb.judge(error) or "-"))
        rates.append(str(climb.rate))
    return rates, put_back


def test_from_a_low_start_it_climbs_and_falls_back_below_the_best() -> None:
    rates, put_back = run("0.003", [0.8, 0.7, 0.6, 0.5, 0.9])
    assert rates == ["0.003", "0.009", "0.03", "0.09", "0.3", "0.03"]
    assert put_back == ["-", "-", "-", "-", "best"]


def test_from_a_high_start_it_starts_again_at_a_tenth() -> None:
    rates, put_back = run("0.3", [0.8, 0.9, 0.7, 0.6])
    assert rates == ["0.3", "0.9", "0.03", "0.09", "0.03"]  # 0.3 was worse than 0.03
    assert put_back == ["-", "start", "-", "-"]


def test_a_start_between_two_worse_rates_is_kept() -> None:
    rates, put_back = run("0.02", [0.5, 0.6, 0.7])
    assert rates == ["0.02", "0.06", "0.002", "0.02"]
    assert put_back == ["-", "start", "best"]


def test_from_a_start_far_too_high_it_starts_again_more_than_once() -> None:
    rates, put_back = run("10", [math.inf, 0.9, math.inf, 0.8, 0.85, 0.9])
    assert rates == ["10", "1", "3", "0.1", "0.3", "0.01", "0.1"]
    assert put_back == ["start", "-", "start", "-", "start", "best"]


@given(
    st.decimals(Decimal("1e-9"), Decimal("1e3")),
    st.lists(st.floats(0, 1) | st.just(math.inf), max_size=40),
)
def test_rates_stay_on_the_grid_and_the_best_is_what_comes_back(rate: Decimal, errors: list[float]) -> None:
    climb, best = Climb.at(rate), math.inf
    for error in errors:
        restore = climb.judge(error)
        assert restore is not Restore.BEST or best < math.inf
        assert climb.rate > 0
        assert climb.rate == climb.best_rate or len(climb.rate.as_tuple().digits) == 1
        best = min(best, error)
        assert climb.best is None or climb.best == best
        if climb.over:
            assert climb.rate == climb.best_rate or climb.rate == notched(climb.best_rate, -1)
            return


# --- in training ---


def errors_and_rates(folder: Path) -> tuple[list[float], list[float], list[int]]:
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    epochs = [record for record in records if record["type"] == "epoch"]
    errors = [1 - epoch["validation_accuracy"] / 100 for epoch in epochs]
    return errors, [epoch["lr"] for epoch in epochs], [epoch["counts"]["put_back"] for epoch in epochs]


def test_a_run_follows_the_rule(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    train_recipe(tiny(scheduler="aslr_climb", lr=0.3, epochs=8, scheduler_options={"decay": 0.1}), tmp_path / "run")
    errors, rates, put_back = errors_and_rates(tmp_path / "run")
    climb, restored = Climb.at(Decimal("0.3")), 0
    for error, rate, count in zip(errors, rates, put_back, strict=True):
        if climb.over:
            assert rate <= float(climb.rate)
            continue
        assert rate == float(climb.rate)
        restored += climb.judge(error) is not None
        assert count == restored
    assert restored
    assert climb.over


def test_an_epoch_that_diverges_is_taken_back(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network="RESNET20_FLOAT", scheduler="aslr_climb", lr=10.0, optimizer="sgd", epochs=3)
    train_recipe(recipe, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    first, second, _ = (record for record in records if record["type"] == "epoch")
    assert (first["loss"], first["validation_loss"], first["counts"]) == (None, None, {"put_back": 1})
    assert second["loss"] < 10
    assert records[-1]["best_epoch"] > 1


def test_where_every_epoch_diverges_the_run_says_so(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network="RESNET20_FLOAT", scheduler="aslr_climb", lr=1e7, optimizer="sgd", epochs=2)
    with pytest.raises(UserError, match=r"the loss was finite in no epoch; lower --lr \(it is 1e\+07\)"):
        train_recipe(recipe, tmp_path / "run")


@pytest.mark.parametrize("stop", [2, 7, 13])
def test_a_resumed_climb_goes_on_bit_for_bit(stop: int, tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network="VGG11_2W2A", scheduler="aslr_climb", lr=0.1, epochs=6, scaling="statistics")
    train_recipe(recipe, tmp_path / "whole")
    steps = iter(range(1, 100))
    with pytest.raises(Interrupted):
        train_recipe(recipe, tmp_path / "cut", stop=lambda: next(steps) == stop)
    resume_run(tmp_path / "cut")
    assert errors_and_rates(tmp_path / "cut") == errors_and_rates(tmp_path / "whole")
    whole, cut = (torch.load(tmp_path / name / "checkpoint.pt")["model"] for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)])
def test_what_was_kept_trains_on_as_if_nothing_had_been(optimizer: Callable) -> None:
    torch.manual_seed(0)
    model = build_model("CNV_2W2A", width=0.125, scaling="learned")
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    made = optimizer(model.parameters())

    def steps(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            made.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            made.step()
            losses.append(loss.item())
        return losses

    model.train()
    model.apply(lambda module: setattr(module, "p", 0.0) if isinstance(module, torch.nn.Dropout) else None)
    for before in (0, 2):
        steps(before)
        kept = Kept(model, made)
        tensors = [p.data_ptr() for p in model.parameters()]
        first = steps(3)
        kept.put_back()
        assert steps(3) == first
        assert [p.data_ptr() for p in model.parameters()] == tensors
