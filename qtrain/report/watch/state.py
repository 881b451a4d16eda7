"""What the live page shows: the runs below a folder now, and the curves of some."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.runs import RECORDS, Epoch, read_epochs
from qtrain.report.runs.read import Reader
from qtrain.report.runs.row import RunRow
from qtrain.report.runs.scan import Tree, scan
from qtrain.report.runs.select import in_order
from qtrain.report.runs.text import several_line
from qtrain.report.runs.values import to_json

EVERY = 1.0  # seconds that what was read is good for, however many pages ask
CURVES = 8  # runs at most whose curves are asked for at once
POINTS = 500  # of a curve, at most
_DRAWN = ("loss", "validation_loss", "validation_accuracy", "lr")
Holding = Callable[[], AbstractContextManager[Callable[[Path], bool]]]


class Watched:
    """A folder whose runs are looked at again and again, by several threads.

    Args:
        folder: of a run, a comparison, a sweep, or with many of them below.
        holding: tells inside which folders are held by a process.

    Raises:
        UserError: there is no such folder.
    """

    def __init__(self, folder: Path, holding: Holding):
        self.folder = folder
        self._holding = holding
        self._lock = threading.Lock()
        self._reader = Reader(self._is_held)
        self._asks: Callable[[Path], bool] = lambda folder: False
        self._tree = scan(folder)
        self._runs: dict[str, Any] = {}
        self._read_at = -EVERY
        self._curves: dict[str, tuple[Any, dict[str, Any]]] = {}

    def _is_held(self, folder: Path) -> bool:
        return self._asks(folder)

    def runs(self) -> dict[str, Any]:
        """Return all rows, comparisons and sweeps as plain values, at most ``EVERY`` seconds old."""
        with self._lock:
            if time.monotonic() - self._read_at >= EVERY:
                self._runs = self._read()
                self._read_at = time.monotonic()
            return self._runs

    def _read(self) -> dict[str, Any]:
        try:
            self._tree = scan(self.folder)
        except UserError as error:
            return {"error": str(error), "runs": [], "several": [], "damaged": []}
        with self._holding() as is_held:
            self._asks = is_held
            found = self._reader.read(self._tree)
        rows = in_order(found.runs, None)
        values = to_json(found, rows)
        drawable = {str(folder) for folder, listing in self._tree.folders.items() if RECORDS in listing.files}
        for row in values["runs"]:
            row["curve"] = row["folder"] in drawable and row["done"] > 0
        lines = [several_line(several) for several in found.several if several.state and not several.why]
        return values | {"error": "", "lines": lines, "seconds_left": _seconds_left(rows, values["several"])}

    def curves(self, folders: Sequence[str]) -> dict[str, Any]:
        """Return the curves of some runs by their folders, as the rows name them; others are passed over."""
        with self._lock:
            known = {str(folder): folder for folder in self._tree.folders}
            asked = [known[name] for name in folders if name in known][:CURVES]
            return {str(folder): self._curve(folder, self._tree) for folder in asked}

    def _curve(self, folder: Path, tree: Tree) -> dict[str, Any]:
        signature = tree.at(folder).files.get(RECORDS)  # none for a link
        known = self._curves.get(str(folder))
        if known is None or known[0] != signature:
            known = self._curves[str(folder)] = (signature, {} if signature is None else _curve_of(folder))
        return known[1]


def _curve_of(folder: Path) -> dict[str, Any]:
    try:
        epochs = read_epochs(folder)
    except (UserError, OSError):  # the row says so
        return {}
    step = -(-len(epochs) // POINTS) or 1
    thinned: list[Epoch] = [epoch for i, epoch in enumerate(epochs) if i % step == 0 or i == len(epochs) - 1]
    curve: dict[str, Any] = {"epoch": [epoch.epoch for epoch in thinned]}
    for name in _DRAWN:
        curve[name] = [_finite(getattr(epoch, name)) for epoch in thinned]
    return curve


def _finite(value: float) -> float | None:
    """Return a number that JSON has; None where it is not finite."""
    return value if abs(value) < float("inf") else None


def _seconds_left(rows: Sequence[RunRow], several: Sequence[dict[str, Any]]) -> float | None:
    """Return the longest that something here will still take; None where nothing says."""
    left = [each["seconds_left"] for each in several] + [row.seconds_left for row in rows]
    return max((seconds for seconds in left if seconds is not None), default=None)
