"""Damaged recipes, runs, weights, data and code through the commands: each ends in one line, in time and memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import fuzz_child
from qtrain.commands.status import fail

ROOT = Path(__file__).parents[2]
QUICK = ("recipe",)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=() if what in QUICK else pytest.mark.slow)
        for what in ("recipe", "run", "weights", "sweep", "comparison", "arrays", "images", "code")
    ],
)
def test_damaged_inputs_end_in_one_line(what: str) -> None:
    """In a process of its own: one that has trained forks no children that train."""
    script = (
        "import sys, tempfile; from pathlib import Path; from benchmarks import fuzz_inputs, fuzz_wholes\n"
        "what, cases = sys.argv[1], int(sys.argv[2])\n"
        "with tempfile.TemporaryDirectory() as place:\n"
        "    whole, work = Path(place, 'whole'), Path(place, 'work'); whole.mkdir(); work.mkdir()\n"
        "    fuzz_wholes.make_whole(what, whole)\n"
        "    found = [fuzz_inputs.run_case(what, whole, work, seed, every=False) for seed in range(cases)]\n"
        "    print(*(line for _, _, faults in found for line in faults), sep='\\n', end='')\n"
        "    assert any(2 in statuses for _, statuses, _ in found)\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", script, what, "12" if what in QUICK else "60"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_child_is_held_to_its_time_and_memory() -> None:
    ended = fuzz_child.in_child(lambda: time.sleep(60), 0.2, 100)
    assert ended.fault == "hang: over 0.2 s"
    ended = fuzz_child.in_child(lambda: bytearray(300 << 20), 20, 100)
    assert ended.fault == "traceback"
    assert "MemoryError" in ended.err
    ended = fuzz_child.in_child(lambda: os.kill(os.getpid(), signal.SIGSEGV), 20, 100)
    assert ended.fault == "signal 11"


def test_what_a_child_says_is_looked_at() -> None:
    good = fuzz_child.in_child(lambda: fail("no such thing; name another", 2), 20, 100)
    assert (good.status, good.err, good.fault) == (2, "qtrain: no such thing; name another\n", None)
    assert fuzz_child.in_child(lambda: print("\x1b[31m"), 20, 100).fault == "control characters ['\\x1b']"
    assert fuzz_child.in_child(lambda: sys.exit(2), 20, 100).fault == "0 lines"
    assert fuzz_child.in_child(lambda: sys.exit(5), 20, 100).fault == "status 5"
