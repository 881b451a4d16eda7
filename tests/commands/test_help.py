"""Help: it fits the terminal, the common options come first, the defaults are those of the recipe, examples end it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.cli import _COMMANDS, command_parsers, make_parser
from qtrain.commands.recipes import recipe_defaults
from qtrain.commands.words import normalised
from qtrain.data.catalogue import DATASETS
from qtrain.recipe import Recipe, dump_recipe, load_recipe, shipped_recipes


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("name", _COMMANDS)
def test_no_line_is_wider_than_the_terminal(name: str, everything: bool, columns: int) -> None:
    text = make_parser(name).command_help.text(everything=everything, columns=columns)
    body, _, examples = text.partition("\nexamples:\n")
    assert [line for line in body.splitlines() if len(line) > columns] == []
    assert examples
    assert all(line.startswith("  qtrain ") for line in examples.splitlines())


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_example_is_a_command_line_that_parses(name: str) -> None:
    for example in make_parser(name).examples:
        program, command, *words = example.split()
        assert (program, command in _COMMANDS) == ("qtrain", True)
        make_parser(command).parse(normalised([command, *words])[1:])


def test_common_options_fit_a_screen_and_the_rest_is_behind_help_all() -> None:
    parsers = command_parsers()
    for name, parser in parsers.items():
        short = parser.command_help.text(columns=100)
        long = parser.command_help.text(everything=True, columns=100)
        assert short.count("\n") < 60
        for option in parser.options:
            assert f"  {option.shown}" in long
            hidden = option.rare and sum(other.rare for other in parser.options) > 3
            assert (f"\n  {option.shown} " in short or f"\n  {option.shown}\n" in short) is not hidden
        left = sum(option.rare for option in parser.options)
        assert (f"{left} more options: qtrain {name} --help-all" in short) is (left > 3)


def test_the_data_option_names_every_data_set() -> None:
    text = " ".join(make_parser("train").command_help.text().split())
    assert f"one of {', '.join(DATASETS.built_in)}" in text


@pytest.mark.parametrize("words", [["CNV_1W1A", "--data", "digits"], ["--data=digits", "--help", "cnv-w2a2"]], ids=str)
def test_the_defaults_are_those_of_the_recipe_for_the_network_and_data(cli: Callable, words: list[str]) -> None:
    shipped = load_recipe(shipped_recipes()["cnv", "digits"])
    text = " ".join(cli("train", *words, "--help").out.split())
    assert "shipped recipe cnv-digits.yaml" in text
    for line in (
        f"passes over the training split [default: {shipped.epochs}]",
        f"images a step [default: {shipped.batch_size}]",
        f"the range test [default: {shipped.rate:g}]",
        f"channel counts [default: {shipped.width:g}]",
    ):
        assert line in text
    everything = " ".join(cli("train", *words, "--help-all").out.split())
    assert f"at these fractions of the epochs [default: {','.join(map(str, shipped.milestones))}]" in everything


def test_a_config_and_a_family_say_which_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(Recipe("TFC_1W1A", "mnist")))
    defaults, whose = recipe_defaults(make_parser("train"), ["--help", f"--config={path}"])
    assert "tfc-mnist.yaml, for TFC_1W1A on mnist" in whose
    assert defaults["epochs"] == load_recipe(shipped_recipes()["tfc", "mnist"]).epochs
    _, whose = recipe_defaults(make_parser("sweep"), ["WRN20_PAPER", "--help"])
    assert "wrn20_paper-cifar10.yaml" in whose
    _, whose = recipe_defaults(make_parser("train"), ["net.py:Net", "--data", "flowers/", "--help"])
    assert "any-own.yaml" in whose
    _, whose = recipe_defaults(make_parser("compare"), ["[CNV,VGG11]", "--data=digits", "--help"])
    assert "cnv-digits.yaml, for CNV on digits. Each network has its own." in whose


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a network and --data"),
        (["CNW_1W1A"], "did you mean CNV?"),
        (["CNV_1W1A", "--data", "digitts"], "did you mean digits?"),
        (["CNV_1W1A", "--config", "nowhere.yaml", "--data", "svhn"], "recipe any-svhn.yaml"),
    ],
    ids=str,
)
def test_what_is_unknown_or_missing_is_said_above_the_plain_defaults(
    cli: Callable, words: list[str], says: str
) -> None:
    outcome = cli("train", *words, "-h")
    assert (outcome.status, outcome.err) == (0, "")
    assert says in " ".join(outcome.out.split())
