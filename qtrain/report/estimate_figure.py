"""Bars by layer of what FINN estimates: cycles a frame, and each resource against what the board has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qtrain.report.estimate_styles import style_words
from qtrain.report.pages import write_drawing
from qtrain.report.style import FAINT, GRID_LINES, INK

CYCLES = "#8FB4D3"
SLOWEST = "#D55E00"
TARGET = "#333333"
COLOURS = {"LUT": "#0072B2", "BRAM_18K": "#009E73", "URAM": "#E69F00", "DSP": "#CC79A7"}
_FIELDS = {"LUT": "lut", "BRAM_18K": "bram_18k", "URAM": "uram", "DSP": "dsp"}  # of a layer
_ALWAYS_SHOWN = ("LUT", "BRAM_18K")
_ROW_HEIGHT = 0.24  # inches
_HEAD_HEIGHT = 1.9
_WIDTH = 11.5
_MOST = 60  # layers that a page can show; of a deeper network the largest


def layer_label(layer: Mapping[str, Any]) -> str:
    """Return FINN's name of a layer, behind the network's own where it has one."""
    name = f"{layer['place']}  ·  {layer['name']}" if layer["place"] else str(layer["name"])
    if layer.get("styles"):
        return f"{name}\n{style_words(layer['operator'], layer['styles'])}"
    return name


def shown_resources(estimate: Mapping[str, Any]) -> list[str]:
    """Return LUT and BRAM always, the other resources where they are used."""
    return [kind for kind, used in estimate["used"].items() if used or kind in _ALWAYS_SHOWN]


def shown_layers(estimate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all layers in order; of more than a page holds, those with the largest share of anything."""
    layers = list(estimate["layers"])
    if len(layers) <= _MOST:
        return layers
    wholes = {"cycles": estimate["cycles"]}
    for kind, field in _FIELDS.items():
        wholes[field] = max(estimate["available"][kind], 1)

    def largest_share(layer: Mapping[str, Any]) -> float:
        return float(max(layer[field] / whole for field, whole in wholes.items()))

    largest = sorted(layers, key=largest_share, reverse=True)[:_MOST]
    kept = {layer["name"] for layer in largest}
    return [layer for layer in layers if layer["name"] in kept]


def draw_estimate(estimate: Mapping[str, Any], name: str) -> Figure:
    """Draw an estimate: cycles on the left, shares of the board's resources on the right, a row a layer.

    Args:
        estimate: what ``Estimate.to_json`` writes.
        name: of the network or its folder.
    """
    layers = shown_layers(estimate)
    kinds = shown_resources(estimate)
    row_height = _ROW_HEIGHT * max(1.0, 0.62 * len(kinds))
    figure = Figure(figsize=(_WIDTH, _HEAD_HEIGHT + row_height * len(layers)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1])
    _draw_cycles(left, estimate, layers)
    _draw_resources(right, estimate, layers, kinds)
    labels = [layer_label(layer) for layer in layers]
    left.set_yticks(range(len(layers)), labels, fontsize=8, color=INK)
    left.set_ylim(len(layers) - 0.4, -0.6)
    hidden = len(estimate["layers"]) - len(layers)
    figure.suptitle(_title(estimate, name, hidden), fontsize=10.5, color=INK)
    return figure


def write_figure(estimate: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw an estimate into a file whose suffix says what kind."""
    write_drawing(draw_estimate(estimate, name), path, dpi=130)


def _title(estimate: Mapping[str, Any], name: str, hidden: int) -> str:
    speed = f"{estimate['fps']:,.0f} frames/s at {estimate['clock_ns']:g} ns"
    fits = "fits" if estimate["fits"] else "does not fit"
    totals = [f"{_percent(estimate, kind)} {kind}" for kind in shown_resources(estimate)]
    title = f"{name} on {estimate['board']}: {speed}, {fits}: {', '.join(totals)}\n{estimate['label']}"
    if hidden:
        title += f"\n{hidden} smaller layers are not shown"
    return title


def _percent(estimate: Mapping[str, Any], kind: str) -> str:
    """Return the share of a resource that is used; ``5 of 0`` where the board has none of it."""
    has = estimate["available"][kind]
    used = estimate["used"][kind]
    return f"{used / has:.0%}" if has else f"{used} of 0"


def _draw_cycles(axes: Axes, estimate: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
    for y, layer in enumerate(layers):
        slowest = layer["name"] == estimate["slowest"]
        axes.barh(y, layer["cycles"], height=0.7, color=SLOWEST if slowest else CYCLES)
    allowed = 1e9 / estimate["clock_ns"] / estimate["target_fps"]
    axes.axvline(allowed, color=TARGET, lw=1, ls="--")
    axes.set_xlim(0, 1.12 * max(estimate["cycles"], allowed))
    axes.annotate(
        f"{estimate['target_fps']:,} frames/s",
        (allowed, 1),
        (0, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=INK,
    )
    for y, layer in enumerate(layers):
        if layer["name"] == estimate["slowest"]:
            _name_slowest(axes, layer["cycles"], y)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _finish(axes, "clock cycles a frame")


def _name_slowest(axes: Axes, cycles: float, y: int) -> None:
    """Write "slowest" at the end of a bar: inside where the bar is long enough, else behind it."""
    if cycles > 0.3 * axes.get_xlim()[1]:
        look: dict[str, Any] = {"xytext": (-4, 0), "ha": "right", "color": "white"}
    else:
        look = {"xytext": (4, 0), "ha": "left", "color": SLOWEST}
    axes.annotate("slowest", (cycles, y), textcoords="offset points", va="center", fontsize=8, **look)


def _draw_resources(
    axes: Axes, estimate: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], kinds: Sequence[str]
) -> None:
    """Draw a bar for each layer and resource; the bars of one layer lie beside each other."""
    height = 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        whole = max(estimate["available"][kind], 1)
        shares = [100 * layer[_FIELDS[kind]] / whole for layer in layers]
        places = [y - 0.4 + height * (i + 0.5) for y in range(len(layers))]
        label = _resource_label(estimate, kind)
        axes.barh(places, shares, height=height, color=COLOURS[kind], label=label)
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    _finish(axes, f"share of what {estimate['board']} has")


def _resource_label(estimate: Mapping[str, Any], kind: str) -> str:
    has = estimate["available"][kind]
    used = estimate["used"][kind]
    if not has:
        return f"{kind}: {used:,} of 0"
    return f"{kind}: {used:,} of {has:,} ({_percent(estimate, kind)})"


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=9, color=INK)
    axes.grid(True, axis="x", color=GRID_LINES, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
