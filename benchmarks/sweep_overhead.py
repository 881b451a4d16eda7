"""What a sweep costs beside the bare trainings of its cells, and whether its memory grows with the cells.

A round is a sweep without a board, one cell after the other in this process, and the same recipes trained by
``train_recipe`` alone; which goes first changes from round to round. Ratios are of wall time: the whole sweep over the
bare trainings, and the sweep without the lint and the counting of its cells, which the bare trainings do not do. Then
one sweep of many tiny cells: the resident memory after each, and its slope over the later ones.

Usage: python -W ignore benchmarks/sweep_overhead.py [--network CNV] [--bits 1,2] [--width 0.25] [--epochs 6]
       [--train-size N] [--rounds 3] [--cells 100] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append, show, spread

from qtrain.experiments.run import train_recipe
from qtrain.experiments.sweep.axes import parse_widths
from qtrain.experiments.sweep.run import SweepPlan, plan_sweep, sweep
from qtrain.experiments.view import NoView
from qtrain.training.context import RunContext

SETTLED = 0.2  # of the cells; those before fill caches
TINY: dict[str, Any] = {"width": 0.125, "epochs": 1, "train_size": 60, "validation_size": 40, "batch_size": 20}


class Memory(NoView):
    """Notes the resident memory in MiB as each cell ends."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def ended(self, name: str, outcome: str) -> None:
        """Note it."""
        lines = Path("/proc/self/status").read_text().splitlines()
        self.found.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)


def swept(plan: SweepPlan) -> tuple[float, float]:
    """Wall seconds of a sweep, and those of them that its cells were linted and counted."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = sweep(plan, Path(folder) / "sweep", context=RunContext(device="cpu"))
        seconds = time.perf_counter() - started
    assert all(row["state"] == "done" for row in rows)
    return seconds, sum(row["seconds"]["lint"] + row["seconds"]["export"] for row in rows)


def bare(plan: SweepPlan) -> float:
    """Wall seconds of the same trainings alone."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for cell in plan.cells():
            train_recipe(plan.recipe_of(cell, Path(folder)), Path(folder) / cell.name, context=RunContext(device="cpu"))
        return time.perf_counter() - started


def overhead(plan: SweepPlan, rounds: int) -> dict[str, dict[str, float]]:
    """The ratios, and the seconds they are made of."""
    found: list[tuple[float, float, float]] = []
    for i in range(rounds):
        if i % 2:
            alone = bare(plan)
            whole, judged = swept(plan)
        else:
            whole, judged = swept(plan)
            alone = bare(plan)
        found.append((whole, judged, alone))
    return {
        "sweep / bare trainings": spread([whole / alone for whole, _, alone in found]),
        "without lint and count / bare": spread([(whole - judged) / alone for whole, judged, alone in found]),
        "sweep, s": spread([whole for whole, _, _ in found], 1),
        "lint and count, s": spread([judged for _, judged, _ in found], 1),
        "lint and count a cell, s": spread([judged / len(plan.cells()) for _, judged, _ in found], 2),
        "bare trainings, s": spread([alone for _, _, alone in found], 1),
    }


def memory(network: str, cells: int) -> dict[str, float]:
    """MiB after the first and the last of many tiny cells, and KiB that a cell adds once caches are full."""
    view = Memory()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_sweep(f"{network}_1W1A", data="digits", seeds=cells, lr=0.02, **TINY)
        sweep(plan, Path(folder) / "sweep", view=view, context=RunContext(device="cpu"))
    late = view.found[int(SETTLED * cells) :]
    slope = statistics.linear_regression(range(len(late)), late).slope
    return {"first, MiB": round(view.found[0]), "last, MiB": round(late[-1]), "a cell, KiB": round(1024 * slope, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CNV")
    parser.add_argument("--bits", default="1,2")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=100, help="of the memory's sweep; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes: dict[str, Any] = {"width": given.width, "epochs": given.epochs, "train_size": given.train_size}
    plan = plan_sweep(given.network, weight_bits=parse_widths("bits", given.bits), data="digits", **sizes)
    bare(plan_sweep(f"{given.network}_1W1A", data="digits", **TINY))  # imports and caches are nobody's
    times = overhead(plan, given.rounds)
    numbers: dict[str, Any] = {"network": given.network, "bits": given.bits, **sizes, "rounds": given.rounds}
    numbers |= {"times": times}
    for name, found in times.items():
        print(show(name, found))
    if given.cells:
        numbers |= {"cells": given.cells, "memory": memory(given.network, given.cells)}
        print(", ".join(f"{name}: {value:,}" for name, value in numbers["memory"].items()))
    append("sweep_overhead", numbers, given.out)


if __name__ == "__main__":
    main()
