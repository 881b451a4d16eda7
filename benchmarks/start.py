"""How long commands take to start: CPU seconds of child processes, here and in another checkout, alternating.

The other checkout is one of before a change, as `git worktree add ../before COMMIT` makes it. Each round runs every
command once in both, in changing order. ``torch alone`` says what no change of ours can spare.

Usage: python -W ignore benchmarks/start.py --before ../before [--rounds 5] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import RESULTS, append, show, spread

HERE = Path(__file__).resolve().parents[1]
CODE = {
    "torch alone": "import torch",
    "import of build_model": "from qtrain.models import build_model",
    "import of train": "from qtrain.training import train; from qtrain.experiments import train_recipe",
    "import of verify": "from qtrain.export import verify",
}
COMMANDS = {
    "--help": ["--help"],
    "models": ["models"],
    "refused data": ["train", "CNV_1W1A", "--data", "emnist"],
    "refused folder": ["train", "--resume", "nowhere"],
    "one step": [
        *("train", "TFC_1W1A", "--data=digits", "--width=0.125", "--train-size=20", "--validation-size=20"),
        *("--batch-size=20", "--epochs=1"),
    ],
}


def cpu_seconds(command: list[str], checkout: Path) -> float:
    """CPU seconds of a process and its children, in an empty folder."""
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of before")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    python = [sys.executable, "-W", "ignore"]
    asked = {name: [*python, "-c", code] for name, code in CODE.items()}
    asked |= {f"qtrain {name}": [*python, "-m", "qtrain.cli", *words] for name, words in COMMANDS.items()}
    arms = {"before": given.before.resolve(), "now": HERE}
    found: dict[str, dict[str, list[float]]] = {name: {arm: [] for arm in arms} for name in asked}
    for i in range(given.rounds + 1):
        for name, command in asked.items():
            for arm in sorted(arms, reverse=bool(i % 2)):
                seconds = cpu_seconds(command, arms[arm])
                if i:  # the first round fills caches of files
                    found[name][arm].append(seconds)
    numbers = {}
    for name, by_arm in found.items():
        ratios = [now / before for now, before in zip(by_arm["now"], by_arm["before"], strict=True)]
        numbers[name] = {arm: spread(values, 2) for arm, values in by_arm.items()} | {"ratio": spread(ratios)}
        for what, values in numbers[name].items():
            print(show(f"{name}, {what}", values, "" if what == "ratio" else "CPU s"))
    append("start", {"rounds": given.rounds, "times": numbers}, given.out)


if __name__ == "__main__":
    main()
