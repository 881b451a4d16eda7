"""``train --board``: one command to a proven FINN folder; what is wrong is said before training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.export.compiler import start
from tests.checks import check_refusal
from tests.conftest import Outcome

TRAIN = ["train", "CNV_1W1A", "--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40"]
TRAIN += ["--batch-size=20", "--epochs=1", "--out=run"]
WRONG = [
    (["--board", "Pinq-Z1"], ["Pinq-Z1", "Pynq-Z1"]),
    (["--target-fps", "10"], ["--target-fps goes with --board or --part"]),
    (["--clock-ns", "5"], ["--clock-ns goes with --board or --part"]),
    (["--resources", "LUT=5"], ["--resources goes with --part"]),
    (["--board", "ZCU104", "--target-fps", "0"], ["target_fps must be 1 frame a second or more"]),
    (["--board", "ZCU104", "--clock-ns", "-1"], ["clock_ns must be above 0"]),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "find_compiler", lambda: None)  # what it says has tests of its own


@pytest.mark.parametrize(("words", "said"), WRONG, ids=lambda value: " ".join(value)[:30])
def test_wrong_target_is_refused_before_training(
    words: list[str], said: list[str], cli: Callable[..., Outcome]
) -> None:
    check_refusal(cli(*TRAIN, *words), 2, *said)
    assert not Path("run").exists()


def test_network_that_finn_refuses_is_not_trained(cli: Callable[..., Outcome]) -> None:
    words = [word.replace("CNV_1W1A", "CNV_FLOAT") for word in TRAIN]
    refused = cli(*words, "--board", "ZCU104")
    check_refusal(refused, 2, "FINN would refuse this network", "leave --board away")
    assert not Path("run").exists()


def test_finished_run_is_exported_and_estimated_once(cli: Callable[..., Outcome]) -> None:
    done = cli(*TRAIN, "--board", "Pynq-Z1", "--target-fps", "50")
    assert done.status == 0, done
    assert "$ qtrain export run --board Pynq-Z1 --target-fps 50\n" in done.out
    assert "run/finn: ready for FINN on Pynq-Z1" in done.out
    assert "$ qtrain estimate run/finn\n" in done.out
    assert "make finn" in done.out, "without the compiler it counts, and says what to install"
    check_refusal(cli("train", "--resume", "run", "--board", "Pynq-Z1"), 2, "run/finn holds other things already")


def test_several_processes_refuse_a_board(monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Outcome]) -> None:
    monkeypatch.setenv("RANK", "0")
    refused = cli(*TRAIN, "--board", "Pynq-Z1")
    check_refusal(refused, 2, "--board goes with one process", "qtrain export")
