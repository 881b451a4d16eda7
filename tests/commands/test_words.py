"""Lists on a command line: with brackets and without, wherever a list is taken."""

from collections.abc import Callable

import pytest
import yaml

from qtrain.cli import command_parsers, make_parser
from qtrain.commands.words import in_brackets, normalised, without_brackets


@pytest.mark.parametrize("given", ["0.5,0.75", "[0.5,0.75]", "[0.5, 0.75]"])
@pytest.mark.parametrize("joined", [True, False])
def test_numbers(cli: Callable, given: str, joined: bool) -> None:
    words = [f"--milestones={given}"] if joined else ["--milestones", given]
    outcome = cli("train", "CNV_1W1A", "--data", "digits", *words, "--print-config")
    assert yaml.safe_load(outcome.out)["milestones"] == [0.5, 0.75]


@pytest.mark.parametrize(
    ("given", "gamma"), [("0.5", 0.5), ("0.5,0.1,0.1", [0.5, 0.1, 0.1]), ("[0.5,0.1]", [0.5, 0.1])]
)
def test_one_number_or_several(cli: Callable, given: str, gamma: object) -> None:
    milestones = "0.5,0.75" if gamma == [0.5, 0.1] else "0.5,0.75,0.9"
    words = ["--milestones", milestones, "--gamma", given, "--print-config"]
    outcome = cli("train", "CNV_1W1A", "--data", "digits", *words)
    assert yaml.safe_load(outcome.out)["gamma"] == gamma


def test_one_milestone_is_a_list_too(cli: Callable) -> None:
    outcome = cli("train", "CNV_1W1A", "--data", "digits", "--milestones", "0.5", "--print-config")
    assert yaml.safe_load(outcome.out)["milestones"] == [0.5]


LISTS = [(name, o.name) for name, parser in command_parsers().items() for o in parser.options if o.listed]


def test_the_lists_are_known() -> None:
    named = {name for _, name in LISTS}
    assert {"--weight_bits", "--act_bits", "--bits", "--schedulers", "--against", "--grid", "--networks"} <= named
    assert {"--mean", "--std", "--input_shape", "--augmentation", "--tuning", "network"} <= named


@pytest.mark.parametrize(("command", "name"), LISTS, ids=str)
def test_texts(command: str, name: str) -> None:
    needed = {"lint": ["CNV_1W1A"], "quantize": ["net.py:Net"]}.get(command, [])
    found = []
    for given in ("a,b", "[a,b]", "[a, b]"):
        words = [given] if name == "network" else [*needed, name, given]
        options = make_parser(command).parse(normalised([command, *words])[1:])
        found.append(str(options[name.lstrip("-")]).replace(" ", ""))
    assert found == ["a,b"] * 3


def test_brackets_that_are_no_list_stay() -> None:
    assert without_brackets("stage[12].*=4") == "stage[12].*=4"
    assert without_brackets("[ab]*=4,x[1]") == "[ab]*=4,x[1]"
    assert (in_brackets("[1]"), in_brackets("1"), in_brackets("")) == ("[1]", "[1]", "")
