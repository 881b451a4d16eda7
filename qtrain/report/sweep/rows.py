"""A sweep's recorded rows, and its points: what the seeds of one network, bits and start have in common."""

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.report.statistics import deviation
from qtrain.report.sweep.pareto import pareto_front

FORMAT = 1
PLAN = "sweep.json"
ROWS = "sweep.jsonl"
STARTS = {"scratch": "from scratch", "warm": "warm start", "search": "search"}
Row = Mapping[str, Any]
Kind = tuple[tuple[type, ...], str]  # the types that a field may have, and how a person calls them

_TEXT: Kind = ((str,), "text")
_TEXT_OR_NULL: Kind = ((str, type(None)), "text")
_WHOLE: Kind = ((int,), "a whole number")
_WHOLE_OR_NULL: Kind = ((int, type(None)), "a whole number or null")
_NUMBER_OR_NULL: Kind = ((int, float, type(None)), "a number or null")
_FLAG_OR_NULL: Kind = ((bool, type(None)), "true, false or null")
_LIST: Kind = ((list,), "a list")
_OBJECT: Kind = ((dict,), "an object")
_OBJECT_OR_NULL: Kind = ((dict, type(None)), "an object or null")
_ROW: dict[str, Kind] = {
    "cell": _TEXT,
    "network": _TEXT,
    "weight_bits": _WHOLE_OR_NULL,
    "act_bits": _WHOLE_OR_NULL,
    "bits": _TEXT,
    "seed": _WHOLE,
    "start": _TEXT,
    "parent": _TEXT_OR_NULL,
    "epochs": _WHOLE,
    "total_epochs": _WHOLE,
    "state": _TEXT,
    "stage": _TEXT_OR_NULL,
    "error": _TEXT_OR_NULL,
    "test_accuracy": _NUMBER_OR_NULL,
    "validation_accuracy": _NUMBER_OR_NULL,
    "best_epoch": _NUMBER_OR_NULL,
    "seconds": _OBJECT,
    "lint": _LIST,
    "proof": _OBJECT_OR_NULL,
    "proven": _FLAG_OR_NULL,
    "cost": _OBJECT_OR_NULL,
    "finn": _OBJECT_OR_NULL,
    "estimate": _OBJECT_OR_NULL,
    "curve": _OBJECT_OR_NULL,
    "command": _TEXT,
}
_PLAN: dict[str, Kind] = {
    "format": _WHOLE,
    "family": _TEXT,
    "data": _TEXT,
    "recipe": _OBJECT,
    "cells": _LIST,
    "command": _TEXT,
}
_SAME = ("network", "weight_bits", "act_bits", "bits", "start", "total_epochs")  # in the cells of a point


@dataclass(frozen=True)
class Axis:
    """What accuracy is shown against.

    Attributes:
        key: its short name.
        label: with its unit.
        head: of its column.
        path: of the number within a row.
        more_is_better: whether a large value is a good one.
    """

    key: str
    label: str
    head: str
    path: tuple[str, ...]
    more_is_better: bool = False

    def of(self, row: Row) -> float | None:
        """Return the number of one cell; None where it was not found out."""
        value: Any = row
        for name in self.path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
        return None


AXES = (
    Axis("bops", "bit operations an image (BOPs)", "BOPs", ("cost", "bops")),
    Axis("weight_bits", "memory of all weights, bits", "weight\nbits", ("cost", "weight_bits")),
    Axis("lut", "look-up tables (LUT), estimated", "LUT", ("estimate", "used", "LUT")),
    Axis("bram", "block RAMs of 18 Kb (BRAM), estimated", "BRAM\n18K", ("estimate", "used", "BRAM_18K")),
    Axis("fps", "frames/s, estimated", "fps", ("estimate", "fps"), more_is_better=True),
)


@dataclass(frozen=True)
class Point:
    """All seeds of one network, bits expression, start and length of training."""

    network: str
    weight_bits: int | None
    act_bits: int | None
    bits: str
    start: str
    total_epochs: int
    cells: tuple[Row, ...]

    @property
    def name(self) -> str:
        """The network and, where there is one, the expression of its bits."""
        return f"{self.network} {self.bits}".rstrip()

    def by_seed(self, kind: str = "test_accuracy") -> dict[int, float]:
        """Accuracies of the trained cells in percent, also of those that failed later: FINN may refuse a good network.

        Args:
            kind: this or ``validation_accuracy``.
        """
        return {cell["seed"]: cell[kind] for cell in self.cells if cell[kind] is not None}

    @property
    def failures(self) -> dict[str, int]:
        """How many cells failed, by stage."""
        failed = [cell for cell in self.cells if cell["state"] == "failed"]
        return dict(Counter(str(cell["stage"]) for cell in failed))

    def mean(self, kind: str = "test_accuracy") -> float | None:
        """Return the mean accuracy over the seeds in percent."""
        values = self.by_seed(kind).values()
        return statistics.mean(values) if values else None

    def spread(self, kind: str = "test_accuracy") -> float | None:
        """Return the standard deviation of the accuracy over the seeds in points; None for a single seed."""
        return deviation(list(self.by_seed(kind).values()))

    def cost(self, axis: Axis) -> float | None:
        """Return the mean cost over the cells that have one; seeds may differ in what FINN estimates."""
        values = [axis.of(cell) for cell in self.cells]
        known = [value for value in values if value is not None]
        return statistics.mean(known) if known else None

    @property
    def proof(self) -> str:
        """``proven``, ``failed`` (any seed), or nothing where no proof was reached."""
        return _joint([cell["proven"] for cell in self.cells], ("proven", "failed"))

    @property
    def verdict(self) -> str:
        """What FINN said: ``accepted``, ``refused`` (any seed), or nothing where it was not asked."""
        answers = [cell["finn"] and cell["finn"].get("accepted") for cell in self.cells]
        return _joint(answers, ("accepted", "refused"))


def _joint(answers: list[bool | None], words: tuple[str, str]) -> str:
    """Return the first word where all known answers are yes, the second where any is no; nothing without answers."""
    known = [answer for answer in answers if answer is not None]
    if not known:
        return ""
    return words[0] if all(known) else words[1]


@dataclass(frozen=True)
class SweepData:
    """A sweep's plan, its rows in the plan's order, its points, and the cells that are still to come."""

    name: str
    plan: Mapping[str, Any]
    rows: tuple[Row, ...]
    points: tuple[Point, ...]
    waiting: tuple[str, ...]

    @property
    def failed(self) -> list[Row]:
        """The cells that ended with an error."""
        return [row for row in self.rows if row["state"] == "failed"]

    def front(self, axis: Axis) -> list[Point]:
        """Return the Pareto front of mean test accuracy against ``axis``, without points that failed their proof."""
        points = [point for point in self.points if point.proof != "failed"]
        costs = [point.cost(axis) for point in points]
        means = [point.mean() for point in points]
        return [points[i] for i in pareto_front(costs, means, axis.more_is_better)]

    def axes(self) -> list[Axis]:
        """Return the axes that some point has a number for."""
        return [axis for axis in AXES if any(point.cost(axis) is not None for point in self.points)]

    def pairs(self) -> list[tuple[Point, Point]]:
        """Return warm-started points with their twins from scratch, at equal total epochs if there are any."""
        found = []
        for point in self.points:
            if point.start == "warm":
                twin = self._scratch_of(point)
                if twin is not None:
                    found.append((point, twin))
        return found

    def _scratch_of(self, warm: Point) -> Point | None:
        """Return the point from scratch of the same network and bits whose training was closest in length."""
        same = []
        for point in self.points:
            if point.start == "scratch" and point.network == warm.network and point.bits == warm.bits:
                same.append(point)
        return min(same, key=lambda point: abs(point.total_epochs - warm.total_epochs), default=None)


def read_sweep(folder: Path) -> SweepData:
    """Read a folder that ``qtrain sweep`` wrote; it need not be finished.

    Raises:
        UserError: no sweep is there, no cell has ended yet, or its files are damaged or contradict each other.
    """
    path = folder / PLAN
    plan = _parse(_read(path), path, "")
    found = plan.get("format")
    if found != FORMAT:
        raise UserError(f"{path} has format {found!r}, this qtrain reads {FORMAT}; run qtrain sweep into a new folder")
    _check(plan, _PLAN, path, "")
    rows = _read_rows(folder / ROWS, plan["cells"])
    ended = {row["cell"] for row in rows}
    waiting = tuple(name for name in plan["cells"] if name not in ended)
    return SweepData(folder.resolve().name, plan, rows, _points(rows), waiting)


def _read_rows(path: Path, planned: list[str]) -> tuple[Row, ...]:
    rows: dict[str, Row] = {}
    for number, line in enumerate(_read(path).splitlines(), 1):
        where = f"line {number}: "
        row = _parse(line, path, where)
        _check(row, _ROW, path, where)
        name = row["cell"]
        if name in rows:
            raise _damaged(path, f"{where}{name} is there twice")
        if name not in planned and row["start"] != "search":
            raise _damaged(path, f"{where}{name} is no cell of {PLAN}")
        _check_sense(row, path, where)
        rows[name] = row
    if not rows:
        raise UserError(f"{path} has no finished cell yet; wait for the first, or qtrain sweep --resume {path.parent}")
    return tuple(rows.values())


def _check_sense(row: Row, path: Path, where: str) -> None:
    if row["start"] not in STARTS:
        raise _damaged(path, f"{where}'start' must be one of {', '.join(STARTS)}, but is {row['start']!r}")
    if row["state"] not in ("done", "failed"):
        raise _damaged(path, f"{where}'state' must be done or failed, but is {row['state']!r}")
    if row["state"] == "done" and row["test_accuracy"] is None:
        raise _damaged(path, f"{where}{row['cell']} is done, but has no 'test_accuracy'")
    named = re.search(r"_(\d+)W(\d+)A$", row["network"])
    if named is None or row["start"] == "search":
        return
    if (int(named[1]), int(named[2])) != (row["weight_bits"], row["act_bits"]):
        bits = f"'weight_bits' {row['weight_bits']}, 'act_bits' {row['act_bits']}"
        raise _damaged(path, f"{where}{row['network']} has {bits}")


def _points(rows: tuple[Row, ...]) -> tuple[Point, ...]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        same = tuple(row[name] for name in _SAME)
        groups.setdefault(same, []).append(row)
    points = []
    for cells in groups.values():
        shared = {name: cells[0][name] for name in _SAME}
        in_order = sorted(cells, key=lambda row: row["seed"])
        points.append(Point(**shared, cells=tuple(in_order)))
    return tuple(points)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; name a folder that qtrain sweep has written") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, str(error)) from None


def _parse(text: str, path: Path, where: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(path, f"{where}{error}") from None
    if not isinstance(values, dict):
        raise _damaged(path, f"{where}a JSON object is expected, not {values!r:.40}")
    return values


def _check(values: Row, kinds: Mapping[str, Kind], path: Path, where: str) -> None:
    """See that an object has every field, each of its kind; a flag is no whole number."""
    for key, (types, what) in kinds.items():
        value = values.get(key)
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if key not in values or not fits:
            raise _damaged(path, f"{where}{key!r} must be {what}, but is {value!r:.40}")


def _damaged(path: Path, why: str) -> UserError:
    mend = f"qtrain sweep --resume {path.parent} writes it anew" if path.name == ROWS else "restore it"
    return UserError(f"{path} is damaged ({' '.join(why.split())}); {mend}")
