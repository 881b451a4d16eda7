"""Still figures of a sweep, for pages that cannot run a script: accuracy against a cost, and by bits."""

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from qtrain.report.style import GRID_LINES, INK, open_frame, padded_layout, write_remark, write_title
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.rows import STARTS, Axis, Point, SweepData

COLOURS = {"scratch": "#0072B2", "warm": "#D55E00", "search": "#009E73"}
MARKERS = {"scratch": "o", "warm": "D", "search": "s"}
_WIDE = 20  # largest over smallest cost from which an axis is logarithmic
_NAMED = 12  # more points than this: only the front's are named
_MAP = "Blues"  # one hue, so that lightness alone tells the accuracy
_FAILED = "#EEEEEE"
_PROOF = {"proven": "proven", "failed": "proof failed", "": "no proof"}
_FINN = {"accepted": "FINN takes it", "refused": "FINN refuses", "": "FINN not asked"}

Widths = tuple[int, int]  # bits of weights and of activations


def accuracy_by_cost(data: SweepData, axis: Axis) -> Figure:
    """Draw mean test accuracy of every point against one cost, with one standard deviation and the Pareto front.

    Args:
        data: the sweep.
        axis: one that ``data.axes()`` has.
    """
    figure = Figure(figsize=(7.6, 4.6), layout=padded_layout())
    axes = figure.subplots()
    front = data.front(axis)
    shown = [point for point in data.points if point.cost(axis) is not None and point.mean() is not None]
    for start in STARTS:
        _draw_start(axes, [point for point in shown if point.start == start], axis, start)
    _draw_front(axes, front, axis)
    for point in shown:
        if point.start != "search" and (point in front or len(shown) <= _NAMED):
            _name_point(axes, point, axis)
    costs = [_cost(point, axis) for point in shown]
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel(axis.label, color=INK)
    axes.margins(x=0.09)  # room for the names of the outermost points
    write_title(axes, "Test accuracy, %")
    write_remark(axes, "mean ± sd over seeds")
    axes.legend(frameon=False, fontsize=9, loc="best")
    axes.grid(True, color=GRID_LINES, lw=0.8)
    axes.set_axisbelow(True)
    open_frame(axes)
    return figure


def _draw_start(axes: Axes, points: Sequence[Point], axis: Axis, start: str) -> None:
    """Draw the points of one start with their standard deviations."""
    if not points:
        return
    axes.errorbar(
        [_cost(point, axis) for point in points],
        [_mean(point) for point in points],
        [point.spread() or 0.0 for point in points],
        color=COLOURS[start],
        marker=MARKERS[start],
        ls="",
        ms=6,
        capsize=2,
        label=STARTS[start],
        zorder=3,
    )


def _draw_front(axes: Axes, front: Sequence[Point], axis: Axis) -> None:
    """Draw the front as steps, from the smallest cost on: at a cost, the best accuracy that can be had for it."""
    costs = [_cost(point, axis) for point in front]
    means = [_mean(point) for point in front]
    if axis.more_is_better:
        axes.step(costs[::-1], means[::-1], where="pre", color=INK, lw=1.2, label="Pareto front", zorder=2)
    else:
        axes.step(costs, means, where="post", color=INK, lw=1.2, label="Pareto front", zorder=2)


def _name_point(axes: Axes, point: Point, axis: Axis) -> None:
    """Write a point's bits beside it, on the side where the front's line is not."""
    _, _, network_bits = point.network.rpartition("_")
    name = f"{network_bits} {point.bits}".rstrip()
    side = "left" if axis.more_is_better else "right"
    away = 4 if axis.more_is_better else -4
    place = (_cost(point, axis), _mean(point))
    axes.annotate(name, place, (away, 4), textcoords="offset points", fontsize=8, color=INK, ha=side)


def heat_map(data: SweepData, start: str = "scratch", bits: str = "") -> Figure:
    """Draw mean test accuracy by bits of weights and activations; a cell has its proof and FINN's verdict in words.

    Args:
        data: the sweep.
        start: of the points to show.
        bits: their expression.
    """
    points = points_by_widths(data.points, start, bits)
    weights = sorted({weight for weight, _ in points})
    acts = sorted({act for _, act in points})
    figure = Figure(figsize=(1.5 + 1.25 * len(acts), 1.3 + 0.9 * len(weights)), layout=padded_layout())
    axes = figure.subplots()
    known = [mean for mean in (point.mean() for point in points.values()) if mean is not None]
    for (weight, act), point in points.items():
        _draw_cell(axes, point, acts.index(act), weights.index(weight), known)
    axes.set_xticks(range(len(acts)), [f"{act}" for act in acts])
    axes.set_yticks(range(len(weights)), [f"{weight}" for weight in weights])
    axes.set_xlim(-0.5, len(acts) - 0.5)
    axes.set_ylim(-0.5, len(weights) - 0.5)
    axes.set_xlabel("bits of activations", color=INK)
    axes.set_ylabel("bits of weights", color=INK)
    title = f"Test accuracy, %: {heat_map_title(start, bits)}"
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def heat_map_title(start: str, bits: str) -> str:
    """Return what the points of a heat map have in common: their start, and their expression if they have one."""
    return f"{STARTS[start]}, {bits}" if bits else STARTS[start]


def _draw_cell(axes: Axes, point: Point, x: int, y: int, means: Sequence[float]) -> None:
    """Draw a cell of the heat map, the darker the higher its mean lies among ``means``."""
    mean = point.mean()
    if mean is None:
        text = "failed"
        ink = INK
        axes.bar(x, 0.96, 0.96, y - 0.48, color=_FAILED)
    else:
        share = 0.1 + 0.8 * (mean - min(means)) / ((max(means) - min(means)) or 1.0)
        text = f"{mean:.1f}"
        ink = "white" if share > 0.55 else INK
        axes.bar(x, 0.96, 0.96, y - 0.48, color=colormaps[_MAP](share))
    axes.text(x, y + 0.1, text, ha="center", va="bottom", fontsize=12, fontweight="bold", color=ink)
    axes.text(x, y - 0.06, marks(point, "\n"), ha="center", va="top", fontsize=7.5, color=ink)


def marks(point: Point, join: str = ", ") -> str:
    """Return proof, verdict and failures of a point, in a few words each."""
    failed = []
    for stage, count in point.failures.items():
        if not _is_said(point, stage):
            failed.append(f"{count} of {len(point.cells)} failed at {stage}")
    if point.mean() is None:
        return join.join(failed)
    return join.join([_PROOF[point.proof], _FINN[point.verdict], *failed])


def _is_said(point: Point, stage: str) -> bool:
    """Return whether the mark of the proof or of FINN's verdict tells already that a cell failed at this stage."""
    if stage == "estimate":
        return point.verdict == "refused"
    return stage == "export" and point.proof == "failed"


def points_by_widths(points: Sequence[Point], start: str, bits: str) -> dict[Widths, Point]:
    """Return the points of one heat map by their bits; of several lengths of training the longest."""
    found: dict[Widths, Point] = {}
    for point in sorted(points, key=lambda point: point.total_epochs):
        if point.weight_bits is None or point.act_bits is None:
            continue
        if point.start == start and point.bits == bits:
            found[point.weight_bits, point.act_bits] = point
    return found


def heat_maps(data: SweepData) -> list[tuple[str, str]]:
    """Return start and expression of every heat map; a search has none, as its widths differ by layer."""
    found = dict.fromkeys((point.start, point.bits) for point in data.points if point.start != "search")
    return [(start, bits) for start, bits in found if points_by_widths(data.points, start, bits)]


def _cost(point: Point, axis: Axis) -> float:
    cost = point.cost(axis)
    assert cost is not None
    return cost


def _mean(point: Point) -> float:
    mean = point.mean()
    assert mean is not None
    return mean
