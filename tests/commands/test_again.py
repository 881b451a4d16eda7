"""Printed command lines run where they are pasted."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.commands.again import program, resume_training, same_command
from qtrain.commands.training import KEPT
from qtrain.commands.words import normalised
from qtrain.interrupt import Interrupted


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("sys.argv", ["pytest"])


def test_the_program_is_named_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "my programs" / "qtrain"
    installed.parent.mkdir()
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == f"'{installed}'"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program() == "qtrain"
    monkeypatch.setattr("sys.argv", ["/somewhere/qtrain/cli.py"])
    assert program().endswith(" -m qtrain.cli")


def test_a_run_goes_on_with_the_data_and_device_that_were_named() -> None:
    assert resume_training(Path("runs/a"), ["CNV_1W1A", "--lr", "0.1"], KEPT) == "qtrain train --resume runs/a"
    given = ["CNV_1W1A", "--data_root=/my data", "--device", "cuda:1", "--epochs=3", "--quiet"]
    line = resume_training(Path("my  runs/it's"), given, KEPT)
    words = ["qtrain", "train", "--resume", "my  runs/it's", "--data-root", "/my data", "--device", "cuda:1"]
    assert shlex.split(line) == words


def test_the_same_command_is_what_was_given() -> None:
    given = ["CNV,VGG11", "--bits=first=8,stage2.*=4", "--lr-from", "8", "--data_root", "/my data"]
    name, *words = normalised(["compare", *given])
    wanted = [*given[:4], "--data-root", "/my data"]
    assert shlex.split(same_command(name, words)) == ["qtrain", "compare", *wanted]


def test_torchrun_is_put_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    line = resume_training(Path("runs/a"), [], KEPT)
    assert line == "torchrun --standalone --nproc-per-node 2 --no-python qtrain train --resume runs/a"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (Interrupted("stopped before b; a is saved"), "stopped before b; a is saved"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=str,
)
def test_ctrl_c_of_a_comparison_prints_the_command_that_goes_on(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: BaseException, said: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise raised

    # The interruption of a real comparison is in tests/engines/test_side_by_side.py; here what is said of it.
    monkeypatch.setattr("qtrain.experiments.comparison.compare.compare", stopped)
    words = ["compare", "CNV_1W1A", "--data", "digits", "--out", str(tmp_path / "my cmp")]
    outcome = cli(*words)
    assert outcome.status == 130
    assert outcome.err == f"qtrain: {said}; go on with: {shlex.join(['qtrain', *words])}\n"
