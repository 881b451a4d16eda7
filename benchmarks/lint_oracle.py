"""Lint against the real FINN on random networks: `make lint-oracle`.

Usage: python -m benchmarks.lint_oracle [--cases 100] [--first 0] [--jobs 2] [--max-minutes 20]

Seeds count upwards from the last recorded one unless ``--first`` says otherwise. Each process imports the compiler once
and forks its builds (``benchmarks/warm_compiler.py``). One line a network goes to
results/lint_oracle.jsonl; exit status 1 where the verdicts differ.
"""

import argparse
import json
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records import agree
from benchmarks.warm_compiler import WarmCompiler
from qtrain.export.compiler.start import estimate_build
from qtrain.export.lint.check import lint_module
from tests.export.lint.probe_builds import moved, write_folder
from tests.export.lint.random_networks import REPORTS, SHAPE, random_network

RESULTS = Path(__file__).parents[1] / "results" / "lint_oracle.jsonl"
LIMIT_S = 150
IMAGES = 24  # of two, a wrong rounding or dilation gave the right classes by chance


def judge(seed: int) -> dict[str, Any]:
    """Both verdicts on the network of a seed."""
    drawn = random_network(seed)
    findings = lint_module(drawn.model, SHAPE)
    errors = sorted({f"{f.rule}: {f.layer}" for f in findings if f.severity == "error"})
    record = {"seed": seed, "recipe": drawn.recipe, "lint_errors": errors, "finn_plus": version("finn-plus")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "finn"
        try:
            write_folder(moved(drawn.model, SHAPE), SHAPE, folder, images=IMAGES)
        except Exception as error:  # what cannot be exported is refused before the compiler sees it
            return record | {"accepted": False, "reason": f"export: {type(error).__name__}"}
        build = estimate_build(
            folder, board="Pynq-Z1", target_fps=100, out=Path(scratch) / "out", timeout_s=LIMIT_S, images=IMAGES
        )
        classes = len(np.unique(np.load(folder / "expected_output.npy")))
    return record | {"classes": classes, "accepted": build.accepted, "reason": build.reason}


def prepare() -> None:
    """Make a process ready for many builds."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    WarmCompiler()


def attempt(seed: int, end: float) -> dict[str, Any] | None:
    """Judge a seed in a process of its own; None where the time is up."""
    return judge(seed) if time.time() < end else None


def main() -> None:
    """Judge many networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    last = max((json.loads(line)["seed"] for line in lines), default=-1)
    first = options.first if options.first is not None else max(last + 1, REPORTS)
    end = time.time() + 60 * options.max_minutes
    records = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), prepare) as pool:
        running = {pool.submit(attempt, seed, end): seed for seed in range(first, first + options.cases)}
        for future in as_completed(running):
            if (error := future.exception()) is not None:
                raise RuntimeError(f"seed {running[future]}") from error
            if (record := future.result()) is None:
                continue
            records.append(record)
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
            equal = agree(record)
            verdict = "accepted" if record["accepted"] else record["reason"]
            print(
                f"{'' if equal else 'DIFFERENT '}{record['seed']}: {verdict} | lint {record['lint_errors']}", flush=True
            )
    wrong = [r["seed"] for r in records if not agree(r)]
    print(f"{len(records)} networks, {sum(r['accepted'] for r in records)} accepted, verdicts differ on {len(wrong)}")
    raise SystemExit(f"seeds {wrong}" if wrong else 0)


if __name__ == "__main__":
    main()
