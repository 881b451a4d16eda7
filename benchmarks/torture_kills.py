"""Commands killed at drawn file-system events and repeated as a user would; the end must be the undisturbed one.

``python -m benchmarks.torture_kills --kills 100`` prints what came of it as JSON. A trial is its seed.
"""

import argparse
import csv
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.kills import Ended
from benchmarks.torture_scenarios import QUICK, SCENARIOS, check_done, fresh
from qtrain.data import load_data
from qtrain.experiments.sweep.row import SECONDS
from qtrain.records.leftovers import is_left_over
from qtrain.records.lock import LOCK, is_held
from qtrain.training import checkpoint

# What differs between two undisturbed runs, or says how often a run was begun.
CLOCK = {"seconds", "images_per_second", "date", "resumed", "updated", "started", "seconds_left", "train_seconds"}
CLOCK |= {"spent", "estimate_seconds"}
CLOCK |= {"checksum"}  # of all the entries, the times among them
CLOCK |= {"commit"}  # git describes a checkout that may change meanwhile
SHOWN = (".png", ".html", ".md")  # of reports, with dates and times
MOST_KILLS = 3  # of a trial
TRIAL = "trial"
# What commands import where they need it; training alone needs less.
WARM = ("sklearn.datasets", "sklearn.model_selection", "qtrain.training.terminal", "qtrain.experiments.run")
MORE = ("torch.utils.tensorboard", "brevitas.export", "qtrain.experiments.export", "qtrain.export.proof.finn_base")
MORE += (
    "torch._dynamo.utils",
    "torch._inductor.cpp_builder",
    "qtrain.report.proof",
    "qtrain.experiments.comparison.grid",
    "qtrain.experiments.fit.rounds",
    "qtrain.report.fit.page",
)


def warm(names: Sequence[str]) -> None:
    """Load once what every forked process would load; nothing is trained here, which would forbid to fork.

    Args:
        names: of the scenarios that are tried.
    """
    torch.set_num_threads(1)
    for name in WARM if set(names) <= {"train", "resume"} else (*WARM, *MORE):
        importlib.import_module(name)
    load_data("digits")


class Trials:
    """Trials of scenarios, each compared with its undisturbed run, which is made once.

    Args:
        place: an empty folder.
    """

    def __init__(self, place: Path):
        self._place = place
        self._whole: dict[str, tuple[int, dict[str, Any]]] = {}

    def events_of(self, name: str) -> int:
        """Return how many events a scenario has where nothing disturbs it."""
        return self._undisturbed(name)[0]

    def trial(self, name: str, *kills: int) -> tuple[int, list[str]]:
        """Kill a scenario at events, one command after the other, and let it come to its end.

        Args:
            name: of the scenario.
            kills: the event of each command that is killed; one that ends before is not.

        Returns:
            How many were killed, and what is wrong at the end.
        """
        _, expected = self._undisturbed(name)
        folder = self._place / TRIAL
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._place / f"{name}-before", folder)
        killed = 0
        try:
            for at in (*kills, 0):
                ended = self._run(name, folder, at)
                if not ended.killed:
                    break
                killed += 1
                if "Traceback" in ended.said:
                    return killed, [f"a traceback: {' '.join(ended.said.split())[-400:]}"]
            if ended.status != 0:
                return killed, [f"status {ended.status}: {' '.join(ended.said.split())[-400:]}"]
            return killed, differences(expected, state(folder))
        finally:
            shutil.rmtree(folder)

    def _run(self, name: str, folder: Path, at: int = 0) -> Ended:
        return SCENARIOS[name].run(SCENARIOS[name].what, folder, at)

    def _undisturbed(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self._whole:
            before = fresh(self._place / f"{name}-before")
            SCENARIOS[name].prepare(before)
            folder = self._place / TRIAL  # recipes and checkpoints name the run that they start from by its full path
            shutil.copytree(before, folder)
            ended = self._run(name, folder)
            check_done(ended)
            self._whole[name] = (ended.events, state(folder))
            shutil.rmtree(folder)
        return self._whole[name]


def state(folder: Path, but: str | None = None) -> dict[str, Any]:
    """Return all that lies below a folder, times aside and perhaps without one file: content by relative path.

    The lock of a process that was killed with its last breath is free, and stays until somebody works there again.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith(".") and path.name.endswith(LOCK) and not is_held(path):
            continue
        if path.is_file() and ".tfevents." not in name and name != but:
            found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    """Return a file as what can be compared."""
    if is_left_over(path.name):
        return "left over"
    if path.name in (SECONDS, "time_per_step.json"):
        return "times"
    if path.name == "status.json":
        return json.loads(path.read_text())["state"]  # its cells are those that the last command had still to run
    if path.suffix == ".pt":
        ours = path.name.startswith(("checkpoint.", "best."))
        return _plain(checkpoint.load(path) if ours else torch.load(path, weights_only=True))
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        return [_plain(row) for row in csv.DictReader(io.StringIO(path.read_text()))]
    if path.suffix in SHOWN and path.name != "README.md":
        return "a report"
    if path.suffix == ".log" or path.parent.name == "intermediate_models":
        return "the compiler's"  # with times, and names that it draws in a process of its own
    return path.read_bytes()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key not in CLOCK}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Say which files are missing, too many, or hold something else."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is too many" for name in found if name not in expected]
    lines += [f"{name} differs" for name in expected if name in found and found[name] != expected[name]]
    return lines


def drawn(trials: Trials, names: list[str], seed: int) -> tuple[str, list[int]]:
    """Draw a scenario and the events of its kills."""
    random = Random(seed)
    name = random.choice(names)
    kills = random.choice((1, 1, 2, MOST_KILLS))
    return name, [random.randint(1, trials.events_of(name)) for _ in range(kills)]


def torture(names: list[str], seeds: Iterator[int], kills: int, until: float, place: Path) -> dict[str, Any]:
    """Try scenarios until there were so many kills, or the time is up; return what came of it.

    Args:
        names: of scenarios.
        seeds: of the trials.
        kills: to come to.
        until: ``time.monotonic`` at the end.
        place: an empty folder.
    """
    trials = Trials(place)
    begun = time.monotonic()
    by_name: Counter[str] = Counter()
    faults = []
    tried = 0
    while sum(by_name.values()) < kills and time.monotonic() < until:
        seed = next(seeds)
        name, at = drawn(trials, names, seed)
        killed, wrong = trials.trial(name, *at)
        tried += 1
        by_name[name] += killed
        if wrong:
            faults.append({"seed": seed, "scenario": name, "kills": at, "wrong": wrong[:5]})
            print(f"{name} {at}: {wrong[:5]}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - begun
    events = {name: trials.events_of(name) for name in by_name}
    return {"trials": tried, "kills": dict(by_name), "events": events, "seconds": round(seconds, 1), "faults": faults}


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    parser.add_argument("--max-minutes", type=float, default=60.0)
    parser.add_argument("--scenarios", default=",".join(QUICK), help=f"some of {', '.join(SCENARIOS)}")
    return parser.parse_args(argv)


def _main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    warm(options.scenarios.split(","))
    until = time.monotonic() + 60 * options.max_minutes
    with tempfile.TemporaryDirectory(prefix="qtrain-kills-") as place:
        seeds = iter(range(options.first, options.first + 10**9))
        found = torture(options.scenarios.split(","), seeds, options.kills, until, Path(place))
    print(json.dumps(found, indent=2))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(_main())
