"""A sweep's recorded rows, and its points: what the seeds of one network, bits and start have in common."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.records.sweep import SweepFile, read_rows
from qtrain.report.statistics import deviation
from qtrain.report.sweep.pareto import pareto_front

STARTS = {"scratch": "from scratch", "warm": "warm start", "search": "search"}
Row = Mapping[str, Any]

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

    @property
    def pruned(self) -> bool:
        """Whether all cells are trials that a search has ended early."""
        return all(cell["state"] == "pruned" for cell in self.cells)

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

    @property
    def pruned(self) -> list[Row]:
        """The trials of a search that were ended early."""
        return [row for row in self.rows if row["state"] == "pruned"]

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
    plan = SweepFile.read(folder)
    rows = tuple(read_rows(folder, plan.cells))
    ended = {row["cell"] for row in rows}
    waiting = tuple(name for name in plan.cells if name not in ended)
    return SweepData(folder.resolve().name, plan.to_json(), rows, _points(rows), waiting)


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
