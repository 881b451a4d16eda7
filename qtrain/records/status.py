"""``status.json``: where a sweep or comparison is, for machines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from qtrain.records.format import JsonFile

State = Literal["running", "done", "interrupted", "failed"]


@dataclass(frozen=True)
class RunningCell:
    """A cell that runs.

    Attributes:
        cell: its name.
        stage: train, lint, export or estimate.
        epoch: that it has behind it.
        epochs: in all.
        validation_accuracy: of that epoch, in percent.
    """

    cell: str
    stage: str
    epoch: int
    epochs: int
    validation_accuracy: float | None


@dataclass(frozen=True)
class FailedCell:
    """A cell that failed.

    Attributes:
        cell: its name.
        stage: that it failed in.
        error: why.
    """

    cell: str
    stage: str
    error: str


@dataclass(frozen=True)
class StatusFile(JsonFile):
    """``status.json``.

    Attributes:
        state: of the whole.
        started: when the process began, ISO 8601.
        updated: when this was written; old where the process was killed.
        cells: how many are done, failed, running and waiting.
        seconds_left: about; None before the first cell has ended.
        running: the cells that run.
        failed: the cells that failed.
    """

    FILE: ClassVar[str] = "status.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain sweep or compare"
    MEND: ClassVar[str] = "the running command writes it anew every second"

    state: State
    started: str
    updated: str
    cells: Mapping[str, int]
    seconds_left: float | None
    running: tuple[RunningCell, ...]
    failed: tuple[FailedCell, ...]
