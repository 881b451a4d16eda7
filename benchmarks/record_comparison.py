"""Append a finished comparison to results/comparisons.jsonl: its table, its curves and the machine it ran on.

Usage: python benchmarks/record_comparison.py FOLDER     (FOLDER is one that `qtrain compare` wrote)
"""

import json
import sys
from pathlib import Path

from qtrain.report.read import read_comparison
from qtrain.training.records import read_records

RESULTS = Path(__file__).parents[1] / "results" / "comparisons.jsonl"


def main(folder: Path) -> None:
    """Check the folder's files against each other, then append one line."""
    read_comparison(folder)
    line = json.loads((folder / "comparison.json").read_text())
    for cell in line["cells"]:
        records = read_records(folder / cell["folder"])
        epochs = [r for r in records if r["type"] == "epoch"]
        cell["validation_accuracy"] = [round(r["validation_accuracy"], 2) for r in epochs]
        cell["lr"] = [r["lr"] for r in epochs]
        cell["seconds"] = round(epochs[-1]["seconds"], 1)
    run = next(r for r in read_records(folder / line["cells"][0]["folder"]) if r["type"] == "run")
    line["machine"] = {k: run[k] for k in ("date", "device", "threads", "python", "versions", "commit")}
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
