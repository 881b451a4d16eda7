"""The cells that a sweep has ended or still plans, by its plan and its rows: they need not have folders."""

from dataclasses import replace
from pathlib import Path

from qtrain.errors import UserError
from qtrain.records.plain_files import is_name
from qtrain.records.sweep import ROWS, SweepFile, read_rows
from qtrain.report.runs.folder import check_plain, sentence, with_cell
from qtrain.report.runs.row import RunRow
from qtrain.report.runs.scan import Listing

CELLS = "cells"  # folder of a sweep's run folders


def read_cells(folder: Path, listing: Listing) -> dict[str, RunRow]:
    """Return the cells of a sweep by their names; where a file is damaged, one row that says so.

    Args:
        folder: of the sweep.
        listing: what it holds.
    """
    try:
        check_plain(folder, listing)
        return _rows(folder, listing)
    except (UserError, OSError) as error:
        return {"": RunRow(folder=str(folder), state="damaged", why=sentence(error, folder))}


def _rows(folder: Path, listing: Listing) -> dict[str, RunRow]:
    plan = SweepFile.read(folder)
    has_rows = ROWS in listing.files and listing.files[ROWS][1] > 0
    ended = {row["cell"]: row for row in read_rows(folder, plan.cells)} if has_rows else {}
    found = {}
    for name in dict.fromkeys((*plan.cells, *ended)):
        if not is_name(name):
            raise SweepFile.source(folder).damaged(f"'cells' must be names, but one is {name!r}")
        row = RunRow(
            folder=str(folder / CELLS / name),
            data=plan.data,
            scheduler=str(plan.recipe.get("scheduler", "")),
            state="waiting",
        )
        if name in ended:
            cell = ended[name]
            row = with_cell(replace(row, state="exported" if cell["proven"] else "finished"), cell)
            if row.state != "failed":
                row = replace(row, done=cell["epochs"])
        found[name] = row
    return found
