"""What a person sees of cells that run: one live table on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qtrain.experiments.status import CellsStatus
from qtrain.records.status import RunningCell, StatusFile
from qtrain.training.heartbeat import LONGEST_SILENCE, Heartbeat
from qtrain.training.progress import PatientConsole, tell

LINE_EVERY = 20.0  # seconds between two lines of the cells that run
SHOWN = 8  # failed cells in the live table


class CellsView(Protocol):
    """Told by a sweep or comparison where it is."""

    def open(self, status: CellsStatus) -> None:
        """Begin to show it."""

    def event(self) -> None:
        """Be told that something has happened in a cell that runs."""

    def ended(self, name: str, outcome: str) -> None:
        """Be told that a cell has ended, and what came of it in words for a person."""

    def close(self) -> None:
        """Show nothing more."""


class NoView:
    """Shows nothing."""

    def open(self, status: CellsStatus) -> None:
        """Do nothing."""

    def event(self) -> None:
        """Do nothing."""

    def ended(self, name: str, outcome: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LineView:
    """Prints a line a cell, and now and then one of those that run.

    Args:
        say: prints a line.
        every: seconds that lie at least between two lines of what runs.
        silence: seconds without a line after which there is one, though nothing has happened.
    """

    def __init__(self, say: Callable[[str], None] = tell, every: float = LINE_EVERY, silence: float = LONGEST_SILENCE):
        self._say = say
        self._every = every
        self._last = time.monotonic()
        self._heartbeat = Heartbeat(self._tell_running, silence)

    def open(self, status: CellsStatus) -> None:
        """Say how much there is to do."""
        self._status = status
        self._say(_counts(status.record()))
        self._heartbeat.start()

    def event(self) -> None:
        """Say what runs, if the last line is long ago."""
        if time.monotonic() - self._last >= self._every:
            self._tell_running()

    def ended(self, name: str, outcome: str) -> None:
        """Say what came of a cell."""
        self._tell(f"{name}: {outcome}")

    def close(self) -> None:
        """Say nothing more."""
        self._heartbeat.stop()

    def _tell_running(self) -> None:
        found = self._status.record()
        running = f"; running: {', '.join(map(_at, found.running))}" if found.running else ""
        self._tell(f"{_counts(found)}{running}")

    def _tell(self, line: str) -> None:
        self._last = time.monotonic()
        self._heartbeat.said()
        self._say(line)


class LiveView:
    """Keeps one table on the terminal up to date."""

    def __init__(self, console: Console):
        self._console = console

    def open(self, status: CellsStatus) -> None:
        """Draw the table."""
        self._live = Live(get_renderable=lambda: live_table(status.record()), console=self._console, transient=True)
        self._live.start()

    def event(self) -> None:
        """Do nothing: the table is drawn anew four times a second."""

    def ended(self, name: str, outcome: str) -> None:
        """Print the cell above the table."""
        self._console.print(f"{name}: {outcome}", highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def terminal_view() -> CellsView:
    """Return the live table on a terminal, lines elsewhere."""
    console = PatientConsole()
    if console.is_terminal:
        return LiveView(console)
    return LineView()


def live_table(status: StatusFile) -> RenderableType:
    """Return the table of a status: what runs, what failed and why, and one line of counts."""
    table = Table("cell", "stage", "epoch", "validation", box=None, pad_edge=False)
    for cell in status.running:
        table.add_row(cell.cell, cell.stage, f"{cell.epoch}/{cell.epochs}", _accuracy(cell))
    failed = [Text(f"failed: {cell.cell} ({cell.stage}): {cell.error}", "red") for cell in status.failed[-SHOWN:]]
    for line in failed:
        line.truncate(200, overflow="ellipsis")
    return Group(*failed, table, Text(_counts(status)))


def _at(cell: RunningCell) -> str:
    """Return a cell that runs and where it is, in words."""
    if cell.stage != "train":
        return f"{cell.cell} ({cell.stage})"
    where = f"epoch {cell.epoch}/{cell.epochs}"
    accuracy = _accuracy(cell)
    if accuracy:
        where += f", {accuracy}"
    return f"{cell.cell} ({where})"


def _accuracy(cell: RunningCell) -> str:
    """Return the last validation accuracy of a cell that runs; empty before the first."""
    return "" if cell.validation_accuracy is None else f"{cell.validation_accuracy:.2f} %"


def _counts(status: StatusFile) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in status.cells.items())
    if status.seconds_left:
        counts += f", about {_duration(status.seconds_left)} left"
    return f"cells: {counts}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
