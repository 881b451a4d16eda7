"""What is wrong with a command line, in a user's words; and what of it was given rather than left to a default."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.cli import make_parser
from qtrain.commands.words import normalised
from qtrain.errors import UserError
from qtrain.experiments.comparison.no_retuning_plan import Plan

WRONG = [
    (["CNV_1W1A", "--epochs", "x"], "epochs must be a whole number, but got 'x'"),
    (["CNV_1W1A", "--epochs=1.5"], "epochs must be a whole number, but got '1.5'"),
    (["CNV_1W1A", "--lr", "fast"], "lr must be a number or auto, but got 'fast'"),
    (["CNV_1W1A", "--optimizer", "lion"], "optimizer must be one of sgd, nag, adam, adamw, but got 'lion'"),
    (["CNV_1W1A", "--augment", "maybe"], "augment must be true or false, but got 'maybe'"),
    (["CNV_1W1A", "--gamma", "x"], "gamma must be a number or a list such as 0.5,0.75, but got 'x'"),
    (["CNV_1W1A", "--train-size", "all"], "train_size must be a whole number, but got 'all'"),
    (["--batchsize", "5", "CNV_1W1A"], "unrecognized arguments: --batchsize 5; did you mean --batch-size? "),
    (["CNV_1W1A", "CNV_2W2A"], "unrecognized arguments: CNV_2W2A; "),
    (["CNV_1W1A", "--config", "absent.yaml"], "--config must name a YAML file: 'absent.yaml' is not there"),
    (["CNV_1W1A", "--config", "."], "--config must name a YAML file: '.' is a folder"),
    (["CNV_1W1A", "--config", "list.yaml"], "--config must map names to values in YAML; list.yaml holds '[1, 2]'"),
    (["CNV_1W1A", "--config", "cut.yaml"], "--config must map names to values in YAML; it does not: while parsing"),
    (["CNV_1W1A", "--config", "typo.yaml"], "--config has no field epohcs; did you mean epochs? fields are network"),
    (["CNV_1W1A", "--config", "kind.yaml"], "epochs must be a whole number, but got 'many' in kind.yaml"),
]
FILES = {"list": "[1, 2]", "cut": "epochs: [", "typo": "epohcs: 3", "kind": "epochs: many", "rate": "lr: 0.25"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(f"{name}.yaml").write_text(text)


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_the_first_fault_is_said_in_a_users_words(words: list[str], says: str) -> None:
    with pytest.raises(UserError) as raised:
        make_parser("train").parse(normalised(["train", *words])[1:])
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_what_is_given_tells_options_and_config_from_defaults() -> None:
    parser = make_parser("compare")
    assert "lr" not in parser.given(["CNV"])
    assert parser.given(["CNV", "--lr=0.1"]).lr == 0.1  # the default's value, but given
    assert parser.given(["--config", "rate.yaml", "CNV"]).lr == 0.25


@pytest.mark.parametrize(
    ("words", "lr"), [([], "auto"), (["--lr", "0.5"], 0.5), (["--config", "rate.yaml"], 0.25)], ids=str
)
def test_the_one_rate_is_read_from_the_config_too(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str], lr: float | str
) -> None:
    seen: list[Any] = []

    def note(plan: Plan, *_: Any, **__: Any) -> None:
        seen.append(plan.at_home.lr)
        raise UserError("enough")

    # What the command plans is looked at; the experiment itself runs in test_no_retuning.
    monkeypatch.setattr("qtrain.experiments.comparison.no_retuning.no_retuning", note)
    assert cli("compare", "CNV", "--bits", "1,2", "--lr-from", "2", "--data", "digits", *words).status == 2
    assert seen == [lr]
