"""Colours, sizes and axes that all figures share."""

from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#333333"  # text and lines that carry no colour of their own
FAINT = "#6B7280"  # remarks, labels of ticks
GRID_LINES = "#E4E7EB"
SIZE = (5.8, 3.7)  # of a single figure, inches
PAD = 0.1  # around axes, inches


def padded_layout(between: float | None = None) -> ConstrainedLayoutEngine:
    """Return the layout of a figure whose axes have ``PAD`` inches around them.

    Args:
        between: space between columns as a share of their width; None: matplotlib's own.
    """
    if between is None:
        return ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD)
    return ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD, wspace=between)


def open_frame(axes: Axes) -> None:
    """Leave out the upper and right side of the frame."""
    axes.spines[["top", "right"]].set_visible(False)


def write_title(axes: Axes, title: str) -> None:
    """Write a bold title above the left end of the axes."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)


def write_remark(axes: Axes, remark: str) -> None:
    """Write a faint remark above the right end of the axes."""
    axes.set_title(remark, loc="right", fontsize=8.5, color=FAINT)
