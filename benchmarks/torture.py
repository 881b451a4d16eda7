"""Kills, damaged inputs and flipped bits until so many of each are on record: an hour, in pieces (make torture).

Each piece is a process of its own, two at a time, and appends a line to the record when it is done: a run that is ended
goes on with the next seeds by the same command, and loses its pieces at most. What was tried with other code counts for
that code alone.

The record's lines name the part (kills, mutations or flips), the commit and the digest of its code, the first seed and
the trials behind it, how many of what there were, and every fault with its seed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fuzz import KINDS
from benchmarks.torture_scenarios import SLOW
from qtrain.engines.code import code_digest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "torture.jsonl"
AT_ONCE = 2
SIDES = 1 << 20  # seeds between one kind of input and the next
EXPECTED = {"kills": 50, "mutations": 100, "flips": 60}  # of a piece
LONGER = "longer"
LONGER_ONCE_IN = 5  # pieces of kills
REACH = {"kills": 50, "mutations": 100, "flips": 200}  # seeds of a piece, at most


@dataclass(frozen=True)
class Piece:
    """What one process tries.

    Attributes:
        part: kills, mutations or flips.
        what: of it: all scenarios, a kind of input, all places.
        words: of the command.
        first: seed.
    """

    part: str
    what: str
    words: tuple[str, ...]
    first: int


def kills(first: int) -> Piece:
    """Return a piece of some fifty kills."""
    return Piece("kills", "commands", ("benchmarks.torture_kills", "--kills=50", f"--first={first}"), first)


def longer_kills(first: int) -> Piece:
    """Return a piece of some ten kills of what takes long: jobs, Ray, the compiler."""
    return _scenario_kills(",".join(SLOW), LONGER, first)


def kills_of(scenarios: str) -> Callable[[int], Piece]:
    """Return what makes pieces of some ten kills of these scenarios alone."""

    def piece(first: int) -> Piece:
        return _scenario_kills(scenarios, scenarios, first)

    return piece


def _scenario_kills(scenarios: str, what: str, first: int) -> Piece:
    words = ("benchmarks.torture_kills", "--kills=10", f"--scenarios={scenarios}", f"--first={first}")
    return Piece("kills", what, words, first)


def mutations(what: str) -> Callable[[int], Piece]:
    """Return what makes pieces of a hundred damaged inputs of one kind."""

    def piece(first: int) -> Piece:
        words = ("benchmarks.fuzz", f"--what={what}", "--cases=100", f"--first={first}")
        return Piece("mutations", what, words, first)

    return piece


def flips(first: int) -> Piece:
    """Return a piece that flips one bit of every file."""
    return Piece("flips", "files", ("benchmarks.torture_flips", f"--first={first}"), first)


def tried(piece: Piece) -> dict[str, Any]:
    """Try a piece; return its record.

    Raises:
        RuntimeError: its process failed, and not for a fault that it found.
    """
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as out:
        words = [*piece.words, f"--out={out.name}"] if piece.part == "mutations" else list(piece.words)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            capture_output=True,
            text=True,
            check=False,
        )
        text = Path(out.name).read_text() if piece.part == "mutations" else done.stdout
    try:
        found = json.loads(text)
    except ValueError:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stderr[-2000:]}") from None
    if piece.part == "mutations":
        lines = [line for line in done.stdout.splitlines() if line.startswith("case ")]
        found |= {"trials": found["cases"], "faults": lines}
    seconds = round(time.monotonic() - begun, 1)
    return {"part": piece.part, "what": piece.what, "first": piece.first, **found, "seconds": seconds}


def amount(record: dict[str, Any]) -> int:
    """Return how much a record counts for."""
    return sum(record["kills"].values()) if record["part"] == "kills" else record["trials"]


class Torture:
    """Pieces that are still to be tried, by what is on record.

    Args:
        records: of this code.
        asked: how much of each part.
        scenarios: that alone are killed, with commas between; empty for all.
    """

    def __init__(self, records: list[dict[str, Any]], asked: dict[str, int], scenarios: str = ""):
        self._asked = asked
        self._scenarios = scenarios
        self._done: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._next: Counter[tuple[str, str]] = Counter()
        for number, what in enumerate(KINDS):
            self._next["mutations", what] = number * SIDES
        self._next["kills", LONGER] = SIDES
        self._turns: Counter[str] = Counter()
        for record in records:
            if not scenarios or record["what"] == scenarios:
                self._turns[record["part"]] += 1
                self._count(record)

    def note(self, record: dict[str, Any]) -> None:
        """Count the record of a piece that was running."""
        self._running[record["part"]] -= EXPECTED[record["part"]]
        self._count(record)

    def next_piece(self) -> Piece | None:
        """Return a piece of the part of which the largest share is missing; None where nothing is."""
        known = self._done + self._running
        missing = {part: 1 - known[part] / most for part, most in self._asked.items() if most}
        part = max(missing, key=lambda part: missing[part], default="")
        if not part or missing[part] <= 0:
            return None
        make, what = self._maker(part)
        first = self._next[part, what]
        self._next[part, what] = first + REACH[part]
        self._running[part] += EXPECTED[part]
        return make(first)

    def _count(self, record: dict[str, Any]) -> None:
        key = record["part"], record["what"]
        self._done[record["part"]] += amount(record)
        self._next[key] = max(self._next[key], record["first"] + record["trials"])

    def _maker(self, part: str) -> tuple[Callable[[int], Piece], str]:
        self._turns[part] += 1
        if part == "kills" and self._scenarios:
            return kills_of(self._scenarios), self._scenarios
        if part == "kills":
            return (kills, "commands") if self._turns[part] % LONGER_ONCE_IN else (longer_kills, LONGER)
        if part == "flips":
            return flips, "files"
        what = KINDS[self._turns[part] % len(KINDS)]
        return mutations(what), what


def commit() -> str:
    """Return the checkout's commit, marked where code of it is changed; the record itself is none."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml")
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def read(path: Path, code: str) -> list[dict[str, Any]]:
    """Return the records of the code with this digest."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["code"] == code]


def main(argv: list[str] | None = None) -> int:
    """Try pieces, append their records, and return 1 where this code has a fault on record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for part, count in (("kills", 1000), ("mutations", 10_000), ("flips", 1000)):
        parser.add_argument(f"--{part}", type=int, default=count)
    parser.add_argument("--scenarios", default="", help="kill these alone, and damage and flip nothing")
    parser.add_argument("--max-minutes", type=float, default=600.0, help="after which no piece begins")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    version = {"commit": commit(), "code": code_digest()}
    parts = ("kills",) if options.scenarios else ("kills", "mutations", "flips")
    torture = Torture(
        read(options.out, code_digest()), {part: getattr(options, part) for part in parts}, options.scenarios
    )
    until = time.monotonic() + 60 * options.max_minutes
    running: set[Future[dict[str, Any]]] = set()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while True:
            while len(running) < AT_ONCE and time.monotonic() < until and (piece := torture.next_piece()):
                running.add(pool.submit(tried, piece))
            if not running:
                break
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                record = {**version, **future.result()}
                torture.note(record)
                with options.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(
                    f"{record['part']}, {record['what']}: {amount(record)}, {len(record['faults'])} faults", flush=True
                )
    return summary(read(options.out, code_digest()))


def summary(records: list[dict[str, Any]]) -> int:
    """Print what is on record; return 1 where a fault is."""
    done: Counter[str] = Counter()
    faults: list[Any] = []
    for record in records:
        done[record["part"]] += amount(record)
        faults += record["faults"]
    print(", ".join(f"{done[part]} {part}" for part in ("kills", "mutations", "flips")), f"and {len(faults)} faults")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
