"""Shipped recipes: every one trains, each is what its source says, and ASLR on it changes the schedule alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.data import DataSet, make_batches
from qtrain.models import Network, build_model
from qtrain.recipe import AUTO, Recipe, default_recipe, load_recipe, shipped_recipes
from qtrain.records.runs import read_records
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.schedulers.schedules import cosine, multistep
from qtrain.training import train
from qtrain.training.methods.make import make_method
from tests.fitting import fitting, shape_for
from tests.sampled import sampled

NARROW = 0.0625
QUICK = ("any-digits", "any-own", "cnv-cifar10", "resnet20-cifar10", "wrn20-cifar10", "vgg10_radioml-radioml")
TRAINED = [path for path in shipped_recipes().values() if path.stem in QUICK]
RECIPES = pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
SGD = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "baseline": "multistep", "jitter": 0.0}
IMGCLSMOB = {"optimizer": "nag", "momentum": 0.9, "lr": 0.1, "baseline": "cosine", "epochs": 120, "batch_size": 512}
IMGCLSMOB |= {"weight_decay": 1e-4, "jitter": 0.4, "augment": True, "loss": "cross_entropy"}
KERAS = {"optimizer": "adam", "lr": 1e-3, "baseline": "multistep", "epochs": 200, "batch_size": 32, "jitter": 0.0}
KERAS |= {"weight_decay": 2e-4, "loss": "cross_entropy"}
KUANGLIU = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "baseline": "cosine", "epochs": 200, "batch_size": 128}
KUANGLIU |= {"weight_decay": 5e-4, "augment": True, "jitter": 0.0, "loss": "cross_entropy"}
ADAM = {"optimizer": "adam", "weight_decay": 0.0, "augment": False, "loss": "cross_entropy"}
PAPER: dict[tuple[str, str], dict[str, Any]] = {
    ("resnet20", "cifar10"): KERAS,
    ("resnet56", "cifar10"): KERAS,
    ("densenet40", "cifar10"): {**SGD, "epochs": 300, "batch_size": 64, "weight_decay": 1e-4, "augment": False},
    ("vgg11", "cifar10"): {**SGD, "epochs": 200, "batch_size": 128, "weight_decay": 5e-4},
    ("resnet34", "cifar10"): {**SGD, "epochs": 150, "batch_size": 128, "weight_decay": 0.0},
    ("resnet34", "cifar100"): {**SGD, "epochs": 150, "batch_size": 128, "weight_decay": 0.0},
    ("cnv", "cifar10"): {"optimizer": "adam", "lr": 0.02, "loss": "squared_hinge", "batch_size": 100},
    ("wrn20", "cifar10"): IMGCLSMOB,
    ("wrn20_paper", "cifar10"): {**IMGCLSMOB, "width": 10.0},
    ("resnet10", "imagenet"): IMGCLSMOB,
    ("resnet50", "imagenet"): IMGCLSMOB,
    ("vgg11_imagenet", "imagenet"): IMGCLSMOB,
    ("mobilenetv1", "imagenet"): IMGCLSMOB,
    ("mobilenetv1", "cifar10"): KUANGLIU,
    ("vgg10_radioml", "radioml2018"): {**ADAM, "lr": 0.01, "epochs": 20, "batch_size": 1024, "baseline": "cosine"},
    ("mlp", "unsw_nb15"): {**ADAM, "lr": 0.001, "epochs": 15, "batch_size": 1000, "milestones": []},
    ("mlp_kws", "speech_commands"): {**ADAM, "lr": 5e-4, "epochs": 1000, "batch_size": 512, "baseline": "cosine"},
    ("cnv", "gtsrb"): {"optimizer": "adam", "lr": 0.02, "loss": "squared_hinge", "batch_size": 100, "augment": False},
}


def shipped_recipe(path: Path) -> Recipe:
    """Return a shipped recipe, with some rate where the range test is to find it."""
    recipe = load_recipe(path)
    return recipe.replace(lr=0.01) if recipe.lr == AUTO else recipe


def narrow(recipe: Recipe) -> Network:
    """Return the recipe's network for digits, too narrow to be good."""
    torch.manual_seed(recipe.seed)
    channels, *size = shape_for(recipe.network)
    return build_model(recipe.network, num_classes=10, in_channels=channels, image_size=size, width=NARROW)


@pytest.mark.parametrize("path", sampled(shipped_recipes().values(), TRAINED, id=lambda path: path.stem))
@pytest.mark.parametrize("which", [pytest.param("its own baseline", marks=pytest.mark.slow), "aslr"])
def test_a_shipped_recipe_trains_a_few_steps(path: Path, which: str, tmp_path: Path, few_digits: DataSet) -> None:
    recipe = shipped_recipe(path).replace(width=NARROW, epochs=1 if which == "aslr" else 2)
    recipe = recipe.replace(scheduler="aslr" if which == "aslr" else recipe.baseline)
    train(narrow(recipe), recipe, tmp_path / "run", data=fitting(few_digits, recipe.network), built=True)
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    run, *epochs, result = read_records(tmp_path / "run")
    assert run["recipe"] == recipe.to_dict()
    assert epochs[0]["lr"] == recipe.lr
    assert result["type"] == "result"


@pytest.mark.parametrize("path", sampled(shipped_recipes().values(), TRAINED, id=lambda path: path.stem))
def test_aslr_on_a_shipped_recipe_changes_the_schedule_and_nothing_else(path: Path, few_digits: DataSet) -> None:
    shipped = shipped_recipe(path)
    assert shipped.scheduler == DEFAULT
    ours, theirs = shipped, shipped.replace(scheduler=shipped.baseline)
    methods = [make_method(narrow(recipe), recipe, 10) for recipe in (ours, theirs)]
    aslr, baseline = (method.optimizer for method in methods)
    assert type(aslr) is type(baseline)
    for a, b in zip(aslr.param_groups, baseline.param_groups, strict=True):
        assert all(map(torch.equal, a["params"], b["params"]))
        assert settings(a) == settings(b)
    assert [method.rate() for method in methods] == [shipped.lr, shipped.lr]
    digits = fitting(few_digits, shipped.network)
    batches = [
        make_batches(digits.train, r.batch_size, seed=r.seed, augment=r.augment, flip=True, jitter=r.jitter)
        for r in (ours, theirs)
    ]
    for (images, labels), (other_images, other_labels) in zip(*(b.epoch(0) for b in batches), strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}


@pytest.mark.parametrize(("family", "data"), PAPER, ids="-".join)
def test_a_recipe_s_numbers_are_its_source_s(family: str, data: str) -> None:
    recipe = load_recipe(shipped_recipes()[family, data])
    values, expected = recipe.to_dict(), PAPER[family, data]
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("RESNET20_FLOAT", {0: 1e-3, 79: 1e-3, 80: 1e-4, 120: 1e-5, 160: 1e-6, 180: 5e-7, 199: 5e-7}),
        ("RESNET56_FLOAT", {79: 1e-3, 80: 1e-4, 120: 1e-5, 160: 1e-6, 180: 5e-7}),
        ("DENSENET40_FLOAT", {149: 0.1, 150: 0.01, 224: 0.01, 225: 0.001}),
        ("VGG11_6W6A", {99: 0.1, 100: 0.01, 149: 0.01, 150: 1e-3, 179: 1e-3, 180: 1e-4}),
        ("RESNET34_FLOAT", {74: 0.1, 75: 0.01, 112: 0.01, 113: 0.001}),
    ],
)
def test_multi_step_baselines_fall_at_the_epochs_of_their_source(network: str, changes: dict[int, float]) -> None:
    recipe = default_recipe(network, "cifar10")
    for epoch, rate in changes.items():
        found = multistep(epoch, recipe.epochs, recipe.rate, recipe.milestones, recipe.gamma)
        assert found == pytest.approx(rate, rel=1e-9)


def test_cosine_baselines_fall_from_their_rate_to_zero() -> None:
    recipe = default_recipe("RESNET50_FLOAT", "imagenet")
    rates = [cosine(epoch, recipe.epochs, recipe.rate) for epoch in (0, 60, 119)]
    assert rates[:2] == pytest.approx([0.1, 0.05])
    assert 0 < rates[2] < 1e-4


def test_every_shipped_recipe_says_where_it_comes_from() -> None:
    for path in shipped_recipes().values():
        assert path.read_text().startswith("# ")


def test_shipped_recipes_are_named_after_what_they_are_for() -> None:
    for (family, data), path in shipped_recipes().items():
        recipe = load_recipe(path)
        assert recipe.data == data
        assert family == "any" or recipe.network.lower().rsplit("_", 1)[0] == family


@pytest.mark.parametrize("network", ["CNV_1W1A", "CNV_2W4A", "cnv-w2a4"])
def test_any_bit_width_trains_by_its_familys_recipe(network: str) -> None:
    shipped = load_recipe(shipped_recipes()["cnv", "digits"])
    assert default_recipe(network, "digits") == shipped.replace(network=network)


def test_a_family_without_a_recipe_gets_the_data_set_s() -> None:
    for data in ("digits", "cifar10", "cifar100", "imagenet"):
        shipped = load_recipe(shipped_recipes()["any", data])
        for network in ("VGG_SMALL_1W4A", "resnet18-w6a6", "TFC_1W1A"):
            assert default_recipe(network, data) == shipped.replace(network=network)


def test_data_of_ones_own_have_one_recipe_for_all_networks() -> None:
    recipe = default_recipe("FOO_1W1A", "./flowers")
    assert (recipe.network, recipe.data, recipe.lr) == ("FOO_1W1A", "./flowers", AUTO)
    assert recipe.replace(network="my:Net_4W4A") == default_recipe("my:Net_4W4A", "./flowers")
    named = default_recipe("MLP_2W2A", "data/UNSW_NB15.npz")
    assert named == load_recipe(shipped_recipes()["mlp", "unsw_nb15"]).replace(data="data/UNSW_NB15.npz")
