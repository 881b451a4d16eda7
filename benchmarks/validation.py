"""Seconds of a validation while a network trains, on CIFAR-shaped random images: captured, kernel by kernel, Brevitas'.

Every arm gives the same hits, which is noted. The clock is the host's, which waits for the device at the end of each.
On a CPU, where nothing is captured, the tests' stand-in for torch.cuda tries the code and the times are of no worth.

Usage: python -m benchmarks.validation [--device cuda] [--networks CNV_4W4A,RESNET20_4W4A] [--images 5000] [--width 1]
       [--rounds 5] [--tiny] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.common import RESULTS, append, show, spread
from benchmarks.gpu.data import images
from benchmarks.gpu.place import Place, make_place
from qtrain.models import build_model
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import default_recipe
from qtrain.training import evaluate
from qtrain.training.evaluation import Evaluation
from qtrain.training.validation import Validation

BEFORE = 500  # images of a batch where nothing looks at the memory
WARM_UP = 3  # validations, after which the captured one is all replays


def measured(network: str, place: Place, count: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of each arm, in turn, and the images of a captured batch."""
    torch.manual_seed(0)
    recipe = default_recipe(network, "cifar10").replace(width=place.width)
    model = build_model(recipe).to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast_forward(model)
    split = images(count, place.size).to(place.device)
    with torch.no_grad():
        model.train()(split.images[: place.batch].float() / 255)
    captured, ordinary = (
        Validation(model, split, F.cross_entropy, place.cuda, captures=captures) for captures in (True, False)
    )

    def in_small_batches() -> Evaluation:
        with fast_evaluation(model):
            return evaluate(model, split, F.cross_entropy, BEFORE)

    arms: dict[str, Callable[[], Evaluation]] = {
        "captured": captured.evaluate,
        "kernel by kernel": ordinary.evaluate,
        f"kernel by kernel, batch {BEFORE}": in_small_batches,
        f"brevitas, batch {BEFORE}": lambda: evaluate(model, split, F.cross_entropy, BEFORE),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    hits = {}
    for number in range(WARM_UP + rounds):
        for arm, work in arms.items():
            begun = time.perf_counter()
            hits[arm] = work().accuracy
            if number >= WARM_UP:
                seconds[arm].append(time.perf_counter() - begun)
    return {
        "captured": captured.captured,
        "why_not": captured.why_not,
        "batch_size": captured.images,
        "accuracies_differ": len(set(hits.values())) > 1,
        "times": {arm: spread(values) for arm, values in seconds.items()},
    }


def main() -> None:
    """Measure every network; a record each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--networks", default="CNV_4W4A,RESNET20_4W4A")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="sizes that try this on a CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"(brevitas|torch)\b")
    width, count, rounds = (0.125, 40, 1) if options.tiny else (options.width, options.images, options.rounds)
    place = make_place(options.device, width=width)
    for network in options.networks.split(","):
        found = measured(network, place, count, rounds)
        setting = {"network": network, "width": width, "device": place.name, "images": count}
        append("validation", setting | found, options.out)
        for arm, times in found["times"].items():
            print(show(f"{network} {arm}", times, "s a validation"), flush=True)


if __name__ == "__main__":
    main()
