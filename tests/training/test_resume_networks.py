"""Every network goes on bit for bit, the command line's way: built from its folder, with the fast forward pass."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import brevitas.nn as qnn
import pytest
import torch
from torch import Tensor, nn

from qtrain.data import DataSet
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.models import FAMILIES
from qtrain.recipe import Recipe
from qtrain.training import Interrupted, train
from qtrain.training.context import RunContext
from tests.fitting import takes_digits
from tests.sampled import sampled
from tests.training.test_resume import everything

STEPS = 6  # of two epochs
OWN_SCALES = ("DENSENET40", "RESNET18_PYNQ")  # no quantizers, or bnn_pynq's
DEEP = ("RESNET34", "RESNET50", "RESNET56")  # half a minute a run
SCALES = {
    "constant": {"scaling": "constant"},
    "learned": {"scaling": "learned"},
    "statistics": {"scaling": "statistics"},
    "per channel": {"scaling": "statistics", "per_channel": True},
    "power of two": {"scaling": "learned", "power_of_two": True},
}


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch, few_digits: DataSet) -> None:
    """Let the recipes' data be few, since most time would go into evaluation."""
    few = replace(few_digits, validation=few_digits.validation.take(20), test=few_digits.test.take(20))
    monkeypatch.setattr("qtrain.training.beginning.load_splits", lambda recipe, root: few.subset(60))


def after(steps: int) -> Callable[[], bool]:
    """A ``stop`` that comes after so many steps."""
    taken = iter(range(1, 1000))
    return lambda: next(taken) == steps


def resumed(recipe: Recipe, out: Path, stops: list[int]) -> dict:
    """What a run leaves that was stopped after each of these steps, counted over the whole run."""
    with pytest.raises(Interrupted):
        train_recipe(recipe, out, context=RunContext(stop=after(stops[0])))
    for before, at in pairwise(stops):
        with pytest.raises(Interrupted):
            resume_run(out, context=RunContext(stop=after(at - before)))
    resume_run(out)
    return everything(out)


def check(recipe: Recipe, place: Path, stops: list[int]) -> None:
    train_recipe(recipe, place / "whole")
    assert resumed(recipe, place / "pieces", stops) == everything(place / "whole")


@pytest.mark.parametrize("family", sampled(["TFC", "VGG11", "RESNET20"], ["TFC"]))
def test_a_resumed_network_has_the_uninterrupted_ones_weights(
    family: str, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    check(tiny(network=f"{family}_4W4A"), tmp_path, [2, 4])


@pytest.mark.parametrize("precision", ["exact", pytest.param("fast", marks=pytest.mark.slow)])
@pytest.mark.parametrize("scales", sampled(SCALES, ["learned", "per channel"]))
def test_a_resumed_network_has_its_scales(
    scales: str, precision: str, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    check(tiny(network="CNV_2W2A", precision=precision, scheduler="aslr", **SCALES[scales]), tmp_path, [1, 5])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("family", filter(takes_digits, FAMILIES.built_in))
def test_any_family_with_any_scales_may_be_stopped_anywhere(
    family: str, precision: str, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    draw = random.Random(f"{family} {precision}")
    chosen = [{}] if family in OWN_SCALES else draw.sample(list(SCALES.values()), 1 if family in DEEP else 3)
    for number, scales in enumerate(chosen):
        bits = draw.choice([1, 2, 4, 8] if scales.get("scaling") == "constant" else [2, 4, 8])
        name = f"{family}_FLOAT" if FAMILIES.get(family).float_only else f"{family}_{bits}W{bits}A"
        recipe = tiny(network=name, precision=precision, **scales)
        scheduler = draw.choice(["aslr_decay", "multistep", "aslr_average", "plateau", "schedulefree", "transition"])
        stops = sorted(draw.sample(range(1, STEPS + 1), draw.choice([1, 2])))
        check(recipe.replace(scheduler=scheduler), tmp_path / str(number), stops)


class Collecting(nn.Module):
    """A module of a user's: Brevitas' own activations, which collect statistics for their first steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.input = qnn.QuantIdentity(bit_width=8, collect_stats_steps=steps)
        self.conv = qnn.QuantConv2d(3, 8, 3, stride=4, bias=False, weight_bit_width=4)
        self.norm = nn.BatchNorm2d(8)
        self.act = qnn.QuantReLU(bit_width=4, collect_stats_steps=steps)
        self.never = qnn.QuantReLU(bit_width=4)  # in no image's way, so that it never sees one
        self.fc = qnn.QuantLinear(8 * 8 * 8, 10, bias=False, weight_bit_width=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(self.input(x))))
        return self.fc(x.flatten(1))


class Annealed(nn.Module):
    """A module of a user's that changes a number of its own in every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.softness, self.fc = 1.0, nn.Linear(3 * 32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.softness *= 0.9
        return self.fc(x.flatten(1)) * (1 + self.softness)


@pytest.mark.parametrize("ema", sampled([0.0, 0.9], [0.0]))
@pytest.mark.parametrize("stops", sampled([[1], [3], [4], [2, 5]], [[4], [2, 5]]))
@pytest.mark.parametrize(
    "make", [lambda: Collecting(3), lambda: Collecting(300), Annealed], ids=["until 3", "until 300", "annealed"]
)
def test_a_network_that_counts_its_steps_goes_on_counting(
    make: Callable[[], nn.Module],
    stops: list[int],
    ema: float,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    few_digits: DataSet,
) -> None:
    recipe = tiny(network="mine", scheduler="constant", weight_decay=0.01, ema=ema)
    train(make(), recipe, tmp_path / "whole", data=few_digits)
    for before, at in zip([0, *stops], stops, strict=False):
        with pytest.raises(Interrupted):
            train(
                make(),
                recipe,
                tmp_path / "run",
                data=few_digits,
                resume=before > 0,
                context=RunContext(stop=after(at - before)),
            )
    train(make(), recipe, tmp_path / "run", data=few_digits, resume=True)
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")
