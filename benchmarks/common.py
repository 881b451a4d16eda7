"""What every benchmark records besides its own numbers: when, on what, with which versions; and spread over rounds."""

import json
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks.jsonl"


def cpu_name() -> str:
    """The processor's model, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, least and largest of the rounds."""
    found = statistics.median(values), min(values), max(values)
    return dict(zip(("median", "min", "max"), (round(value, digits) for value in found), strict=True))


def show(name: str, found: dict[str, float], unit: str = "") -> str:
    """One line of a table."""
    return f"{name:36} {found['median']:>10,} [{found['min']:,}..{found['max']:,}] {unit}"


def append(benchmark: str, numbers: dict[str, Any], out: Path) -> None:
    """Append one line to ``out``: the machine's stamp, then the benchmark's numbers."""
    stamp = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "brevitas", "numpy")},
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(stamp | numbers) + "\n")


def appended(benchmark: str, out: Path) -> list[dict[str, Any]]:
    """Return the records of one benchmark that ``out`` has, oldest first."""
    records = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return [record for record in records if record["benchmark"] == benchmark]
