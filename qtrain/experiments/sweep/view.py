"""What a person sees of a running sweep: one live table on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qtrain.experiments.sweep.status import SweepStatus
from qtrain.training.progress import PatientConsole, tell

LINE_EVERY = 20.0  # seconds between two lines of the cells that run
SHOWN = 8  # failed cells in the live table


class SweepView(Protocol):
    """Told by a sweep where it is."""

    def open(self, status: SweepStatus) -> None:
        """Begin to show it."""

    def event(self) -> None:
        """Something has happened in a cell that runs."""

    def ended(self, row: dict[str, Any]) -> None:
        """A cell has ended."""

    def close(self) -> None:
        """Show nothing more."""


class NoView:
    """Shows nothing."""

    def open(self, status: SweepStatus) -> None:
        """Do nothing."""

    def event(self) -> None:
        """Do nothing."""

    def ended(self, row: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LineView:
    """Prints a line a cell, and now and then one of those that run."""

    def __init__(self, say: Callable[[str], None] = tell, every: float = LINE_EVERY):
        self._say, self._every, self._last = say, every, time.monotonic()

    def open(self, status: SweepStatus) -> None:
        """Say how much there is to do."""
        self._status = status
        self._say(_counts(status.to_dict()))

    def event(self) -> None:
        """Say what runs, if the last line is long ago."""
        if time.monotonic() - self._last < self._every:
            return
        found = self._status.to_dict()
        self._say(f"{_counts(found)}; running: {', '.join(map(_at, found['running']))}")
        self._last = time.monotonic()

    def ended(self, row: dict[str, Any]) -> None:
        """Say what came of a cell."""
        self._say(f"{row['cell']}: {outcome(row)}")
        self._last = time.monotonic()

    def close(self) -> None:
        """Do nothing."""


class LiveView:
    """Keeps one table on the terminal up to date."""

    def __init__(self, console: Console):
        self._console = console

    def open(self, status: SweepStatus) -> None:
        """Draw the table."""
        self._live = Live(get_renderable=lambda: live_table(status.to_dict()), console=self._console, transient=True)
        self._live.start()

    def event(self) -> None:
        """Do nothing: the table is drawn anew four times a second."""

    def ended(self, row: dict[str, Any]) -> None:
        """Print the cell above the table."""
        self._console.print(f"{row['cell']}: {outcome(row)}", highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def terminal_view() -> SweepView:
    """The live table on a terminal, lines elsewhere."""
    console = PatientConsole()
    return LiveView(console) if console.is_terminal else LineView()


def live_table(status: dict[str, Any]) -> RenderableType:
    """The table of a status: what runs, what failed and why, and one line of counts."""
    table = Table("cell", "stage", "epoch", "validation", box=None, pad_edge=False)
    for cell in status["running"]:
        accuracy = cell["validation_accuracy"]
        shown = "" if accuracy is None else f"{accuracy:.2f} %"
        table.add_row(cell["cell"], cell["stage"], f"{cell['epoch']}/{cell['epochs']}", shown)
    failed = [Text(f"failed: {f['cell']} ({f['stage']}): {f['error']}", "red") for f in status["failed"][-SHOWN:]]
    for line in failed:
        line.truncate(200, overflow="ellipsis")
    return Group(*failed, table, Text(_counts(status)))


def outcome(row: dict[str, Any]) -> str:
    """What came of a cell, for a person."""
    if row["state"] == "failed":
        return f"failed ({row['stage']}): {row['error']}"
    parts = [f"{row['test_accuracy']:.2f} %"]
    if row["proven"]:
        parts.append("proven")
    if row["estimate"]:
        found = row["estimate"]
        fits = "" if found["fits"] else f", does not fit {found['board']}"
        parts.append(f"{found['fps']:,.0f} frames/s in {found['used']['LUT']:,} LUT{fits}")
    elif row["cost"]:
        parts.append(f"{row['cost']['bops'] / 1e6:,.1f} M bit operations")
    return ", ".join(parts)


def _at(cell: dict[str, Any]) -> str:
    if cell["stage"] != "train":
        return f"{cell['cell']} ({cell['stage']})"
    accuracy = "" if cell["validation_accuracy"] is None else f", {cell['validation_accuracy']:.2f} %"
    return f"{cell['cell']} (epoch {cell['epoch']}/{cell['epochs']}{accuracy})"


def _counts(status: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in status["cells"].items())
    left = status["seconds_left"]
    return f"cells: {counts}{f', about {_duration(left)} left' if left else ''}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
