"""How much a run's accuracy depends on its first learning rate, by scheduler, at 1 and at 8 bits."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.campaign_plan import (
    AUTO,
    BEST_RATE,
    CHOICE,
    CHOICE_SEEDS,
    FIND_RATES,
    HOME,
    RATES,
    SEEDS,
    SENSITIVITY,
    Run,
)
from benchmarks.records import table
from docs_tools.campaign.cells import FOLDER, MISSING, Accuracies, Found, finish, mean_text, test_accuracies
from qtrain.recipe import recipe_from_dict
from qtrain.records.format import Source, from_json
from qtrain.records.runs import Epoch
from qtrain.schedulers.catalogue import row_of
from qtrain.training.curves import too_high

SCHEDULERS = ("aslr_decay", "aslr_capped", "wsd", "multistep", "aslr")
WIDTHS = (1, HOME)
CLOSE = 1.0  # points from the best in which a rate counts as good


def cell(found: Found, scheduler: str, bits: int, lr: float | str) -> Accuracies:
    """Return test accuracies of one point of the plot, by seed."""
    return test_accuracies(found, [Run(SENSITIVITY, scheduler, bits, lr, seed) for seed in SEEDS])


def first_rate_table(found: Found) -> str:
    """Return test accuracy by scheduler, bits and first rate."""
    rows = []
    for bits in WIDTHS:
        for scheduler in SCHEDULERS:
            cells = {lr: cell(found, scheduler, bits, lr) for lr in RATES}
            own = found_rates(found, scheduler, bits) if scheduler in FIND_RATES else ""
            rows.append([str(bits), scheduler, *map(mean_text, cells.values()), span(cells), own])
    head = ["bits", "scheduler", *(f"lr0 {lr:g}" for lr in RATES), f"within {CLOSE:g} point of its best", "lr0 auto"]
    return table(head, rows)


def span(cells: Mapping[float, Accuracies]) -> str:
    """Return the rates whose mean is within ``CLOSE`` of the best; of several, how far their ends lie apart."""
    if not all(cells.values()):
        return MISSING
    means = {lr: statistics.mean(accuracies.values()) for lr, accuracies in cells.items()}
    best = max(means.values())
    good = [lr for lr, mean in means.items() if mean >= best - CLOSE]
    if len(good) == 1:
        return f"{good[0]:g} alone"
    return f"{min(good):g} to {max(good):g} ({max(good) / min(good):.0f} times)"


def found_rates(found: Found, scheduler: str, bits: int) -> str:
    """Return ``48.12 ± 0.60 from 0.05, 0.06, 0.05``: test accuracy of the runs with lr auto, and the rates found."""
    text = mean_text(cell(found, scheduler, bits, AUTO))
    rates = []
    for seed in SEEDS:
        run = Run(SENSITIVITY, scheduler, bits, AUTO, seed)
        if run.name in found:
            rates.append(f"{found[run.name][0]['recipe']['lr']:g}")
    return f"{text} from {', '.join(rates)}" if rates else text


def warned_text(found: Found) -> str:
    """Return how many runs end with the line that their first rate was too high, and how far behind they are."""
    warned: dict[float, list[float]] = {lr: [] for lr in RATES}  # points behind the best rate, of each warned run
    counts = dict.fromkeys(RATES, 0)
    for bits in WIDTHS:
        for scheduler in SCHEDULERS:
            cells = {lr: cell(found, scheduler, bits, lr) for lr in RATES}
            best = max((statistics.mean(of.values()) for of in cells.values() if of), default=0.0)
            for lr, accuracies in cells.items():
                counts[lr] += len(accuracies)
                for seed, accuracy in accuracies.items():
                    if _is_warned(found[Run(SENSITIVITY, scheduler, bits, lr, seed).name]):
                        warned[lr].append(best - accuracy)
    behind = [points for of in warned.values() for points in of]
    if not behind:
        return ""
    shares = ", ".join(f"{len(of)} of {counts[lr]} from {lr:g}" for lr, of in warned.items() if of)
    none = sum(counts[lr] for lr, of in warned.items() if not of)
    return (
        f"A run whose curves show that its first rate was far too high says so at its end: {shares} do, each at least "
        f"{min(behind):.0f} points behind its scheduler's best rate, and none of the {none} from the other rates."
    )


def _is_warned(records: Sequence[dict[str, Any]]) -> bool:
    source = Source(FOLDER, "take the campaign's records from git again")
    epochs = [from_json(Epoch, record, source) for record in records if record["type"] == "epoch"]
    return too_high(epochs, recipe_from_dict(records[0]["recipe"], "a record of the campaign")) is not None


def choice_table(found: Found) -> str:
    """Return what the first rate's choice was made on: seeds that nothing is judged on."""
    rows = []
    for bits in WIDTHS:
        pairs = [(scheduler, lr) for scheduler in FIND_RATES for lr in (AUTO, BEST_RATE)]
        for scheduler, lr in (*pairs, ("wsd", BEST_RATE)):
            runs = [Run(CHOICE, scheduler, bits, lr, seed) for seed in CHOICE_SEEDS]
            rows.append([str(bits), f"{scheduler}, lr {lr}", mean_text(test_accuracies(found, runs))])
    return table(["bits", "scheduler", f"test accuracy, seeds {', '.join(map(str, CHOICE_SEEDS))}"], rows)


def first_rate_figure(found: Found) -> Figure:
    """Draw test accuracy over the first rate, a panel a bit width: means as lines, seeds as dots."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    panels = figure.subplots(1, len(WIDTHS), sharey=True)
    for axes, bits in zip(panels, WIDTHS, strict=True):
        for scheduler in SCHEDULERS:
            cells = {lr: cell(found, scheduler, bits, lr) for lr in RATES}
            _draw_points(axes, scheduler, {lr: list(of.values()) for lr, of in cells.items() if of})
        for scheduler in FIND_RATES:
            _draw_level(axes, scheduler, cell(found, scheduler, bits, AUTO))
        axes.set_xscale("log")
        axes.set_xticks(RATES, [f"{lr:g}" for lr in RATES], minor=False)
        axes.set_xlabel("first learning rate")
        finish(axes, f"{bits} bit{'s' if bits > 1 else ''}: test accuracy, %")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)
    return figure


def _draw_points(axes: Axes, scheduler: str, points: Mapping[float, Sequence[float]]) -> None:
    look = row_of(scheduler)
    means = [statistics.mean(values) for values in points.values()]
    axes.plot(list(points), means, color=look.colour, ls=look.dashes, marker=look.marker, ms=5, lw=2, label=scheduler)
    for lr, values in points.items():
        axes.plot([lr] * len(values), values, look.marker, color=look.colour, ms=3.5, alpha=0.6)


def _draw_level(axes: Axes, scheduler: str, accuracies: Accuracies) -> None:
    if accuracies:
        level = statistics.mean(accuracies.values())
        axes.axhline(level, color=row_of(scheduler).colour, ls=":", lw=1.5, label=f"{scheduler}, lr auto")
