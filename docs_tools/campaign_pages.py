"""The campaign's tables and plots, from its records alone; a run that is still to come is shown as missing."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.campaign_plan import (
    AUTO,
    BEST_RATE,
    BITS,
    CHOICE,
    CHOICE_SEEDS,
    FIND_RATES,
    FULL,
    GRID,
    HOME,
    ONE_RATE,
    RATES,
    SEEDS,
    SENSITIVITY,
    Run,
    one_rate,
    tuned,
)
from benchmarks.records import RESULTS, table
from qtrain.report.statistics import Difference, epochs_to_reach, paired_difference
from qtrain.schedulers.catalogue import row_of

FOLDER = RESULTS / "campaign"
SENSITIVITY_PLOT, BITS_PLOT = "sensitivity.png", "bits.png"
SENSITIVE = ("aslr_decay", "aslr_capped", "wsd", "multistep", "aslr")
MISSING = "missing"
CLOSE = 1.0  # points from the best in which a rate counts as good
Found = Mapping[str, list[dict[str, Any]]]
Accuracies = dict[int, float]  # by seed, in percent


@dataclass(frozen=True)
class Row:
    """A way to choose the learning rate, in the table of all images.

    Attributes:
        title: as the table calls it.
        scheduler: that trains.
        tuning_runs: training runs that its numbers cost for all widths together.
    """

    title: str
    scheduler: str
    tuning_runs: int


TUNED = Row("multistep, tuned at each width", "multistep", len(GRID) * len(BITS))
CARRIED = Row(f"multistep, tuned at {HOME} bits alone", "multistep", len(GRID))
ROWS = (*(Row(f"{name}, one lr0", name, 0) for name in ONE_RATE), TUNED, CARRIED)


def test_accuracies(found: Found, runs: Iterable[Run]) -> Accuracies:
    """Test accuracies of those of the runs that have ended; one that diverged counts as 0."""
    ended = {run.seed: found[run.name][-1] for run in runs if run.name in found}
    return {seed: float(result.get("test_accuracy", 0.0)) for seed, result in ended.items()}


def mean_text(accuracies: Accuracies) -> str:
    """``48.35 ± 1.02``, with the number of seeds where some are still to come."""
    values = list(accuracies.values())
    if not values:
        return MISSING
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    so_far = f" ({len(values)} of {len(SEEDS)} seeds)" if len(values) < len(SEEDS) else ""
    return f"{statistics.mean(values):.2f}{deviation}{so_far}"


def difference(ours: Accuracies, theirs: Accuracies) -> Difference | None:
    """The paired difference over the seeds that both have."""
    seeds = sorted(ours.keys() & theirs.keys())
    return paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds]) if seeds else None


def difference_text(found: Difference | None) -> str:
    """``-0.76 [-4.56..+3.05]``, the brackets with the 95 % interval."""
    if found is None:
        return MISSING
    return f"{found.mean:+.2f}" + ("" if found.low is None else f" [{found.low:+.2f}..{found.high:+.2f}]")


# --- How much depends on the first rate ------------------------------------------------------------------------------


def sensitivity_runs(scheduler: str, bits: int, lr: float) -> list[Run]:
    """One point of the plot: a run a seed."""
    return [Run(SENSITIVITY, scheduler, bits, lr, seed) for seed in SEEDS]


def span(means: Mapping[float, float]) -> str:
    """The rates whose mean is within ``CLOSE`` of the best, and how far their ends lie apart."""
    if len(means) < len(RATES):
        return MISSING
    good = [lr for lr, mean in means.items() if mean >= max(means.values()) - CLOSE]
    return f"{min(good):g} to {max(good):g} ({max(good) / min(good):.0f} times)"


def sensitivity_table(found: Found) -> str:
    """Test accuracy by scheduler, bits and first rate."""
    rows = []
    for bits in (1, HOME):
        for scheduler in SENSITIVE:
            cells = {lr: test_accuracies(found, sensitivity_runs(scheduler, bits, lr)) for lr in RATES}
            means = {lr: statistics.mean(cell.values()) for lr, cell in cells.items() if cell}
            found_there = found_rates(found, scheduler, bits) if scheduler in FIND_RATES else ""
            rows.append([str(bits), scheduler, *map(mean_text, cells.values()), span(means), found_there])
    head = ["bits", "scheduler", *(f"lr0 {lr:g}" for lr in RATES), f"within {CLOSE:g} point of its best", "lr0 auto"]
    return table(head, rows)


def auto_runs(scheduler: str, bits: int) -> list[Run]:
    """The runs whose first rate the range test found, one a seed."""
    return [Run(SENSITIVITY, scheduler, bits, AUTO, seed) for seed in SEEDS]


def found_rates(found: Found, scheduler: str, bits: int) -> str:
    """``48.12 ± 0.60 from 0.05, 0.06, 0.05``: test accuracy of those runs and the rates, a seed each."""
    runs = auto_runs(scheduler, bits)
    ended = [found[run.name] for run in runs if run.name in found]
    text = mean_text(test_accuracies(found, runs))
    return text + (" from " + ", ".join(f"{records[0]['recipe']['lr']:g}" for records in ended) if ended else "")


def choice_table(found: Found) -> str:
    """What the first rate's choice was made on: seeds that nothing is judged on."""
    rows = []
    for bits in (1, HOME):
        pairs = [(scheduler, lr) for scheduler in FIND_RATES for lr in (AUTO, BEST_RATE)]
        for scheduler, lr in (*pairs, ("wsd", BEST_RATE)):
            runs = [Run(CHOICE, scheduler, bits, lr, seed) for seed in CHOICE_SEEDS]
            rows.append([str(bits), f"{scheduler}, lr {lr}", mean_text(test_accuracies(found, runs))])
    return table(["bits", "scheduler", f"test accuracy, seeds {', '.join(map(str, CHOICE_SEEDS))}"], rows)


def sensitivity_figure(found: Found) -> Figure:
    """Test accuracy over the first rate, a panel a bit width: means as lines, seeds as dots."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, bits in zip(panels, (1, HOME), strict=True):
        for scheduler in SENSITIVE:
            points = {lr: test_accuracies(found, sensitivity_runs(scheduler, bits, lr)) for lr in RATES}
            _draw_points(axes, scheduler, {lr: list(cell.values()) for lr, cell in points.items() if cell})
        for scheduler in FIND_RATES:
            if values := test_accuracies(found, auto_runs(scheduler, bits)).values():
                level, colour = statistics.mean(values), row_of(scheduler).colour
                axes.axhline(level, color=colour, ls=":", lw=1.5, label=f"{scheduler}, lr auto")
        axes.set_xscale("log")
        axes.set_xticks(RATES, [f"{lr:g}" for lr in RATES], minor=False)
        axes.set_xlabel("first learning rate")
        _finish(axes, f"{bits} bit{'s' if bits > 1 else ''}: test accuracy, %")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


# --- One rate at every bit width -------------------------------------------------------------------------------------


def full_runs(found: Found, row: Row, bits: int) -> list[Run]:
    """A cell's runs, one a seed; none while its rate is not known."""
    rate = one_rate(found)
    if row is TUNED:
        rate = tuned(found, bits)
    elif row is CARRIED:
        rate = tuned(found, HOME)
    return [] if rate is None else [Run(FULL, row.scheduler, bits, rate, seed) for seed in SEEDS]


def full_table(found: Found) -> str:
    """A row a bit width: accuracies with their rates, then the differences to the multi-step tuned at each width."""
    head = ["bits", *(row.title for row in ROWS), *(f"{name} minus tuned" for name in ONE_RATE), "aslr_decay minus wsd"]
    lines = []
    for bits in BITS:
        runs = {row: full_runs(found, row, bits) for row in ROWS}
        cells = {row: test_accuracies(found, own) for row, own in runs.items()}
        shown = [_with_rate(mean_text(cells[row]), runs[row]) for row in ROWS]
        by_name = {row.scheduler: cells[row] for row in ROWS if row.scheduler in ONE_RATE}
        gaps = [difference_text(difference(by_name[name], cells[TUNED])) for name in ONE_RATE]
        search = difference_text(difference(by_name["aslr_decay"], by_name["wsd"]))
        lines.append([str(bits), *shown, *gaps, search])
    lines.append(["tuning runs", *(str(row.tuning_runs) for row in ROWS), *[""] * (len(head) - len(ROWS) - 1)])
    return table(head, lines)


def _with_rate(text: str, runs: Sequence[Run]) -> str:
    return f"{text} (lr {runs[0].lr:g})" if runs and text != MISSING else text


def reach_table(found: Found) -> str:
    """Epochs until each row has the validation accuracy that the tuned multi-step of its seed ended with."""
    rows = []
    for bits in BITS:
        goals = {run.seed: _curve(found, run)[-1] for run in full_runs(found, TUNED, bits) if run.name in found}
        cells = []
        for row in ROWS:
            ended = [run for run in full_runs(found, row, bits) if run.name in found and run.seed in goals]
            reached = [epochs_to_reach(_curve(found, run), goals[run.seed]) for run in ended]
            cells.append(", ".join("never" if epoch is None else str(epoch) for epoch in reached) or MISSING)
        rows.append([str(bits), *cells])
    return table(["bits", *(row.title for row in ROWS)], rows)


def _curve(found: Found, run: Run) -> list[float]:
    return [record["validation_accuracy"] for record in found[run.name] if record["type"] == "epoch"]


def bits_figure(found: Found) -> Figure:
    """Difference to the multi-step tuned at each width, by bits, with the 95 % interval of three seeds."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="#333333", lw=1)
    for i, row in enumerate(row for row in ROWS if row is not TUNED):
        for place, bits in enumerate(BITS):
            theirs = test_accuracies(found, full_runs(found, TUNED, bits))
            gap = difference(test_accuracies(found, full_runs(found, row, bits)), theirs)
            if gap is not None:
                _draw_gap(axes, place + 0.12 * (i - 2), gap, row, label=row.title if place == 0 else None)
    axes.set_xticks(range(len(BITS)), [str(bits) for bits in BITS])
    axes.set_xlabel("bits of weights and activations")
    axes.legend(frameon=False, fontsize=8)
    _finish(axes, "Test accuracy minus multi-step tuned at each width, points")
    return figure


def _draw_gap(axes: Axes, x: float, gap: Difference, row: Row, label: str | None) -> None:
    look = row_of(row.scheduler)
    colour, marker = ("#6B7280", "v") if row is CARRIED else (look.colour, look.marker)
    if gap.low is not None and gap.high is not None:
        axes.plot([x, x], [gap.low, gap.high], color=colour, lw=2, alpha=0.6)
    axes.plot([x], [gap.mean], marker, color=colour, ms=6, label=label)


def _draw_points(axes: Axes, scheduler: str, points: Mapping[float, Sequence[float]]) -> None:
    look = row_of(scheduler)
    means = [statistics.mean(values) for values in points.values()]
    axes.plot(list(points), means, color=look.colour, ls=look.dashes, marker=look.marker, ms=5, lw=2, label=scheduler)
    for lr, values in points.items():
        axes.plot([lr] * len(values), values, look.marker, color=look.colour, ms=3.5, alpha=0.6)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, axis="y", color="#E4E7EB", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)


# --- The page --------------------------------------------------------------------------------------------------------


def written(found: Found) -> str:
    """The section of results/README.md; writes the plots beside the records."""
    sensitivity_figure(found).savefig(FOLDER / SENSITIVITY_PLOT, dpi=110)
    parts = [
        "CNV at width 0.25 on CIFAR-10, 5,000 images held out by one split for all runs, Adam, batch 100, one core a "
        "run; `make campaign` trains what is missing.",
        "### How much depends on the first rate",
        f"10,000 training images, 12 epochs, {len(SEEDS)} seeds: test accuracy in percent, mean ± standard deviation. "
        "wsd is constant with aslr_decay's decay, so that their difference is what the search brings.",
        sensitivity_table(found),
        f"![test accuracy over the first learning rate](campaign/{SENSITIVITY_PLOT})",
        "With lr auto the range test finds the first rate before the training, here in 300 steps; the runs have 1,200. "
        f"Whether that is as good as the best of the rates was asked on seeds {', '.join(map(str, CHOICE_SEEDS))}, on "
        "which nothing else is judged:",
        choice_table(found),
        "### One rate at every bit width",
        f"All 45,000 training images, 20 epochs, {len(SEEDS)} seeds. The one rate is the range test's at {HOME} bits; "
        f"multi-step was tuned on validation accuracy over lr {', '.join(f'{lr:g}' for lr in GRID)}, a run each. "
        "Differences are paired by seed, in points, with the 95 % interval of their mean.",
        full_table(found),
    ]
    if any(name.startswith(FULL) for name in found):
        bits_figure(found).savefig(FOLDER / BITS_PLOT, dpi=110)
        parts += [
            f"![difference to the tuned baseline by bit width](campaign/{BITS_PLOT})",
            "Epochs until the validation accuracy that the tuned multi-step ended with, a number a seed:",
            reach_table(found),
        ]
    return "\n\n".join([*parts, spent(found)])


def spent(found: Found) -> str:
    """Hours, machines, and how often a run was cut."""
    hours = sum(records[-1].get("seconds", 0.0) for records in found.values()) / 3600
    facts = [record for records in found.values() for record in records if record["type"] == "campaign"]
    resumed = sum(fact["resumed"] > 0 for fact in facts)
    cpus = ", ".join(sorted({fact["cpu"] for fact in facts}))
    return f"{len(found)} runs, {hours:.1f} hours of one core so far ({cpus}); {resumed} were cut and went on."
