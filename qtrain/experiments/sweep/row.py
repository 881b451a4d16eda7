"""A sweep's rows: what came of each cell, as JSON lines and as a flat table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.status import STAGES, EndedCell
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.records import sweep as records
from qtrain.records.files import write_whole
from qtrain.records.format import Source, to_json
from qtrain.records.runs import RECORDS, read_records
from qtrain.records.sweep import SweepRow, read_cell

SECONDS = "seconds.json"  # of the stages that are done, for a cell that goes on in another process
TABLE = "sweep.csv"
# Column of the table: where its value lies in a row.
_COLUMNS: dict[str, tuple[str, ...]] = {
    **{
        name: (name,)
        for name in (
            *("cell", "network", "weight_bits", "act_bits", "bits", "seed", "start", "parent", "epochs"),
            *("total_epochs", "state", "stage", "error", "test_accuracy", "validation_accuracy", "best_epoch"),
        )
    },
    **{name: ("cost", name) for name in ("bops", "macs")},
    "weight_bits_total": ("cost", "weight_bits"),
    "proven": ("proven",),
    "finn_accepted": ("finn", "accepted"),
    **{name: ("estimate", name) for name in ("fps", "latency_ns")},
    **{name.lower(): ("estimate", "used", name) for name in ("LUT", "BRAM_18K", "URAM", "DSP")},
    "fits": ("estimate", "fits"),
    "meets_target": ("estimate", "meets_target"),
    "train_seconds": ("seconds", "train"),
    "command": ("command",),
}


class Rows:
    """The rows of a sweep's cells as they end, in the plan's order.

    Args:
        cells: of the plan.
        rows: of those that have ended.
    """

    def __init__(self, cells: Sequence[PlannedCell], rows: Sequence[dict[str, Any]]):
        self._names = [cell.name for cell in cells]
        self._rows = {row["cell"]: row for row in rows}

    def expect(self, cells: Sequence[PlannedCell]) -> None:
        """Take cells that a search has planned, behind those that are known."""
        self._names += [cell.name for cell in cells if cell.name not in self._names]

    def add(self, row: dict[str, Any]) -> None:
        """Take the row of a cell that has ended."""
        self._rows[row["cell"]] = row

    @property
    def in_order(self) -> list[dict[str, Any]]:
        """Of the cells that have ended."""
        return [self._rows[name] for name in self._names if name in self._rows]


def new_row(cell: PlannedCell, command: str = "") -> dict[str, Any]:
    """Return the row of a cell of which nothing is known yet but its plan."""
    return to_json(
        SweepRow(
            cell=cell.name,
            network=cell.network,
            weight_bits=cell.weight_bits,
            act_bits=cell.act_bits,
            bits=cell.bits,
            seed=cell.seed,
            start=cell.start,
            parent=cell.parent,
            epochs=cell.epochs,
            total_epochs=cell.total_epochs,
            seconds=dict.fromkeys(STAGES),
            curve={"train_loss": [], "validation_accuracy": [], "lr": []},
            command=command,
        )
    )


def failed_row(cell: PlannedCell, command: str, stage: str, error: str) -> dict[str, Any]:
    """The row of a cell that never came to one of its own."""
    return {**new_row(cell, command), "state": "failed", "stage": stage, "error": error}


def training_curve(folder: Path) -> dict[str, list[float]]:
    """The learning curve of the run in ``folder``, by epoch; empty where it never came to one."""
    try:
        records = read_records(folder) if (folder / RECORDS).exists() else []
    except UserError:  # damaged: the row says so already
        records = []
    epochs = [record for record in records if record["type"] == "epoch"]
    names = {"train_loss": "loss", "validation_accuracy": "validation_accuracy", "lr": "lr"}
    return {ours: [epoch[theirs] for epoch in epochs] for ours, theirs in names.items()}


def read_row(folder: Path, *, again: bool = False) -> dict[str, Any] | None:
    """The row of a cell that has ended; None where there is something to do.

    Args:
        folder: of the cell.
        again: one that failed is to be tried anew.

    Raises:
        UserError: it is damaged.
    """
    row = read_cell(folder)
    return None if row is not None and again and row["state"] == "failed" else row


def read_seconds(folder: Path) -> dict[str, float]:
    """Wall seconds of the stages that a cell has behind it."""
    source = Source(folder / SECONDS, "delete it")
    try:
        found: dict[str, Any] = source.parse(source.read_text("qtrain sweep"))
    except (OSError, UserError):  # not there, or damaged: no reason to do a stage again
        return {}
    numbers = isinstance(found, dict) and all(type(seconds) in (int, float) for seconds in found.values())
    return found if numbers else {}


def write_rows(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``sweep.jsonl`` and ``sweep.csv``, each whole."""
    records.write_rows(out, rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows([_flat(row, path) for path in _COLUMNS.values()] for row in rows)
    write_whole(out / TABLE, text.getvalue().encode("utf-8", "backslashreplace"))


def one_line(error: BaseException) -> str:
    """An error for a row: a user's as it is, another with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def outcome(row: dict[str, Any]) -> str:
    """What came of a cell, for a person."""
    if row["state"] == "failed":
        return f"failed ({row['stage']}): {row['error']}"
    if row["state"] == "pruned":
        trained = len(row["curve"]["validation_accuracy"])
        return f"pruned after epoch {trained} of {row['epochs']}, best validation {row['validation_accuracy']:.2f} %"
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


def ended_cell(row: dict[str, Any]) -> EndedCell:
    """Return what a status needs to know of a row."""
    if row["state"] == "failed":
        return EndedCell(row["cell"], row["stage"], row["error"])
    return EndedCell(row["cell"])


def _flat(row: dict[str, Any], path: Sequence[str]) -> Any:
    value: Any = row
    for name in path:
        value = value.get(name) if value is not None else None
    return value
