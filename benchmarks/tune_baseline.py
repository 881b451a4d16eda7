"""Tune the multi-step baseline of a shipped recipe by the usual means, a grid; append what every point cost and gave.

Usage: python benchmarks/tune_baseline.py CNV_1W1A digits [--lrs 0.02 0.05 0.1] [--seeds 100 101]

The choice goes by validation accuracy, with seeds that no comparison uses; the test set plays no part in it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import warnings
from pathlib import Path

from common import append

from qtrain.experiments.run import train_recipe
from qtrain.recipe import default_recipe

MILESTONES = ((0.5, 0.75, 0.9), (0.75, 0.9), (0.85,))
RESULTS = Path(__file__).parents[1] / "results" / "tuning.jsonl"


def main() -> None:
    """Train every point of the grid, print them best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("data")
    parser.add_argument("--lrs", nargs="+", type=float, default=[0.02, 0.05, 0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    base = default_recipe(options.network, options.data)
    points = []
    for lr, milestones in itertools.product(options.lrs, MILESTONES):
        runs = []
        for seed in options.seeds:
            recipe = base.replace(scheduler="multistep", lr=lr, milestones=milestones, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                runs.append(train_recipe(recipe, Path(folder) / "run"))
        point = {
            "lr": lr,
            "milestones": milestones,
            "validation_accuracy": [r.validation_accuracy for r in runs],
            "seconds": round(sum(r.seconds for r in runs), 1),
        }
        points.append(point)
        print(point, flush=True)
    points.sort(key=lambda point: -statistics.mean(point["validation_accuracy"]))
    print("best:", points[0])
    append("tune_baseline", {"recipe": base.to_dict(), "seeds": options.seeds, "points": points}, options.out)


if __name__ == "__main__":
    main()
