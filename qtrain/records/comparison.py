"""What ``qtrain compare`` leaves: ``comparison.json`` of one network, ``grid.json`` of several."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from qtrain.records.format import JsonFile, Source
from qtrain.records.plain_files import is_name

_AGAIN = "run qtrain compare with its folder as --out again"


@dataclass(frozen=True)
class FinishedCell:
    """A run with a result.

    Attributes:
        scheduler: its name.
        seed: its seed.
        folder: its name, beside the file.
        test_accuracy: in percent.
    """

    scheduler: str
    seed: int
    folder: str
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A run that ended without a result, as one does whose loss is no longer finite.

    Attributes:
        scheduler: its name.
        seed: its seed.
        folder: its name, beside the file.
        reason: for a person.
    """

    scheduler: str
    seed: int
    folder: str = ""
    reason: str


@dataclass(frozen=True, kw_only=True)
class ComparisonFile(JsonFile):
    """``comparison.json``: all runs of a comparison.

    Attributes:
        recipe: shared by all runs.
        schedulers: in the order they were given.
        tolerance: points that the challenger may fall short by.
        challenger: the scheduler that is judged; older files name none, it was the paper's.
        against: the schedulers it is held against; older files name none, they were all others.
        tuning: tuning runs spent before the comparison, by scheduler, where they were told.
        lr_range: the range test's record, where it chose the rate.
        cells: the runs with a result.
        failed: the others.
        differences: the challenger minus each other scheduler in points, by seed; it follows from the cells.
        verdict: what they say; it follows from the cells.
    """

    FILE: ClassVar[str] = "comparison.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain compare"
    MEND: ClassVar[str] = _AGAIN

    recipe: Mapping[str, Any]
    schedulers: tuple[str, ...]
    tolerance: float
    challenger: str = "aslr"
    against: tuple[str, ...] | None = None
    tuning: Mapping[str, int] = field(default_factory=dict)
    lr_range: Mapping[str, Any] | None = None
    cells: tuple[FinishedCell, ...]
    failed: tuple[FailedCell, ...] = ()
    differences: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> "ComparisonFile":
        """Read it, and see that its entries fit together.

        Raises:
            UserError: it does not exist, is damaged, or is of another format.
        """
        found = super().read(folder)
        source = cls.source(folder)
        for cell in found.cells:
            if not is_name(cell.folder):
                raise source.damaged(f"'folder' must be a name beside it, but is {cell.folder!r}")
        _check_seeds(found, source)
        others = set(found.schedulers) - {found.challenger}
        if found.against is not None and not (found.against and set(found.against) <= others):
            raise source.damaged(f"'against' must name some of {sorted(others)}, but is {list(found.against)}")
        return found


def _check_seeds(found: ComparisonFile, source: Source) -> None:
    """See that every scheduler has the same seeds, and that there are two schedulers at least."""
    cells: tuple[FinishedCell | FailedCell, ...] = (*found.cells, *found.failed)
    seeds = {name: sorted(cell.seed for cell in cells if cell.scheduler == name) for name in found.schedulers}
    ours = seeds.get(found.challenger)
    if not ours or len(seeds) < 2 or any(other != ours for other in seeds.values()):
        raise source.damaged(f"{found.challenger} and another scheduler must have the same seeds, but have {seeds}")


@dataclass(frozen=True, kw_only=True)
class GridFile(JsonFile):
    """``grid.json``: the comparisons of several networks, each in the folder of its name beside the file.

    Attributes:
        networks: those that are complete.
        planned: all.
        verdict: what is known of each and of all; it follows from the comparisons, and older files have none.
    """

    FILE: ClassVar[str] = "grid.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain compare"
    MEND: ClassVar[str] = _AGAIN

    networks: tuple[str, ...]
    planned: tuple[str, ...]
    verdict: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> "GridFile":
        """Read it, and see that it names folders.

        Raises:
            UserError: it does not exist, is damaged, or is of another format.
        """
        found = super().read(folder)
        names = (*found.networks, *found.planned)
        if not found.networks or not all(map(is_name, names)):
            raise cls.source(folder).damaged(f"'networks' must be names of folders beside it, but is {list(names)}")
        return found


@dataclass(frozen=True)
class FailureFile(JsonFile):
    """``failed.json`` in the folder of a run that diverged.

    Attributes:
        reason: for a person, as in "the loss is nan at step 2".
    """

    FILE: ClassVar[str] = "failed.json"
    MADE_BY: ClassVar[str] = "qtrain compare"
    MEND: ClassVar[str] = "delete it, or give --again to train that run anew"

    reason: str


@dataclass(frozen=True)
class LrRangeFile(JsonFile):
    """``lr_range.json``: the rate that the range test chose for all runs of an experiment.

    Attributes:
        recipe: with that rate, as plain values.
        record: what the test found and cost.
    """

    FILE: ClassVar[str] = "lr_range.json"
    MADE_BY: ClassVar[str] = "qtrain compare"
    MEND: ClassVar[str] = "delete it to have the range test run again"

    recipe: Mapping[str, Any]
    record: Mapping[str, Any]
