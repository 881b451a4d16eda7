"""Completion of the shell, in a real bash."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.models.zoo import FAMILIES
from qtrain.schedulers.catalogue import SCHEDULERS

# Calls what `complete` has registered for qtrain, as bash does when the tab key is pressed, and prints its answers.
PRESSED = """
source qtrain.bash
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
registered=$(complete -p qtrain)
[[ $registered =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" qtrain "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", reason="pip install -e .")
    from qtrain.cli import _completion

    place = tmp_path_factory.mktemp("shell")
    (place / "qtrain.bash").write_text(_completion("bash"))
    (place / "runs" / "first").mkdir(parents=True)
    (place / "mine.yaml").write_text("")
    return place


def pressed(place: Path, *words: str) -> set[str]:
    """Return what bash offers where the tab key is pressed behind these words."""
    shell = ["bash", "--norc", "--noprofile", "-c", PRESSED, "pressed", "qtrain", *words]
    run = subprocess.run(shell, cwd=place, capture_output=True, text=True, check=True)
    assert not run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], {"train"}),
        (["re"], {"reproduce", "report"}),
        (["train", "--sched"], {"--scheduler", "--scheduler-options"}),
        (["train", "CNV_1W1A", "--no-aug"], {"--no-augment"}),
        (["train", "CNV_1"], {"CNV_1W1A"}),
        (["train", "CNV_1W1A", "--data", "cifar"], {"cifar10", "cifar100"}),
        (["train", "CNV_1W1A", "--optimizer", ""], {"sgd", "nag", "adam", "adamw"}),
        (["export", "runs/first", "--board", "ZCU10"], {"ZCU102", "ZCU104"}),
        (["reproduce", "figure"], {"figure3", "figure4", "figure5", "figure6"}),
        (["export", "runs/"], {"runs/first"}),
        (["train", "--resume", "ru"], {"runs"}),
        (["train", "--config", "mi"], {"mine.yaml"}),
        (["--print-completion", "z"], {"zsh"}),
    ],
    ids=lambda words: " ".join(sorted(words) if isinstance(words, set) else words),  # a set has no order of its own
)
def test_bash_offers(place: Path, words: list[str], offered: set[str]) -> None:
    assert {word.rstrip("/") for word in pressed(place, *words)} == offered


def test_bash_offers_all_of_a_closed_list(place: Path) -> None:
    assert pressed(place, "train", "CNV_1W1A", "--scheduler", "") == set(SCHEDULERS.names())
    for command in ("models", "sweep", "compare"):
        assert pressed(place, command, "") >= {*FAMILIES.names(), *(f"{name}_4W4A" for name in FAMILIES.names())}


def test_another_shell_is_refused_in_one_line(cli: Callable) -> None:
    outcome = cli("--print-completion", "bsh")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith("must be one of bash, zsh, tcsh, fish, but got 'bsh'; did you mean bash?\n")
