"""Where a sweep is: cells done, failed, running and waiting, and the time left; ``status.json`` for machines."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.experiments.sweep.row import STAGES
from qtrain.records.files import write_json

STATUS = "status.json"
FORMAT = 1
EVERY = 1.0  # seconds between two writes
State = Literal["running", "done", "interrupted", "failed"]


@dataclass
class Running:
    """A cell that runs, as far as it has told."""

    cell: str
    epochs: int
    since: float
    stage: str = "train"
    epoch: int = 0
    validation_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As ``status.json`` has it."""
        known = ("cell", "stage", "epoch", "epochs", "validation_accuracy")
        return {name: getattr(self, name) for name in known}


class SweepStatus:
    """Keeps count of a sweep and writes ``status.json`` every second while it is entered.

    The file's ``updated`` is never old while the sweep lives: where it is, the sweep was killed.

    Args:
        out: the sweep's folder.
        cells: all of them.
        rows: of those that had ended before.
    """

    def __init__(self, out: Path, cells: Sequence[PlannedCell], rows: dict[str, dict[str, Any]]):
        self._out, self._cells = out, {cell.name: cell for cell in cells}
        self._rows = dict(rows)
        self._running: dict[str, Running] = {}
        self._unplanned = self._unplanned_epochs = 0  # cells of a search that are not asked for yet
        self._seconds = self._epochs = 0.0  # of the cells that this process has seen end
        self._started, self.state = _now(), "running"
        self._lock, self._over = threading.RLock(), threading.Event()
        self._writer = threading.Thread(target=self._write_on, daemon=True)

    def __enter__(self) -> "SweepStatus":
        self._write()
        self._writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._writer.join()
        ended: State = "failed" if kind else "done"
        self.state = "interrupted" if kind and issubclass(kind, KeyboardInterrupt) else ended
        with self._lock:
            self._running.clear()
        self._write()

    def expect(self, cells: Sequence[PlannedCell], unplanned: int, epochs: int) -> None:
        """Take cells that a search has planned.

        Args:
            cells: these.
            unplanned: how many more it will plan.
            epochs: of each of those.
        """
        with self._lock:
            self._cells |= {cell.name: cell for cell in cells}
            self._unplanned, self._unplanned_epochs = unplanned, epochs * unplanned

    def told(self, name: str, event: dict[str, Any]) -> None:
        """Take an engine's event."""
        with self._lock:
            running = self._running.get(name)
            if running is None:
                running = self._running[name] = Running(name, self._cells[name].epochs, time.monotonic())
            if event["event"] == "start":
                running.stage = event["title"] if event["title"] in STAGES else "train"
            elif event["event"] == "epoch":
                running.epoch, running.validation_accuracy = event["epoch"], event["validation_accuracy"]

    def stage_of(self, name: str) -> str:
        """The stage that a cell was last known to be at."""
        with self._lock:
            return self._running[name].stage if name in self._running else "train"

    def ended(self, row: dict[str, Any]) -> None:
        """Take a cell's row."""
        with self._lock:
            running = self._running.pop(row["cell"], None)
            if running is not None:
                self._seconds += time.monotonic() - running.since
                self._epochs += running.epochs
            self._rows[row["cell"]] = row

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the cells that have ended, in the plan's order."""
        with self._lock:
            return [self._rows[name] for name in self._cells if name in self._rows]

    def to_dict(self) -> dict[str, Any]:
        """As written to ``status.json``."""
        with self._lock:
            failed = [row for row in self._rows.values() if row["state"] == "failed"]
            done, running = len(self._rows) - len(failed), [cell.to_dict() for cell in self._running.values()]
            waiting = len(self._cells) + self._unplanned - len(self._rows) - len(running)
            return {
                "format": FORMAT,
                "state": self.state,
                "started": self._started,
                "updated": _now(),
                "cells": {"done": done, "failed": len(failed), "running": len(running), "waiting": waiting},
                "seconds_left": self._seconds_left(),
                "running": running,
                "failed": [{name: row[name] for name in ("cell", "stage", "error")} for row in failed],
            }

    def _seconds_left(self) -> float | None:
        """By the seconds an epoch of the cells that have ended here, stages and all, took; None before the first."""
        if not self._epochs:
            return 0.0 if len(self._rows) == len(self._cells) + self._unplanned else None
        left = sum(cell.epochs for name, cell in self._cells.items() if name not in self._rows)
        left += self._unplanned_epochs
        begun = sum(min(cell.epoch, cell.epochs - 1) for cell in self._running.values())
        return round((left - begun) * self._seconds / self._epochs / max(1, len(self._running)), 1)

    def _write_on(self) -> None:
        while not self._over.wait(EVERY):
            self._write()

    def _write(self) -> None:
        write_json(self._out / STATUS, self.to_dict())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
