"""Bars by layer of what FINN estimates: cycles a frame, and each resource against what the board has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qtrain.report.comparison.figures import FAINT, GRID, INK

CYCLES, SLOWEST, TARGET = "#8FB4D3", "#D55E00", "#333333"
COLOURS = {"LUT": "#0072B2", "BRAM_18K": "#009E73", "URAM": "#E69F00", "DSP": "#CC79A7"}
_FIELDS = {"LUT": "lut", "BRAM_18K": "bram_18k", "URAM": "uram", "DSP": "dsp"}
_ROW, _HEAD, _WIDTH = 0.24, 1.9, 11.5  # inches
_MOST = 60  # layers that a page can show; of a deeper network the largest


def layer_label(layer: Mapping[str, Any]) -> str:
    """FINN's name of a layer and which of the network's it is."""
    return f"{layer['place']}  ·  {layer['name']}" if layer["place"] else layer["name"]


def shown_resources(estimate: Mapping[str, Any]) -> list[str]:
    """LUT and BRAM always, the others where they are used."""
    return [kind for kind, used in estimate["used"].items() if used or kind in ("LUT", "BRAM_18K")]


def shown_layers(estimate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All layers in order; of more than a page holds, those with the largest share of anything."""
    layers = list(estimate["layers"])
    if len(layers) <= _MOST:
        return layers
    kinds = [(field, max(estimate["available"][kind], 1)) for kind, field in _FIELDS.items()]
    kinds.append(("cycles", estimate["cycles"]))
    weight = {layer["name"]: max(layer[field] / whole for field, whole in kinds) for layer in layers}
    kept = set(sorted(weight, key=lambda name: weight[name], reverse=True)[:_MOST])
    return [layer for layer in layers if layer["name"] in kept]


def draw_estimate(estimate: Mapping[str, Any], name: str) -> Figure:
    """Draw an estimate: cycles on the left, shares of the board's resources on the right, a row a layer.

    Args:
        estimate: what ``Estimate.to_json`` writes.
        name: of the network or its folder.
    """
    layers, kinds = shown_layers(estimate), shown_resources(estimate)
    row = _ROW * max(1.0, 0.62 * len(kinds))
    figure = Figure(figsize=(_WIDTH, _HEAD + row * len(layers)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1])
    _draw_cycles(left, estimate, layers)
    _draw_resources(right, estimate, layers, kinds)
    left.set_yticks(range(len(layers)), [layer_label(layer) for layer in layers], fontsize=8, color=INK)
    left.set_ylim(len(layers) - 0.4, -0.6)
    hidden = len(estimate["layers"]) - len(layers)
    figure.suptitle(_title(estimate, name, hidden), fontsize=10.5, color=INK)
    return figure


def write_figure(estimate: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw an estimate into a file whose suffix says what kind."""
    draw_estimate(estimate, name).savefig(path, dpi=130)


def _title(estimate: Mapping[str, Any], name: str, hidden: int) -> str:
    speed = f"{estimate['fps']:,.0f} frames/s at {estimate['clock_ns']:g} ns"
    totals = ", ".join(
        f"{_percent(estimate, kind)} {kind}" for kind in estimate["used"] if kind in shown_resources(estimate)
    )
    fits = "fits" if estimate["fits"] else "does not fit"
    more = f"\n{hidden} smaller layers are not shown" if hidden else ""
    return f"{name} on {estimate['board']}: {speed}, {fits}: {totals}\n{estimate['label']}{more}"


def _percent(estimate: Mapping[str, Any], kind: str) -> str:
    has, used = estimate["available"][kind], estimate["used"][kind]
    return f"{used / has:.0%}" if has else f"{used} of 0"


def _draw_cycles(axes: Axes, estimate: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
    colours = [SLOWEST if layer["name"] == estimate["slowest"] else CYCLES for layer in layers]
    axes.barh(range(len(layers)), [layer["cycles"] for layer in layers], height=0.7, color=colours)
    allowed = 1e9 / estimate["clock_ns"] / estimate["target_fps"]
    axes.axvline(allowed, color=TARGET, lw=1, ls="--")
    axes.set_xlim(0, 1.12 * max(estimate["cycles"], allowed))
    text = f"{estimate['target_fps']:,} frames/s"
    axes.annotate(text, (allowed, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                  ha="center", fontsize=8, color=INK)  # fmt: skip
    for y, layer in enumerate(layers):
        if layer["name"] == estimate["slowest"]:
            inside = layer["cycles"] > 0.3 * axes.get_xlim()[1]
            axes.annotate("slowest", (layer["cycles"], y), (-4 if inside else 4, 0), textcoords="offset points",
                          ha="right" if inside else "left", va="center", fontsize=8,
                          color="white" if inside else SLOWEST)  # fmt: skip
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _finish(axes, "clock cycles a frame")


def _draw_resources(
    axes: Axes, estimate: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], kinds: Sequence[str]
) -> None:
    height = 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        whole = max(estimate["available"][kind], 1)
        shares = [100 * layer[_FIELDS[kind]] / whole for layer in layers]
        places = [y - 0.4 + height * (i + 0.5) for y in range(len(layers))]
        used, has = estimate["used"][kind], estimate["available"][kind]
        label = f"{kind}: {used:,} of {has:,} ({_percent(estimate, kind)})" if has else f"{kind}: {used:,} of 0"
        axes.barh(places, shares, height=height, color=COLOURS[kind], label=label)
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    _finish(axes, f"share of what {estimate['board']} has")


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=9, color=INK)
    axes.grid(True, axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
