"""All runs below folders as rows; what has not changed since it was last read is not read again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.comparison import ComparisonFile, GridFile
from qtrain.records.fit import FitFile
from qtrain.records.format import Source
from qtrain.records.status import StatusFile
from qtrain.records.sweep import ROWS, SweepFile
from qtrain.report.runs.cells import CELLS, read_cells
from qtrain.report.runs.folder import FINN, RunFolder, check_plain, estimate_folders, read_run, sentence
from qtrain.report.runs.row import RunRow
from qtrain.report.runs.scan import Listing, Tree

FRESH = 30.0  # seconds that a status may be old; it is written every second
_LATE = 1.5  # epochs without a word from a run that holds no lock
_LATE_SECONDS = 5.0


@dataclass(frozen=True)
class Several:
    """A comparison, sweep or fit.

    Attributes:
        folder: as a person reaches it.
        kind: comparison, grid, sweep or fit.
        state: of the whole, as ``status.json`` has it; stopped where its process was killed, no text without one.
        cells: how many are done, failed, running and waiting.
        seconds_left: about, while it runs.
        why: a file is damaged.
    """

    folder: str
    kind: str
    state: str = ""
    cells: Mapping[str, int] = field(default_factory=dict)
    seconds_left: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Found:
    """What lies below folders.

    Attributes:
        runs: a row a run, in the order of their folders; cells of sweeps that have no folder behind the others.
        several: comparisons and sweeps.
        unread: what could not be read at all, a sentence each.
    """

    runs: tuple[RunRow, ...]
    several: tuple[Several, ...]
    unread: tuple[str, ...]

    @property
    def damaged(self) -> list[str]:
        """All that is damaged or cannot be read, a sentence each."""
        rows = [row.why for row in self.runs if row.state == "damaged"]
        return [*rows, *(each.why for each in self.several if each.why), *self.unread]


class Reader:
    """Reads what is below folders, again and again.

    Args:
        is_held: whether another process works on a folder.
        now: seconds since 1970.
    """

    def __init__(self, is_held: Callable[[Path], bool], now: Callable[[], float] = time.time):
        self._is_held = is_held
        self._now = now
        self._known: dict[tuple[str, Path], tuple[Any, Any]] = {}

    def read(self, *trees: Tree) -> Found:
        """Return what lies below folders; a folder that two of them hold is shown once."""
        runs: dict[Path, RunRow] = {}
        several: dict[Path, Several] = {}
        unread: dict[Path, str] = {}
        for tree in trees:
            top = tree.root.resolve()
            running: set[Path] = set()
            for folder in tree.several():
                one, cells = self._several(folder, tree.at(folder))
                several.setdefault(top / folder.relative_to(tree.root), one)
                running |= cells
            for folder in tree.runs():
                there = top / folder.relative_to(tree.root)
                if there not in runs:
                    runs[there] = self._run(folder, tree, there, folder in running)
            for folder in tree.several():
                if SweepFile.FILE in tree.at(folder).files:
                    for name, row in self._cells(folder, tree.at(folder)).items():
                        runs.setdefault(top / folder.relative_to(tree.root) / CELLS / name, row)
            unread |= {top / folder: f"{folder} cannot be listed ({why})" for folder, why in tree.unread.items()}
        return Found(tuple(runs.values()), tuple(several.values()), tuple(unread.values()))

    def _once(self, kind: str, folder: Path, signature: Any, read: Callable[[], Any]) -> Any:
        """Return what ``read`` gave for this signature, read anew where it is another."""
        known = self._known.get((kind, folder))
        if known is None or known[0] != signature:
            known = self._known[kind, folder] = (signature, read())
        return known[1]

    # --- One run ------------------------------------------------------------------------------------------------------

    def _run(self, folder: Path, tree: Tree, there: Path, is_running: bool) -> RunRow:
        listings = [tree.at(place) for place in (folder, folder / FINN, *estimate_folders(folder))]
        signature = [(tuple(listing.files.items()), frozenset(listing.odd)) for listing in listings]
        found: RunFolder = self._once("run", folder, signature, lambda: read_run(folder, tree))
        row = found.row
        if row.state == "damaged":
            return row
        if is_running or self._is_held(there):
            return replace(row, state="running", seconds_left=self._seconds_left(row))
        may_be_silent = _LATE * found.epoch_seconds + _LATE_SECONDS
        # A time to come is that of a clock which has been set since
        if row.state == "stopped" and row.changed is not None and abs(self._now() - row.changed) < may_be_silent:
            return replace(row, state="running?", seconds_left=self._seconds_left(row))
        return row

    def _seconds_left(self, row: RunRow) -> float | None:
        """Estimate what is left of a run by what its epochs took."""
        if not (row.done and row.epochs and row.seconds and row.changed):
            return None
        left = (row.epochs - row.done) * row.seconds / row.done
        return round(max(0.0, left - max(0.0, self._now() - row.changed)), 1)

    # --- Comparisons and sweeps ---------------------------------------------------------------------------------------

    def _several(self, folder: Path, listing: Listing) -> tuple[Several, set[Path]]:
        """Return a comparison or sweep, and the folders of its cells that run."""
        several = Several(str(folder), _kind(listing))
        try:
            check_plain(folder, listing)
            if StatusFile.FILE not in listing.files:
                return several, set()
            status: StatusFile = self._once(
                "status", folder, listing.files[StatusFile.FILE], lambda: StatusFile.read(folder)
            )
            age = abs(self._now() - _seconds_of(status.updated, StatusFile.source(folder)))
        except (UserError, OSError) as error:
            return replace(several, why=sentence(error, folder)), set()
        if status.state != "running" or age > FRESH:
            state = "stopped" if status.state == "running" else status.state
            return replace(several, state=state, cells=status.cells), set()
        cells = [Path(cell.cell) for cell in status.running]
        running = {folder / cell for cell in cells} | {folder / CELLS / cell for cell in cells}
        return replace(several, state="running", cells=status.cells, seconds_left=status.seconds_left), running

    def _cells(self, folder: Path, listing: Listing) -> dict[str, RunRow]:
        """Return the cells of a sweep by their names."""
        signature = (listing.files[SweepFile.FILE], listing.files.get(ROWS))
        found: dict[str, RunRow] = self._once("cells", folder, signature, lambda: read_cells(folder, listing))
        return found


def _kind(listing: Listing) -> str:
    if FitFile.FILE in listing.names:
        return "fit"
    if SweepFile.FILE in listing.names:
        return "sweep"
    if GridFile.FILE in listing.names and ComparisonFile.FILE not in listing.names:
        return "grid"
    return "comparison"


def _seconds_of(written: str, source: Source) -> float:
    try:
        return datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError):
        raise source.damaged(f"'updated' must be a time in ISO 8601, but is {written!r}") from None
