"""Which point of a sweep to take, and why: the cheapest one that nothing speaks against and that is accurate enough."""

from dataclasses import dataclass

from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.rows import AXES, Axis, Point, SweepData

WITHIN = 1.0  # points that a network may be less accurate than the best and still be recommended
_KIND = "validation_accuracy"  # a choice by test images would make their accuracy look better than it is
_NAMES = {"bops": "bit operations", "lut": "look-up tables"}


@dataclass(frozen=True)
class Recommendation:
    """What is recommended.

    Attributes:
        point: None where there is none to recommend.
        reason: in a sentence or two.
    """

    point: Point | None
    reason: str


def recommend(data: SweepData) -> Recommendation:
    """Return the cheapest point within ``WITHIN`` points of the best validation accuracy.

    Only points take part that trained with every seed, and that neither the proof nor FINN's answer nor the board
    speaks against. The cost is look-up tables where FINN estimated any of them, else bit operations.
    """
    fit = [point for point in data.points if not _objection(point)]
    axis = _axis(fit)
    priced = [(point, point.cost(axis), point.mean(_KIND)) for point in fit]
    able = [(point, cost, mean) for point, cost, mean in priced if cost is not None and mean is not None]
    if not able:
        objections = sorted({_objection(point) or "its cost is unknown" for point in data.points})
        return Recommendation(None, f"None is recommended: {', '.join(objections)}.")
    best, _, best_mean = max(able, key=lambda found: found[2])
    near = [found for found in able if found[2] >= best_mean - WITHIN]
    point, cost, mean = min(near, key=lambda found: (found[1], -found[2]))
    return Recommendation(point, _reason(data, axis, point, cost, mean, best, best_mean, len(near), len(able)))


def _objection(point: Point) -> str:
    """Return what speaks against a point; empty where nothing does."""
    if point.mean(_KIND) is None or "train" in point.failures:
        return "training failed"
    if point.proof == "failed":
        return "the proof failed"
    if point.verdict == "refused":
        return "FINN refuses it"
    estimates = [cell["estimate"] for cell in point.cells if cell["estimate"]]
    if any(not estimate.get("fits", True) for estimate in estimates):
        return "it does not fit the board"
    if any(not estimate.get("meets_target", True) for estimate in estimates):
        return "it is slower than was asked for"
    return ""


def _axis(points: list[Point]) -> Axis:
    """Return the cost to be small: look-up tables where any point has them, else bit operations."""
    by_key = {axis.key: axis for axis in AXES}
    lut = by_key["lut"]
    return lut if any(point.cost(lut) is not None for point in points) else by_key["bops"]


def _reason(
    data: SweepData,
    axis: Axis,
    point: Point,
    cost: float,
    mean: float,
    best: Point,
    best_mean: float,
    near: int,
    able: int,
) -> str:
    """Return why this point; what was left out of the choice is said too."""
    amount = f"{short(cost)} {_NAMES[axis.key]}"
    out = len(data.points) - able
    left_out = f" {out} of {len(data.points)} points took no part: {_left_out(data)}." if out else ""
    if point is best and near == 1:
        why = f"the best mean validation accuracy ({best_mean:.2f} %), and no other is within {WITHIN:g} point of it"
    elif point is best:
        why = f"the best mean validation accuracy ({best_mean:.2f} %) and the fewest {_NAMES[axis.key]} of the {near} "
        why += f"within {WITHIN:g} point of it"
    else:
        why = (
            f"the fewest {_NAMES[axis.key]} of the {near} within {WITHIN:g} point of the best mean validation accuracy "
        )
        why += f"({mean:.2f} %; best {best_mean:.2f} %, {best.name})"
    return f"{point.name}, {amount}: it has {why}.{left_out}"


def _left_out(data: SweepData) -> str:
    """Return how many points each objection is against."""
    counts: dict[str, int] = {}
    for point in data.points:
        objection = _objection(point)
        if objection:
            counts[objection] = counts.get(objection, 0) + 1
    parts = [f"{objection} ({count})" for objection, count in counts.items()]
    return ", ".join(parts) or "their cost is unknown"
