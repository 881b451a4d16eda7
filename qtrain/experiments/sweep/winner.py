"""The most accurate finished cell of a sweep within limits on hardware, and its FINN folder with the folding in it."""

import shutil
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.sweep.deploy import ESTIMATE, FINN
from qtrain.experiments.sweep.file import read_plan
from qtrain.experiments.sweep.limits import Limits
from qtrain.experiments.sweep.plan import CELLS
from qtrain.export.compiler.boards import Board, get_board
from qtrain.export.folder.folding import read_folding, save_folding
from qtrain.records.estimate import Estimate
from qtrain.records.leftovers import partial_of
from qtrain.records.sweep import read_rows

WINNER = "winner"
AUTO = Path("report") / "auto_folding_config.json"  # how FINN folded, in a build's folder
Row = dict[str, Any]
Point = tuple[str, str, str]  # network, bits and start: what differs in the seed alone


def sweep_winner(out: Path, limits: Limits) -> Row:
    """Return the row of the most accurate cell within limits: of the best point over its seeds, the best seed.

    Args:
        out: folder of a sweep whose cells have ended.
        limits: on hardware and accuracy.

    Raises:
        UserError: nothing was estimated, or no cell keeps within the limits; says what the nearest misses.
    """
    plan = read_plan(out)
    rows = read_rows(out, [cell.name for cell in plan.cells()])
    able = [row for row in rows if row["state"] == "done" and row["estimate"]]
    if not able:
        raise UserError(
            f"no cell of {out} was estimated, so that nothing says what fits; sweep with --board and the FINN compiler"
        )
    fitting = [row for row in able if not limits.misses(row["estimate"]["used"], row["estimate"]["fps"])]
    if not fitting:
        row = min(able, key=lambda row: _beyond(row, limits))
        said = " and ".join(limits.misses(row["estimate"]["used"], row["estimate"]["fps"]))
        raise UserError(f"no cell of {out} keeps within the limits; the nearest, {row['cell']}, needs {said}")
    points: dict[Point, list[Row]] = defaultdict(list)
    for row in fitting:
        points[row["network"], row["bits"], row["start"]].append(row)
    best = max(points.values(), key=lambda found: mean(row["validation_accuracy"] for row in found))
    winner = max(best, key=lambda row: row["validation_accuracy"])
    if limits.accuracy is not None and winner["validation_accuracy"] < limits.accuracy:
        raise UserError(
            f"no cell of {out} within the limits reaches {limits.accuracy:g} % of the validation images; the best, "
            f"{winner['cell']}, has {winner['validation_accuracy']:.2f} %"
        )
    return winner


def _beyond(row: Row, limits: Limits) -> float:
    """Return how far a cell is beyond its worst limit, as a ratio."""
    found = row["estimate"]
    ratios = [found["used"][kind] / most for kind, most in limits.most.items() if most]
    return max([*ratios, (limits.fps or 0.0) / max(found["fps"], 1e-9)])


def deliver_winner(out: Path, row: Row) -> Path:
    """Put the FINN folder of a cell, with FINN's folding saved in it, at ``winner`` in the sweep's folder.

    Raises:
        UserError: the cell's estimate is damaged or gone.
        ProofError: a file of the FINN folder has changed.
    """
    plan = read_plan(out)
    target = plan.target
    assert target is not None  # the cell was estimated
    cell = out / CELLS / row["cell"]
    build = cell / ESTIMATE
    deliver(cell / FINN, build, build / AUTO, out / WINNER, get_board(target.board), target.fps, target.clock_ns)
    return out / WINNER


def deliver(finn: Path, build: Path, folding: Path, place: Path, board: Board, fps: int, clock_ns: float) -> None:
    """Copy a FINN folder and save a folding in the copy; what was there before goes once the new one is whole.

    Args:
        finn: to copy.
        build: folder of the compiler's estimate with that folding.
        folding: FINN's configuration.
        place: of the copy.
        board: folded for.
        fps: folded for.
        clock_ns: clock period in nanoseconds.

    Raises:
        UserError: a file is damaged or gone.
        ProofError: a file of the FINN folder has changed.
    """
    work = partial_of(place)
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    shutil.copytree(finn, work)
    estimate = Estimate.read(build)
    made_by = f"finn-plus {estimate.versions['finn-plus']}"
    save_folding(work, read_folding(folding), board, fps, clock_ns, made_by=made_by, estimated_fps=estimate.fps)
    if place.exists():
        shutil.rmtree(place)
    work.replace(place)
