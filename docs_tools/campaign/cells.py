"""The accuracies of a cell's runs, and how the campaign's tables write them."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes

from benchmarks.campaign_plan import SEEDS, Run
from benchmarks.records import RESULTS
from qtrain.report.comparison.text import interval_text
from qtrain.report.comparison.text import mean_text as mean_of
from qtrain.report.statistics import Difference

FOLDER = RESULTS / "campaign"
MISSING = "missing"
Found = Mapping[str, list[dict[str, Any]]]  # the records of every run that has ended, by its name
Accuracies = dict[int, float]  # by seed, in percent


def test_accuracies(found: Found, runs: Iterable[Run]) -> Accuracies:
    """Return the test accuracies of those of the runs that have ended; one that diverged counts as 0."""
    accuracies = {}
    for run in runs:
        if run.name in found:
            result = found[run.name][-1]
            accuracies[run.seed] = float(result.get("test_accuracy", 0.0))
    return accuracies


def diverged(found: Found, runs: Iterable[Run]) -> set[int]:
    """Return the seeds of those of the runs that ended without a result."""
    return {run.seed for run in runs if run.name in found and "test_accuracy" not in found[run.name][-1]}


def mean_text(accuracies: Accuracies) -> str:
    """Return ``48.35 ± 1.02``, with the number of seeds where some are still to come."""
    if not accuracies:
        return MISSING
    text = mean_of(list(accuracies.values()))
    if len(accuracies) < len(SEEDS):
        text += f" ({len(accuracies)} of {len(SEEDS)} seeds)"
    return text


def gap_text(difference: Difference | None) -> str:
    """Return ``-0.76 [-4.56..+3.05]``, the brackets with the 95 % interval where there is one."""
    if difference is None:
        return MISSING
    text = f"{difference.mean:+.2f}"
    interval = interval_text(difference)
    return f"{text} [{interval}]" if interval else text


def finish(axes: Axes, title: str) -> None:
    """Give a panel its title and the look that the campaign's plots share."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, axis="y", color="#E4E7EB", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
