"""The tables of a comparison, as text and printed: what each scheduler reached, and what it cost."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from qtrain.report.comparison.read import ComparisonData, Run, read_comparison
from qtrain.report.comparison.text import (
    accuracy_text,
    difference_text,
    interval_text,
    notes,
    reference,
    verdict,
    words,
)
from qtrain.report.comparison.verdict_words import STYLES
from qtrain.report.console import report_console
from qtrain.report.statistics import epochs_to_reach, tuned_numbers
from qtrain.report.table import TableData, print_notes, print_table
from qtrain.schedulers.catalogue import label_of

CellText = Callable[[ComparisonData, str], str]  # a column's text for one scheduler


def print_comparison(folder: Path) -> None:
    """Print the tables of a comparison, what they say, and the verdict last.

    Args:
        folder: that ``qtrain compare`` wrote.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_comparison(folder)
    console = report_console()
    print_table(accuracy_table(data), console)
    console.print()
    print_table(cost_table(data), console)
    styles = dict.fromkeys([*notes(data), *words(data)], "dim")
    answer, sentence = verdict(data)
    print_notes({**styles, sentence: STYLES[answer]}, console)


def comparison_tables(data: ComparisonData) -> tuple[TableData, TableData]:
    """Return what was reached, and what it cost."""
    return accuracy_table(data), cost_table(data)


def accuracy_table(data: ComparisonData) -> TableData:
    """Return test accuracies and paired differences, and how soon the reference's accuracy was reached."""
    head = (
        "scheduler",
        "test\naccuracy, %",
        f"{label_of(data.challenger)} minus\nit, points",
        "95 %\ninterval",
        f"epochs to\n{reference(data)}'s",
        "best\nepoch",
    )
    rows = [_accuracy_row(data, scheduler) for scheduler in data.schedulers]
    return TableData(head, tuple(rows))


def _accuracy_row(data: ComparisonData, scheduler: str) -> tuple[str, ...]:
    difference = None
    if scheduler != data.challenger:
        difference = data.difference(scheduler)
    best_epochs = [run.best_epoch for run in data.of(scheduler)]
    return (
        scheduler,
        accuracy_text(data, scheduler),
        difference_text(difference),
        interval_text(difference),
        _epochs_text(reaching(data, scheduler)),
        _range_text(best_epochs),
    )


def cost_table(data: ComparisonData) -> TableData:
    """Return time, numbers to choose, tuning runs, and what line searches counted, without columns that are empty."""
    columns: dict[str, CellText] = {
        "scheduler": lambda _, scheduler: scheduler,
        "seconds\nan epoch": _seconds_text,
        f"times\n{reference(data)}'s": _ratio_text,
        "rates\nto tune": _rates_text,
        "tuning\nruns": _tuning_text,
        "extra forward\npasses": _mean_count("forward_passes_extra"),
        "skipped\nsteps": _mean_count("skipped_steps"),
    }
    kept: dict[str, list[str]] = {}
    for head, text in columns.items():
        cells = [text(data, scheduler) for scheduler in data.schedulers]
        if any(cells):
            kept[head] = cells
    rows = zip(*kept.values(), strict=True)
    return TableData(tuple(kept), tuple(rows))


def reaching(data: ComparisonData, scheduler: str) -> list[int | None]:
    """Return each seed's first epoch whose validation accuracy is at least what the reference ended with."""
    goals = {run.seed: run.epochs[-1].validation_accuracy for run in data.of(reference(data))}
    found = []
    for run in data.of(scheduler):
        if run.seed in goals:
            curve = [epoch.validation_accuracy for epoch in run.epochs]
            found.append(epochs_to_reach(curve, goals[run.seed]))
    return found


def seconds_ratio(data: ComparisonData, scheduler: str) -> float | None:
    """Return seconds an epoch over the reference's with the same seed, their mean; None without such a pair."""
    theirs = {run.seed: _seconds_an_epoch(run) for run in data.of(reference(data))}
    ratios = []
    for run in data.of(scheduler):
        if theirs.get(run.seed):
            ratios.append(_seconds_an_epoch(run) / theirs[run.seed])
    return statistics.mean(ratios) if ratios else None


def _seconds_an_epoch(run: Run) -> float:
    return run.seconds / len(run.epochs)


def _seconds_text(data: ComparisonData, scheduler: str) -> str:
    times = [_seconds_an_epoch(run) for run in data.of(scheduler)]
    if not times:
        return ""
    mean = statistics.mean(times)
    return f"{mean:.1f}" if mean < 100 else f"{mean:.0f}"


def _ratio_text(data: ComparisonData, scheduler: str) -> str:
    ratio = seconds_ratio(data, scheduler)
    return "" if ratio is None else f"{ratio:.2f}"


def _rates_text(data: ComparisonData, scheduler: str) -> str:
    return str(len(tuned_numbers(scheduler, data.recipe)))


def _tuning_text(data: ComparisonData, scheduler: str) -> str:
    return str(data.tuning.get(scheduler, ""))


def _mean_count(name: str) -> CellText:
    """Return the text of a column that has the mean over seeds of what a run counted until its end."""

    def text(data: ComparisonData, scheduler: str) -> str:
        last_epochs = [run.epochs[-1] for run in data.of(scheduler)]
        counts = [epoch.counts[name] for epoch in last_epochs if name in epoch.counts]
        return f"{statistics.mean(counts):,.0f}" if counts else ""

    return text


def _range_text(values: Sequence[int]) -> str:
    """Return ``2 to 3``, or ``3`` where all are the same; empty without any."""
    if not values:
        return ""
    lowest = min(values)
    highest = max(values)
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _epochs_text(found: Sequence[int | None]) -> str:
    """Return ``8 to 12``, ``never``, or ``8 (1 never)`` where not every seed came so far."""
    reached = [epoch for epoch in found if epoch is not None]
    if found and not reached:
        return "never"
    missed = len(found) - len(reached)
    text = _range_text(reached)
    return f"{text} ({missed} never)" if missed else text
