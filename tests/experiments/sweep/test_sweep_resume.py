"""A sweep that is stopped, then killed, then resumed ends as one that nothing disturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.records.checksum import without_checksum
from qtrain.records.runs import RECORDS, read_records
from qtrain.training.context import RunContext
from tests.training.test_resume import everything

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SIZE: dict[str, Any] = {"data": "digits", "epochs": 12, "batch_size": 20, "width": 0.125, "optimizer": "adam"}
SIZE |= {"train_size": 400, "validation_size": 40, "lr": 0.02, "seed": 3}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SIZE.items()]
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom qtrain.cli import main; main()"
CELLS = ("TFC_1W1A-seed3", "TFC_2W2A-seed3")


def planned() -> SweepPlan:
    return plan_sweep("TFC", weight_bits=[1, 2], **SIZE)


def command(*words: str, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", MAIN, "sweep", *words, "--device=cpu"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(process: subprocess.Popen, folder: Path, epochs: int) -> None:
    """Wait until a run has so many records; it is then in the middle of its next epoch."""
    path, late = folder / RECORDS, time.monotonic() + 120
    while not path.exists() or path.read_text().count("\n") < 1 + epochs:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < late
        time.sleep(0.01)


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    sweep(planned(), out, context=RunContext(device="cpu"))
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [without_checksum(json.loads(line)) for line in (out / "sweep.jsonl").read_text().splitlines()]


def test_stopped_killed_and_resumed_a_sweep_ends_as_an_undisturbed_one(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (out / "cells" / name for name in CELLS)

    process = command("TFC", "--weight-bits=1,2", *FLAGS, "--out=out", cwd=tmp_path)
    wait_for_epochs(process, first, 2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved in" in error
    assert error.endswith("; go on with: qtrain sweep --resume out --device cpu\n")
    status = json.loads((out / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert status["cells"] == {"done": 0, "failed": 0, "running": 0, "waiting": 2}
    assert (rows_of(out), len(read_records(first)) < 13) == ([], True)

    process = command("--resume=out", cwd=tmp_path)
    wait_for_epochs(process, second, 2)
    process.kill()
    process.wait()
    status = json.loads((out / "status.json").read_text())  # of at most a second ago
    assert status["state"] == "running"
    assert [row["cell"] for row in rows_of(out)] == [CELLS[0]]
    assert not (second / "cell.json").exists()

    rows = resume_sweep(out, context=RunContext(device="cpu"))
    assert list(map(without_times, rows)) == list(map(without_times, rows_of(undisturbed)))
    for name in CELLS:
        assert everything(out / "cells" / name) == everything(undisturbed / "cells" / name)


def test_a_sweep_that_has_moved_goes_on_from_its_own_parents(tmp_path: Path) -> None:
    small = plan_sweep("TFC", weight_bits=[1, 8], warm_from=8, **SIZE | {"epochs": 1, "train_size": 60})
    known = [without_times(row) for row in sweep(small, tmp_path / "known", context=RunContext(device="cpu"))]
    (warm,) = [row["cell"] for row in known if row["start"] == "warm"]
    (tmp_path / "known").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "cells" / warm
    (moved / "cell.json").unlink()
    read = [without_times(row) for row in resume_sweep(tmp_path / "moved", context=RunContext(device="cpu"))]
    for name in ("cell.json", "checkpoint.pt", RECORDS):
        (moved / name).unlink()
    anew = [without_times(row) for row in resume_sweep(tmp_path / "moved", context=RunContext(device="cpu"))]
    assert read == anew == known
