"""What a comparison's numbers say: spreads, paired differences with intervals, and what each scheduler cost."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qtrain.schedulers.catalogue import row_of

CONFIDENCE = 0.95
ASLR = "aslr"


@dataclass(frozen=True)
class Difference:
    """One scheduler's test accuracy minus another's, paired by seed, in points.

    Attributes:
        mean: over the seeds.
        low: lower end of the 95 % interval of the mean; None for a single seed, which tells nothing of the spread.
        high: its upper end.
        seeds: how many pairs.
        deviation: standard deviation over the seeds; None for a single one.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    deviation: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of a sample, None where there is a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Return the mean of ``ours - theirs`` with the 95 % interval of Student's t (n - 1 degrees of freedom).

    Args:
        ours: accuracies in percent, one a seed.
        theirs: of the same seeds, in the same order.

    Raises:
        ValueError: none, or not as many.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if not differences:
        raise ValueError("a difference needs at least one pair")
    return difference_of(statistics.mean(differences), deviation(differences), len(differences))


def difference_by_seed(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Compare accuracies over the seeds that both have, as ``paired_difference``; None where they share none.

    Args:
        ours: accuracies in percent by seed.
        theirs: accuracies in percent by seed.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    return paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])


def difference_of(mean: float, spread: float | None, seeds: int) -> Difference:
    """Return the difference of this mean and deviation over so many seeds, with the interval that they make.

    Args:
        mean: in points.
        spread: standard deviation in points; None for a single seed.
        seeds: how many pairs.
    """
    from scipy.special import stdtrit  # slow to load, and the parser of every command knows the verdict's defaults

    if spread is None:
        return Difference(mean, None, None, seeds, None)
    half = float(stdtrit(seeds - 1, (1 + CONFIDENCE) / 2)) * spread / seeds**0.5
    return Difference(mean, mean - half, mean + half, seeds, spread)


def default_judged(schedulers: Iterable[str], challenger: str, baseline: str) -> tuple[str, ...]:
    """Return the schedulers that the challenger has to keep up with where nobody names any.

    The recipe's own baseline where it takes part; else the other schedules tuned by hand; else all others. So a rival
    that wins fails nothing unless it is named.

    Args:
        schedulers: those that take part.
        challenger: the one that is judged.
        baseline: the recipe's.
    """
    others = [name for name in schedulers if name != challenger]
    if baseline in others:
        return (baseline,)
    schedules = [name for name in others if row_of(name).family == "schedule"]
    return tuple(schedules or others)


def epochs_to_reach(curve: Sequence[float], target: float) -> int | None:
    """Return the first epoch (from 1) whose validation accuracy is at least ``target``; None where none is."""
    for epoch, value in enumerate(curve, 1):
        if value >= target:
            return epoch
    return None


def tuned_numbers(scheduler: str, recipe: Mapping[str, Any]) -> list[str]:
    """Return the numbers that a user of the scheduler has to choose, because no value suits every network.

    Args:
        scheduler: its name; what counts as such a number, its row in ``qtrain.schedulers.catalogue`` says.
        recipe: of the run; milestones count one each, and their factors where they differ.
    """
    row = row_of(scheduler)
    numbers = list(row.tuned)
    if not row.reads_milestones:
        return numbers
    numbers += [f"milestone {milestone:g}" for milestone in recipe["milestones"]]
    gamma = recipe["gamma"]
    if isinstance(gamma, list | tuple):
        return numbers + [f"factor {factor:g}" for factor in gamma]
    return [*numbers, "gamma"]
