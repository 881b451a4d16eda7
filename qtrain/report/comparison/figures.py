"""Figures of a comparison, each from the recorded data alone; one colour a scheduler everywhere."""

import math
import statistics
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from qtrain.report.comparison.read import ComparisonData, Epoch, Run
from qtrain.report.style import GRID_LINES, INK, SIZE, open_frame, padded_layout, write_remark, write_title
from qtrain.schedulers.catalogue import row_of

_SEEDS = "mean ± sd, thin: single seeds"
# first digits that get a label, by the ratio of the axis' ends
_LOG_TICKS = ((4, range(1, 10)), (40, (1, 2, 3, 5)), (4000, (1, 2, 5)), (float("inf"), (1,)))
_MARKERS = 8  # on a curve, about
_MANY = 5  # names side by side; more are written aslant, and legends stand beside the axes
_OVERVIEW_WIDTH = 12.6  # inches
_OVERVIEW_HEIGHT = 3.7


def accuracy(data: ComparisonData) -> Figure:
    """Draw test accuracy by scheduler: a point a seed, thin lines between the runs of one seed, a bar at the mean."""
    return _single(data, _draw_accuracy)


def learning_rate(data: ComparisonData) -> Figure:
    """Draw the learning rate of every epoch: of ASLR's family the centre, each layer's last draw as a faint dot."""
    return _single(data, _draw_learning_rate)


def validation_accuracy(data: ComparisonData) -> Figure:
    """Draw validation accuracy by epoch: mean, one standard deviation as a band, single seeds faint."""
    return _single(data, _draw_validation)


def training_loss(data: ComparisonData) -> Figure:
    """Draw training loss by epoch: mean, one standard deviation as a band, single seeds faint."""
    return _single(data, _draw_loss)


def overview(data: ComparisonData) -> Figure:
    """Draw test accuracy, learning rate and validation accuracy in one row."""
    size = (_OVERVIEW_WIDTH, _OVERVIEW_HEIGHT)
    if len(data.schedulers) > _MANY:
        size = (_OVERVIEW_WIDTH + 3, _OVERVIEW_HEIGHT + 0.6)
    figure = Figure(figsize=size, layout=padded_layout(between=0.03))
    left, middle, right = figure.subplots(1, 3, width_ratios=[0.85, 1, 1])
    _draw_accuracy(left, data)
    _draw_learning_rate(middle, data)
    _draw_validation(right, data)
    return figure


FIGURES: dict[str, Callable[[ComparisonData], Figure]] = {
    "accuracy": accuracy,
    "learning_rate": learning_rate,
    "validation_accuracy": validation_accuracy,
    "training_loss": training_loss,
}


def _single(data: ComparisonData, draw: Callable[[Axes, ComparisonData], None]) -> Figure:
    figure = Figure(figsize=SIZE, layout=padded_layout())
    draw(figure.subplots(), data)
    return figure


def _draw_accuracy(axes: Axes, data: ComparisonData) -> None:
    names = [scheduler for scheduler in data.schedulers if data.of(scheduler)]
    for seed in data.seeds:
        _join_seed(axes, data, names, seed)
    means = []
    for x, scheduler in enumerate(names):
        values = data.accuracies(scheduler)
        colour = row_of(scheduler).colour
        mean = statistics.mean(values)
        means.append(mean)
        marker = row_of(scheduler).marker
        axes.plot([x] * len(values), values, marker, color=colour, ms=7, mec="white", mew=1, zorder=3)
        axes.plot([x - 0.2, x + 0.2], [mean, mean], color=colour, lw=3, solid_capstyle="butt", zorder=2)
    axes.set_xlim(-0.5, max(1, len(names)) - 0.5)
    axes.margins(y=0.12)
    _finish(axes, "Test accuracy, %", "dots: seeds, bar: mean")
    _name_schedulers(axes, names, means)


def _join_seed(axes: Axes, data: ComparisonData, names: Sequence[str], seed: int) -> None:
    """Draw a thin line between the finished runs of one seed."""
    places = []
    found = []
    for x, scheduler in enumerate(names):
        by_seed = data.by_seed(scheduler)
        if seed in by_seed:
            places.append(x)
            found.append(by_seed[seed])
    axes.plot(places, found, color="#B8BEC6", lw=0.9, zorder=1)


def _name_schedulers(axes: Axes, names: Sequence[str], means: Sequence[float]) -> None:
    """Write each scheduler's name and mean below the axes, in its colour."""
    places = range(len(names))
    means_text = [f"{mean:.2f} %" for mean in means]
    if len(names) > _MANY:
        texts = [f"{name} {mean}" for name, mean in zip(names, means_text, strict=True)]
        axes.set_xticks(places, texts, rotation=40, ha="right")
    else:
        texts = [f"{name}\n{mean}" for name, mean in zip(names, means_text, strict=True)]
        axes.set_xticks(places, texts, rotation=0, ha="center")
    for label, scheduler in zip(axes.get_xticklabels(), names, strict=True):
        label.set(color=row_of(scheduler).colour, fontweight="bold")


def _draw_learning_rate(axes: Axes, data: ComparisonData) -> None:
    for scheduler in data.schedulers:
        runs = data.of(scheduler)
        _draw_rates(axes, scheduler, runs)
        if row_of(scheduler).family == "aslr" and runs:
            _draw_draws(axes, runs[0], row_of(scheduler).colour)
    _epochs(axes, data)
    _legend(axes)
    _finish(axes, "Learning rate", log=True)


def _draw_rates(axes: Axes, scheduler: str, runs: Sequence[Run]) -> None:
    """Draw the rates of a scheduler's runs as steps, those that are the same once; the first has a name."""
    row = row_of(scheduler)
    name = f"{scheduler}, centre" if row.family == "aslr" else scheduler
    first: dict[str, Any] = {"lw": 2, "alpha": 1, "label": name}
    others: dict[str, Any] = {"lw": 1, "alpha": 0.45, "label": None}
    curves = dict.fromkeys(_rates(run) for run in runs)
    for i, curve in enumerate(curves):
        edges = [epoch + 0.5 for epoch in range(len(curve) + 1)]
        look = others if i else first
        axes.stairs(curve, edges, baseline=None, color=row.colour, ls=row.dashes, zorder=3, **look)


def _rates(run: Run) -> tuple[float, ...]:
    """Return the rate of each epoch; NaN for a line search's step by 0 or backwards, which a log axis cannot show."""
    return tuple(epoch.lr if epoch.lr > 0 else math.nan for epoch in run.epochs)


def _draw_draws(axes: Axes, run: Run, colour: str) -> None:
    """Draw each layer's last rate of every epoch as a dot."""
    epochs = []
    rates = []
    for epoch in run.epochs:
        drawn = [rate for rate in epoch.draws.values() if rate > 0]
        rates += drawn
        epochs += [epoch.epoch] * len(drawn)
    if rates:
        label = f"{run.scheduler}, a layer's last draw (seed {run.seed})"
        axes.plot(epochs, rates, "o", color=colour, ms=3, mew=0, alpha=0.28, label=label, zorder=2)


def _draw_validation(axes: Axes, data: ComparisonData) -> None:
    _draw_curves(axes, data, attrgetter("validation_accuracy"))
    _finish(axes, "Validation accuracy, %", _seeds_remark(data))


def _draw_loss(axes: Axes, data: ComparisonData) -> None:
    _draw_curves(axes, data, attrgetter("loss"))
    loss = str(data.recipe.get("loss", "")).replace("_", " ")
    _finish(axes, f"Training loss, {loss}", _seeds_remark(data), log=True)


def _seeds_remark(data: ComparisonData) -> str:
    return _SEEDS if len(data.seeds) > 1 else ""


def _draw_curves(axes: Axes, data: ComparisonData, value: Callable[[Epoch], float]) -> None:
    for scheduler in data.schedulers:
        row = row_of(scheduler)
        seeds = [[value(epoch) for epoch in run.epochs] for run in data.of(scheduler)]
        if not seeds:  # all diverged
            continue
        means = [statistics.mean(values) for values in zip(*seeds, strict=False)]  # while all seeds train
        epochs = range(1, len(means) + 1)
        if len(seeds) > 1:
            for curve in seeds:
                axes.plot(range(1, len(curve) + 1), curve, color=row.colour, lw=0.8, alpha=0.3, zorder=2)
            low, high = _band(seeds)
            axes.fill_between(epochs, low, high, color=row.colour, alpha=0.13, lw=0, zorder=1)
        every = max(1, len(means) // _MARKERS)
        axes.plot(
            epochs,
            means,
            marker=row.marker,
            markevery=every,
            ms=5,
            color=row.colour,
            ls=row.dashes,
            lw=2,
            label=scheduler,
            zorder=3,
        )
    _epochs(axes, data)
    _legend(axes)


def _band(seeds: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Return mean minus and plus one standard deviation while all seeds train.

    They are never beyond the range of the seeds: a log axis ends at 0.
    """
    low = []
    high = []
    for values in zip(*seeds, strict=False):
        mean = statistics.mean(values)
        deviation = statistics.stdev(values)
        low.append(max(mean - deviation, min(values)))
        high.append(min(mean + deviation, max(values)))
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


def _finish(axes: Axes, title: str, remark: str = "", log: bool = False) -> None:
    write_title(axes, title)
    write_remark(axes, remark)
    axes.grid(True, axis="y", color=GRID_LINES, lw=0.8)
    if log:
        _log_scale(axes)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", labelsize=9.5, length=3)
    open_frame(axes)
    axes.spines[["left", "bottom"]].set_color("#9AA1AB")


def _log_scale(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with as many labels as its range has room for."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    digits = next(digits for ratio, digits in _LOG_TICKS if high / low < ratio)
    axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=15))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
