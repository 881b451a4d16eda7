"""Whether the fast forward pass trains as well as Brevitas' own: paired seeds, same recipe, both exported and proven.

Paths: plain is Brevitas' forward pass, exact and fast are ``--precision``. On a CPU without bfloat16 instructions fast
is exact; there --emulate lets torch's slow bfloat16 kernels do what a CPU with them would.

Usage: python benchmarks/same_accuracy.py [--networks CNV_1W1A,CNV_2W2A,CNV_4W4A] [--data digits] [--seeds 3]
       [--epochs 12] [--width 0.25] [--train-size N] [--paths plain,exact,fast] [--emulate] [--device cpu]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from common import RESULTS, append, show, spread
from torch import nn

from qtrain.experiments.export import export_run
from qtrain.experiments.model import model_of
from qtrain.models import integer_multiply as grid
from qtrain.recipe import Recipe, default_recipe
from qtrain.report.statistics import paired_difference
from qtrain.training import train
from qtrain.training.context import RunContext

PLAIN = "plain"


def _leave(model: nn.Module, precision: str) -> list[str]:
    """Keep Brevitas' forward pass, which no user has reason to ask for, in every layer."""
    return [path for path, _ in model.named_modules()]


def run(path: str, recipe: Recipe, device: str) -> tuple[float, bool]:
    """Train on one path and export; return the test accuracy in percent, and whether all images are proven equal."""
    recipe = recipe.replace(precision="fast" if path == "fast" else "exact")
    model = model_of(recipe)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        with patch("qtrain.training.setup.fast_forward", _leave) if path == PLAIN else nullcontext():
            result = train(model, recipe, out, context=RunContext(device=device))
        proof = export_run(out, out / "finn", board="ZCU104", target_fps=100, clock_ns=10.0)
    return result.test_accuracy, proof.equal == proof.images


def main() -> None:
    """Train every network on every path; end with status 1 where an export is not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="CNV_1W1A,CNV_2W2A,CNV_4W4A")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--paths", default="plain,exact,fast")
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    paths = options.paths.split(",")
    if PLAIN not in paths:
        parser.error("--paths must hold plain, which the others are compared with")
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx)\b")
    if options.emulate:
        grid._cpu_has_bfloat16 = lambda: True
    unequal = []
    for network in options.networks.split(","):
        recipe = default_recipe(network, options.data).replace(
            epochs=options.epochs, width=options.width, train_size=options.train_size
        )
        found: dict[str, list[float]] = {path: [] for path in paths}
        for seed in range(options.seeds):
            for path in paths:
                accuracy, equal = run(path, recipe.replace(seed=seed), options.device)
                found[path].append(round(accuracy, 3))
                unequal += [] if equal else [f"{network} {path} seed {seed}"]
        differences = {path: paired_difference(found[path], found[PLAIN]).to_dict() for path in paths if path != PLAIN}
        numbers: dict[str, Any] = {
            **{"network": network, "data": options.data, "width": options.width, "epochs": options.epochs},
            **{"train_size": options.train_size, "seeds": options.seeds, "emulated": options.emulate},
            "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
            **{"test_accuracy": found, "minus_plain": differences},
            "exports_equal": not unequal,
        }
        append("same_accuracy", numbers, options.out)
        for path in paths:
            print(show(f"{network} {path}", spread(found[path], 2), "% on the test set"), flush=True)
    raise SystemExit(f"exports differ: {', '.join(unequal)}" if unequal else 0)


if __name__ == "__main__":
    main()
