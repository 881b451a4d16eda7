"""What `make gpu-evidence` imports is what constraints-gpu.txt and its first lines say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "constraints-gpu.txt").read_text().splitlines()
STARTS = "# It must have torch and: "

# Imports what the stages import, with nothing else to be found; then prints what came of the wheels.
SCRIPT = r"""
import importlib.metadata, json, re, sys, warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

warnings.filterwarnings("ignore")
wheels, there = map(set, json.loads(sys.argv[1]))


def closure(names):
    found, waiting = set(), list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return found


allowed = closure(there | {"torch"}) | wheels | {"qtrain"}
owners = importlib.metadata.packages_distributions()


class Allowed(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        dists = {canonical(d) for d in owners.get(name.partition(".")[0], [])}
        return None if dists and not dists & allowed else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Allowed()
sys.path.insert(0, "benchmarks")
import benchmarks.gpu_check, benchmarks.gpu_evidence, benchmarks.profile_step
import epoch, many_runs, train_step
import brevitas.export  # loaded when the first network is exported
import brevitas_examples.bnn_pynq.models.CNV, brevitas_examples.bnn_pynq.models.losses
import qtrain.cli, qtrain.report.paper.tables
from qtrain.data import load_data
load_data("digits")
loaded = {canonical(d) for m in sys.modules for d in owners.get(m.partition(".")[0], [])}
print(json.dumps(sorted(loaded & wheels)))
"""


def stated() -> tuple[set[str], set[str]]:
    (there,) = (line.removeprefix(STARTS) for line in LINES if line.startswith(STARTS))
    wheels = {canonicalize_name(Requirement(line).name) for line in LINES if not line.startswith("#")}
    return wheels, {canonicalize_name(name) for name in re.split(", ", there)}


def imported(wheels: set[str], there: set[str]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([sorted(wheels), sorted(there)])
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, words], cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_stages_import_the_wheels_and_what_the_machine_has_and_nothing_else() -> None:
    wheels, there = stated()
    run = imported(wheels, there)
    assert run.returncode == 0, run.stderr[-2000:]
    assert set(json.loads(run.stdout.splitlines()[-1])) == wheels


@pytest.mark.slow
def test_a_wheel_less_is_missed() -> None:
    wheels, there = stated()
    run = imported(wheels - {"toposort"}, there)
    assert run.returncode != 0
    assert "toposort" in run.stderr


def test_versions_are_those_that_are_tested_together() -> None:
    tested = {line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {line for line in LINES if not line.startswith("#")} <= tested
