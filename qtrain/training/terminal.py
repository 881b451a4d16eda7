"""A run as a person sees it: a bar below a table of epochs on a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from qtrain.training.heartbeat import LONGEST_SILENCE, Heartbeat, clock
from qtrain.training.progress import PatientConsole, Watcher, tell

_TENTHS = 10
_NARROWEST, _WIDEST = 5, 60  # columns of the bar
_BESIDE = 54  # columns for what stands beside it, and for the ^C that a terminal echoes behind it
_HEAD = "epoch      loss  validation      best         lr   images/s      time"


@dataclass
class _Pace:
    """How far a run is, and how fast.

    Attributes:
        title: of the run.
        steps: of the whole run.
        begun: steps that were done before this process began.
        done: steps that are done.
        images: that this process has seen.
        best: the best validation accuracy so far, in percent; None before the first.
        since: when this process began, in seconds.
    """

    title: str
    steps: int
    begun: int
    done: int
    images: int = 0
    best: float | None = None
    since: float = field(default_factory=time.monotonic)

    def step(self, images: int) -> None:
        """Count a step of so many images."""
        self.done += 1
        self.images += images

    def epoch(self, record: dict[str, Any]) -> float:
        """Take an epoch's record, and return the best validation accuracy so far, in percent."""
        accuracy = record["validation_accuracy"]
        known = accuracy if self.best is None else max(self.best, accuracy)
        self.best = record.get("best_accuracy", known)  # a resumed run's best may lie before this process
        return self.best

    @property
    def seconds(self) -> float:
        """Seconds since this process began."""
        return max(time.monotonic() - self.since, 1e-9)

    @property
    def tenth(self) -> int:
        """The tenths of the run that are done."""
        return _TENTHS * self.done // max(self.steps, 1)

    @property
    def percent(self) -> str:
        """The share of the steps that is done."""
        return f"{100 * self.done / max(self.steps, 1):.0f} %"

    @property
    def rate(self) -> str:
        """Images a second, validation included."""
        return f"{self.images / self.seconds:,.0f} images/s"

    @property
    def left(self) -> str:
        """The time left at the pace so far; empty before the first step."""
        here = self.done - self.begun
        if not here or self.done >= self.steps:
            return ""
        return f"{clock(self.seconds * (self.steps - self.done) / here)} left"


def epoch_row(record: dict[str, Any], best: float) -> str:
    """Return an epoch's row of the table."""
    return (
        f"{record['epoch']:>5}  {record['loss']:>8.4g}  {record['validation_accuracy']:>8.2f} %  {best:>6.2f} %  "
        f"{record['lr']:>9.4g}  {record['images_per_second']:>9,.0f}  {clock(record['seconds']):>8}"
    )


class Bar:
    """On a terminal: a bar with the time left, and above it a row for every epoch, which stays."""

    def __init__(self, console: Console):
        self._console = console
        self._bar: Progress | None = None

    def start(self, title: str, steps: int, done: int) -> None:
        """Draw the bar."""
        self._pace = _Pace(title, steps, done, done)
        self._has_rows = False
        self._print(title)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(max(_NARROWEST, min(_WIDEST, self._console.width - _BESIDE))),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=steps, completed=done, rate="", left="")
        self._bar.start()

    def step(self, images: int) -> None:
        """Advance the bar by a step."""
        self._pace.step(images)
        if self._bar:
            self._bar.update(self._task, advance=1, rate=self._pace.rate, left=self._pace.left)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Add a row to the table."""
        if not self._has_rows:
            self._print(_HEAD)
            self._has_rows = True
        self._print(epoch_row(record, self._pace.epoch(record)))
        if self._bar:
            self._bar.update(self._task, description=f"epoch {min(record['epoch'] + 1, epochs)}/{epochs}")

    def finish(self) -> None:
        """Take the bar away; the table stays."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class Lines:
    """Elsewhere: a line at each tenth of the run, and whenever there was none for almost two minutes.

    Args:
        say: prints a line.
        every_epoch: a line for every epoch, not only at the tenths.
        silence: seconds without a line after which there is one, whatever the run is doing.
    """

    def __init__(
        self, say: Callable[[str], None] = tell, *, every_epoch: bool = False, silence: float = LONGEST_SILENCE
    ):
        self._say = say
        self._every_epoch = every_epoch
        self._silence = silence
        self._lock = threading.Lock()

    def start(self, title: str, steps: int, done: int) -> None:
        """Begin to count."""
        self._pace = _Pace(title, steps, done, done)
        self._told = self._pace.tenth
        self._waiting = False
        self._heartbeat = Heartbeat(self._tell_place, self._silence)
        self._heartbeat.start()

    def step(self, images: int) -> None:
        """Say where the run is at a tenth; at the last step of an epoch its record has more to say."""
        if self._waiting:  # a tenth was done, and no epoch ended with it
            self._tell_place()
        self._pace.step(images)
        self._waiting = self._pace.tenth > self._told

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Say what an epoch came to, at the tenths of the run."""
        best = self._pace.epoch(record)
        epoch = record["epoch"]
        few = epochs < 2 * _TENTHS
        if not (self._waiting or few or self._every_epoch or epoch == epochs):
            return
        self._tell(
            f"{self._pace.title}  epoch {epoch}/{epochs}  loss {record['loss']:.4g}  "
            f"validation {record['validation_accuracy']:.2f} % (best {best:.2f} %)  lr {record['lr']:g}  "
            f"{record['images_per_second']:,.0f} images/s"
        )

    def finish(self) -> None:
        """Say nothing more."""
        self._heartbeat.stop()

    def _tell_place(self) -> None:
        pace = self._pace
        self._tell(f"{pace.title}  step {pace.done:,} of {pace.steps:,} ({pace.percent})  {pace.rate}")

    def _tell(self, line: str) -> None:
        with self._lock:
            self._told = self._pace.tenth
            self._waiting = False
            self._heartbeat.said()
            self._say("  ".join(filter(None, [line, self._pace.left])))


class Terminal:
    """A watcher that shows a run: a bar and a table on a terminal, lines elsewhere.

    Args:
        console: that is written to; standard output by default.
        verbose: where there is no terminal, a line for every epoch.
    """

    def __init__(self, console: Console | None = None, *, verbose: bool = False):
        console = console or PatientConsole()
        self._shown: Watcher = Bar(console) if console.is_terminal else Lines(every_epoch=verbose)

    def start(self, title: str, steps: int, done: int) -> None:
        """Begin to show a run of so many steps, some of them done."""
        self._shown.start(title, steps, done)

    def step(self, images: int) -> None:
        """Show one more step."""
        self._shown.step(images)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Show what an epoch came to."""
        self._shown.epoch(record, epochs)

    def finish(self) -> None:
        """Show nothing more."""
        self._shown.finish()
