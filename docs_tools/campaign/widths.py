"""One rate at every bit width, beside a multi-step schedule that is tuned at each: tables, plot and verdicts."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.campaign_plan import BITS, CONTROL, HOME, Run
from benchmarks.records import table
from docs_tools.campaign.cells import MISSING, Found, finish, gap_text, mean_text
from docs_tools.campaign.ways import CARRIED, ONCE, OURS, TUNED, WAYS, Way, cell, gap, runs_of, verdict_of
from qtrain.report.comparison.verdict import TOLERANCE
from qtrain.report.comparison.verdict_words import further_text, tally
from qtrain.report.statistics import Difference, epochs_to_reach
from qtrain.schedulers.catalogue import label_of, row_of

SEARCHES = ("aslr_decay", "aslr_capped")  # with wsd's decay, so that what differs is the search


def accuracy_table(found: Found) -> str:
    """Return a row a bit width with each way's accuracy and rate, then what tuning cost."""
    rows = [[str(bits), *(accuracy_text(found, way, bits) for way in WAYS)] for bits in BITS]
    rows.append(["tuning runs", *(str(way.tuning_runs) for way in WAYS)])
    return table(["bits", *(way.title for way in WAYS)], rows)


def accuracy_text(found: Found, way: Way, bits: int) -> str:
    """Return ``62.05 ± 0.07 (lr 0.02)``."""
    text = mean_text(cell(found, way, bits))
    return text if text == MISSING else f"{text} (lr {runs_of(found, way, bits)[0].lr:g})"


def gap_table(found: Found) -> str:
    """Return a row a bit width: how far each way is from the tuned multi-step, and what the search brings."""
    searched = [OURS[name] for name in SEARCHES]
    rows = []
    for bits in BITS:
        cells = [judged_text(found, way, bits) for way in (*OURS.values(), ONCE)]
        carried = gap_text(gap(found, CARRIED, TUNED, bits))
        brought = [gap_text(gap(found, way, OURS[CONTROL], bits)) for way in searched]
        rows.append([str(bits), *cells, carried, *brought])
    ours = (*OURS, f"{ONCE.scheduler} tuned at {HOME}", f"multistep tuned at {HOME}")
    against_tuned = [f"{name} minus tuned" for name in ours]
    return table(["bits", *against_tuned, *(f"{name} minus {CONTROL}" for name in SEARCHES)], rows)


def judged_text(found: Found, way: Way, bits: int) -> str:
    """Return ``+0.84 [-1.20..+2.88] undecided (6 more)``."""
    verdict = verdict_of(found, way, bits)
    if verdict is None:
        return MISSING
    further = further_text(verdict)
    more = f" ({further} more)" if further else ""
    return f"{gap_text(gap(found, way, TUNED, bits))} {verdict.answer}{more}"


def verdict_line(found: Found) -> str:
    """Return at which widths each way holds, is undecided or falls short; empty while no two runs can be compared."""
    parts = []
    for way in (*OURS.values(), ONCE):
        verdicts = {str(bits): verdict_of(found, way, bits) for bits in BITS}
        answers = {bits: verdict.answer for bits, verdict in verdicts.items() if verdict is not None}
        if answers:
            name = f"{way.title}," if way is ONCE else label_of(way.scheduler)
            parts.append(f"{name} {tally(answers, 'at bit widths')}")
    return f"{'; '.join(parts)}; the tolerance is {TOLERANCE:g} points." if parts else ""


def reach_table(found: Found) -> str:
    """Return the epochs until each way has the validation accuracy that the tuned multi-step of its seed ended with."""
    rows = [[str(bits), *(_epochs_text(found, way, bits) for way in WAYS)] for bits in BITS]
    return table(["bits", *(way.title for way in WAYS)], rows)


def _epochs_text(found: Found, way: Way, bits: int) -> str:
    """Return ``12, never, 15``: an epoch a seed."""
    goals = {run.seed: _curve(found, run)[-1] for run in runs_of(found, TUNED, bits) if run.name in found}
    reached = []
    for run in runs_of(found, way, bits):
        if run.name in found and run.seed in goals:
            epoch = epochs_to_reach(_curve(found, run), goals[run.seed])
            reached.append("never" if epoch is None else str(epoch))
    return ", ".join(reached) or MISSING


def _curve(found: Found, run: Run) -> Sequence[float]:
    return [record["validation_accuracy"] for record in found[run.name] if record["type"] == "epoch"]


def gap_figure(found: Found) -> Figure:
    """Draw the difference to the multi-step tuned at each width, by bits, with the 95 % interval of three seeds."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-TOLERANCE, 0, color="#E4E7EB", lw=0)
    axes.axhline(0, color="#333333", lw=1)
    shown = [way for way in WAYS if way is not TUNED and cell(found, way, HOME)]
    for i, way in enumerate(shown):
        label: str | None = way.title
        for place, bits in enumerate(BITS):
            difference = gap(found, way, TUNED, bits)
            if difference is not None:
                _draw_gap(axes, place + 0.11 * (i - len(shown) // 2), difference, way, label)
                label = None  # once in the legend
    axes.set_xticks(range(len(BITS)), [str(bits) for bits in BITS])
    axes.set_xlabel("bits of weights and activations")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    finish(axes, "Test accuracy minus multi-step tuned at each width, points")
    return figure


def _draw_gap(axes: Axes, x: float, difference: Difference, way: Way, label: str | None) -> None:
    look = row_of(way.scheduler)
    colour, marker = ("#6B7280", "v") if way is CARRIED else (look.colour, look.marker)
    if difference.low is not None and difference.high is not None:
        axes.plot([x, x], [difference.low, difference.high], color=colour, lw=2, alpha=0.6)
    inside = "white" if way is ONCE else colour  # the same scheduler once more, from another rate
    axes.plot([x], [difference.mean], marker, color=colour, markerfacecolor=inside, ms=6, label=label)
