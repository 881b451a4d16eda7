"""A search's bar: the Pareto front of the sweep's own cells, and the trials that lie beyond it."""

from collections.abc import Sequence

from qtrain.report.sweep.rows import AXES, Axis, Row, SweepData

BAR = "▲"
BAR_NOTE = (
    f"{BAR} beyond the front of the sweep's own cells: none of those costs as little and is as accurate on validation."
)


def search_axis(data: SweepData) -> Axis:
    """Return the axis of the cost that the search was given."""
    return next(axis for axis in AXES if axis.key == data.plan["search"]["cost"])


def search_rows(data: SweepData) -> list[Row]:
    """Return the cells that take part in the search's fronts: those of its seed that are done."""
    seed = data.plan["seeds"][0]
    return [row for row in data.rows if row["state"] == "done" and row["seed"] == seed]


def beyond_bar(data: SweepData) -> set[str]:
    """Return the names of the trials that no own cell equals or beats in both validation accuracy and cost."""
    if not data.plan.get("search"):
        return set()
    axis = search_axis(data)
    rows = search_rows(data)
    own = [row for row in rows if row["start"] != "search"]
    trials = [row for row in rows if row["start"] == "search" and axis.of(row) is not None]
    return {row["cell"] for row in trials if not _is_reached(row, own, axis)}


def _is_reached(trial: Row, own: Sequence[Row], axis: Axis) -> bool:
    """Return whether an own cell costs as little and is as accurate."""
    cost = axis.of(trial)
    assert cost is not None
    for row in own:
        theirs = axis.of(row)
        if theirs is not None and theirs <= cost and row["validation_accuracy"] >= trial["validation_accuracy"]:
            return True
    return False


def marked(start: str, names: Sequence[str], beyond: set[str]) -> str:
    """Return how a point or cell began, with the mark behind it where it is beyond the bar.

    Args:
        start: in words.
        names: of its cells.
        beyond: names of the trials that are.
    """
    return f"{start} {BAR}" if beyond.intersection(names) else start
