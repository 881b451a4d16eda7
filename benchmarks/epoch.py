"""Seconds an epoch of the real training loop, with and without its validation, on CIFAR-shaped random images.

An epoch is timed from the end of the one before to its own: batches, steps, ASLR's draws, the clipped weights, the
validation on 5,000 images, the record and the checkpoints. (The loop's own ``seconds`` end before the record and the
last state are written.) The first epoch, with its warm-up, capture or compilation, is left out of the spread.

Usage: python benchmarks/epoch.py [--networks CNV_1W1A] [--batch-sizes 100,1024] [--device cpu] [--images 45000]
       [--epochs 6] [--precision exact,fast] [--compile no,yes] [--width 1]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append, show, spread

from qtrain.data import DataSet, Split
from qtrain.models import build_model
from qtrain.recipe import Recipe, default_recipe
from qtrain.training import Silent, train
from qtrain.training.context import RunContext

VALIDATION = 5000
CLASSES = tuple(map(str, range(10)))


def images(count: int) -> Split:
    """Random bytes: the time does not depend on them."""
    return Split(torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8), torch.arange(count) % 10)


class Ends(Silent):
    """Notes when the loop began and when each epoch was over, its checkpoints written."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def start(self, title: str, steps: int, done: int) -> None:
        """Note when the first epoch begins."""
        self.times.append(time.perf_counter())

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Note when it is over."""
        self.times.append(time.perf_counter())


def epochs_of(recipe: Recipe, data: DataSet, device: str) -> tuple[list[dict[str, Any]], list[float]]:
    """Train, and return the epochs' records and the seconds of each."""
    watch = Ends()
    model = build_model(recipe)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        train(model, recipe, out, data=data, context=RunContext(device=device, watch=watch))
        lines = map(json.loads, (out / "records.jsonl").read_text().splitlines())
        seconds = [end - begin for begin, end in itertools.pairwise(watch.times)]
        return [record for record in lines if record["type"] == "epoch"], seconds


def main() -> None:
    """Run every setting, print its line, append its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="CNV_1W1A")
    parser.add_argument("--batch-sizes", default="100")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--compile", default="no", help="no, yes or both, comma-separated")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--validation", type=int, default=VALIDATION, help="images")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs must be 2 or more: the first one warms up")
    warnings.filterwarnings("ignore", module=r"(brevitas|torch)\b")
    torch.set_num_threads(options.threads)
    data = DataSet("cifar10", 10, CLASSES, "holdout", True, images(options.images), *[images(options.validation)] * 2)
    settings = itertools.product(
        options.networks.split(","),
        map(int, options.batch_sizes.split(",")),
        options.precision.split(","),
        [word == "yes" for word in options.compile.split(",")],
    )
    for network, batch_size, precision, compiled in settings:
        recipe = default_recipe(network, "cifar10").replace(
            batch_size=batch_size, epochs=options.epochs, width=options.width, precision=precision, compile=compiled
        )
        records, seconds = epochs_of(recipe, data, options.device)
        whole = seconds[1:]
        training = [options.images / record["images_per_second"] for record in records][1:]
        numbers = {
            "network": network,
            "width": options.width,
            "batch_size": batch_size,
            "precision": precision,
            "compile": compiled,
            "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
            "images": options.images,
            "validation_images": options.validation,
            "epoch_s": spread(whole),
            "epoch_without_validation_s": spread(training),
            "first_epoch_s": round(seconds[0], 2),
        }
        append("epoch", numbers, options.out)
        name = f"{network}, {batch_size}, {precision}{', compiled' if compiled else ''}"
        print(show(name, spread(whole), "s an epoch"))


if __name__ == "__main__":
    main()
