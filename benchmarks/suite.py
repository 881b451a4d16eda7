"""How long ``make test`` takes, and its twenty slowest tests.

Usage: python -m benchmarks.suite [--target test] [--out results/benchmarks.jsonl]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.common import RESULTS, append

ROOT = Path(__file__).parents[1]
SLOWEST = 20


def case_times(report: Path) -> list[tuple[str, float]]:
    """Each test that was run and its wall seconds with its fixtures, the slowest first."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    found = [(f"{case.get('classname')}::{case.get('name')}", float(case.get("time", 0))) for case in cases]
    return sorted(found, key=lambda named: -named[1])


def main() -> None:
    """Run the tests and append one record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=("test", "test-slow"), default="test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        started = time.perf_counter()
        environment = {**os.environ, "PYTEST_ADDOPTS": f"--junitxml={report}"}
        status = subprocess.run(["make", arguments.target], cwd=ROOT, env=environment).returncode
        seconds = time.perf_counter() - started
        times = case_times(report)
    numbers = {
        "target": arguments.target,
        "status": status,
        "cores": len(os.sched_getaffinity(0)),
        "tests": len(times),
        "seconds": round(seconds, 1),
        "seconds_of_tests": round(sum(time for _, time in times), 1),
        "slowest": [[name, round(time, 1)] for name, time in times[:SLOWEST]],
    }
    append("suite", numbers, arguments.out)
    print(f"make {arguments.target}: {len(times)} tests in {seconds:.0f} s, status {status}")
    for name, taken in times[:SLOWEST]:
        print(f"{taken:7.1f} s  {name}")
    sys.exit(status)


if __name__ == "__main__":
    main()
