"""A sweep as an interactive page in one file, with still figures beside it."""

from pathlib import Path
from typing import Any

from qtrain.records.files import write_whole
from qtrain.report.colours import both, swatch
from qtrain.report.comparison.page import PICTURES, REPORT
from qtrain.report.pages import fill_page, plotly, png_of, script_json
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.bar import BAR_NOTE, beyond_bar
from qtrain.report.sweep.describe import axis_seen, cost_seen, lead, map_seen, page_words
from qtrain.report.sweep.figures import COLOURS, MARKERS, accuracy_by_cost, heat_map, heat_map_title, heat_maps, marks
from qtrain.report.sweep.recommend import recommend
from qtrain.report.sweep.rows import AXES, STARTS, Axis, Point, Row, SweepData, read_sweep
from qtrain.report.sweep.tables import (
    STAR_NOTE,
    failure_rows,
    point_accuracy,
    points_table,
    print_sweep,
    shown_columns,
    sweep_markdown,
    sweep_verdict,
    warm_table,
)
from qtrain.report.table import TableData

__all__ = ["print_sweep", "render_sweep", "sweep_markdown", "write_sweep_report"]

_PAGE_COLOURS = {"low": ("#eaf2fa", "#1d2b3a"), "high": ("#08306b", "#7cc4f2")}  # ends of the map's scale
_STILL = ("bops", "lut")  # axes of the still figures; the page has all
_ACCURACIES = ("test_accuracy", "validation_accuracy")
_FACTS = ("test_accuracy", "validation_accuracy", "best_epoch", "state", "stage", "error", "seed", "cell", "parent")


def write_sweep_report(folder: Path) -> Path:
    """Write ``report.html`` and ``report/*.png`` into a sweep's folder, all made of its rows.

    The page holds its data, styles and scripts and refers to nothing outside; each file appears whole or not at all.

    Args:
        folder: that ``qtrain sweep`` wrote; cells that are still to come are left out.

    Returns:
        The page's path.

    Raises:
        UserError: the folder's files are missing, damaged or contradict each other, or plotly is not installed.
    """
    data = read_sweep(folder)
    page = render_sweep(data)
    pictures = _pictures(data)
    (folder / PICTURES).mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_whole(folder / PICTURES / f"{name}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def _pictures(data: SweepData) -> dict[str, bytes]:
    """Return the still figures as PNG files by name."""
    pictures = {}
    for axis in _still_axes(data):
        pictures[f"accuracy_{axis.key}"] = png_of(accuracy_by_cost(data, axis))
    for start, bits in heat_maps(data):
        pictures[_map_name(start, bits)] = png_of(heat_map(data, start, bits))
    return pictures


def picture_texts(data: SweepData) -> dict[str, str]:
    """Return what is to be seen on each still figure by its name, for who does not see it."""
    texts = {f"accuracy_{axis.key}": cost_seen(data, axis) for axis in _still_axes(data)}
    for start, bits in heat_maps(data):
        texts[_map_name(start, bits)] = map_seen(data, start, bits)
    return texts


def _still_axes(data: SweepData) -> list[Axis]:
    return [axis for axis in data.axes() if axis.key in _STILL]


def _map_name(start: str, bits: str) -> str:
    """Return the file's name of a heat map, without its suffix."""
    name = f"heat_map_{start}"
    if bits:
        name += "_" + "".join(letter if letter.isalnum() else "-" for letter in bits)
    return name


def render_sweep(data: SweepData) -> str:
    """Return the page."""
    holds, sentence = sweep_verdict(data)
    plan = data.plan
    found = recommend(data)
    used_starts = {point.start for point in data.points}
    maps = [(f"{start}|{bits}", heat_map_title(start, bits)) for start, bits in heat_maps(data)]
    return fill_page(
        "sweep/sweep_page.html",
        _PAGE_COLOURS | {start: both(colour) for start, colour in COLOURS.items()},
        title=f"{plan['family']} on {plan['data']}: accuracy and cost by bits",
        holds=holds,
        lead=lead(data),
        verdict=sentence,
        words=page_words(data),
        recommended=None if found.point is None else data.points.index(found.point),
        recommended_name="" if found.point is None else found.point.name,
        reason=found.reason,
        tiles=_tiles(data),
        plotly=plotly(),
        data=script_json(page_data(data)),
        axes=data.axes(),
        starts={start: title for start, title in STARTS.items() if start in used_starts},
        swatches={start: swatch(start, marker) for start, marker in MARKERS.items()},
        grids=maps,
        table=_page_table(data),
        star_note=STAR_NOTE,
        bar_note=BAR_NOTE if beyond_bar(data) else "",
        warm=warm_table(data),
        failed=failure_rows(data),
        waiting=data.waiting,
        recipe={name: value for name, value in plan["recipe"].items() if value is not None},
        command=plan["command"],
        seeds=max(len(point.by_seed()) for point in data.points) > 1,
    )


def _page_table(data: SweepData) -> TableData:
    """Return the table of all points, its heads spelt out where the terminal has no room for that."""
    table = shown_columns(points_table(data))
    head = tuple("frames/s" if name == "fps" else name for name in table.head)
    return TableData(head, table.rows)


def page_data(data: SweepData) -> dict[str, Any]:
    """Return what the page's script reads: axes, and every point with its cells."""
    axes = [_axis(axis) for axis in data.axes()]
    partners = {id(warm): data.points.index(scratch) for warm, scratch in data.pairs()}
    points = []
    for i, point in enumerate(data.points):
        points.append({"id": i, **_point(point), "partner": partners.get(id(point)), "cells": _cells(point)})
    found = recommend(data).point
    chosen = None if found is None else data.points.index(found)
    return {"axes": axes, "points": points, "recommended": chosen, "texts": axis_seen(data)}


def _axis(axis: Axis) -> dict[str, Any]:
    """Return what the page's script reads of a cost."""
    name = "frames/s" if axis.key == "fps" else axis.head.replace("\n", " ")
    return {"key": axis.key, "label": axis.label, "name": name, "more": axis.more_is_better}


def _point(point: Point) -> dict[str, Any]:
    """Return what the page's script reads of a point, its cells apart."""
    _, _, network_bits = point.network.rpartition("_")
    return {
        "name": point.name,
        "network": point.network,
        "bits": point.bits,
        "start": point.start,
        "weightBits": point.weight_bits,
        "actBits": point.act_bits,
        "totalEpochs": point.total_epochs,
        "short": network_bits,
        "startText": f"{STARTS[point.start]}, {point.total_epochs} epochs in all",
        "mean": {kind: point.mean(kind) for kind in _ACCURACIES},
        "spread": {kind: point.spread(kind) for kind in _ACCURACIES},
        "cost": {axis.key: point.cost(axis) for axis in AXES},
        "proof": point.proof,
        "verdict": point.verdict,
        "marks": marks(point),
    }


def _cells(point: Point) -> list[dict[str, Any]]:
    return [_cell(cell) for cell in point.cells]


def _cell(row: Row) -> dict[str, Any]:
    """Return one cell for the side panel; layers are left out, a deep network has hundreds."""
    facts = {name: row[name] for name in _FACTS}
    return {
        **facts,
        "axes": {axis.key: axis.of(row) for axis in AXES},
        "epochs": row["epochs"],
        "offset": row["total_epochs"] - row["epochs"],
        "seconds": row["seconds"],
        "proof": _some(row["proof"], ("images", "equal")),
        "proven": row["proven"],
        "finn": row["finn"],
        "curve": row["curve"] or {},
        "command": row["command"],
        "cost": _some(row["cost"], ("macs", "bops", "weight_bits")),
        "estimate": row["estimate"],
        "lint": [_lint_line(finding) for finding in row["lint"]],
        "folder": f"cells/{row['cell']}",
    }


def _some(values: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return some of the values; as they are where there are none."""
    return values and {name: values.get(name) for name in names}


def _lint_line(finding: dict[str, Any]) -> str:
    said = finding.get("says", finding.get("message", ""))
    return f"{finding.get('severity')}, {finding.get('layer')}: {said}"


def _tiles(data: SweepData) -> list[tuple[str, str]]:
    """Return the few numbers to see first."""
    tiles = _accuracy_tiles(data)
    if not tiles:
        return []
    tiles.append(("points (seeds together), cells", f"{len(data.points)}, {len(data.rows)}"))
    proofs = [row["proof"] for row in data.rows if row["proof"]]
    if proofs:
        equal = sum(proof["equal"] for proof in proofs)
        images = sum(proof["images"] for proof in proofs)
        tiles.append(("test images equal in graph and torch", f"{equal:,} of {images:,}"))
    if data.plan.get("board"):
        tiles.append((f"board, {data.plan.get('target_fps'):g} frames/s asked", str(data.plan["board"])))
    return tiles


def _accuracy_tiles(data: SweepData) -> list[tuple[str, str]]:
    """Return the best accuracy and the fewest BOPs within 1 point of it; nothing where no point trained."""
    means = [(point.mean(), point) for point in data.points]
    trained = [(mean, point) for mean, point in means if mean is not None]
    if not trained:
        return []
    best_mean, best = max(trained, key=lambda found: found[0])
    tiles = [(f"best mean test accuracy, %: {best.name}", point_accuracy(best))]
    bops = AXES[0]
    near = []
    for mean, point in sorted(trained, key=lambda found: -found[0]):
        cost = point.cost(bops)
        if mean >= best_mean - 1 and cost is not None:
            near.append((cost, point))
    if near:
        cost, cheapest = min(near, key=lambda found: found[0])
        tiles.append((f"BOPs of the cheapest within 1 point of it: {cheapest.name}", short(cost)))
    return tiles
