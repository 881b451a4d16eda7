"""A run trained on real images through export, proof and the real FINN compiler; appends one line to results/.

Usage: cifar_to_finn.py RUN [--board ZCU104] [--target-fps 1000]     (needs `make finn` and the run's data set)

The run folder is one that `qtrain train` wrote. Times are wall seconds on the machine that runs this, not of training.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from qtrain.experiments.export import export_run
from qtrain.export import verify
from qtrain.export.compiler.start import estimate_build
from qtrain.records.runs import read_records
from qtrain.training.folder import folder_recipe
from qtrain.training.recorder import machine

RESULTS = Path(__file__).parents[1] / "results" / "cifar_to_finn.jsonl"


def main() -> None:
    """Export, verify, build; write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--board", default="ZCU104")
    parser.add_argument("--target-fps", type=int, default=1000)
    options = parser.parse_args()
    target = {"board": options.board, "target_fps": options.target_fps}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "finn"
        times = [time.perf_counter()]
        exported = export_run(options.run, folder, clock_ns=10.0, **target)
        times.append(time.perf_counter())
        repeated = verify(folder)
        times.append(time.perf_counter())
        build = estimate_build(folder, out=Path(scratch) / "build", **target)
        stages = json.loads((folder / "manifest.json").read_text())["stages"]
    records = read_records(options.run)
    verdict = {k: v for k, v in dataclasses.asdict(build).items() if k != "log"}
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **target,
        "recipe": folder_recipe(options.run).to_dict(),
        "training": {k: v for k, v in records[-1].items() if k != "type"},
        "export_s": round(times[1] - times[0], 1),
        "verify_s": round(times[2] - times[1], 1),
        "proof": dataclasses.asdict(exported),
        "stages": stages,
        "finn": verdict,
        "machine": machine(torch.device("cpu")),
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({k: line[k] for k in ("export_s", "verify_s", "proof", "finn")}, indent=1))
    if repeated.equal != repeated.images or not build.accepted:
        raise SystemExit(f"not accepted: {build.reason}")


if __name__ == "__main__":
    main()
