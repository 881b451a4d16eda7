"""Append finished comparisons to results/comparisons.jsonl: their tables, their curves and the machine they ran on.

Usage: python benchmarks/record_comparison.py FOLDER [RESULTS]

FOLDER is one that `qtrain compare` wrote: a comparison, or a grid, which gives one line a network. A no-retuning
experiment (--lr-from) is copied to results/no_retuning/ under its folder's name; `make results` draws it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from qtrain.records.checksum import without_checksum
from qtrain.records.no_retuning import NoRetuningFile
from qtrain.records.runs import read_records
from qtrain.report.comparison.grid import is_grid, read_grid
from qtrain.report.comparison.read import read_comparison

RESULTS = Path(__file__).parents[1] / "results" / "comparisons.jsonl"
NO_RETUNING = RESULTS.with_name("no_retuning")


def line_of(folder: Path) -> dict[str, Any]:
    """One comparison as plain values, after its files were checked against each other."""
    read_comparison(folder)
    line: dict[str, Any] = without_checksum(json.loads((folder / "comparison.json").read_text()))
    for cell in line["cells"]:
        records = read_records(folder / cell["folder"])
        epochs = [r for r in records if r["type"] == "epoch"]
        cell["validation_accuracy"] = [round(r["validation_accuracy"], 2) for r in epochs]
        cell["lr"] = [r["lr"] for r in epochs]
        cell["seconds"] = round(epochs[-1]["seconds"], 1)
        if counts := epochs[-1].get("counts"):
            cell["counts"] = counts
    if line["cells"]:
        run = next(r for r in read_records(folder / line["cells"][0]["folder"]) if r["type"] == "run")
        line["machine"] = {k: run[k] for k in ("date", "device", "threads", "python", "versions", "commit")}
    return line


def main(folder: Path, results: Path = RESULTS) -> None:
    """Append one line a comparison, all or none; or keep the data of a no-retuning experiment."""
    if NoRetuningFile.is_in(folder):
        found = NoRetuningFile.read(folder)
        kept = NO_RETUNING / folder.resolve().name
        kept.mkdir(parents=True, exist_ok=True)
        found.write(kept)
        return
    networks = list(read_grid(folder).comparisons) if is_grid(folder) else ["."]
    lines = [line_of(folder / network) for network in networks]
    with results.open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
