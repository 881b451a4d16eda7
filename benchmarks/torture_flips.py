"""One bit flipped in a file of a run, a comparison, a sweep or a FINN folder; then the command that reads it.

It ends as if nothing had happened, or in one line that names the file: no traceback, and no other value. Every file is
flipped in turn, at drawn bits. ``python -m benchmarks.torture_flips --first 0`` prints what came of it as JSON.
"""

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.kills import Ended, run
from benchmarks.torture_kills import state, warm
from benchmarks.torture_scenarios import COMPARE, SCENARIOS, Scenario, command

REFUSALS = (2, 3)


def _compared(folder: Path) -> None:
    _prepared(folder, SCENARIOS["compare"])


def _swept(folder: Path) -> None:
    _prepared(folder, SCENARIOS["sweep"])


def _prepared(folder: Path, scenario: Scenario) -> None:
    ended = run(scenario.what, folder)
    if ended.status != 0:
        raise RuntimeError(f"an undisturbed command ended with {ended.status}: {ended.said}")


# What lies in a folder, and what reads all of it.
PLACES = {
    "run": SCENARIOS["resume"],
    "finished run": SCENARIOS["export"],
    "comparison": Scenario(command(*COMPARE, "--out=out", "--tolerance=100"), prepare=_compared),
    "report": Scenario(command("report", "out"), prepare=_compared),
    "sweep": Scenario(SCENARIOS["sweep"].what, prepare=_swept),
    "finn": Scenario(command("verify", "run/finn"), prepare=SCENARIOS["fold"].prepare),
}


class Place:
    """A folder that is damaged again and again, and what its command leaves and says undisturbed.

    Args:
        name: one of ``PLACES``.
        work: an empty folder.
    """

    def __init__(self, name: str, work: Path):
        self._scenario = PLACES[name]
        self._before = work / "before"
        self._trial = work / "trial"
        self._before.mkdir(parents=True)
        self._scenario.prepare(self._before)
        self.files = sorted(
            path.relative_to(self._before) for path in self._before.rglob("*") if path.is_file() and path.stat().st_size
        )
        ended, self._expected, self._said = self._read()
        if ended.status != 0:
            raise RuntimeError(f"an undisturbed command ended with {ended.status}: {ended.said}")

    def flip(self, name: Path, random: Random) -> str | None:
        """Flip one bit of a file and read it; return what is wrong then, None where nothing is."""
        place = random.random()
        number = random.randrange(8)

        def damage(folder: Path) -> None:
            content = bytearray((folder / name).read_bytes())
            content[int(place * len(content))] ^= 1 << number
            (folder / name).write_bytes(content)

        ended, found, said = self._read(damage, str(name))
        where = f"{name}, bit {number} of the byte at {place:.6f} of it"
        if ended.status == 0:
            others = [other for other in {*self._expected, *found} - {str(name)} if self._differs(other, found)]
            if others:
                return f"{where}: taken, and {sorted(others)[:3]} differ"
            return None if said == self._said else f"{where}: taken, and says {said[-300:]!r}"
        lines = [line for line in ended.said.splitlines() if line.startswith("qtrain: ")]
        if "Traceback" in ended.said or ended.status not in REFUSALS or len(lines) != 1:
            return f"{where}: status {ended.status}: {' '.join(ended.said.split())[-400:]}"
        return None if name.name in lines[0] else f"{where}: the line does not name it: {lines[0][:400]}"

    def _differs(self, name: str, found: Mapping[str, Any]) -> bool:
        return self._expected.get(name) != found.get(name)

    def _read(self, damage: Any = lambda _: None, but: str | None = None) -> tuple[Ended, dict[str, Any], str]:
        shutil.rmtree(self._trial, ignore_errors=True)
        shutil.copytree(self._before, self._trial, symlinks=True)
        damage(self._trial)
        ended = run(self._scenario.what, self._trial)
        said = "\n".join(line for line in ended.said.splitlines() if not line.startswith("qtrain: "))
        found = {} if ended.status else state(self._trial, but)
        return ended, found, said


def flips(names: list[str], seeds: Iterator[int], until_each: int, work: Path) -> dict[str, Any]:
    """Flip bits of every file of some places.

    Args:
        names: of the places.
        seeds: one for each flip.
        until_each: flips of each file.
        work: an empty folder.
    """
    done: Counter[str] = Counter()
    faults = []
    for name in names:
        place = Place(name, work / name.replace(" ", "-"))
        for file in place.files:
            for _ in range(until_each):
                seed = next(seeds)
                done[name] += 1
                if wrong := place.flip(file, Random(seed)):
                    faults.append({"seed": seed, "place": name, "wrong": wrong})
                    print(f"{name}, seed {seed}: {wrong}", file=sys.stderr, flush=True)
    return {"trials": sum(done.values()), "flips": dict(done), "faults": faults}


def main(argv: list[str] | None = None) -> int:
    """Flip, print the record, and return 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="seed of the first flip")
    parser.add_argument("--each", type=int, default=1, help="flips of each file")
    parser.add_argument("--places", default=",".join(PLACES), help=f"some of {', '.join(PLACES)}")
    options = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    warm(["export"])
    with tempfile.TemporaryDirectory(prefix="qtrain-flips-") as work:
        found = flips(options.places.split(","), itertools.count(options.first), options.each, Path(work))
    print(json.dumps(found, indent=2))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
