"""What ``qtrain sweep`` leaves: its plan in ``sweep.json``, a row a cell in ``sweep.jsonl`` and the cells' folders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from qtrain.errors import UserError
from qtrain.records.files import write_json, write_json_lines
from qtrain.records.format import JsonFile, Source, from_json, to_json

ROWS = "sweep.jsonl"
CELL = "cell.json"
Start = Literal["scratch", "warm", "search"]


@dataclass(frozen=True, kw_only=True)
class SweepFile(JsonFile):
    """``sweep.json``: the plan of a sweep.

    Attributes:
        family: of the networks.
        data: their data set.
        weight_bits: widths of the weights.
        act_bits: widths of the activations.
        diagonal: whether each width of the weights has its own of the activations.
        expressions: for single layers.
        seeds: of the runs.
        warm_from: bits that warm starts begin at; None without them.
        board: that FINN builds for; None: nothing is exported.
        target_fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
        lr: learning rate at the start; None where the range test is still to find it.
        recipe: of all cells, without what differs between them.
        search: for single layers' bits, as it was asked for.
        trials: cells that it has planned so far.
        cells: names of all cells.
        command: that made the sweep.
    """

    FILE: ClassVar[str] = "sweep.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain sweep"
    MEND: ClassVar[str] = "put a whole copy there, or sweep into a new folder"

    family: str
    data: str
    weight_bits: tuple[int, ...] = ()
    act_bits: tuple[int, ...] = ()
    diagonal: bool = True
    expressions: tuple[str, ...] = ("",)
    seeds: tuple[int, ...] = (0,)
    warm_from: int | None = None
    board: str | None = None
    target_fps: int = 1000
    clock_ns: float = 10.0
    lr: float | None = None
    recipe: Mapping[str, Any]
    search: Mapping[str, Any] | None = None
    trials: tuple[Mapping[str, Any], ...] = ()
    cells: tuple[str, ...]
    command: str


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """What came of one cell.

    Attributes:
        cell: its name.
        network: with its bit widths.
        weight_bits: of all weights that no expression names; None for a network without such widths.
        act_bits: of all hidden activations that no expression names.
        bits: expression for single layers; empty where there is none.
        seed: of its recipe.
        start: where its weights come from.
        parent: the cell whose best weights it starts from.
        epochs: that it trained.
        total_epochs: with those of its ancestors.
        state: done, failed, or pruned: a trial of a search that was ended early.
        stage: that it ended in where it is not done: train, lint, export or estimate.
        error: why.
        test_accuracy: in percent.
        validation_accuracy: the best, in percent.
        best_epoch: from 1.
        seconds: by stage.
        lint: the findings.
        proof: of the export.
        proven: whether it holds.
        cost: MACs, bit operations and bits of the weights.
        finn: whether the compiler took it, and why not.
        estimate: the compiler's.
        curve: by epoch: train_loss, validation_accuracy, lr.
        command: that rebuilds it.
    """

    cell: str
    network: str
    weight_bits: int | None
    act_bits: int | None
    bits: str
    seed: int
    start: Start
    parent: str | None
    epochs: int
    total_epochs: int
    state: Literal["done", "failed", "pruned"] = "done"
    stage: str | None = None
    error: str | None = None
    test_accuracy: float | None = None
    validation_accuracy: float | None = None
    best_epoch: int | None = None
    seconds: Mapping[str, float | None]
    lint: tuple[Any, ...] = ()
    proof: Mapping[str, Any] | None = None
    proven: bool | None = None
    cost: Mapping[str, Any] | None = None
    finn: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    curve: Mapping[str, Any] | None = field(default_factory=lambda: dict[str, Any]())
    command: str = ""


def read_rows(folder: Path, planned: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of a sweep, each checked, as plain values.

    Args:
        folder: of the sweep; it need not be finished.
        planned: names of its cells.

    Raises:
        UserError: there is no row yet, or one is damaged, there twice, or of no cell of the plan.
    """
    source = Source(folder / ROWS, f"qtrain sweep --resume {folder} writes it anew")
    rows: dict[str, dict[str, Any]] = {}
    for where, row in _parsed(source):
        _check_sense(row, where)
        if row["cell"] in rows:
            raise where.damaged(f"{row['cell']} is there twice")
        if row["cell"] not in planned and row["start"] != "search":
            raise where.damaged(f"{row['cell']} is no cell of {SweepFile.FILE}")
        rows[row["cell"]] = row
    if not rows:
        raise UserError(
            f"{source.path} has no finished cell yet; wait for the first, or qtrain sweep --resume {folder}"
        )
    return list(rows.values())


def _parsed(source: Source) -> Iterator[tuple[Source, dict[str, Any]]]:
    for where, line in source.lines(SweepFile.MADE_BY):
        yield where, to_json(from_json(SweepRow, where.parse(line), where))


def _check_sense(row: Mapping[str, Any], source: Source) -> None:
    """See that a row's entries fit together."""
    if row["state"] == "done" and row["test_accuracy"] is None:
        raise source.damaged(f"{row['cell']} is done, but has no 'test_accuracy'")
    bits = re.search(r"_(\d+)W(\d+)A$", row["network"])
    if bits is None or row["start"] == "search":
        return
    if (int(bits[1]), int(bits[2])) != (row["weight_bits"], row["act_bits"]):
        widths = f"'weight_bits' {row['weight_bits']}, 'act_bits' {row['act_bits']}"
        raise source.damaged(f"{row['network']} has {widths}")


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``sweep.jsonl`` whole."""
    write_json_lines(folder / ROWS, rows)


def read_cell(folder: Path) -> dict[str, Any] | None:
    """Read the row in the folder of a cell; None where it has not ended.

    Raises:
        UserError: it is damaged, or another cell's.
    """
    path = folder / CELL
    if not path.exists():
        return None
    source = Source(path, "delete it to have that cell's stages read and finished again")
    row = from_json(SweepRow, source.parse(source.read_text(SweepFile.MADE_BY)), source)
    if row.cell != folder.name:
        raise source.damaged(f"it is the row of {row.cell}")
    return to_json(row)


def write_cell(folder: Path, row: Mapping[str, Any]) -> None:
    """Write the row of a cell into its folder, whole."""
    write_json(folder / CELL, row)
