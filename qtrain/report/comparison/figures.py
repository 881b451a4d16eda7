"""Figures of a comparison, each from the recorded data alone; one colour a scheduler everywhere."""

import math
import statistics
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from qtrain.report.comparison.read import ASLR, ComparisonData, Epoch, Run
from qtrain.schedulers.catalogue import row_of

INK, FAINT, GRID = "#333333", "#6B7280", "#E4E7EB"
_SEEDS = "mean ± sd, thin: single seeds"
# first digits that get a label, by the ratio of the axis' ends
_LOG_TICKS = ((4, range(1, 10)), (40, (1, 2, 3, 5)), (4000, (1, 2, 5)), (float("inf"), (1,)))
_MANY = 5  # names side by side; more are written aslant, and legends stand beside the axes
SIZE, OVERVIEW_SIZE, PAD = (5.8, 3.7), (12.6, 3.7), 0.1  # inches


def accuracy(data: ComparisonData) -> Figure:
    """Test accuracy by scheduler: a point a seed, thin lines between the runs of one seed, a bar at the mean."""
    return _single(data, _draw_accuracy)


def learning_rate(data: ComparisonData) -> Figure:
    """Learning rate of every epoch; for ASLR the centre as steps and each layer's last draw as a faint dot."""
    return _single(data, _draw_learning_rate)


def validation_accuracy(data: ComparisonData) -> Figure:
    """Validation accuracy by epoch: mean, one standard deviation as a band, single seeds faint."""
    return _single(data, _draw_validation)


def training_loss(data: ComparisonData) -> Figure:
    """Training loss by epoch: mean, one standard deviation as a band, single seeds faint."""
    return _single(data, _draw_loss)


def overview(data: ComparisonData) -> Figure:
    """Test accuracy, learning rate and validation accuracy in one row."""
    width, height = OVERVIEW_SIZE
    size = (width + 3, height + 0.6) if len(data.schedulers) > _MANY else OVERVIEW_SIZE
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD, wspace=0.03))
    axes = figure.subplots(1, 3, width_ratios=[0.85, 1, 1])
    for axis, draw in zip(axes, (_draw_accuracy, _draw_learning_rate, _draw_validation), strict=True):
        draw(axis, data)
    return figure


FIGURES: dict[str, Callable[[ComparisonData], Figure]] = {
    "accuracy": accuracy,
    "learning_rate": learning_rate,
    "validation_accuracy": validation_accuracy,
    "training_loss": training_loss,
}


def _single(data: ComparisonData, draw: Callable[[Axes, ComparisonData], None]) -> Figure:
    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    draw(figure.subplots(), data)
    return figure


def _draw_accuracy(axes: Axes, data: ComparisonData) -> None:
    names = [s for s in data.schedulers if data.of(s)]
    for seed in data.seeds:
        found = [(x, data.by_seed(s)[seed]) for x, s in enumerate(names) if seed in data.by_seed(s)]
        axes.plot([x for x, _ in found], [y for _, y in found], color="#B8BEC6", lw=0.9, zorder=1)
    for x, scheduler in enumerate(names):
        values, colour = data.accuracies(scheduler), row_of(scheduler).colour
        mean = statistics.mean(values)
        axes.plot([x] * len(values), values, "o", color=colour, ms=7, mec="white", mew=1, zorder=3)
        axes.plot([x - 0.2, x + 0.2], [mean, mean], color=colour, lw=3, solid_capstyle="butt", zorder=2)
    crowded = len(names) > _MANY
    join = " " if crowded else "\n"
    labels = [f"{s}{join}{statistics.mean(data.accuracies(s)):.2f} %" for s in names]
    axes.set_xticks(range(len(names)), labels, rotation=40 if crowded else 0, ha="right" if crowded else "center")
    axes.set_xlim(-0.5, max(1, len(names)) - 0.5)
    axes.margins(y=0.12)
    _finish(axes, "Test accuracy, %", "dots: seeds, bar: mean")
    for label, scheduler in zip(axes.get_xticklabels(), names, strict=True):
        label.set(color=row_of(scheduler).colour, fontweight="bold")


def _draw_learning_rate(axes: Axes, data: ComparisonData) -> None:
    for scheduler in data.schedulers:
        runs = data.of(scheduler)
        row = row_of(scheduler)
        name = f"{scheduler}, centre" if row.family == "aslr" else scheduler
        # a line search may step by 0 or backwards, which a log axis cannot show
        rates = (tuple(e.lr if e.lr > 0 else math.nan for e in run.epochs) for run in runs)
        curves = list(dict.fromkeys(rates))
        for i, curve in enumerate(curves):
            first = i == 0
            axes.stairs(
                curve,
                [e + 0.5 for e in range(len(curve) + 1)],
                baseline=None,
                color=row.colour,
                ls=row.dashes,
                lw=2 if first else 1,
                alpha=1 if first else 0.45,
                label=name if first else None,
                zorder=3,
            )
        if scheduler == ASLR and runs:
            _draw_draws(axes, runs[0], row.colour)
    _epochs(axes, data)
    _legend(axes)
    _finish(axes, "Learning rate", log=True)


def _draw_draws(axes: Axes, run: Run, colour: str) -> None:
    points = [(e.epoch, rate) for e in run.epochs for rate in e.draws.values() if rate > 0]
    if points:
        epochs, rates = zip(*points, strict=True)
        label = f"{ASLR}, a layer's last draw (seed {run.seed})"
        axes.plot(epochs, rates, "o", color=colour, ms=3, mew=0, alpha=0.28, label=label, zorder=2)


def _draw_validation(axes: Axes, data: ComparisonData) -> None:
    _draw_curves(axes, data, attrgetter("validation_accuracy"))
    _finish(axes, "Validation accuracy, %", _SEEDS if len(data.seeds) > 1 else "")


def _draw_loss(axes: Axes, data: ComparisonData) -> None:
    _draw_curves(axes, data, attrgetter("loss"))
    loss = str(data.recipe.get("loss", "")).replace("_", " ")
    _finish(axes, f"Training loss, {loss}", _SEEDS if len(data.seeds) > 1 else "", log=True)


def _draw_curves(axes: Axes, data: ComparisonData, value: Callable[[Epoch], float]) -> None:
    for scheduler in data.schedulers:
        row = row_of(scheduler)
        seeds = [[value(e) for e in run.epochs] for run in data.of(scheduler)]
        if not seeds:  # all diverged
            continue
        epochs = range(1, len(seeds[0]) + 1)
        means = [statistics.mean(values) for values in zip(*seeds, strict=True)]
        if len(seeds) > 1:
            for curve in seeds:
                axes.plot(epochs, curve, color=row.colour, lw=0.8, alpha=0.3, zorder=2)
            low, high = _band(seeds, means)
            axes.fill_between(epochs, low, high, color=row.colour, alpha=0.13, lw=0, zorder=1)
        marker = "o" if len(means) < 3 else "None"
        axes.plot(epochs, means, marker=marker, color=row.colour, ls=row.dashes, lw=2, label=scheduler, zorder=3)
    _epochs(axes, data)
    _legend(axes)


def _band(seeds: Sequence[Sequence[float]], means: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean minus and plus one standard deviation, never beyond the range of the seeds (a log axis ends at 0)."""
    deviations = [statistics.stdev(values) for values in zip(*seeds, strict=True)]
    lowest, highest = [min(v) for v in zip(*seeds, strict=True)], [max(v) for v in zip(*seeds, strict=True)]
    low = [max(m - d, least) for m, d, least in zip(means, deviations, lowest, strict=True)]
    high = [min(m + d, most) for m, d, most in zip(means, deviations, highest, strict=True)]
    return low, high


def _epochs(axes: Axes, data: ComparisonData) -> None:
    longest = max((len(run.epochs) for run in data.runs), default=1)
    axes.set_xlim(0.5, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch", color=INK)


def _legend(axes: Axes) -> None:
    _, labels = axes.get_legend_handles_labels()
    look: dict[str, Any] = {"frameon": True, "framealpha": 0.85, "edgecolor": "none"}
    if len(labels) > _MANY + 1:  # would hide the curves
        axes.legend(**look, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif labels:
        axes.legend(**look, fontsize=9)


def _finish(axes: Axes, title: str, note: str = "", log: bool = False) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_title(note, loc="right", fontsize=8.5, color=FAINT)
    axes.grid(True, axis="y", color=GRID, lw=0.8)
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        digits = next(digits for ratio, digits in _LOG_TICKS if high / low < ratio)
        axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=15))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", labelsize=9.5, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9AA1AB")
