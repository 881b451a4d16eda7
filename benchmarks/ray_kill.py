"""A node of a Ray cluster is killed in the middle of many runs: are all there, once, and equal to undisturbed ones?

A head without cores and nodes of one core each, all on this machine; a node's raylet gets SIGKILL when so many epochs
have ended in all. The undisturbed runs follow, in this process. Ends with status 1 where a run is lost or differs.

Usage: python benchmarks/ray_kill.py [--network CNV_1W1A] [--width 0.125] [--train-size 300] [--epochs 6] [--cells 4]
       [--nodes 2] [--kill-after 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import torch
from common import RESULTS, append

from qtrain.engines.ray import QUIET, OnRay
from qtrain.engines.task import in_turn
from qtrain.experiments.cells import CellTask
from qtrain.recipe import default_recipe
from qtrain.records.runs import read_records

CLOCK = {"seconds", "images_per_second", "date"}


class Killer:
    """Kills a node when so many epochs have ended, and counts how often each run was begun."""

    def __init__(self, cluster: Any, after: int):
        self._cluster, self._left, self._began = cluster, after, time.perf_counter()
        self.begun: Counter[str] = Counter()
        self.at: float | None = None  # seconds

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        """Hear an event."""
        self.begun[name] += event["event"] == "start"
        self._left -= event["event"] == "epoch"
        if self._left <= 0 and self.at is None:
            self.at = time.perf_counter() - self._began
            node = next(iter(self._cluster.worker_nodes))
            psutil.Process(node.all_processes["raylet"][0].process.pid).kill()
            self._cluster.worker_nodes.remove(node)
            print(f"killed a node after {self.at:.1f} s")


def plan(options: argparse.Namespace, out: Path) -> list[CellTask]:
    """One run a seed."""
    recipe = default_recipe(options.network, "digits")
    recipe = recipe.replace(epochs=options.epochs, width=options.width, train_size=options.train_size)
    return [
        CellTask(f"seed{seed}", recipe.replace(seed=seed), out / f"seed{seed}", device="cpu")
        for seed in range(options.cells)
    ]


def records(folder: Path) -> list[dict[str, Any]]:
    """A run's records without times."""
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in read_records(folder)]


def main() -> None:
    """Run both, compare, append a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CNV_1W1A")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--train-size", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--kill-after", type=int, default=3, help="epochs, of all runs together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.nodes < 2:
        parser.error("--nodes must be 2 or more: one is killed")
    torch.set_num_threads(1)  # as on the nodes
    os.environ.update(QUIET, RAY_worker_niceness="0")  # niceness as this process', which they are compared with

    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(options.nodes):
                cluster.add_node(num_cpus=1)
            killer, began = Killer(cluster, options.kill_after), time.perf_counter()
            found = list(OnRay(cluster.address)(plan(options, Path(scratch) / "ray"), told=killer))
            seconds = time.perf_counter() - began
        finally:
            cluster.shutdown()
        yielded = Counter(task.folder.name for task, _ in found)
        began = time.perf_counter()
        alone = {task.folder.name: task.folder for task, _ in in_turn(plan(options, Path(scratch) / "alone"))}
        alone_seconds = time.perf_counter() - began
        same = [name for name, folder in alone.items() if records(folder) == records(Path(scratch) / "ray" / name)]
    once = yielded == Counter(alone.keys())
    retried = sum(count > 1 for count in killer.begun.values())
    numbers = {
        **{name: getattr(options, name) for name in ("network", "width", "train_size", "epochs", "cells", "nodes")},
        "killed_after_s": None if killer.at is None else round(killer.at, 1),
        "retried_cells": retried,
        "each_once": once,
        "equal": len(same),
        "seconds": round(seconds, 1),
        "in_turn_seconds": round(alone_seconds, 1),
    }
    append("ray_kill", numbers, options.out)
    print(f"{len(found)} of {options.cells} runs came back, each once: {once}; {retried} were begun again")
    print(f"{len(same)} of {len(alone)} equal undisturbed runs; {seconds:.1f} s, in turn {alone_seconds:.1f} s")
    sys.exit(0 if once and killer.at is not None and len(same) == options.cells else 1)


if __name__ == "__main__":
    main()
