"""What a comparison's tables, notes and verdict say, as text; the terminal and the web page show the same."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qtrain.report.comparison.read import ComparisonData, Run
from qtrain.report.comparison.verdict import Answer
from qtrain.report.comparison.verdict_words import sentences, words_line
from qtrain.report.statistics import Difference, deviation, epochs_to_reach, tuned_numbers
from qtrain.schedulers.catalogue import label_of

DIVERGED = "diverged"


@dataclass(frozen=True)
class TableData:
    """A table as text: column heads (line breaks where they may wrap), and one row a scheduler."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds (no deviation for one)."""
    sd = deviation(values)
    return f"{statistics.mean(values):.2f}" + (f" ± {sd:.2f}" if sd is not None else "")


def accuracy_text(data: ComparisonData, scheduler: str) -> str:
    """Mean and deviation of the finished runs, and how many of all that is where some diverged."""
    values, seeds = data.accuracies(scheduler), len(data.seeds)
    if not values:
        return DIVERGED
    return spread(values) + (f" ({len(values)} of {seeds})" if len(values) < seeds else "")


def interval_text(difference: Difference | None) -> str:
    """``-1.85..+2.51``; empty where no interval is known."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{difference.low:+.2f}..{difference.high:+.2f}"


def comparison_tables(data: ComparisonData) -> tuple[TableData, TableData]:
    """What was reached, and what it cost."""
    return accuracy_table(data), cost_table(data)


def accuracy_table(data: ComparisonData) -> TableData:
    """Test accuracies and paired differences, and how soon the baseline's accuracy was reached."""
    minus, reached = f"{label_of(data.challenger)} minus\nit, points", f"epochs to\n{reference(data)}'s"
    head = ("scheduler", "test\naccuracy, %", minus, "95 %\ninterval", reached, "best\nepoch")
    rows = []
    for scheduler in data.schedulers:
        other = None if scheduler == data.challenger else data.difference(scheduler)
        rows.append(
            (
                scheduler,
                accuracy_text(data, scheduler),
                "" if other is None else f"{other.mean:+.2f}",
                interval_text(other),
                _epochs_text(reaching(data, scheduler)),
                _range([r.best_epoch for r in data.of(scheduler)]),
            )
        )
    return TableData(head, tuple(rows))


def cost_table(data: ComparisonData) -> TableData:
    """Time, numbers to choose, tuning runs, and what line searches counted; columns without an entry are left out."""
    steps = _counted("skipped_steps")
    columns: dict[str, Callable[[ComparisonData, str], str]] = {
        "scheduler": lambda _, scheduler: scheduler,
        "seconds\nan epoch": _seconds_text,
        f"times\n{reference(data)}'s": _ratio_text,
        "rates\nto tune": lambda d, scheduler: str(len(tuned_numbers(scheduler, d.recipe))),
        "tuning\nruns": lambda d, scheduler: str(d.tuning[scheduler]) if scheduler in d.tuning else "",
        "extra forward\npasses": _counted("forward_passes_extra"),
        "skipped\nsteps": steps,
    }
    cells = {head: [text(data, scheduler) for scheduler in data.schedulers] for head, text in columns.items()}
    kept = {head: texts for head, texts in cells.items() if any(texts)}
    return TableData(tuple(kept), tuple(zip(*kept.values(), strict=True)))


def reference(data: ComparisonData) -> str:
    """The scheduler whose accuracy and time the others' are measured by: the first of the judged."""
    return data.judged[0]


def reaching(data: ComparisonData, scheduler: str) -> list[int | None]:
    """For each seed the first epoch whose validation accuracy is at least the reference's after its last epoch."""
    goals = {r.seed: r.epochs[-1].validation_accuracy for r in data.of(reference(data))}
    runs = [r for r in data.of(scheduler) if r.seed in goals]
    return [epochs_to_reach([e.validation_accuracy for e in r.epochs], goals[r.seed]) for r in runs]


def seconds_ratio(data: ComparisonData, scheduler: str) -> float | None:
    """Seconds an epoch over those of the reference with the same seed, mean; None without such a pair."""
    theirs = {r.seed: _seconds(r) for r in data.of(reference(data))}
    ratios = [_seconds(r) / theirs[r.seed] for r in data.of(scheduler) if theirs.get(r.seed)]
    return statistics.mean(ratios) if ratios else None


def _seconds(run: Run) -> float:
    return run.seconds / len(run.epochs)


def _seconds_text(data: ComparisonData, scheduler: str) -> str:
    times = [_seconds(r) for r in data.of(scheduler)]
    if not times:
        return ""
    mean = statistics.mean(times)
    return f"{mean:.1f}" if mean < 100 else f"{mean:.0f}"


def _ratio_text(data: ComparisonData, scheduler: str) -> str:
    ratio = seconds_ratio(data, scheduler)
    return "" if ratio is None else f"{ratio:.2f}"


def _counted(name: str) -> Callable[[ComparisonData, str], str]:
    """Mean over seeds of what a run counted until its end."""

    def text(data: ComparisonData, scheduler: str) -> str:
        counts = [r.epochs[-1].counts[name] for r in data.of(scheduler) if name in r.epochs[-1].counts]
        return f"{statistics.mean(counts):,.0f}" if counts else ""

    return text


def _range(values: Sequence[int]) -> str:
    if not values:
        return ""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _epochs_text(found: Sequence[int | None]) -> str:
    """``8 to 12``, ``never``, or ``8 (1 never)`` where not every seed came so far."""
    reached = [epoch for epoch in found if epoch is not None]
    if found and not reached:
        return "never"
    missed = len(found) - len(reached)
    return _range(reached) + (f" ({missed} never)" if missed else "")


def notes(data: ComparisonData) -> list[str]:
    """The sentences below the tables."""
    lines = [seeds_note(data), columns_note(data), rate_note(data), *failure_notes(data)]
    return [line for line in lines if line]


def words(data: ComparisonData) -> list[str]:
    """What the words of the verdict and of the columns mean, a line each."""
    return [words_line(data.tolerance), tuned_note(data)]


def seeds_note(data: ComparisonData) -> str:
    """What the spread is over, and what the test set was used for."""
    seeds = f"{len(data.seeds)} seeds ({', '.join(map(str, data.seeds))}), mean ± standard deviation"
    if len(data.seeds) == 1:
        seeds = f"One seed ({data.seeds[0]}), so no spread and no interval is known"
    if data.recipe.get("protocol") == "paper":
        return f"{seeds}; the test set was also the validation set (the ASLR paper's protocol)."
    return f"{seeds}; the test set was read once, at the end."


def columns_note(data: ComparisonData) -> str:
    """How the columns that are no plain mean were made."""
    said = f"Epochs to {reference(data)}'s: until the validation accuracy that {reference(data)} ended with, by seed"
    return f"{said}; intervals: Student's t over paired seeds." if len(data.seeds) > 1 else f"{said}."


def tuned_note(data: ComparisonData) -> str:
    """What the columns of rates and of tuning runs count."""
    parts = [f"{s}: {', '.join(tuned_numbers(s, data.recipe)) or 'none'}" for s in data.schedulers]
    line = f"Rates to tune: numbers to choose by hand, as none suits every network ({'; '.join(parts)})."
    return f"{line} Tuning runs: what choosing them cost before." if data.tuning else line


def rate_note(data: ComparisonData) -> str:
    """Where the range test chose the rate: what it found and cost."""
    if data.lr_range is None:
        return ""
    cost = ", ".join(f"{data.lr_range[key]:g} {key}" for key in ("steps", "seconds") if key in data.lr_range)
    return f"lr {data.recipe.get('lr')} of all runs is the range test's" + (f" ({cost})." if cost else ".")


def failure_notes(data: ComparisonData) -> list[str]:
    """One sentence for each run that failed."""
    return [f"{f.scheduler} seed {f.seed} {DIVERGED}: {f.reason}." for f in data.failed]


def verdict(data: ComparisonData) -> tuple[Answer, str]:
    """Whether the challenger holds against all it is judged by, and the sentence for each of them."""
    return data.answer, sentences(data.verdicts)
