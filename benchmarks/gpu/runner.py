"""Runs stages one after the other, each in the time that is left to it, whatever becomes of the one before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu.stages import ROOT, Command, Stage

STAGES, LOG = "stages.jsonl", "log.txt"
GRACE = 3.0  # seconds between the request to end and the end
TOLD = 0.8  # of its time that a command is told of: what it has begun by then takes some more
MOST_LOG = 1_500_000  # bytes of a command's output that are kept: its last
OK, FAILED, LATE, CRASHED, SKIPPED = "ok", "failed", "out of time", "crashed", "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        stage: that it belongs to.
        command: its number in the stage, from 1; 0 where the stage was skipped.
        status: ok, failed, out of time, crashed or skipped.
        reason: of what is not ok, in one line.
        seconds: that it took.
        limit_s: that it had.
        records: lines that it added to the folder's records.
    """

    stage: str
    command: int
    status: str
    reason: str
    seconds: float
    limit_s: float
    records: int = 0


class Runner:
    """Runs stages within a number of seconds.

    Args:
        folder: for their log, their outcomes and their records.
        seconds: for all of them. A stage has its share of what is left when its turn comes, so that time which one
            leaves goes to those after it.
        told: of each stage that is over, its outcomes and its output's last lines.
    """

    def __init__(self, folder: Path, seconds: float, told: Callable[[Stage, list[Outcome], list[str]], None]):
        self.outcomes: list[Outcome] = []
        self._folder, self._end, self._told = folder, time.monotonic() + seconds, told
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, stages: Sequence[Stage]) -> None:
        """Run all."""
        waiting = [stage for stage in stages if stage.why_not is None]
        for stage in stages:
            if stage.why_not is not None:
                self._note(Outcome(stage.name, 0, SKIPPED, stage.why_not, 0.0, 0.0))
                self._told(stage, self.outcomes[-1:], [])
                continue
            shares = sum(other.share for other in waiting)
            waiting.remove(stage)
            self._stage(stage, (self._end - time.monotonic()) * stage.share / shares)

    def _stage(self, stage: Stage, seconds: float) -> None:
        end, last = time.monotonic() + seconds, list[str]()
        first = len(self.outcomes)
        for number, command in enumerate(stage.commands, 1):
            of_command = (end - time.monotonic()) / (len(stage.commands) - number + 1)
            outcome, last = self._command(stage, number, command, of_command)
            self._note(outcome)
        self._told(stage, self.outcomes[first:], last)

    def _command(self, stage: Stage, number: int, command: Command, limit: float) -> tuple[Outcome, list[str]]:
        lines_before, begun = self._lines(), time.monotonic()
        log = self._folder / LOG
        with log.open("ab") as output:
            output.write(f"\n=== {stage.name} {number}\n".encode())
            output.flush()
            start = output.tell()
            status, reason = run_command(command, limit, output)
        text = cut(log, start).decode(errors="replace")
        last = [line for line in text.splitlines() if line.strip()]
        if status == FAILED:
            reason = f"{reason}: {last[-1].strip()}" if last else reason
        seconds = time.monotonic() - begun
        records = self._lines() - lines_before
        return Outcome(stage.name, number, status, reason, round(seconds, 1), round(limit, 1), records), last

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        stamp = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
        with (self._folder / STAGES).open("a") as file:
            file.write(json.dumps(stamp | asdict(outcome)) + "\n")

    def _lines(self) -> int:
        """Lines of all records so far."""
        files = [path for path in self._folder.glob("*.jsonl") if path.name != STAGES]
        return sum(path.read_bytes().count(b"\n") for path in files)


def run_command(command: Command, limit: float, output: object) -> tuple[str, str]:
    """Run a command in a process group of its own, which is gone afterwards.

    Args:
        command: words; ``{minutes}`` in one stands for the minutes that it has, less a little.
        limit: seconds.
        output: an open file, for standard output and errors.

    Returns:
        Its status, and what to say of one that is not ok.
    """
    if limit < GRACE:
        return LATE, "no time was left"
    limit -= GRACE
    minutes = f"{TOLD * limit / 60:.3f}"
    words = [word.replace("{minutes}", minutes) for word in command]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # type: ignore[arg-type, call-overload]
        )
    except OSError as error:
        return CRASHED, f"did not start: {error}"
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        return LATE, f"killed after {limit:.0f} s"
    finally:
        end_group(process)
    if status < 0:
        return CRASHED, f"ended by {signal.Signals(-status).name}"
    return (OK, "") if status == 0 else (FAILED, f"exit status {status}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group: asked first, so that runs may save; then killed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            process.poll()  # so that a dead leader leaves the group
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cut(log: Path, start: int) -> bytes:
    """Keep the last part of what was written from ``start`` on; return it."""
    with log.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        first = max(start, end - MOST_LOG)
        file.seek(first)
        kept = file.read()
        if first > start:
            file.seek(start)
            file.write(kept)
            file.truncate()
    return kept
