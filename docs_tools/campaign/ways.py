"""The ways to choose a learning rate that the campaign compares: their runs, accuracies and verdicts."""

from dataclasses import dataclass

from benchmarks.campaign_plan import (
    BITS,
    CONTROL,
    FULL,
    GRID,
    HOME,
    ONE_RATE,
    RIVALS,
    SEEDS,
    TUNED_ONCE,
    Run,
    one_rate,
    tuned,
)
from docs_tools.campaign.cells import Accuracies, Found, diverged, test_accuracies
from qtrain.report.comparison.verdict import TOLERANCE, Verdict, judge
from qtrain.report.statistics import Difference, difference_by_seed


@dataclass(frozen=True)
class Way:
    """A way to choose the learning rate.

    Attributes:
        title: as the tables call it.
        scheduler: that trains.
        tuning_runs: training runs that its numbers cost for all widths together.
    """

    title: str
    scheduler: str
    tuning_runs: int


TUNED = Way("multistep, tuned at each width", "multistep", len(GRID) * len(BITS))
CARRIED = Way(f"multistep, tuned at {HOME} bits alone", "multistep", len(GRID))
OURS = {name: Way(f"{name}, one lr0", name, 0) for name in ONE_RATE}
ONCE = Way(f"{TUNED_ONCE}, tuned at {HOME} bits alone", TUNED_ONCE, len(GRID))
WAYS = (*OURS.values(), ONCE, TUNED, CARRIED)
CONTROLLED = Way(f"{CONTROL}, at that rate", CONTROL, 0)
OTHERS = tuple(Way(f"{name}, the same lr0", name, 0) for name in RIVALS)


def runs_of(found: Found, way: Way, bits: int) -> list[Run]:
    """Return a cell's runs, one a seed; none while its rate is not known."""
    if way is TUNED:
        rate = tuned(found, bits)
    elif way in (CARRIED, ONCE):
        rate = tuned(found, HOME, way.scheduler)
    elif way is CONTROLLED:
        rate = tuned(found, HOME, TUNED_ONCE)
    else:
        rate = one_rate(found)
    return [] if rate is None else [Run(FULL, way.scheduler, bits, rate, seed) for seed in SEEDS]


def cell(found: Found, way: Way, bits: int) -> Accuracies:
    """Return a cell's test accuracies by seed."""
    return test_accuracies(found, runs_of(found, way, bits))


def gap(found: Found, ours: Way, theirs: Way, bits: int) -> Difference | None:
    """Return ``ours`` minus ``theirs`` over the seeds that both have, in points."""
    return difference_by_seed(cell(found, ours, bits), cell(found, theirs, bits))


def verdict_of(found: Found, ours: Way, bits: int) -> Verdict | None:
    """Hold a way against the multi-step tuned at each width; None where the two share no seed that has ended."""
    ended = {way: cell(found, way, bits) for way in (ours, TUNED)}
    seeds = sorted(ended[ours].keys() & ended[TUNED].keys())
    if not seeds:
        return None
    finished = {}
    for way, accuracies in ended.items():  # a run that diverged counts as 0 in means; a verdict calls it lost
        lost = diverged(found, runs_of(found, way, bits))
        finished[way.title] = {seed: value for seed, value in accuracies.items() if seed not in lost}
    return judge(ours.title, finished, [TUNED.title], seeds, TOLERANCE)[0]
