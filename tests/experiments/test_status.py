"""Where cells are: ``status.json``, the time left, and the table on the terminal."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from qtrain.experiments.run_cells import run_cells
from qtrain.experiments.status import CellsStatus, EndedCell
from qtrain.experiments.view import LineView, live_table
from qtrain.interrupt import Interrupted
from qtrain.records.status import FailedCell, RunningCell, StatusFile

CELLS = {"1-bit": 4, "2-bit": 4, "4-bit": 4}  # epochs by name


@pytest.fixture
def status(tmp_path: Path) -> CellsStatus:
    """Return the status of three cells of four epochs, of which the first has failed earlier."""
    return CellsStatus(tmp_path, CELLS, [EndedCell("1-bit", "train", "the loss is nan")])


def test_the_status_file_follows_a_running_cell(status: CellsStatus, tmp_path: Path) -> None:
    with status:
        status.told("2-bit", {"event": "start", "title": "TFC_2W2A aslr seed 0", "steps": 8, "done": 0})
        status.told("2-bit", {"event": "epoch", "epoch": 2, "epochs": 4, "validation_accuracy": 50.0})
        found = status.record()
        assert found.cells == {"done": 0, "failed": 1, "running": 1, "waiting": 1}
        assert found.running == (RunningCell("2-bit", "train", 2, 4, 50.0),)
        assert found.failed == (FailedCell("1-bit", "train", "the loss is nan"),)
        assert found.seconds_left is None
        status.told("2-bit", {"event": "start", "title": "lint", "steps": 0, "done": 0})
        assert status.stage_of("2-bit") == "lint"
        assert StatusFile.read(tmp_path).state == "running"
    assert (StatusFile.read(tmp_path).state, StatusFile.read(tmp_path).running) == ("done", ())


@pytest.mark.parametrize(("error", "state"), [(Interrupted("saved"), "interrupted"), (OSError("full"), "failed")])
def test_the_status_file_says_what_ended_the_work(
    status: CellsStatus, tmp_path: Path, error: BaseException, state: str
) -> None:
    with pytest.raises(type(error)), status:
        raise error
    assert StatusFile.read(tmp_path).state == state


def test_the_time_left_is_that_of_the_cells_that_have_ended(
    status: CellsStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 140.0, 140.0])  # a cell begins, ends after 40 s; the next begins
    monkeypatch.setattr("qtrain.experiments.status.time.monotonic", lambda: next(clock))
    status.told("2-bit", {"event": "start", "title": "", "steps": 8, "done": 0})
    status.ended(EndedCell("2-bit"))
    assert status.record().seconds_left == 40.0
    status.told("4-bit", {"event": "epoch", "epoch": 3, "epochs": 4, "validation_accuracy": 1.0})
    assert status.record().seconds_left == 10.0


def test_the_live_table_shows_what_runs_what_failed_and_the_time_left(status: CellsStatus) -> None:
    status.told("2-bit", {"event": "epoch", "epoch": 2, "epochs": 4, "validation_accuracy": 51.25})
    console = Console(record=True, width=120, file=io.StringIO())
    found = status.record()
    console.print(live_table(replace(found, seconds_left=3725.0)))
    text = console.export_text()
    for part in ("2-bit", "train", "2/4", "51.25 %", "1-bit (train): the loss is nan"):
        assert part in text
    assert "cells: 0 done, 1 failed, 1 running, 1 waiting, about 1 h 02 min left" in text


def test_a_log_is_told_what_runs_though_nothing_happens(status: CellsStatus) -> None:
    status.told("2-bit", {"event": "epoch", "epoch": 2, "epochs": 4, "validation_accuracy": 51.25})
    said: list[str] = []
    spoken = threading.Semaphore(0)

    def say(line: str) -> None:
        said.append(line)
        spoken.release()

    view = LineView(say, silence=0.01)
    view.open(status)
    for _ in range(3):
        assert spoken.acquire(timeout=60)
    view.close()
    assert said[0] == "cells: 0 done, 1 failed, 1 running, 1 waiting"
    assert said[1:3] == [f"{said[0]}; running: 2-bit (epoch 2/4, 51.25 %)"] * 2


def test_a_process_that_was_killed_behind_its_last_cell_leaves_no_status_that_says_it_runs(
    status: CellsStatus, tmp_path: Path
) -> None:
    assert list(run_cells([], tmp_path)) == []
    assert not list(tmp_path.iterdir())  # where there is no status none is written
    replace(status.record(), state="running").write(tmp_path)
    assert list(run_cells([], tmp_path)) == []
    assert StatusFile.read(tmp_path).state == "done"
    (tmp_path / StatusFile.FILE).write_text("half")
    assert list(run_cells([], tmp_path)) == []
    assert StatusFile.read(tmp_path).state == "done"
