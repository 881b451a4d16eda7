"""Still figures of a sweep, for pages that cannot run a script: accuracy against a cost, and by bits."""

from collections.abc import Sequence
from typing import Literal

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from qtrain.report.comparison.figures import FAINT, GRID, INK, PAD
from qtrain.report.sweep.rows import STARTS, Axis, Point, SweepData

COLOURS = {"scratch": "#0072B2", "warm": "#D55E00", "search": "#009E73"}
_MARKERS = {"scratch": "o", "warm": "D", "search": "s"}
_WIDE = 20  # largest over smallest cost from which an axis is logarithmic
_NAMED = 12  # more points than this: only the front's are named
_MAP = "Blues"  # one hue, so that lightness alone tells the accuracy


def short(value: float) -> str:
    """A number in three digits with k, M or G, as axes and tables show it."""
    for scale, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def accuracy_by_cost(data: SweepData, axis: Axis) -> Figure:
    """Mean test accuracy of every point against one cost, with one standard deviation and the Pareto front.

    Args:
        data: the sweep.
        axis: one that ``data.axes()`` has.
    """
    figure = Figure(figsize=(7.6, 4.6), layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    axes, front = figure.subplots(), data.front(axis)
    shown = [p for p in data.points if p.cost(axis) is not None and p.mean() is not None]
    for start in STARTS:
        _draw_start(axes, [p for p in shown if p.start == start], axis, start)
    where: Literal["pre", "post"] = "pre" if axis.more_is_better else "post"
    axes.step([_cost(p, axis) for p in front][:: -1 if axis.more_is_better else 1],
              [_mean(p) for p in front][:: -1 if axis.more_is_better else 1],
              where=where, color=INK, lw=1.2, label="Pareto front", zorder=2)  # fmt: skip
    for point in shown:
        if point.start != "search" and (point in front or len(shown) <= _NAMED):
            side, place = ("left", 4) if axis.more_is_better else ("right", -4)  # where the front's line is not
            axes.annotate(_label(point), (_cost(point, axis), _mean(point)), (place, 4), textcoords="offset points",
                          fontsize=8, color=INK, ha=side)  # fmt: skip
    costs = [_cost(p, axis) for p in shown]
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel(axis.label, color=INK)
    axes.set_title("Test accuracy, %", loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_title("mean ± sd over seeds", loc="right", fontsize=8.5, color=FAINT)
    axes.legend(frameon=False, fontsize=9, loc="best")
    axes.grid(True, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_start(axes: Axes, points: Sequence[Point], axis: Axis, start: str) -> None:
    if not points:
        return
    axes.errorbar(
        [_cost(p, axis) for p in points], [_mean(p) for p in points], [p.spread() or 0.0 for p in points],
        color=COLOURS[start], marker=_MARKERS[start], ls="", ms=6, capsize=2, label=STARTS[start], zorder=3,
    )  # fmt: skip


def heat_map(data: SweepData, start: str = "scratch", bits: str = "") -> Figure:
    """Mean test accuracy by bits of weights and activations; a cell says its proof and FINN's verdict in words.

    Args:
        data: the sweep.
        start: of the points to show.
        bits: their expression.
    """
    grid = grid_of(data.points, start, bits)
    weights, acts = (sorted({key[i] for key in grid}) for i in (0, 1))
    size = (1.5 + 1.25 * len(acts), 1.3 + 0.9 * len(weights))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    axes = figure.subplots()
    means = [mean for point in grid.values() if (mean := point.mean()) is not None]
    low, high = (min(means), max(means)) if means else (0.0, 100.0)
    for (weight, act), point in grid.items():
        mean = point.mean()
        share = 0.0 if mean is None else 0.1 + 0.8 * (mean - low) / ((high - low) or 1.0)
        colour = "#EEEEEE" if mean is None else colormaps[_MAP](share)
        x, y = acts.index(act), weights.index(weight)
        axes.bar(x, 0.96, 0.96, y - 0.48, color=colour)
        text = "failed" if mean is None else f"{mean:.1f}"
        ink = "white" if share > 0.55 else INK
        axes.text(x, y + 0.1, text, ha="center", va="bottom", fontsize=12, fontweight="bold", color=ink)
        axes.text(x, y - 0.06, marks(point, "\n"), ha="center", va="top", fontsize=7.5, color=ink)
    axes.set_xticks(range(len(acts)), [f"{a}" for a in acts])
    axes.set_yticks(range(len(weights)), [f"{w}" for w in weights])
    axes.set_xlim(-0.5, len(acts) - 0.5)
    axes.set_ylim(-0.5, len(weights) - 0.5)
    axes.set_xlabel("bits of activations", color=INK)
    axes.set_ylabel("bits of weights", color=INK)
    title = f"Test accuracy, %: {STARTS[start]}{f', {bits}' if bits else ''}"
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def marks(point: Point, join: str = ", ") -> str:
    """Proof, verdict and failures of a point, in a few words each."""
    failed = [
        f"{n} of {len(point.cells)} failed at {stage}" for stage, n in point.failures.items() if _is_new(point, stage)
    ]
    if point.mean() is None:
        return join.join(failed)
    said = {"proven": "proven", "failed": "proof failed"}.get(point.proof, "no proof")
    finn = {"accepted": "FINN takes it", "refused": "FINN refuses"}.get(point.verdict, "FINN not asked")
    return join.join([said, finn, *failed])


def _is_new(point: Point, stage: str) -> bool:
    """Whether the mark of the proof or of the verdict does not say it already."""
    return not (stage == "estimate" and point.verdict == "refused") and not (
        stage == "export" and point.proof == "failed"
    )


def grid_of(points: Sequence[Point], start: str, bits: str) -> dict[tuple[int, int], Point]:
    """The points of one heat map by bits of weights and of activations; of several lengths the longest."""
    found: dict[tuple[int, int], Point] = {}
    for p in sorted(points, key=lambda p: p.total_epochs):
        if (p.start, p.bits) == (start, bits) and p.weight_bits is not None and p.act_bits is not None:
            found[p.weight_bits, p.act_bits] = p
    return found


def grids(data: SweepData) -> list[tuple[str, str]]:
    """Start and expression of every heat map; a search has none, as its widths differ by layer."""
    keys = dict.fromkeys((p.start, p.bits) for p in data.points if p.start != "search")
    return [key for key in keys if grid_of(data.points, *key)]


def _label(point: Point) -> str:
    bits = point.network.rpartition("_")[2]
    return f"{bits} {point.bits}".rstrip()


def _cost(point: Point, axis: Axis) -> float:
    cost = point.cost(axis)
    assert cost is not None
    return cost


def _mean(point: Point) -> float:
    mean = point.mean()
    assert mean is not None
    return mean
