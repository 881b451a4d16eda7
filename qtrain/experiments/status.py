"""Where a sweep or comparison is: its cells by state, and the time left; ``status.json`` for machines."""

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from qtrain.records.status import FailedCell, RunningCell, State, StatusFile

STAGES = ("train", "lint", "export", "estimate")
EVERY = 1.0  # seconds between two writes


@dataclass(frozen=True)
class EndedCell:
    """What is known of a cell that has ended.

    Attributes:
        cell: its name.
        stage: that it failed in; None where it did not.
        error: why it failed.
    """

    cell: str
    stage: str | None = None
    error: str | None = None


@dataclass
class _Running:
    """A cell that runs, as far as it has told."""

    cell: str
    epochs: int
    since: float
    stage: str = STAGES[0]
    epoch: int = 0
    validation_accuracy: float | None = None

    def record(self) -> RunningCell:
        """Return the cell as ``status.json`` has it."""
        return RunningCell(self.cell, self.stage, self.epoch, self.epochs, self.validation_accuracy)


class CellsStatus:
    """Keeps count of cells and writes ``status.json`` every second while it is entered.

    The file's ``updated`` is never old while the work goes on: where it is, the process was killed.

    Args:
        out: the folder of the sweep or comparison.
        epochs: of every cell, by its name.
        ended: the cells that had ended before.
    """

    def __init__(self, out: Path, epochs: Mapping[str, int], ended: Iterable[EndedCell] = ()):
        self._out = out
        self._cells = dict(epochs)
        self._ended = {cell.cell: cell for cell in ended}
        self._running: dict[str, _Running] = {}
        self._unplanned = 0  # cells of a search that are not asked for yet
        self._unplanned_epochs = 0
        self._seconds = 0.0  # of the cells that this process has seen end
        self._epochs = 0
        self._started = _now()
        self.state: State = "running"
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._write_on, daemon=True)

    def __enter__(self) -> "CellsStatus":
        self._write()
        self._writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._writer.join()
        self.state = "failed" if kind else "done"
        if kind and issubclass(kind, KeyboardInterrupt | GeneratorExit):
            self.state = "interrupted"
        with self._lock:
            self._running.clear()
        self._write()

    def expect(self, epochs: Mapping[str, int], unplanned: int, epochs_each: int) -> None:
        """Take cells that a search has planned.

        Args:
            epochs: of these, by name.
            unplanned: how many more it will plan.
            epochs_each: of each of those.
        """
        with self._lock:
            self._cells |= epochs
            self._unplanned = unplanned
            self._unplanned_epochs = epochs_each * unplanned

    def told(self, name: str, event: dict[str, Any]) -> None:
        """Take an engine's event."""
        with self._lock:
            running = self._running.get(name)
            if running is None:
                running = self._running[name] = _Running(name, self._cells[name], time.monotonic())
            if event["event"] == "start":
                running.stage = event["title"] if event["title"] in STAGES else STAGES[0]
            elif event["event"] == "epoch":
                running.epoch = event["epoch"]
                running.validation_accuracy = event["validation_accuracy"]

    def stage_of(self, name: str) -> str:
        """Return the stage that a cell was last known to be at."""
        with self._lock:
            if name in self._running:
                return self._running[name].stage
            return STAGES[0]

    def ended(self, cell: EndedCell) -> None:
        """Take a cell that has ended."""
        with self._lock:
            running = self._running.pop(cell.cell, None)
            if running is not None:
                self._seconds += time.monotonic() - running.since
                self._epochs += running.epochs
            self._ended[cell.cell] = cell

    def record(self) -> StatusFile:
        """Return what ``status.json`` holds."""
        with self._lock:
            failed = [cell for cell in self._ended.values() if cell.stage is not None]
            running = tuple(cell.record() for cell in self._running.values())
            counts = {
                "done": len(self._ended) - len(failed),
                "failed": len(failed),
                "running": len(running),
                "waiting": len(self._cells) + self._unplanned - len(self._ended) - len(running),
            }
            return StatusFile(
                state=self.state,
                started=self._started,
                updated=_now(),
                cells=counts,
                seconds_left=self._seconds_left(),
                running=running,
                failed=tuple(FailedCell(cell.cell, str(cell.stage), str(cell.error)) for cell in failed),
            )

    def _seconds_left(self) -> float | None:
        """Estimate the seconds left by what cells that ended here took an epoch, all stages; None before the first."""
        if not self._epochs:
            all_ended = len(self._ended) == len(self._cells) + self._unplanned
            return 0.0 if all_ended else None
        left = self._unplanned_epochs
        for name, epochs in self._cells.items():
            if name not in self._ended:
                left += epochs
        for cell in self._running.values():
            left -= min(cell.epoch, cell.epochs - 1)
        return round(left * self._seconds / self._epochs / max(1, len(self._running)), 1)

    def _write_on(self) -> None:
        while not self._over.wait(EVERY):
            self._write()

    def _write(self) -> None:
        with suppress(OSError):  # a full disk: the cells say so, and the next second may have room
            self.record().write(self._out)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
