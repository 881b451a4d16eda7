"""Seconds a training step of ASLR, L4 and Armijo in alternating rounds of one process: the paper's Table II.

Usage: python benchmarks/line_search_cost.py [--network RESNET34_FLOAT] [--data cifar10] [--batch-size 64] [--width 1]
       [--rounds 5] [--steps 4] [--train-size 2000] [--threads 1] [--out results/benchmarks.jsonl]

The numbers also fill Table II of ``qtrain reproduce table2``, which measures them by the same code.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from common import RESULTS, append

from qtrain.experiments.paper.accuracies import ROWS, TIME_RATIOS
from qtrain.experiments.paper.line_search_cost import line_search_cost
from qtrain.training.context import RunContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="RESNET34_FLOAT")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="training steps a scheduler and round")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    row = next(row for row in ROWS if row.table == "table1")
    recipe = row.recipe(
        network=options.network,
        data=options.data,
        batch_size=options.batch_size,
        width=options.width,
        train_size=options.train_size,
    )
    found = line_search_cost(
        recipe, rounds=options.rounds, steps=options.steps, context=RunContext(device=options.device, say=print)
    )
    assert found is not None  # nothing stops it
    append("line_search_cost", {**found, "recipe": recipe.to_dict()}, options.out)
    for name, numbers in found["schedulers"].items():
        low, high = TIME_RATIOS.get(name, (1.0, 1.0))
        print(
            f"{name:8} {numbers['step_seconds']['median']:.3f} s a step, {numbers['ratio']['median']:.2f} times ASLR's "
            f"(paper {low:g} to {high:g})"
        )


if __name__ == "__main__":
    main()
