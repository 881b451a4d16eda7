"""The verdict of a comparison: does a challenger keep up with a baseline, as far as the seeds that ran can tell."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from qtrain.report.statistics import Difference, default_judged, difference_by_seed, difference_of

# Points that a challenger may fall short by where nobody says otherwise: more than the ASLR paper's scheduler is behind
# its tuned baselines anywhere in Tables III and IV (0.3), less than the seed alone moves a baseline (its standard
# deviation in results/comparisons.jsonl, small networks and short runs, is 0.6 in the median).
TOLERANCE = 0.5
LIMIT = 100  # further seeds that are worth counting

OnUndecided = Literal["ok", "fail"]


class Answer(StrEnum):
    """The three answers, the best first."""

    HOLDS = "holds"
    UNDECIDED = "undecided"
    SHORT = "falls short"

    @property
    def severity(self) -> int:
        """How bad it is: 0 for the best."""
        return list(Answer).index(self)


@dataclass(frozen=True)
class Verdict:
    """What is known of a challenger against one baseline.

    Attributes:
        challenger: the scheduler that is judged.
        baseline: what it is held against.
        tolerance: points that it may fall short by.
        difference: the challenger minus the baseline, over the seeds that both finished; None where there is none.
        lost: the seeds with which the challenger diverged.
        baseline_lost: the seeds with which the baseline diverged.
    """

    challenger: str
    baseline: str
    tolerance: float
    difference: Difference | None
    lost: tuple[int, ...] = ()
    baseline_lost: tuple[int, ...] = ()

    @property
    def answer(self) -> Answer:
        """The answer that the seeds give, one of the three.

        A challenger that diverged does not keep up, whatever the baseline did. A baseline that diverged shows nothing:
        judged by the seeds that are left it would look better than it is.
        """
        if self.lost:
            return Answer.SHORT
        if self.baseline_lost or self.difference is None:
            return Answer.UNDECIDED
        return answer_of(self.difference, self.tolerance)

    @property
    def one_seed(self) -> bool:
        """Whether it is undecided for no other reason than that there is one seed."""
        alone = self.difference is not None and self.difference.seeds == 1
        return alone and not self.lost and not self.baseline_lost

    @property
    def further_seeds(self) -> int | None:
        """The further seeds that would decide; None where decided, or undecided since the baseline diverged."""
        if self.answer is not Answer.UNDECIDED or self.baseline_lost or self.difference is None:
            return None
        return further_seeds(self.difference, self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON files; what follows from the numbers is written out too."""
        return {"answer": str(self.answer), "further_seeds": self.further_seeds, **asdict(self)}


class Judged(ABC):
    """What a comparison's accuracies say of its challenger; whoever has them by seed derives from it.

    Attributes:
        challenger: the scheduler that is judged.
        against: the schedulers it is held against; None: as ``default_judged`` chooses.
        tolerance: points that the challenger may fall short by.
    """

    challenger: str
    against: tuple[str, ...] | None
    tolerance: float

    @abstractmethod
    def by_seed(self, scheduler: str) -> dict[int, float]:
        """Return test accuracies of a scheduler's finished runs in percent, in the order of their seeds."""

    @abstractmethod
    def all_schedulers(self) -> list[str]:
        """Return the schedulers that take part, in the order they were given."""

    @abstractmethod
    def all_seeds(self) -> list[int]:
        """Return the seeds that every scheduler was given."""

    @abstractmethod
    def recipe_baseline(self) -> str:
        """Return the baseline of the shared recipe."""

    def accuracies(self, scheduler: str) -> list[float]:
        """Return test accuracies of a scheduler's finished runs in percent, one a seed."""
        return list(self.by_seed(scheduler).values())

    def differences(self, baseline: str) -> list[float]:
        """Return the challenger minus ``baseline`` in points, for each seed with which both finished."""
        ours = self.by_seed(self.challenger)
        theirs = self.by_seed(baseline)
        return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]

    def difference(self, baseline: str) -> Difference | None:
        """Return the mean of ``differences`` with its interval; None where no seed has both."""
        return difference_by_seed(self.by_seed(self.challenger), self.by_seed(baseline))

    @property
    def others(self) -> list[str]:
        """Every scheduler but the challenger."""
        return [name for name in self.all_schedulers() if name != self.challenger]

    @property
    def judged(self) -> tuple[str, ...]:
        """The schedulers that the challenger has to keep up with."""
        return self.against or default_judged(self.all_schedulers(), self.challenger, self.recipe_baseline())

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One against each of the judged, always from the runs' numbers."""
        accuracies = {name: self.by_seed(name) for name in self.all_schedulers()}
        return judge(self.challenger, accuracies, self.judged, self.all_seeds(), self.tolerance)

    @property
    def answer(self) -> Answer:
        """The answer of all verdicts together: the worst."""
        return worst(verdict.answer for verdict in self.verdicts)


def answer_of(difference: Difference, tolerance: float) -> Answer:
    """Hold the 95 % interval of a difference against the tolerance.

    Args:
        difference: the challenger minus the baseline, in points.
        tolerance: points that the challenger may fall short by, 0 or more.

    Returns:
        Holds where the lower end is at or above ``-tolerance``, falls short where the upper end is below it, else
        undecided: one seed always is, since it has no interval.
    """
    if difference.low is None or difference.high is None:
        return Answer.UNDECIDED
    if difference.low >= -tolerance:
        return Answer.HOLDS
    return Answer.SHORT if difference.high < -tolerance else Answer.UNDECIDED


def further_seeds(difference: Difference, tolerance: float, limit: int = LIMIT) -> int | None:
    """Count the further seeds that would decide at the mean and the spread seen.

    That is the least n with which the interval of the same mean and standard deviation over n seeds,
    ``mean -+ t(n - 1) * deviation / sqrt(n)``, is decided, less the seeds that there are.

    Args:
        difference: the challenger minus the baseline, in points.
        tolerance: points that the challenger may fall short by.
        limit: further seeds to try.

    Returns:
        0 where it is decided already; None where more than ``limit`` are needed, where none would do since the mean is
        at the tolerance, or where a single seed tells nothing of the spread.
    """
    if difference.deviation is None:
        return None
    for more in range(limit + 1):
        later = difference_of(difference.mean, difference.deviation, difference.seeds + more)
        if answer_of(later, tolerance) is not Answer.UNDECIDED:
            return more
    return None


def judge(
    challenger: str,
    accuracies: Mapping[str, Mapping[int, float]],
    judged: Sequence[str],
    seeds: Sequence[int],
    tolerance: float,
) -> tuple[Verdict, ...]:
    """Hold a challenger against each of several baselines.

    Args:
        challenger: its name.
        accuracies: test accuracies in percent by scheduler and seed; runs that diverged are absent.
        judged: the baselines' names.
        seeds: those that every scheduler was given.
        tolerance: points that the challenger may fall short by.
    """
    ours = accuracies[challenger]
    lost = tuple(seed for seed in seeds if seed not in ours)
    verdicts = []
    for name in judged:
        theirs = accuracies[name]
        baseline_lost = tuple(seed for seed in seeds if seed not in theirs)
        difference = difference_by_seed(ours, theirs)
        verdicts.append(Verdict(challenger, name, tolerance, difference, lost, baseline_lost))
    return tuple(verdicts)


def judge_each(
    challengers: Sequence[str],
    accuracies: Mapping[str, Mapping[int, float]],
    baseline: str,
    seeds: Sequence[int],
    tolerance: float,
) -> dict[str, Verdict]:
    """Hold each of several challengers against one baseline; arguments as of ``judge``."""
    found = {}
    for name in challengers:
        (found[name],) = judge(name, accuracies, [baseline], seeds, tolerance)
    return found


def worst(answers: Iterable[Answer], complete: bool = True) -> Answer:
    """Return the answer that decides among several.

    Args:
        answers: one or more.
        complete: whether these are all; else undecided is the best that can be said.
    """
    found = list(answers)
    if not complete:
        found.append(Answer.UNDECIDED)
    return max(found, key=lambda answer: answer.severity)


def passes(verdicts: Iterable[Verdict], undecided: OnUndecided | None = None) -> bool:
    """Return whether a command that found these verdicts ends with status 0.

    Args:
        verdicts: one or more; the worst decides.
        undecided: whether undecided is ok or a failure; None: ok where one seed is the only reason, else a failure.
    """
    found = list(verdicts)
    answer = worst(verdict.answer for verdict in found)
    if answer is not Answer.UNDECIDED:
        return answer is Answer.HOLDS
    if undecided is not None:
        return undecided == "ok"
    return all(verdict.one_seed for verdict in found if verdict.answer is Answer.UNDECIDED)


def verdicts_record(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdicts of one network as plain values: the answer that decides, and each against its baseline."""
    answer = worst(verdict.answer for verdict in verdicts)
    against = {verdict.baseline: verdict.to_dict() for verdict in verdicts}
    return {"answer": str(answer), "against": against}
