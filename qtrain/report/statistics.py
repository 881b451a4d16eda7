"""What a comparison's numbers say: spreads, paired differences with intervals, and what each scheduler cost."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import stdtrit

CONFIDENCE = 0.95
ASLR = "aslr"
# Schedules whose numbers somebody tuned for the recipe at hand; the others are rivals that choose for themselves.
HAND_TUNED = ("multistep", "cosine", "cosine_restarts", "constant", "wsd", "onecycle", "plateau")
_L4 = ("alpha", "gamma", "gamma0", "tau", "eps")
_TUNED: dict[str, tuple[str, ...]] = {
    "cosine": ("lr0", "length"),
    "cosine_restarts": ("lr0", "length"),
    "wsd": ("lr0", "warm-up", "decay"),
    "onecycle": ("peak", "length"),
    "plateau": ("lr0", "factor", "patience"),
    "l4mom": _L4,
    "l4adam": _L4,
    "armijo": ("c", "beta", "gamma", "first step"),
    "schedulefree": ("lr",),
    "prodigy": (),
    "dadaptation": (),
    "dog": (),
    "transition": ("target rate", "its step", "lr0"),
}


@dataclass(frozen=True)
class Difference:
    """One scheduler's test accuracy minus another's, paired by seed, in points.

    Attributes:
        mean: over the seeds.
        low: lower end of the 95 % interval of the mean; None for a single seed, which tells nothing of the spread.
        high: its upper end.
        seeds: how many pairs.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def bound(self) -> float:
        """What is held against the tolerance: the interval's lower end, for one seed the difference itself."""
        return self.mean if self.low is None else self.low

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample, None where there is a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ``ours - theirs`` with the 95 % interval of Student's t distribution (n - 1 degrees of freedom).

    Args:
        ours: accuracies in percent, one a seed.
        theirs: of the same seeds, in the same order.

    Raises:
        ValueError: none, or not as many.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if not differences:
        raise ValueError("a difference needs at least one pair")
    mean, spread, n = statistics.mean(differences), deviation(differences), len(differences)
    if spread is None:
        return Difference(mean, None, None, n)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * spread / n**0.5
    return Difference(mean, mean - half, mean + half, n)


def default_judged(schedulers: Iterable[str], challenger: str, baseline: str) -> tuple[str, ...]:
    """The schedulers that the challenger has to keep up with where nobody names any.

    The recipe's own baseline where it takes part; else the other schedules tuned by hand; else all others. So a rival
    that wins fails nothing unless it is named.

    Args:
        schedulers: those that take part.
        challenger: the one that is judged.
        baseline: the recipe's.
    """
    others = [s for s in schedulers if s != challenger]
    tuned = [s for s in others if s in HAND_TUNED]
    return (baseline,) if baseline in others else tuple(tuned or others)


def shortfalls(
    accuracies: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int],
    challenger: str,
    judged: Sequence[str],
    tolerance: float,
) -> dict[str, Difference | None]:
    """The judged schedulers that the challenger may be behind by more than ``tolerance``.

    ``ours - theirs >= -tolerance`` must hold for the lower end of the interval.

    Args:
        accuracies: test accuracies in percent by scheduler and seed; runs that failed are absent.
        seeds: those that every scheduler was given.
        challenger: the one that is judged.
        judged: those it is held against.
        tolerance: points that it may fall short by.

    Returns:
        The differences, None where a run of either failed, so that there is nothing to compare.
    """
    found: dict[str, Difference | None] = {}
    for name in judged:
        ours, theirs = accuracies.get(challenger, {}), accuracies.get(name, {})
        if not all(seed in ours and seed in theirs for seed in seeds):
            found[name] = None
            continue
        difference = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
        if difference.bound < -tolerance:
            found[name] = difference
    return found


def shortfall_words(challenger: str, behind: Mapping[str, Difference | None], tolerance: float) -> str:
    """One sentence on what ``shortfalls`` found."""
    parts = []
    for name, found in behind.items():
        if found is None:
            parts.append(f"{challenger} or {name} has a run without an accuracy, so they cannot be compared")
        elif found.low is None or found.high is None:
            parts.append(f"{challenger} is {-found.mean:.2f} points behind {name} (one seed: the difference itself)")
        else:
            parts.append(
                f"{challenger} may be {-found.low:.2f} points behind {name} (mean {found.mean:+.2f}, 95 % interval "
                f"{found.low:+.2f} to {found.high:+.2f})"
            )
    return f"{' and '.join(parts)}; {tolerance:g} points are allowed"


def epochs_to_reach(curve: Sequence[float], target: float) -> int | None:
    """The first epoch (from 1) whose validation accuracy is at least ``target``; None where none is."""
    return next((i for i, value in enumerate(curve, 1) if value >= target), None)


def tuned_numbers(scheduler: str, recipe: Mapping[str, Any]) -> list[str]:
    """The numbers that a user of the scheduler has to choose, because no value suits every network.

    The optimizer's own (momentum, Adam's betas) and a schedule's conventions (one-cycle's shape) are not counted; L4's
    and Armijo's constants are, as the ASLR paper counts them.

    Args:
        scheduler: its name.
        recipe: of the run; multi-step's milestones count one each, and its factors where they differ.
    """
    if scheduler != "multistep":
        return list(_TUNED.get(scheduler, ("lr0",)))
    gamma = recipe["gamma"]
    factors = [f"factor {g:g}" for g in gamma] if isinstance(gamma, list | tuple) else ["gamma"]
    return ["lr0", *(f"milestone {m:g}" for m in recipe["milestones"]), *factors]
