"""What a logger is told of a run."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class LoggedRun:
    """A run that begins, or goes on.

    Attributes:
        folder: of the run.
        title: network, scheduler and seed.
        start: the run's own record: date, machine, recipe, data.
        epochs: records of the epochs that the run has behind it; empty for a new one.
        say: tells the user where a logger writes.
    """

    folder: Path
    title: str
    start: Record
    epochs: Sequence[Record]
    say: Callable[[str], None]

    @property
    def identity(self) -> str:
        """Return 16 hexadecimal digits that this run keeps when it is resumed, and no other run has."""
        return hashlib.sha256(json.dumps(self.start, sort_keys=True).encode()).hexdigest()[:16]


class Logger:
    """Gets a run's records as they are written; each method does nothing unless a subclass has its own.

    What it raises while the run trains ends the logger, not the run.
    """

    def begin(self, run: LoggedRun) -> None:
        """Told once, before all else.

        Raises:
            UserError: it cannot begin.
        """

    def epoch(self, record: Record) -> None:
        """Take an epoch's record; after a kill an epoch may come twice, with the same values."""

    def result(self, record: Record) -> None:
        """Take the result's record."""

    def close(self, done: bool) -> None:
        """Write what is left.

        Args:
            done: whether the run came to its result; else it may be resumed.
        """


_NO_COLUMN = ("seed",)  # the same in all records
_OF_RESULT = {
    "test_accuracy": "test_accuracy",
    "test_loss": "test_loss",
    "validation_accuracy": "best_validation_accuracy",  # every epoch has one too
    "best_epoch": "best_epoch",
}


def epoch_scalars(record: Record) -> dict[str, float]:
    """Return the finite numbers of an epoch's record; those of a layer or a count are named as in ``draws/conv1``."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in value.items() if _is_finite(number)}
        elif _is_finite(value) and name not in _NO_COLUMN:
            found[name] = value
    return found


def result_scalars(record: Record) -> dict[str, float]:
    """Return the numbers of a result's record, under names that no epoch's record has."""
    return {ours: record[theirs] for theirs, ours in _OF_RESULT.items() if _is_finite(record[theirs])}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
