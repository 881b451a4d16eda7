"""Who is told where a run is (``qtrain.training.terminal`` shows it), and how lines are printed meanwhile."""

import os
import sys
from typing import Any, Protocol

from rich.console import Console

from qtrain.errors import printable


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
    """Print a line at once; a reader who has left misses it, and so does a full disk, and the caller goes on."""
    try:
        print(printable(line, keep="\n"), flush=True)
    except BrokenPipeError:
        _mute()
    except OSError as error:
        _mute()
        print(f"cannot write to standard output: {error.strerror}; going on without", file=sys.stderr)


def warn(line: str) -> None:
    """Say on standard error what has gone wrong and was made up for; also where nothing else is said."""
    print(f"qtrain: {line}", file=sys.stderr, flush=True)


def _mute() -> None:
    """Let standard output, and what of it is not flushed yet, go nowhere from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
