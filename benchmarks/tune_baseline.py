"""Tune the baseline of a shipped recipe by the usual means, a grid; append what every point cost and gave.

Usage: python benchmarks/tune_baseline.py CNV_1W1A digits [--lrs 0.02 0.05 0.1] [--seeds 100 101] [--runs FOLDER]

The choice goes by validation accuracy, with seeds that no comparison uses; the test set plays no part in it. With
--runs the runs are kept there and a second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

from common import append

from qtrain.experiments.comparison.tune import tune
from qtrain.recipe import default_recipe
from qtrain.records.format import to_json
from qtrain.training.context import RunContext

MILESTONES = ((0.5, 0.75, 0.9), (0.75, 0.9), (0.85,))
RESULTS = Path(__file__).parents[1] / "results" / "tuning.jsonl"


def main() -> None:
    """Train every point of the grid, print them best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("data")
    parser.add_argument("--lrs", nargs="+", type=float, default=[0.02, 0.05, 0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101])
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    recipe = default_recipe(options.network, options.data)
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or Path(folder) / "runs"
        found = tune(
            recipe, runs, lrs=options.lrs, milestones=MILESTONES, seeds=options.seeds, context=RunContext(say=print)
        )
    print("best:", found.best)
    append("tune_baseline", {"recipe": recipe.to_dict(), **to_json(found)}, options.out)


if __name__ == "__main__":
    main()
