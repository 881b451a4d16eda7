"""What a fit has done so far, on disk: it can be killed at any moment, and goes on by the same command."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.fit.choose import Choice
from qtrain.experiments.fit.cost import ModelError
from qtrain.experiments.fit.plan import FitPlan, read_plan
from qtrain.records.fit import Candidate, CandidatesFile, FitFile
from qtrain.records.leftovers import is_free
from qtrain.records.plain_files import is_name

_BEAT = 5.0  # seconds of a fit's time that a kill may forget, where it asks whether to stop that often


class State:
    """A fit's folder.

    Args:
        out: the folder; its plan is there already.

    Raises:
        UserError: a file in it is damaged.
    """

    def __init__(self, out: Path):
        self.out = out
        self.file = CandidatesFile.read(out) if CandidatesFile.is_in(out) else CandidatesFile()
        if odd := [one.name for one in self.file.candidates if not is_name(one.name)]:
            why = f"'candidates' must have names of folders, but one is {odd[0][:80]!r}"
            raise CandidatesFile.source(out).damaged(why)
        self._before = self.file.spent
        self._began = self._written = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds that the fit has taken, in all processes that were at it."""
        return self._before + time.monotonic() - self._began

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates so far, in the order of being chosen."""
        return self.file.candidates

    @property
    def round(self) -> int:
        """The last round that was begun, from 1; 0 before."""
        return max((candidate.round for candidate in self.candidates), default=0)

    def write(self, **changed: Any) -> None:
        """Write the state, with what changed."""
        self.file = replace(self.file, **changed, spent=round(self.spent, 1))
        self.file.write(self.out)
        self._written = time.monotonic()

    def add(self, chosen: Sequence[Candidate], front: Sequence[Choice], error: ModelError) -> None:
        """Take a round that begins."""
        points = [asdict(choice) for choice in front]
        self.write(
            candidates=(*self.candidates, *chosen),
            fronts=(*self.file.fronts, points),
            errors=(*self.file.errors, asdict(error)),
        )

    def put(self, candidate: Candidate) -> None:
        """Take what came of a candidate."""
        names = [known.name for known in self.candidates]
        if candidate.name not in names:
            self.write(candidates=(*self.candidates, candidate))
            return
        kept = [candidate if known.name == candidate.name else known for known in self.candidates]
        self.write(candidates=tuple(kept))

    def counting(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """Return ``stop``, which now and then writes what is spent when it is asked: a kill leaves no time to."""

        def asked() -> bool:
            if time.monotonic() - self._written > _BEAT:
                self.write()
            return stop()

        return asked

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Inside, what is spent is written whatever way it ends."""
        try:
            yield
        finally:
            self.write()


def begin(plan: FitPlan, out: Path) -> None:
    """Write a plan into its folder, which is new, empty, or that of the same plan; hours and rounds may be others.

    Raises:
        UserError: it holds something else.
    """
    if FitFile.is_in(out):
        known = read_plan(out)
        if replace(known, hours=plan.hours, rounds=plan.rounds) != plan:
            raise UserError(
                f"{out} holds another fit ({_difference(known, plan)}); go on with it by --resume {out}, or name a new "
                "folder with --out"
            )
        if known != plan:
            replace(plan, command=known.command).to_file().write(out)
        return
    if not is_free(out):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    plan.to_file().write(out)


def _difference(there: FitPlan, asked: FitPlan) -> str:
    """Return the first thing that two plans differ in."""
    known = there.to_file().to_json()
    for name, value in asked.to_file().to_json().items():
        if name == "recipe":
            for entry, ours in value.items():
                if known[name].get(entry) != ours:
                    return f"{entry} {known[name].get(entry)}, not {ours}"
        elif name not in ("command", "hours", "rounds") and known[name] != value:
            return f"{name} {known[name]}, not {value}"
    return "another plan"
