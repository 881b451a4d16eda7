"""What the no-retuning experiment leaves: ``no_retuning.json``, and ``tuning.json`` of each baseline's grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

from qtrain.errors import UserError
from qtrain.records.format import JsonFile, from_json

# Rows: the baseline tuned at each width, and at the home width alone.
TUNED = "tuned"
CARRIED = "carried"
_AGAIN = "run qtrain compare --lr-from with its folder as --out again"


@dataclass(frozen=True)
class TuningPoint:
    """One point of a grid.

    Attributes:
        lr: learning rate at the start.
        milestones: fractions of the epochs.
        validation_accuracy: best of each run in percent, by seed; None where a run diverged.
        seconds: that its runs trained.
    """

    lr: float
    milestones: tuple[float, ...]
    validation_accuracy: tuple[float | None, ...]
    seconds: float

    @property
    def score(self) -> float:
        """Mean validation accuracy in percent; a point with a run that diverged comes last."""
        finished = [accuracy for accuracy in self.validation_accuracy if accuracy is not None]
        if len(finished) < len(self.validation_accuracy):
            return -1.0
        return mean(finished)

    @property
    def said(self) -> str:
        """Its rate and result, for a person."""
        result = f"validation accuracy {self.score:.2f} %" if self.score >= 0 else "diverged"
        return f"{self.lr:g}: {result}"


@dataclass(frozen=True)
class TuningRecord:
    """A finished grid.

    Attributes:
        seeds: of each point's runs.
        runs: training runs that it took.
        seconds: that they trained.
        points: best first.
    """

    seeds: tuple[int, ...]
    runs: int
    seconds: float
    points: tuple[TuningPoint, ...]

    @property
    def best(self) -> TuningPoint:
        """The point to take.

        Raises:
            UserError: every point has a run that diverged.
        """
        if self.points[0].score < 0:
            lrs = ", ".join(f"{point.lr:g}" for point in self.points)
            raise UserError(f"no rate of the grid ({lrs}) trains without diverging; give lower ones")
        return self.points[0]


@dataclass(frozen=True, kw_only=True)
class TuningFile(TuningRecord, JsonFile):
    """``tuning.json`` beside the runs of a grid.

    Attributes:
        recipe: that was trained by.
        scheduler: that was tuned.
    """

    FILE: ClassVar[str] = "tuning.json"
    MADE_BY: ClassVar[str] = "qtrain compare --lr-from"
    MEND: ClassVar[str] = _AGAIN

    recipe: Mapping[str, Any]
    scheduler: str


@dataclass(frozen=True)
class Row:
    """The runs of one row at one width.

    Attributes:
        lr: learning rate at the start.
        milestones: fractions of the epochs, which multi-step reads.
        test_accuracy: in percent by seed, of the runs with a result.
        failed: why the others have none, by seed.
        folders: of the runs, relative to the file.
    """

    lr: float
    milestones: tuple[float, ...]
    test_accuracy: Mapping[str, float]
    failed: Mapping[str, str]
    folders: tuple[str, ...]

    @property
    def by_seed(self) -> dict[int, float]:
        """Test accuracies in percent."""
        return {int(seed): accuracy for seed, accuracy in self.test_accuracy.items()}


@dataclass(frozen=True)
class Width:
    """One bit width.

    Attributes:
        network: its full name.
        rows: by name: ASLR's schedulers, ``tuned`` and ``carried``.
        tuning: of the baseline at this width.
    """

    network: str
    rows: Mapping[str, Row]
    tuning: TuningRecord


@dataclass(frozen=True)
class Spent:
    """What a row's numbers cost.

    Attributes:
        runs: tuning runs.
        seconds: that they, or the range test, took.
    """

    runs: int
    seconds: float


@dataclass(frozen=True)
class _Shown:
    """What reports show of a recipe."""

    network: str
    data: str
    epochs: int
    width: float
    train_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class NoRetuningFile(JsonFile):
    """``no_retuning.json``: the whole experiment.

    Attributes:
        recipes: one a bit width.
        home: the network that the one rate and the carried tuning are from.
        baseline: the scheduler that is tuned.
        schedulers: of ASLR's family.
        lr: their one rate.
        lr_range: the range test's record, where it found the rate.
        lr_tuning: the grid that the first scheduler was tuned over at home, where that found the rate.
        grid: rates that the baseline was tried with.
        tuning_seeds: of the tuning runs.
        seeds: of the runs that are compared.
        tolerance: points that a scheduler may fall short of the tuned baseline by.
        verdict: of each scheduler at each width; it follows from the accuracies, and older files have none.
        spent: by row.
        widths: narrowest first.
    """

    FILE: ClassVar[str] = "no_retuning.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain compare --lr-from"
    MEND: ClassVar[str] = _AGAIN

    recipes: tuple[Mapping[str, Any], ...]
    home: str
    baseline: str
    schedulers: tuple[str, ...]
    lr: float
    lr_range: Mapping[str, Any] | None
    lr_tuning: TuningRecord | None = None
    grid: tuple[float, ...]
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    tolerance: float
    verdict: Mapping[str, Any] | None = None
    spent: Mapping[str, Spent]
    widths: tuple[Width, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The rows that every width has."""
        return (*self.schedulers, TUNED, CARRIED)

    @classmethod
    def read(cls, folder: Path) -> "NoRetuningFile":
        """Read it, and see that every width has every row.

        Raises:
            UserError: it does not exist, is damaged, or is of another format.
        """
        found = super().read(folder)
        source = cls.source(folder)
        if not found.widths or not found.recipes:
            raise source.damaged("it holds no widths")
        for number, recipe in enumerate(found.recipes):
            from_json(_Shown, recipe, source, f"recipes[{number}]")
        for width in found.widths:
            if missing := set(found.names) - width.rows.keys():
                raise source.damaged(f"{width.network} has no row {min(missing)!r}")
            if not all(seed.isdecimal() for row in width.rows.values() for seed in row.test_accuracy):
                raise source.damaged(f"{width.network} has accuracies of seeds that are no numbers")
        if missing := set(found.names) - found.spent.keys():
            raise source.damaged(f"'spent' lacks {min(missing)!r}")
        return found
