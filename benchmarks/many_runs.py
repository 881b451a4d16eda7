"""Images a second of several runs together: one after the other, against 2, 4, 8 of them side by side on one device.

The runs are of different seeds and bit widths, on CIFAR-shaped random images, through the real loop with its validation
and checkpoints. Each number of jobs takes its turn in every round. The clock runs from the first run's first step to
the last run's end, so that the start of the first process is left out; it is recorded beside it. 1 job is a spawned
process too, and each of several has its share of the CPU's threads.

Usage: python benchmarks/many_runs.py [--networks CNV_1W1A,CNV_2W2A,CNV_4W4A,CNV_8W8A] [--runs 8] [--jobs 1,2,4,8]
       [--device auto] [--images 45000] [--epochs 2] [--batch-size 100] [--precision exact] [--width 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append, show, spread

from qtrain.data import DataSet, Split
from qtrain.engines.processes import SideBySide, threads_each
from qtrain.engines.task import Died
from qtrain.models import build_model
from qtrain.recipe import Recipe, default_recipe
from qtrain.training import Watcher, train
from qtrain.training.context import RunContext
from qtrain.training.setup import choose_device

VALIDATION = 5000
CLASSES = tuple(map(str, range(10)))


def images(count: int) -> Split:
    """Random bytes: the time does not depend on them."""
    return Split(torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8), torch.arange(count) % 10)


def peak_kib() -> int:
    """Most memory that was resident; getrusage's would count the parent's, from before the program was loaded."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Run:
    """Trains a recipe on random images; the result is what its process had taken of the machine by then."""

    recipe: Recipe
    folder: Path
    images: int
    device: str

    @property
    def name(self) -> str:
        """Of the run."""
        return f"{self.recipe.network} seed {self.recipe.seed}"

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> dict[str, int]:
        """Train."""
        model = build_model(self.recipe)
        validation = images(min(VALIDATION, self.images))
        data = DataSet("cifar10", 10, CLASSES, "holdout", True, images(self.images), validation, validation)
        train(
            model, self.recipe, self.folder, data=data, context=RunContext(device=self.device, watch=watch, stop=stop)
        )
        on_gpu = torch.cuda.is_initialized()
        return {
            "process": os.getpid(),
            "resident_kib": peak_kib(),
            "gpu_bytes": torch.cuda.max_memory_reserved() if on_gpu else 0,
        }


@dataclass
class Clock:
    """Notes when the first run began and when the last one ended."""

    first: float | None = None
    last: float = 0.0

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        """Look at an event of the engine."""
        now = time.perf_counter()
        if event["event"] == "start" and self.first is None:
            self.first = now
        elif event["event"] == "finish":
            self.last = now


def measure(recipes: list[Recipe], jobs: int, count: int, device: str) -> dict[str, float]:
    """Run all of them, ``jobs`` at a time."""
    clock, began = Clock(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [Run(recipe, Path(scratch) / str(i), count, device) for i, recipe in enumerate(recipes)]
        found = [outcome for _, outcome in SideBySide(jobs)(runs, told=clock)]
    if died := [outcome.reason for outcome in found if isinstance(outcome, Died)]:
        raise SystemExit(f"{jobs} jobs: {died[0]}")
    assert clock.first is not None
    peaks = {one["process"]: one for one in found}  # a process's last run knows its highest
    return {
        "images_per_s": sum(recipe.epochs for recipe in recipes) * count / (clock.last - clock.first),
        "seconds": clock.last - clock.first,
        "seconds_to_first_step": clock.first - began,
        "resident_mib": sum(peak["resident_kib"] for peak in peaks.values()) / 1024,
        "gpu_mib": sum(peak["gpu_bytes"] for peak in peaks.values()) / 2**20,
    }


def main() -> None:
    """Take turns, print the table, append the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="CNV_1W1A,CNV_2W2A,CNV_4W4A,CNV_8W8A")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--jobs", default="1,2,4,8")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    networks, all_jobs = options.networks.split(","), [int(word) for word in options.jobs.split(",")]
    warnings.filterwarnings("ignore", module=r"(brevitas|torch)\b")
    recipes = [
        default_recipe(networks[i % len(networks)], "cifar10").replace(
            seed=i,
            epochs=options.epochs,
            batch_size=options.batch_size,
            width=options.width,
            precision=options.precision,
            validation_size=min(VALIDATION, options.images),
        )
        for i in range(options.runs)
    ]
    rounds: dict[int, list[dict[str, float]]] = {jobs: [] for jobs in all_jobs}
    for _ in range(options.rounds):
        for jobs in all_jobs:
            found = measure(recipes, jobs, options.images, options.device)
            rounds[jobs].append(found)
            print(f"{jobs} jobs: {found['images_per_s']:,.0f} images/s", flush=True)
    on_gpu = choose_device(options.device).type == "cuda"
    rates = {jobs: [found["images_per_s"] for found in of] for jobs, of in rounds.items()}
    base = rates[all_jobs[0]]
    numbers = {
        **{"networks": networks, "runs": options.runs, "width": options.width, "batch_size": options.batch_size},
        **{"precision": options.precision, "images": options.images, "epochs": options.epochs},
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "rounds": options.rounds,
        "threads_each": {jobs: threads_each(jobs) for jobs in all_jobs},
        "against_jobs": all_jobs[0],
        "ratio": {j: spread([a / b for a, b in zip(found, base, strict=True)]) for j, found in rates.items()},
        **{
            name: {jobs: spread([f[name] for f in of], 1) for jobs, of in rounds.items()}
            for name in rounds[all_jobs[0]][0]
        },
    }
    append("many_runs", numbers, options.out)
    for jobs in all_jobs:
        print(show(f"{jobs} jobs", numbers["images_per_s"][jobs], "images/s"))
        print(show(f"{jobs} jobs / {all_jobs[0]}", numbers["ratio"][jobs]))
        print(show(f"{jobs} jobs, processes together", numbers["resident_mib"][jobs], "MiB"))


if __name__ == "__main__":
    main()
