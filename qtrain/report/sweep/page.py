"""A sweep as an interactive page in one file, with still figures beside it."""

import json
import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qtrain.errors import UserError
from qtrain.records.files import write_whole
from qtrain.report.comparison.page import PICTURES, REPORT
from qtrain.report.pages import fill_page, png_of
from qtrain.report.sweep.figures import accuracy_by_cost, grids, heat_map, marks, short
from qtrain.report.sweep.rows import AXES, STARTS, Row, SweepData, read_sweep
from qtrain.report.sweep.tables import (
    STAR_NOTE,
    failure_rows,
    mean_text,
    points_table,
    print_sweep,
    shown_columns,
    sweep_markdown,
    sweep_verdict,
    warm_table,
)

__all__ = ["print_sweep", "render_sweep", "sweep_markdown", "write_sweep_report"]

_STILL = ("bops", "lut")  # axes of the still figures; the page has all
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
    pictures = {f"accuracy_{a.key}": png_of(accuracy_by_cost(data, a)) for a in data.axes() if a.key in _STILL}
    for start, bits in grids(data):
        name = "_".join(filter(None, ["heat_map", start, "".join(c if c.isalnum() else "-" for c in bits)]))
        pictures[name] = png_of(heat_map(data, start, bits))
    (folder / PICTURES).mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_whole(folder / PICTURES / f"{name}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def render_sweep(data: SweepData) -> str:
    """The page."""
    holds, sentence = sweep_verdict(data)
    plan = data.plan
    return fill_page(
        "sweep/sweep_page.html",
        title=f"{plan['family']} on {plan['data']}: accuracy and cost by bits",
        holds=holds,
        verdict=sentence,
        tiles=_tiles(data),
        plotly=Markup(_plotly()),
        data=Markup(_script_json(page_data(data))),
        axes=data.axes(),
        starts={s: name for s, name in STARTS.items() if any(p.start == s for p in data.points)},
        grids=[(f"{start}|{bits}", f"{STARTS[start]}{f', {bits}' if bits else ''}") for start, bits in grids(data)],
        table=shown_columns(points_table(data)),
        star_note=STAR_NOTE,
        warm=warm_table(data),
        failed=failure_rows(data),
        waiting=data.waiting,
        recipe={k: v for k, v in plan["recipe"].items() if v is not None},
        command=plan["command"],
        seeds=max(len(p.by_seed()) for p in data.points) > 1,
    )


def page_data(data: SweepData) -> dict[str, Any]:
    """What the page's script reads: axes, and every point with its cells."""
    axes = [{"key": a.key, "label": a.label, "more": a.more_is_better} for a in data.axes()]
    partner = {id(warm): data.points.index(scratch) for warm, scratch in data.pairs()}
    points = []
    for i, p in enumerate(data.points):
        kinds = ("test_accuracy", "validation_accuracy")
        points.append(
            {
                **{"id": i, "name": p.name, "network": p.network, "bits": p.bits, "start": p.start},
                **{"weightBits": p.weight_bits, "actBits": p.act_bits, "totalEpochs": p.total_epochs},
                "short": p.network.rpartition("_")[2],
                "startText": f"{STARTS[p.start]}, {p.total_epochs} epochs in all",
                "mean": {kind: p.mean(kind) for kind in kinds},
                "spread": {kind: p.spread(kind) for kind in kinds},
                "cost": {axis.key: p.cost(axis) for axis in AXES},
                **{"proof": p.proof, "verdict": p.verdict, "marks": marks(p), "partner": partner.get(id(p))},
                "cells": [_cell(cell) for cell in p.cells],
            }
        )
    return {"axes": axes, "points": points}


def _cell(row: Row) -> dict[str, Any]:
    """One cell for the side panel; layers are left out, a deep network has hundreds."""
    proof = row["proof"]
    return {
        **{key: row[key] for key in _FACTS},
        "axes": {axis.key: axis.of(row) for axis in AXES},
        **{"epochs": row["epochs"], "offset": row["total_epochs"] - row["epochs"], "seconds": row["seconds"]},
        "proof": proof and {key: proof.get(key) for key in ("images", "equal")},
        **{"proven": row["proven"], "finn": row["finn"], "curve": row["curve"] or {}, "command": row["command"]},
        "cost": row["cost"] and {key: row["cost"].get(key) for key in ("macs", "bops", "weight_bits")},
        "estimate": row["estimate"],
        "lint": [f"{f.get('severity')}, {f.get('layer')}: {f.get('says', f.get('message', ''))}" for f in row["lint"]],
        "folder": f"cells/{row['cell']}",
    }


def _tiles(data: SweepData) -> list[tuple[str, str]]:
    """The few numbers to see first."""
    ranked = sorted((p for p in data.points if p.mean() is not None), key=lambda p: -(p.mean() or 0))
    if not ranked:
        return []
    best, bops = ranked[0], AXES[0]
    tiles = [(f"best mean test accuracy, %: {best.name}", mean_text(best))]
    near = [p for p in ranked if (p.mean() or 0) >= (best.mean() or 0) - 1 and p.cost(bops) is not None]
    if near:
        cheap = min(near, key=lambda p: p.cost(bops) or 0)
        tiles.append((f"BOPs of the cheapest within 1 point of it: {cheap.name}", short(cheap.cost(bops) or 0)))
    tiles.append(("points (seeds together), cells", f"{len(data.points)}, {len(data.rows)}"))
    proofs = [row["proof"] for row in data.rows if row["proof"]]
    if proofs:
        equal, images = (sum(proof[key] for proof in proofs) for key in ("equal", "images"))
        tiles.append(("test images equal in graph and torch", f"{equal:,} of {images:,}"))
    if data.plan.get("board"):
        tiles.append((f"board, {data.plan.get('target_fps'):g} frames/s asked", str(data.plan["board"])))
    return tiles


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("the sweep's page needs plotly, which is not installed; pip install plotly") from None
    return str(get_plotlyjs())


def _script_json(values: Any) -> str:
    """JSON that may stand in a script element: no ``<``, so no end of it, and no NaN, which is no JSON."""
    return json.dumps(_finite(values), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
