"""What each scheduler's name does in the training loop, beyond what its own tests say."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qtrain.data import DataSet, make_batches
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.recipe import Recipe
from qtrain.records.runs import read_records
from qtrain.schedulers.aslr import exact_lr, step_size
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.training import checkpoint, evaluate, train
from qtrain.training.methods.make import make_method
from qtrain.training.setup import make_session
from tests.sampled import sampled

NAMES = tuple(SCHEDULERS.built_in)
QUICK = ("aslr", "aslr_decay", "aslr_average", "multistep", "plateau", "armijo", "schedulefree", "prodigy")


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    return [r for r in read_records(folder) if r["type"] == "epoch"]


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


@pytest.mark.parametrize("network", [pytest.param("CNV_1W1A", marks=pytest.mark.slow), "CNV_4W4A"])
@pytest.mark.parametrize("scheduler", sampled(NAMES, QUICK))
def test_every_scheduler_trains_at_one_bit_and_at_four(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, scheduler: str, network: str
) -> None:
    recipe = tiny(network=network, scheduler=scheduler, epochs=2, train_size=40, loss="cross_entropy")
    model = model_of(recipe)
    before = [p.detach().clone() for p in model.parameters()]
    result = train(model, recipe, tmp_path / "run", data=few_digits, built=True)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert evaluate(model, few_digits.test, F.cross_entropy).accuracy == result.test_accuracy
    for record in epochs_of(tmp_path / "run"):
        assert record["lr"] >= 0
        assert set(record["draws"]) == set(epochs_of(tmp_path / "run")[0]["draws"])
        assert ("forward_passes_extra" in record["counts"]) == (scheduler == "armijo")


def test_aslr_decay_is_aslr_until_its_end_and_then_goes_to_zero(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    lrs, draws = {}, {}
    for scheduler in ("aslr", "aslr_decay"):
        recipe = tiny(scheduler=scheduler, scheduler_options={"decay": 0.5} if "_" in scheduler else {}, epochs=4)
        train(model_of(recipe), recipe, tmp_path / scheduler, data=few_digits)
        lrs[scheduler] = [r["lr"] for r in epochs_of(tmp_path / scheduler)]
        draws[scheduler] = [r["draws"] for r in epochs_of(tmp_path / scheduler)]
    assert lrs["aslr_decay"][:2] == lrs["aslr"][:2]
    assert draws["aslr_decay"][:2] == draws["aslr"][:2]
    assert lrs["aslr_decay"][3] == lrs["aslr_decay"][2] / 2
    centre = lrs["aslr_decay"][2]
    half = float(step_size(exact_lr(centre))) / 2
    left = 1 / 6  # of the last step: epoch 3 and 2 of 3 steps, falling to 0 at 4 from 2 on
    assert all(left * (centre - half) <= rate <= left * (centre + half) for rate in draws["aslr_decay"][3].values())


@pytest.mark.filterwarnings("ignore:no step of ASLR's optimizer:UserWarning")  # errors alone are fed
@pytest.mark.parametrize("snap", [False, True])
def test_aslr_capped_never_rises_above_its_first_rate(net: nn.Module, tiny: Callable[..., Recipe], snap: bool) -> None:
    recipe = tiny(scheduler="aslr_capped", lr=0.24, scheduler_options={"snap": snap, "min_lr": 0.01}, epochs=100)
    method = make_method(net, recipe, 3)
    centres = []
    for error in (0.5, *[0.6] * 40):
        method.before_step(1.0)
        method.validated(error)
        centres.append(method.rate())
    first = 0.2 if snap else 0.24
    assert max(centres) == centres[0] == first
    assert min(centres) < first
    assert any(later > before for before, later in pairwise(centres))  # below it, it rises as ASLR does


@pytest.mark.filterwarnings("ignore:no step of ASLR's optimizer:UserWarning")
def test_aslr_smooth_moves_by_the_mean_of_the_last_errors(net: nn.Module, tiny: Callable[..., Recipe]) -> None:
    method = make_method(net, tiny(scheduler="aslr_smooth", scheduler_options={"window": 2}, lr=0.1), 3)
    rates = []
    for error in (0.5, 0.3, 0.35, 0.2):  # means 0.5, 0.4, 0.325, 0.275: each one better
        method.validated(error)
        rates.append(method.rate())
    assert rates == [0.1] * 4
    method.validated(0.6)
    assert method.rate() == 0.2


def test_aslr_average_judges_the_mean_of_the_last_weights_and_trains_its_own(
    tiny: Callable[..., Recipe], few_digits: DataSet, net: nn.Module
) -> None:
    recipe = tiny(scheduler="aslr_average", scheduler_options={"tail": 0.5}, epochs=2, optimizer="sgd")
    batches = make_batches(few_digits.train, 20, seed=0, augment=False, flip=False)
    session = make_session(net, recipe, batches)
    seen = []
    for epoch in range(2):
        for images, labels in batches.epoch(epoch):
            session.step(F.cross_entropy, images, labels)
            session.after_step()
            seen.append(net[1].weight.detach().clone())
        session.at.epoch, session.at.step = epoch + 1, 0
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with session.judged():
        torch.testing.assert_close(net[1].weight, torch.stack(seen[4:]).mean(0))
        assert not torch.equal(net[2].running_mean, state["2.running_mean"])
        features = torch.cat([net[1](net[0](images)) for images, _ in batches.epoch(0)])
        torch.testing.assert_close(net[2].running_mean, features.mean(0), rtol=1e-3, atol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_what_is_kept_as_best_is_what_was_judged(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(scheduler="schedulefree", optimizer="adam", epochs=2)
    model = model_of(recipe)
    result = train(model, recipe, tmp_path / "run", data=few_digits, built=True)
    best = checkpoint.load(tmp_path / "run" / checkpoint.BEST)
    last = checkpoint.load(tmp_path / "run" / checkpoint.LAST)
    assert any(not torch.equal(best["model"][n], last["model"][n]) for n in best["model"])
    other = model_of(recipe)
    other.load_state_dict(best["model"])
    validation = evaluate(other, few_digits.validation, F.cross_entropy)
    assert validation.accuracy == result.validation_accuracy == epochs_of(tmp_path / "run")[-1]["validation_accuracy"]


@pytest.mark.parametrize(
    ("scheduler", "options", "says"),
    [
        ("aslr", {"patience": 3}, "scheduler aslr has no option patience; it has min_lr, max_lr, tie, snap"),
        ("cosine", {"decay": 1}, "scheduler cosine has no option decay; it has none"),
        ("aslr", {"snap": 1}, "aslr's option snap must be true or false, but got 1"),
        ("plateau", {"factor": "a"}, "plateau's option factor must be a number, but got 'a'"),
        ("plateau", {"factor": 2}, r"plateau takes factor in \(0, 1\)"),
        ("greedy", {"factor": 2}, "greedy's factor must be between 0 and 1, but got 2"),
        (
            "greedy",
            {"decay": 1},
            "scheduler greedy has no option decay; it has factor, patience, window, min_lr, max_lr",
        ),
        ("aslr_decay", {"decay": 0}, "decay must be a fraction of the run"),
        ("aslr_smooth", {"window": 0.5}, "window must be a whole number of epochs"),
        ("aslr_average", {"tail": 2}, "tail must be a fraction of the run"),
        ("prodigy", {"nonsense": 1}, "nonsense"),
    ],
)
def test_options_that_a_scheduler_does_not_take_are_refused(
    net: nn.Module, tiny: Callable[..., Recipe], scheduler: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        make_method(net, tiny(scheduler=scheduler, scheduler_options=options), 3)


def test_options_reach_what_they_are_for(net: nn.Module, tiny: Callable[..., Recipe]) -> None:
    method = make_method(net, tiny(scheduler="plateau", scheduler_options={"factor": 0.5, "patience": 0}, lr=0.1), 3)
    for error in (0.5, 0.6):
        method.validated(error)
    assert method.rate() == 0.05
    method = make_method(net, tiny(scheduler="greedy", scheduler_options={"factor": 0.5, "patience": 0}, lr=0.1), 3)
    for error in (0.5, 0.4, 0.6):
        method.validated(error)
    assert method.rate() == 0.2


def test_nag_is_sgd_with_nesterovs_momentum(net: nn.Module, tiny: Callable[..., Recipe]) -> None:
    optimizer = make_method(net, tiny(scheduler="constant", optimizer="nag"), 3).optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)
    with pytest.raises(UserError, match="nag needs a momentum above 0"):
        make_method(net, tiny(scheduler="constant", optimizer="nag", momentum=0.0), 3)


def test_a_recipe_whose_rate_is_auto_does_not_train(
    tmp_path: Path, tiny: Callable[..., Recipe], net: nn.Module
) -> None:
    with pytest.raises(UserError, match="lr is auto, and training needs a number"):
        train(net, tiny(network="mine", lr="auto"), tmp_path / "run")
    assert not any(tmp_path.iterdir())
