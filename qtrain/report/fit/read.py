"""What a page and the console show of a fit, read from its folder alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtrain.errors import UserError
from qtrain.records.fit import Candidate, CandidatesFile, FitFile, SensitivityFile
from qtrain.report.sweep.pareto import pareto_front


@dataclass(frozen=True)
class FitData:
    """A fit.

    Attributes:
        plan: what was asked.
        found: candidates, fronts and the winner so far.
        sensitivity: of each quantizer; None where it is still to be measured.
    """

    plan: FitFile
    found: CandidatesFile
    sensitivity: SensitivityFile | None

    @property
    def ended(self) -> list[Candidate]:
        """The candidates that were trained, or stood from the start, and that the compiler took."""
        return [one for one in self.found.candidates if one.state == "done" and one.used is not None]

    @property
    def failed(self) -> list[Candidate]:
        """The candidates that failed."""
        return [one for one in self.found.candidates if one.state == "failed"]

    @property
    def winner(self) -> Candidate | None:
        """The most accurate that fits, where there is one."""
        return next((one for one in self.ended if one.name == self.found.winner), None)

    def fits(self, candidate: Candidate) -> bool:
        """Whether a candidate keeps within the limits, by the compiler."""
        used: Mapping[str, float] = candidate.used or {}
        within = all(used.get(kind, 0) <= most for kind, most in self.plan.limits.items())
        return within and (candidate.fps or 0.0) >= self.plan.min_fps * (1 - 1e-9)

    def front(self) -> list[Candidate]:
        """Return the candidates that none beats in both LUTs and validation accuracy, from the smallest on."""
        ended = self.ended
        return [
            ended[i] for i in pareto_front([luts(one) for one in ended], [one.validation_accuracy for one in ended])
        ]


def luts(candidate: Candidate) -> float:
    """Return the LUTs of a candidate that has ended, by the compiler."""
    assert candidate.used is not None
    return float(candidate.used["LUT"])


def read_fit(folder: Path) -> FitData:
    """Read a fit's folder; it need not be finished.

    Raises:
        UserError: there is no fit, or a file is damaged.
    """
    if not FitFile.is_in(folder):
        raise UserError(f"{folder} is no fit (no {FitFile.FILE}); name a folder that qtrain fit wrote")
    found = CandidatesFile.read(folder) if CandidatesFile.is_in(folder) else CandidatesFile()
    sensitivity = SensitivityFile.read(folder) if SensitivityFile.is_in(folder) else None
    return FitData(FitFile.read(folder), found, sensitivity)
