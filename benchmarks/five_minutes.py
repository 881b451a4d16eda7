"""The README's five minutes, run as a newcomer would: each command, how long it took, and what came of the first.

Usage: python -m benchmarks.five_minutes [--keep FOLDER] [--out results/five_minutes.jsonl]

Needs the installed command, the FINN compiler (make finn) and no network. Wall seconds: run it alone.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import append
from benchmarks.records import RESULTS

RECORDS = RESULTS / "five_minutes.jsonl"
SMALL = "--data digits --width 0.25"
STEPS = (
    (f"qtrain train CNV_1W1A {SMALL} --epochs 10 --board Pynq-Z1 --out runs/a", "train, export, prove, estimate"),
    ("qtrain verify runs/a/finn", "the proof again, from the folder alone"),
    ("qtrain estimate runs/a/finn --max-fps --out fast", "the most frames a second that fit the board"),
    (f"qtrain train CNV_2W2A {SMALL} --epochs 4 --init-from runs/a --out runs/b", "other bits, the same one number"),
    (f"qtrain compare CNV_1W1A {SMALL} --epochs 8 --seeds 1 --out compared", "against the hand-tuned multi-step"),
    (
        "qtrain sweep CNV --weight-bits 1,4 --act-bits 1,4 --data digits --width 0.25 --epochs 4 --seeds 1 --out bits",
        "how few bits will do? a page with a plot",
    ),
)


def run_steps(place: Path) -> list[dict[str, Any]]:
    """Run the commands one after the other in ``place``; return each with its wall seconds, exit status and last lines.

    Raises:
        SystemExit: one failed; its output is printed.
    """
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = []
    for command, what in STEPS:
        started = time.perf_counter()
        ran = subprocess.run(
            shlex.split(command), cwd=place, env=environment, text=True, capture_output=True, check=False
        )
        seconds = time.perf_counter() - started
        print(f"{seconds:6.1f} s  {command}", flush=True)
        if ran.returncode:
            sys.exit(f"{command} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
        done.append({"command": command, "what": what, "seconds": round(seconds, 1)})
    return done


def first_run(place: Path) -> dict[str, Any]:
    """What the first command left: its epochs, its result, the proof's figures and FINN's estimate."""
    run = place / "runs/a"
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    manifest = json.loads((run / "finn/manifest.json").read_text())
    return {
        "epochs": [
            {name: record[name] for name in ("epoch", "loss", "validation_accuracy", "lr")}
            for record in records
            if record["type"] == "epoch"
        ],
        "result": records[-1],
        "proof": manifest["proof"],
        "estimate": json.loads((run / "finn/estimate/estimate.json").read_text()),
    }


def main() -> None:
    """Run the steps and append one record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, help="new folder to work in, which stays")
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="five-minutes-") as temporary:
        place = arguments.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        steps = run_steps(place)
        numbers = {"cores": len(os.sched_getaffinity(0)), "steps": steps, "first": first_run(place)}
    append("five minutes", numbers, arguments.out)
    print(f"{sum(step['seconds'] for step in steps):6.1f} s together")


if __name__ == "__main__":
    main()
