"""The runs as plain values, for JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qtrain.report.runs.read import Found
from qtrain.report.runs.row import RunRow


def to_json(found: Found, rows: Sequence[RunRow]) -> dict[str, Any]:
    """Return what was found as plain values, with the rows that are to be shown."""
    return {
        "runs": [_finite(asdict(row)) for row in rows],
        "several": [_finite(asdict(each)) for each in found.several],
        "damaged": found.damaged,
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with None for every number that is not finite, which JSON has not."""
    lost = {key: None for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return values | lost
