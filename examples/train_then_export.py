"""Train a network and make a proven FINN folder of it: train_then_export.py CNV_2W2A --data cifar10 --out runs/a."""

import argparse
from pathlib import Path

from qtrain.experiments import export_run, train_recipe
from qtrain.export import verify
from qtrain.recipe import default_recipe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("network")
parser.add_argument("--data", default="digits")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--width", type=float, default=0.25)
parser.add_argument("--board", default="ZCU104")
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

recipe = default_recipe(options.network, options.data).replace(epochs=options.epochs, width=options.width, lr=0.03)
result = train_recipe(recipe, options.out)
export_run(options.out, options.out / "finn", board=options.board, target_fps=1000, clock_ns=10.0)
proof = verify(options.out / "finn")  # from the folder alone, as whoever gets it can
print(f"{result.test_accuracy:.2f} %, {proof.equal} of {proof.images} test images equal: {options.out / 'finn'}")
