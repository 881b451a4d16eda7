"""What an evaluation costs: Brevitas' forward pass, and the fast one, over sizes of batches, in one run.

Every arm gives the same logits to the bit, which is checked. CPU seconds of this process; arms alternate.

Usage: python -W ignore benchmarks/evaluation.py [--networks CNV_2W2A:0.25,RESNET20_4W4A:0.5] [--images 2000]
       [--batches 50,100,250,500,1000] [--rounds 5] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from common import RESULTS, append, show, spread
from torch.nn import functional as F

from qtrain.data import Split
from qtrain.models import build_model
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.fast_forward import fast_forward
from qtrain.training import evaluate

NETWORKS = "CNV_2W2A:0.25,CNV_1W1A:0.25,VGG11_4W4A:0.25,RESNET20_4W4A:0.5,WRN20_4W4A:1"
BEFORE = ("brevitas", 500)


def measured(
    name: str, width: float, split: Split, batches: list[int], rounds: int
) -> dict[tuple[str, int], list[float]]:
    """CPU seconds of each arm and batch."""
    torch.manual_seed(0)
    model = build_model(name, width=width)
    fast_forward(model)
    for _ in range(3):  # so that statistics are of something
        model.train()(torch.rand(20, 3, 32, 32))
    found: dict[tuple[str, int], list[float]] = {(arm, batch): [] for batch in batches for arm in ("brevitas", "fast")}
    for i in range(rounds + 1):
        accuracies = set()
        for arm, batch in sorted(found, reverse=bool(i % 2)):
            started = time.process_time()
            with fast_evaluation(model) if arm == "fast" else nullcontext():
                accuracies.add(evaluate(model, split, F.cross_entropy, batch).accuracy)
            if i:
                found[arm, batch].append(time.process_time() - started)
        assert len(accuracies) == 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS, help="NAME:WIDTH, comma-separated")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batches", default="50,100,250,500,1000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (given.images, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.randint(0, 10, (given.images,)))
    batches = [int(batch) for batch in given.batches.split(",")]
    for text in given.networks.split(","):
        name, _, width = text.partition(":")
        found = measured(name, float(width), split, batches, given.rounds)
        times = {f"{arm}, batch {batch}": spread(values) for (arm, batch), values in found.items()}
        for what, values in times.items():
            print(show(f"{name} {what}", values, "CPU s"))
        ratios = {}
        for (arm, batch), values in found.items():
            if BEFORE in found:
                pairs = zip(values, found[BEFORE], strict=True)
                ratios[f"{arm}, batch {batch}"] = spread([now / before for now, before in pairs])
        for what, values in ratios.items():
            print(show(f"{name} {what} / brevitas, 500", values))
        numbers = {"network": name, "width": float(width), "images": given.images, "times": times, "ratios": ratios}
        append("evaluation", numbers, given.out)


if __name__ == "__main__":
    main()
