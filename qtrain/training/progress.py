"""What a person sees while a run trains: one live line on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Watcher(Protocol):
    """Told by the training loop where it is."""

    def start(self, title: str, steps: int, done: int) -> None:
        """A run of ``steps`` steps begins, ``done`` of them behind it."""

    def step(self, images: int) -> None:
        """One more step, of so many images."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch's record was written."""

    def finish(self) -> None:
        """The run ended, whole or not."""


class Silent:
    """A watcher that shows nothing."""

    def start(self, title: str, steps: int, done: int) -> None:
        """Do nothing."""

    def step(self, images: int) -> None:
        """Do nothing."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class PatientConsole(Console):
    """rich's, but a reader who leaves (``qtrain train ... | head``) ends no training; rich exits, with status 1."""

    def on_broken_pipe(self) -> None:
        """Say the rest to nobody."""
        _mute()


def tell(line: str) -> None:
    """Print a line at once; a reader who has left misses it, and the caller goes on."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _mute()


def _mute() -> None:
    """Let standard output, and what of it is not flushed yet, go nowhere from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminal:
    """A rich progress line with rate and time left; where there is no terminal, about ten lines a run."""

    def __init__(self, console: Console | None = None):
        self._console = console or PatientConsole()
        self._bar: Progress | None = None

    def start(self, title: str, steps: int, done: int) -> None:
        """Open the line."""
        self._title = title
        self._images = 0
        self._since = time.perf_counter()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=steps, completed=done, rate="")
            self._bar.start()

    def step(self, images: int) -> None:
        """Advance the line by a step."""
        self._images += images
        if self._bar:
            rate = self._images / max(time.perf_counter() - self._since, 1e-9)
            self._bar.update(self._task, advance=1, rate=f"{rate:,.0f} images/s")

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Show the epoch's validation accuracy and learning rate."""
        epoch = record["epoch"]
        every = max(1, epochs // 10)
        text = (
            f"{self._title}  epoch {epoch}/{epochs}  validation {record['validation_accuracy']:.2f} %  "
            f"lr {record['lr']:g}"
        )
        if self._bar:
            self._bar.update(self._task, description=text)
        elif epoch % every == 0 or epoch == epochs:
            self._console.print(f"{text}  {record['images_per_second']:,.0f} images/s", highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Close the line."""
        if self._bar:
            self._bar.stop()
            self._bar = None
