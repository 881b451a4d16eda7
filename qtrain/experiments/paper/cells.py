"""The runs that the paper's tables are made of: their order, their folders, and which of them are done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.data import class_names
from qtrain.errors import UserError, did_you_mean
from qtrain.experiments.paper.accuracies import ROWS, TABLES, PaperRow
from qtrain.recipe import Recipe, difference
from qtrain.records.files import json_line
from qtrain.records.format import Source

DONE = "done"
PARTIAL = "partial"
MISSING = "missing"
SKIPPED = "skipped"


@dataclass(frozen=True)
class Scale:
    """How much smaller than the paper's a run is; the defaults are a full run.

    Attributes:
        epochs: share of the epochs.
        width: of the network, instead of its own.
        train_size: training images, instead of all.
    """

    epochs: float = 1.0
    width: float | None = None
    train_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epochs <= 1:
            raise UserError(f"epochs_scale must be above 0, at most 1, but got {self.epochs}")

    def to_dict(self) -> dict[str, float]:
        """Return what is smaller; empty for a full run."""
        found: dict[str, float] = {}
        if self.epochs != 1:
            found["epochs_scale"] = self.epochs
        if self.width is not None:
            found["width"] = self.width
        if self.train_size is not None:
            found["train_size"] = self.train_size
        return found

    @property
    def name(self) -> str:
        """The name of its folder: ``full`` or ``epochs_scale0.1-width0.25``."""
        parts = [f"{name}{value:g}" for name, value in self.to_dict().items()]
        return "-".join(parts) or "full"

    def apply(self, recipe: Recipe) -> Recipe:
        """Make a recipe smaller; a batch holds no more than all images."""
        changes: dict[str, Any] = {"epochs": max(1, round(recipe.epochs * self.epochs))}
        if self.width is not None:
            changes["width"] = self.width
        if self.train_size is not None:
            changes["train_size"] = self.train_size
            changes["batch_size"] = min(recipe.batch_size, self.train_size)
        return recipe.replace(**changes)


FULL = Scale()


@dataclass(frozen=True)
class PaperCell:
    """One run: a row of the paper with a seed."""

    row: PaperRow
    recipe: Recipe
    folder: Path
    scale: Scale

    @property
    def title(self) -> str:
        """What a person calls it: table and network, data, schedule and seed."""
        return f"{self.row.table} {self.row.label} {self.recipe.data} {self.recipe.scheduler} seed {self.recipe.seed}"


def plan_cells(
    rows: Sequence[PaperRow], out: Path, *, scale: Scale = FULL, seeds: int = 3, protocol: str = "holdout"
) -> list[PaperCell]:
    """Plan all runs, the most telling first: all networks with one seed, ASLR beside its baseline; then the next.

    Args:
        rows: of the paper.
        out: folder of all runs; those of another scale or protocol get folders of their own.
        scale: how much smaller the runs are.
        seeds: runs a row, with the same seeds for all.
        protocol: holdout, or the paper's.

    Raises:
        UserError: no seeds, or a protocol or size out of range.
    """
    if seeds < 1:
        raise UserError(f"seeds must be 1 or more, but got {seeds}")
    more = {"validation_size": None} if protocol == "paper" else {}
    cells = []
    for seed in range(seeds):
        for row in rows:
            recipe = scale.apply(row.recipe(seed=seed, protocol=protocol, **more))
            name = f"{recipe.network}-{recipe.data}-batch{recipe.batch_size}-{recipe.scheduler}-seed{seed}"
            cells.append(PaperCell(row, recipe, out / protocol / scale.name / row.table / name, scale))
    return cells


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the results so far; none where there is no file. Half a last line, which a kill leaves, is no result.

    Raises:
        UserError: a line that is no JSON object.
    """
    source = Source(path, "take an older copy, or remove that line to have the run read again")
    found = source.whole_lines(source.read_text("qtrain reproduce")) if path.exists() else []
    for result in found:
        if not isinstance(result.get("table"), str):
            raise UserError(f"{path} holds other things than results of qtrain reproduce; name another with --results")
    return found


def append_result(path: Path, result: dict[str, Any]) -> None:
    """Add one line, in place of half a line that a kill left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json_line(result).encode())


def state_of(cell: PaperCell, results: Sequence[dict[str, Any]], data_root: str | Path | None) -> tuple[str, str]:
    """Return whether the run is done, partial, missing or skipped, and for the last why."""
    if any(_is_of(result, cell) for result in results):
        return DONE, ""
    why = _tree_missing(data_root) if cell.recipe.data == "imagenet" else ""
    if why:
        return SKIPPED, why
    if cell.folder.exists():
        return PARTIAL, ""
    return MISSING, ""


def _is_of(result: dict[str, Any], cell: PaperCell) -> bool:
    """Compare the whole recipe, so that a changed one runs again and another scale's is never taken."""
    if result.get("table") != cell.row.table or result.get("label") != cell.row.label:
        return False
    return "recipe" in result and not difference(result["recipe"], cell.recipe.to_dict())


def _tree_missing(data_root: str | Path | None) -> str:
    """Return why ImageNet's cells cannot run; nothing where they can."""
    try:
        class_names("imagenet", data_root)
    except UserError as error:
        return str(error)
    return ""


def chosen_rows(table: str, networks: Sequence[str] = (), rows: Sequence[PaperRow] = ROWS) -> list[PaperRow]:
    """Return the rows of a table, or of all, and of some networks alone.

    Args:
        table: table1, table3, table4 or all.
        networks: full names; empty: every one.
        rows: to choose from.

    Raises:
        UserError: a network that the table does not have.
    """
    found = [row for row in rows if table in (row.table, "all")]
    have = list(dict.fromkeys(row.network for row in found))
    strange = [name for name in networks if name not in have]
    if strange:
        where = f"tables {', '.join(TABLES)}" if table == "all" else table
        hint = did_you_mean(strange[0], have)
        raise UserError(f"networks must be of {where}: {', '.join(have)}, but got {', '.join(strange)}{hint}")
    return [row for row in found if not networks or row.network in networks]
