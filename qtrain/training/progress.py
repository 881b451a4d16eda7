"""Who is told where a run is (``qtrain.training.terminal`` shows it), and how lines are printed meanwhile."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

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
    """rich's on standard output, where a reader who leaves, a full disk or a terminal that is gone end no training."""

    def __init__(self) -> None:
        super().__init__(file=_Patient(sys.stdout))  # type: ignore[arg-type]  # all that rich asks of a file


class _Patient:
    """A stream whose failing ends nothing; rich writes to it from a thread of its own too."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with self._failing_quietly():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with self._failing_quietly():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _failing_quietly(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            mute(self._stream)
        except OSError as error:
            mute(self._stream)
            tell_error(f"cannot write to standard output: {error.strerror}; going on without")


def tell(line: str) -> None:
    """Print a line at once; a reader who has left misses it, and so does a full disk, and the caller goes on."""
    with whoever_listens():
        print(printable(line, keep="\n"))


def tell_error(line: str) -> None:
    """Print a line to standard error, if that takes it."""
    try:
        print(printable(line, keep="\n"), file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


def warn(line: str) -> None:
    """Say on standard error what has gone wrong and was made up for; also where nothing else is said."""
    tell_error(f"qtrain: {line}")


@contextmanager
def whoever_listens() -> Iterator[None]:
    """Inside, what is printed is on disk too, so that standard output which takes no more of it ends nothing.

    What cannot be printed is left out; of a full disk standard error is told once.
    """
    before = sys.stdout
    patient = _Patient(before)
    sys.stdout = patient
    try:
        yield
    finally:
        sys.stdout = before
        patient.flush()


def takes_more(stream: TextIO) -> bool:
    """Whether a stream takes what was printed to it so far."""
    try:
        stream.flush()
    except OSError:
        return False
    return True


def mute(stream: TextIO) -> None:
    """Let a standard stream, and what of it is not flushed yet, go nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
