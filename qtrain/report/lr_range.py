"""A learning-rate range test as lines on the terminal and as a figure, from what it found alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtrain.errors import UserError
from qtrain.report.pages import write_drawing
from qtrain.report.style import FAINT, GRID_LINES, INK, open_frame

SUFFIXES = (".png", ".svg", ".pdf")
CURVE = "#0072B2"
LOSS = "#E69F00"
USABLE = "#DDE6EE"
CHOSEN = "#009E73"


def range_lines(found: Mapping[str, Any], seconds: float) -> list[str]:
    """Return window, suggestion, cost, and what a person should know of how the test ended.

    Args:
        found: the fields of ``qtrain.schedulers.lr_range.LrRange``.
        seconds: that it took.
    """
    window = found["window"]
    lines = [
        f"usable learning rates: {window['low']:.3g} to {window['high']:.3g}",
        f"suggestion: {found['suggestion']:g}",
        f"cost: {found['steps']} steps, {seconds:.1f} s",
    ]
    if found["stopped"]:
        lines.append(f"stopped early: {found['stopped']}")
    elif not window["fell"]:
        lines.append("the accuracy had not fallen at the highest rate: the window may reach further, see --high")
    return lines


def draw_range(found: Mapping[str, Any], title: str) -> Figure:
    """Draw accuracy and loss over the rate, with the usable window and the suggestion.

    Args:
        found: the fields of ``qtrain.schedulers.lr_range.LrRange``.
        title: of the figure.
    """
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    window = found["window"]
    rates = found["rates"]
    label = f"usable: {window['low']:.3g} to {window['high']:.3g}"
    for axes in (above, below):
        axes.axvspan(window["low"], window["high"], color=USABLE, lw=0, zorder=0, label=label)
        axes.axvline(found["suggestion"], color=CHOSEN, lw=1.6, label=f"suggestion: {found['suggestion']:g}")
    above.plot(rates, found["accuracies"], "o", ms=3, mew=0, alpha=0.55, color=CURVE, label="held-out images")
    above.plot(rates, found["smoothed"], color=CURVE, lw=1.6, label="running median of 5")
    above.set_ylabel("accuracy, %")
    above.legend(frameon=False, fontsize=9, labelcolor=INK)
    below.plot(found["loss_rates"], found["losses"], color=LOSS, lw=1)
    below.set_yscale("log")
    below.set_ylabel("loss of a step")
    below.set_xlabel("learning rate")
    for axes in (above, below):
        _plain(axes)
    figure.suptitle(title, fontsize=11)
    return figure


def check_figure(path: Path) -> None:
    """See that a figure may be written to ``path``, before minutes are spent on its numbers.

    Raises:
        UserError: an unknown kind of file, or a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out must name a file that ends in {', '.join(SUFFIXES)}, but got {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it with --out")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{parent} is a file, so {path} cannot be made; name another --out")


def write_range_figure(found: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw the figure into ``path``, whose suffix says what kind; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_drawing(draw_range(found, title), path, dpi=150)


def _plain(axes: Axes) -> None:
    axes.grid(True, axis="y", color=GRID_LINES, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT)
    open_frame(axes)
