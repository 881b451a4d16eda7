"""A fit's picture: accuracy against LUTs, and what the solver found at each bound."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from qtrain.records.fit import Candidate
from qtrain.report.fit.read import FitData, luts
from qtrain.report.style import GRID_LINES, INK, open_frame, padded_layout, write_title
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.figures import COLOURS

_WORSE = "#D55E00"


def pareto_figure(data: FitData) -> Figure:
    """Draw the candidates' accuracy against LUTs with their front, and below it the solver's growth of the loss."""
    figure = Figure(figsize=(7.6, 6.4), layout=padded_layout())
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_candidates(above, data)
    _draw_fronts(below, data)
    for axes in (above, below):
        axes.axvline(data.plan.limits["LUT"], color=INK, lw=1, ls=":")
        axes.grid(True, color=GRID_LINES, lw=0.8)
        axes.set_axisbelow(True)
        open_frame(axes)
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    below.set_xlabel("LUT, by FINN's estimate above, by the cost model below (dotted: the limit)", color=INK)
    _set_range(below, data)
    return figure


def _set_range(axes: Axes, data: FitData) -> None:
    """Show what there is; a limit far beyond it would leave the points in a corner."""
    shown = [luts(one) for one in data.ended]
    shown += [point["predicted"]["LUT"] for front in data.found.fronts for point in front]
    if shown:
        low, high = min(shown), max(shown)
        room = 0.08 * (high - low) + 1
        axes.set_xlim(low - room, high + 2 * room)  # names stand on the right


def _draw_candidates(axes: Axes, data: FitData) -> None:
    _draw_points(axes, [one for one in data.ended if data.fits(one)], COLOURS["search"], "s", "fits")
    _draw_points(axes, [one for one in data.ended if not data.fits(one)], _WORSE, "x", "does not fit")
    front = data.front()
    best = [_accuracy(one) for one in front]
    axes.step([luts(one) for one in front], best, where="post", color=INK, lw=1.2, label="Pareto front")
    for one in data.ended:
        name = f"{one.name} (winner)" if one.name == data.found.winner else one.name
        place = (luts(one), _accuracy(one))
        axes.annotate(name, place, (4, 4), textcoords="offset points", fontsize=8, color=INK)
    write_title(axes, "Validation accuracy, %")
    if data.ended:
        axes.legend(frameon=False, fontsize=9, loc="best")


def _draw_points(axes: Axes, found: Sequence[Candidate], colour: str, marker: str, label: str) -> None:
    if found:
        places = [luts(one) for one in found]
        values = [_accuracy(one) for one in found]
        axes.plot(places, values, color=colour, marker=marker, ls="", ms=6, label=label, zorder=3)


def _accuracy(candidate: Candidate) -> float:
    return candidate.validation_accuracy or 0.0


def _draw_fronts(axes: Axes, data: FitData) -> None:
    for number, front in enumerate(data.found.fronts, 1):
        last = number == len(data.found.fronts)
        predicted = [point["predicted"]["LUT"] for point in front]
        changes = [point["change"] for point in front]
        (line,) = axes.step(predicted, changes, where="post", marker="o", ms=4, label=f"round {number}")
        line.set(color=COLOURS["scratch"], alpha=1.0 if last else 0.35)
    write_title(axes, "Growth of the loss that the solver counts on")
    if data.found.fronts:
        axes.legend(frameon=False, fontsize=9, loc="best")
