"""A comparison's numbers and sentences as text; the terminal and the web page show the same."""

import statistics
from collections.abc import Sequence

from qtrain.report.comparison.read import ComparisonData
from qtrain.report.comparison.verdict import Answer
from qtrain.report.comparison.verdict_words import sentences, words_line
from qtrain.report.statistics import Difference, deviation, tuned_numbers

DIVERGED = "diverged"


def mean_text(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds (no deviation for one)."""
    mean = f"{statistics.mean(values):.2f}"
    sd = deviation(values)
    return mean if sd is None else f"{mean} ± {sd:.2f}"


def accuracy_text(data: ComparisonData, scheduler: str) -> str:
    """Return mean and deviation of the finished runs, and how many of all that is where some diverged."""
    values = data.accuracies(scheduler)
    if not values:
        return DIVERGED
    text = mean_text(values)
    if len(values) < len(data.seeds):
        text += f" ({len(values)} of {len(data.seeds)})"
    return text


def difference_text(difference: Difference | None) -> str:
    """Return the mean difference in points with its sign, ``+0.33``; empty where there is none."""
    return "" if difference is None else f"{difference.mean:+.2f}"


def interval_text(difference: Difference | None) -> str:
    """Return the interval of a difference, ``-1.85..+2.51``; empty where none is known."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{difference.low:+.2f}..{difference.high:+.2f}"


def reference(data: ComparisonData) -> str:
    """Return the scheduler whose accuracy and time the others' are measured by: the first of the judged."""
    return data.judged[0]


def notes(data: ComparisonData) -> list[str]:
    """Return the sentences below the tables."""
    lines = [seeds_note(data), columns_note(data), rate_note(data), *failure_notes(data)]
    return [line for line in lines if line]


def words(data: ComparisonData) -> list[str]:
    """Return what the words of the verdict and of the columns mean, a line each."""
    return [words_line(data.tolerance), tuned_note(data)]


def seeds_note(data: ComparisonData) -> str:
    """Return what the spread is over, and what the test set was used for."""
    if len(data.seeds) == 1:
        seeds = f"One seed ({data.seeds[0]}), so no spread and no interval is known"
    else:
        seeds = f"{len(data.seeds)} seeds ({', '.join(map(str, data.seeds))}), mean ± standard deviation"
    if data.recipe.get("protocol") == "paper":
        return f"{seeds}; the test set was also the validation set (the ASLR paper's protocol)."
    return f"{seeds}; the test set was read once, at the end."


def columns_note(data: ComparisonData) -> str:
    """Return how the columns that are no plain mean were made."""
    goal = reference(data)
    note = f"Epochs to {goal}'s: until the validation accuracy that {goal} ended with, by seed"
    if len(data.seeds) > 1:
        note += "; intervals: Student's t over paired seeds"
    return f"{note}."


def tuned_note(data: ComparisonData) -> str:
    """Return what the columns of rates and of tuning runs count."""
    parts = []
    for scheduler in data.schedulers:
        numbers = ", ".join(tuned_numbers(scheduler, data.recipe))
        parts.append(f"{scheduler}: {numbers or 'none'}")
    note = f"Rates to tune: numbers to choose by hand, as none suits every network ({'; '.join(parts)})."
    if data.tuning:
        note += " Tuning runs: what choosing them cost before."
    return note


def rate_note(data: ComparisonData) -> str:
    """Return what the range test found and cost; empty where it did not choose the rate."""
    if data.lr_range is None:
        return ""
    known = [key for key in ("steps", "seconds") if key in data.lr_range]
    cost = ", ".join(f"{data.lr_range[key]:g} {key}" for key in known)
    note = f"lr {data.recipe.get('lr')} of all runs is the range test's"
    return f"{note} ({cost})." if cost else f"{note}."


def failure_notes(data: ComparisonData) -> list[str]:
    """Return one sentence for each run that failed."""
    return [f"{run.scheduler} seed {run.seed} {DIVERGED}: {run.reason}." for run in data.failed]


def verdict(data: ComparisonData) -> tuple[Answer, str]:
    """Return whether the challenger holds against all it is judged by, and a sentence for each of them."""
    return data.answer, sentences(data.verdicts)
