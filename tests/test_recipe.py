"""Recipes: checked when made, YAML there and back, and every field settable from the command line."""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qtrain.cli import main
from qtrain.errors import UserError
from qtrain.recipe import Recipe, dump_recipe, load_recipe, recipe_from_dict, shipped_recipes
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS

OPEN = st.floats(0, 1, exclude_min=True, exclude_max=True)
FACTOR = st.floats(0, 1, exclude_min=True)
NAMES = tuple(SCHEDULERS.built_in)
MILESTONES = st.lists(st.tuples(OPEN, FACTOR), max_size=4)  # with a factor each
OPTIONS = st.dictionaries(st.text(), st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), max_size=3)


def with_more(recipe: Recipe, pairs: list[tuple[float, float]], listed: bool, ema: float) -> Recipe:
    """Add what not all values of others go with."""
    steps, factors = tuple(m for m, _ in pairs), tuple(g for _, g in pairs)
    ema = 0.0 if SCHEDULERS.get(recipe.scheduler).averages else ema
    return recipe.replace(milestones=steps, gamma=factors if listed else recipe.gamma, ema=ema)


PLAIN = st.builds(
    Recipe,
    network=st.sampled_from(["CNV_1W1A", "cnv-w2a3", "CNV_8W8A"]),
    data=st.sampled_from(["digits", "cifar10", "cifar100", "imagenet"]),
    epochs=st.integers(1, 10**9),
    batch_size=st.integers(2, 10**9),
    optimizer=st.sampled_from(["sgd", "nag", "adam", "adamw"]),
    lr=st.floats(0, exclude_min=True, allow_infinity=False) | st.just("auto"),
    momentum=st.floats(0, 1, exclude_max=True),
    weight_decay=st.floats(0, allow_infinity=False),
    scheduler=st.sampled_from(NAMES),
    scheduler_options=OPTIONS,
    baseline=st.sampled_from(["multistep", "cosine"]),
    gamma=FACTOR,
    loss=st.sampled_from(["squared_hinge", "cross_entropy"]),
    label_smoothing=st.floats(0, 1, exclude_max=True),
    mixup=st.just(0.0) | st.floats(0.001, 100),
    teacher=st.none() | st.just("runs/wide"),
    teacher_temperature=st.floats(0.01, 1000),
    teacher_weight=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**32 - 1),
    split_seed=st.none() | st.integers(0, 2**32 - 1),
    protocol=st.sampled_from(["holdout", "paper"]),
    validation_size=st.none() | st.integers(1, 10**6),
    train_size=st.none() | st.integers(1, 10**6),
    augment=st.booleans(),
    jitter=st.floats(0, 1),
    width=st.floats(0, 32, exclude_min=True),
    bits=st.sampled_from(["", "first=8,last=8", "stage2.*=1w4a"]),
    input_bits=st.integers(1, 8),
    power_of_two=st.booleans(),
    per_channel=st.booleans(),
    scaling=st.sampled_from(["auto", "constant", "learned", "statistics"]),
    precision=st.sampled_from(["exact", "fast"]),
    compile=st.booleans(),
    early_stop=st.none() | st.integers(1, 100),
    augmentation=st.sampled_from([None, "none", "crop", "crop,flip,noise"]),
    noise=st.floats(0, 1),
    net_args=OPTIONS,
    image_size=st.none() | st.integers(1, 1000) | st.sampled_from(["48", "32x64"]),
    channels=st.none() | st.integers(1, 9),
    layout=st.sampled_from([None, "NCHW", "NHWC", "NHW", "NCL", "NF"]),
    value_range=st.none() | st.sampled_from([(-1.0, 1.0), "0,4095", [0, 1]]),
)
RECIPES = st.builds(with_more, PLAIN, MILESTONES, st.booleans(), st.floats(0, 1, exclude_max=True))


@given(RECIPES)
def test_a_recipe_comes_back_equal_from_its_yaml(recipe: Recipe) -> None:
    assert recipe_from_dict(yaml.safe_load(dump_recipe(recipe)), "here") == recipe


def test_a_recipe_comes_back_equal_from_its_file(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(tiny(lr=1e-7, milestones=[0.25])))
    assert load_recipe(path) == tiny(lr=1e-7, milestones=(0.25,))


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-3"])
def test_numbers_are_read_as_people_write_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"network: CNV_1W1A\nlr: {text}\n")
    assert load_recipe(path).lr == 0.001


def test_whole_numbers_do_for_fractions() -> None:
    assert dump_recipe(Recipe("CNV_1W1A", lr=1, width=1)) == dump_recipe(Recipe("CNV_1W1A", lr=1.0, width=1.0))


BAD: list[tuple[str, Any, str]] = [
    ("network", 5, "a name"),
    ("data", None, "a name"),
    *[("epochs", v, "a whole number, 1 or more") for v in (0, -1, 1.5, "3", True, None)],
    *[("batch_size", v, "a whole number, 2 or more") for v in (1, 0, 2.0, "20")],
    *[("lr", v, "a number above 0, or auto") for v in (0, 0.0, -0.1, float("nan"), float("inf"), "0.1", None, True)],
    ("lr", 10**400, "a number above 0, or auto"),
    *[("momentum", v, "from 0 to below 1") for v in (-0.1, 1, 1.0, float("nan"), "0.9")],
    *[("weight_decay", v, "0 or more") for v in (-1e-9, float("inf"), float("nan"), "0")],
    *[("gamma", v, "above 0, at most 1") for v in (0, 1.1, float("nan"), "0.1")],
    *[
        ("gamma", v, "one factor above 0, at most 1, for each of the 3 milestones")
        for v in ([0.1], [0.1] * 4, [0.1, 0.1, 0], [0.1, 0.1, "0.1"], [])
    ],
    *[("jitter", v, "from 0 to 1") for v in (-0.1, 1.1, float("nan"), "0.4", True, None)],
    *[("scheduler_options", v, "names with values such as {patience: 5}") for v in (None, [], "eta_max", {1: 2})],
    *[("baseline", v, "one of multistep, cosine") for v in ("aslr", "", None)],
    *[("width", v, "above 0, at most 32") for v in (0, -1, 33, float("inf"), float("nan"), "1")],
    *[("seed", v, "a whole number, 0 to 4294967295") for v in (-1, 2**32, 0.0, "0", None)],
    *[("split_seed", v, "a whole number, 0 to 4294967295") for v in (-1, 2**32, 0.0, "0")],
    *[("input_bits", v, "a whole number, 1 to 8") for v in (0, 9, 8.0, "8")],
    *[
        (name, v, "a whole number, 1 or more")
        for name in ("validation_size", "train_size", "early_stop")
        for v in (0, -5, 1.5, "9")
    ],
    *[
        ("milestones", v, "a list of fractions between 0 and 1")
        for v in ([0], [1], [0.5, 2], 0.5, "0.5", ["0.5"], None)
    ],
    *[
        (name, v, "true or false")
        for name in ("augment", "power_of_two", "per_channel", "compile")
        for v in ("no", 0, 1, None)
    ],
    *[("init_from", v, "a run folder or a file of weights") for v in (8, "", " ")],
    *[("bits", v, "text such as first=8,last=8") for v in (8, None, ["first=8"])],
    *[("optimizer", v, "one of sgd, nag, adam, adamw") for v in ("rmsprop", "SGD", None, ["sgd"])],
    *[("scheduler", v, f"one of {', '.join(NAMES)}") for v in ("nonsense", "", 3, None, ["aslr"])],
    *[("loss", v, "one of squared_hinge, cross_entropy") for v in ("hinge", None)],
    *[
        (name, v, "from 0 to below 1")
        for name in ("label_smoothing", "ema")
        for v in (-0.1, 1, float("nan"), "0", None)
    ],
    *[("mixup", v, "0, or from 0.001 to 100") for v in (-0.1, 1e-9, 101, float("inf"), float("nan"), "0.2", True)],
    *[("teacher", v, "a run folder") for v in (8, "", " ")],
    *[("teacher_temperature", v, "from 0.01 to 1000") for v in (0, -1, float("inf"), "4", None)],
    *[("teacher_weight", v, "above 0, at most 1") for v in (0, 1.1, float("nan"), "0.9")],
    *[("protocol", v, "one of holdout, paper") for v in ("test", None)],
    *[("scaling", v, "one of auto, constant, learned, statistics") for v in ("none", None)],
    *[("precision", v, "one of exact, fast") for v in ("half", None, 16)],
    *[("noise", v, "from 0 to 1") for v in (-0.1, 1.1, float("nan"), "0.4", True, None)],
    *[("augmentation", v, "text such as crop,flip") for v in (3, ["crop"], True)],
    *[
        ("augmentation", v, "none, or some of crop, flip, noise, each once")
        for v in ("", "crops", "crop,crop", "crop;flip")
    ],
    *[("net_args", v, "names with values such as {depth: 3}") for v in (None, [], "depth", {1: 2})],
    *[
        ("image_size", v, "pixels such as 48, or height x width such as 32x64")
        for v in (0, -3, 1.5, "", "32x", "x32", "0x4", "32x32x3", True, [32, 32])
    ],
    *[("channels", v, "a whole number, 1 or more") for v in (0, -1, 3.0, "3", True)],
    *[("layout", v, "one of NCHW, NHWC, NHW, NCL, NF") for v in ("HWC", "nchw", 3, ["NCHW"])],
    *[
        ("value_range", v, "two numbers, the lower first, such as -1,1")
        for v in (1, "1", "1,0", "0,0", "0,inf", "a,b", [0], [0, 1, 2], "nan,1", True)
    ],
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_names_the_field_what_is_allowed_and_what_was_given(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError) as error:
        Recipe(**{"network": "CNV_1W1A", name: value})
    said, _, hint = str(error.value).partition("; did you mean ")
    assert said == f"{name} must be {allowed}, but got {value!r}"
    assert not hint or hint.removesuffix("?") in allowed


def test_a_misspelt_scheduler_is_told_the_closest_name() -> None:
    with pytest.raises(UserError, match=r"but got 'aslr_dcay'; did you mean aslr_decay\?$"):
        Recipe("CNV_1W1A", scheduler="aslr_dcay")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"optimizer": "sdg"}, "sgd"),
        ({"baseline": "multi_step"}, "multistep"),
        ({"protocol": "papper"}, "paper"),
        ({"layout": "nchw"}, "NCHW"),
        ({"augmentation": "crop,flp"}, "flip"),
    ],
    ids=str,
)
def test_a_misspelt_choice_is_told_the_closest(given: dict[str, str], meant: str) -> None:
    with pytest.raises(UserError, match=rf"; did you mean {meant}\?$"):
        Recipe("CNV_1W1A", **given)  # type: ignore[arg-type]


def test_every_field_has_a_bad_value_above() -> None:
    assert {name for name, _, _ in BAD} == {f.name for f in fields(Recipe)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("network: CNV_1W1A\nfoo: 1\nbar: 2\n", "has no field foo, bar; fields are network, data, epochs"),
        ("epochs: 3\n", "names no network; add one, for instance network: CNV_1W1A"),
        ("- 1\n", "holds no recipe; it must map field names to values"),
        ("", "holds no recipe"),
        ("network: [\n", "is not YAML"),
        ("network: !!python/object/apply:os.system ['true']\n", "is not YAML"),
        ("network: CNV_1W1A\nepochs: 0\n", "epochs must be a whole number, 1 or more, but got 0"),
        (b"\xff\xfe\x00", "is not YAML"),
        (None, "does not exist"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong_in_one_line(
    tmp_path: Path, text: str | bytes | None, says: str
) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


FLAGS = {
    "data": "digits",
    "epochs": "7",
    "batch_size": "33",
    "optimizer": "sgd",
    "lr": "0.25",
    "momentum": "0.5",
    "weight_decay": "1e-4",
    "scheduler": "cosine",
    "scheduler_options": "{eta_max: 10}",
    "baseline": "cosine",
    "milestones": "[0.1,0.2]",
    "gamma": "0.5",
    "loss": "cross_entropy",
    "label_smoothing": "0.1",
    "mixup": "0.2",
    "ema": "0.99",
    "teacher": "runs/wide",
    "teacher_temperature": "2.0",
    "teacher_weight": "0.5",
    "seed": "11",
    "split_seed": "12",
    "protocol": "paper",
    "validation_size": "44",
    "train_size": "55",
    "augment": "false",
    "jitter": "0.4",
    "width": "0.5",
    "input_bits": "4",
    "scaling": "learned",
    "bits": "first=8,stage2.*=1w4a",
    "power_of_two": "true",
    "per_channel": "true",
    "precision": "fast",
    "compile": "true",
    "early_stop": "6",
    "init_from": "runs/other",
    "augmentation": "crop,flip",
    "noise": "0.1",
    "net_args": "{depth: 3}",
    "image_size": "32x64",
    "channels": "1",
    "layout": "NHWC",
    "value_range": "[-1.0, 1.0]",
}


def printed(cli: Callable, *words: object) -> dict[str, Any]:
    outcome = cli("train", *words, "--print_config")
    assert (outcome.status, outcome.err) == (0, "")
    return yaml.safe_load(outcome.out)


@pytest.fixture(scope="module")
def without_flags() -> dict[str, Any]:
    """What ``qtrain train CNV_1W1A --data digits`` would do, printed once for all flags."""
    with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit) as ended:
        main(["train", "CNV_1W1A", "--data", "digits", "--print_config"])
    assert not ended.value.code
    return yaml.safe_load(out.getvalue())


def test_every_field_has_a_flag() -> None:
    assert {"network", *FLAGS} == {f.name for f in fields(Recipe)}


def test_a_switch_needs_no_value(cli: Callable) -> None:
    assert printed(cli, "CNV_1W1A", "--compile")["compile"] is True
    assert printed(cli, "--compile", "--seed", "3", "CNV_1W1A")["compile"] is True
    found = printed(cli, "CNV_1W1A", "--compile", "--no-compile", "--no-augment", "--no-per_channel")
    assert (found["compile"], found["augment"], found["per_channel"]) == (False, False, False)


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(("dash", "spelling"), [("-", "--{} {}"), ("_", "--{}={}")])
def test_a_flag_sets_its_field_and_no_other(
    cli: Callable, without_flags: dict[str, Any], name: str, spelling: str, dash: str
) -> None:
    before = without_flags
    words = spelling.format(name.replace("_", dash), FLAGS[name]).split(maxsplit=1 if " " in spelling else 0)
    after = printed(cli, "CNV_1W1A", "--data", "digits", *words)
    assert after[name] == (1e-4 if name == "weight_decay" else yaml.safe_load(FLAGS[name]))
    assert {k for k in after if after[k] != before[k]} <= {name}


def test_a_flag_takes_a_rate_from_the_range_test_and_a_factor_for_each_milestone(cli: Callable) -> None:
    config = printed(cli, "CNV_1W1A", "--data", "digits", "--lr", "auto", "--gamma", "[0.1,0.5]")
    assert (config["lr"], config["gamma"]) == ("auto", [0.1, 0.5])


def test_bnn_pynqs_random_seed_is_the_seed(cli: Callable) -> None:
    assert printed(cli, "CNV_1W1A", "--random-seed", "5")["seed"] == 5
    assert printed(cli, "CNV_1W1A", "--random_seed=6")["seed"] == 6


def test_the_shipped_recipe_is_the_default_and_flags_change_it(cli: Callable) -> None:
    shipped = load_recipe(shipped_recipes()["cnv", "digits"])
    config = printed(cli, "cnv-w2a2", "--data", "digits", "--lr", "0.5")
    assert recipe_from_dict({k: config[k] for k in shipped.to_dict()}, "") == shipped.replace(
        network="cnv-w2a2", lr=0.5
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "mine.yaml", "--epochs", "9"],
        ["--epochs", "9", "--config", "mine.yaml"],
        ["--epochs=9", "--config=mine.yaml"],
        ["CNV_2W2A", "--epochs", "9", "--config", "mine.yaml"],
        ["--config", "mine.yaml", "--epochs", "9", "CNV_2W2A"],
    ],
)
def test_what_is_given_wins_over_the_config_file_wherever_it_stands(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("network: CNV_4W4A\ndata: digits\nepochs: 3\nlr: 1e-3\n")
    config = printed(cli, *words)
    assert config["network"] == ("CNV_2W2A" if "CNV_2W2A" in words else "CNV_4W4A")
    assert (config["data"], config["epochs"], config["lr"]) == ("digits", 9, 0.001)
    assert config["batch_size"] == load_recipe(shipped_recipes()["cnv", "digits"]).batch_size  # for the file's data


@pytest.mark.parametrize("flag", ["--print_config", "--print-config"])
def test_a_printed_config_prints_itself(cli: Callable, tmp_path: Path, flag: str) -> None:
    first = cli("train", "CNV_2W2A", "--data", "digits", "--lr", "1e-5", "--milestones", "[0.3]", flag)
    (tmp_path / "printed.yaml").write_text(first.out)
    second = cli("train", "--config", tmp_path / "printed.yaml", flag)
    assert (first.status, second.status) == (0, 0)
    assert first.out == second.out
    assert "lr: 1.0e-05" in first.out


def test_a_run_folders_recipe_is_a_config(cli: Callable, tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(tiny(seed=4)))
    config = printed(cli, "--config", path)
    assert recipe_from_dict({k: config[k] for k in tiny().to_dict()}, "") == tiny(seed=4)


@pytest.mark.parametrize("scheduler", [name for name in NAMES if SCHEDULERS.get(name).averages])
def test_an_average_of_weights_goes_with_no_scheduler_that_has_its_own(scheduler: str) -> None:
    with pytest.raises(UserError) as error:
        Recipe("CNV_1W1A", scheduler=scheduler, ema=0.99)
    assert str(error.value) == (
        f"ema is 0.99, but scheduler {scheduler} judges an average of its own; leave ema out, or choose another "
        f"scheduler, such as {DEFAULT}"
    )
