"""What a GPU can tell, in as many minutes as there are: `make gpu-evidence OUT=folder MAX_MINUTES=12`.

Stages in order of what they are worth, each in processes of its own and in its share of the time; what one leaves goes
to the later ones. One that fails, hangs or crashes is recorded with its reason, and the next one runs. The folder holds
``benchmarks.jsonl`` and ``reproduce.jsonl`` (lines for results/), ``stages.jsonl``, ``log.txt`` and ``summary.json``.
Exit status 1 where the checks failed or did not come to their end.

Usage: python -m benchmarks.gpu_evidence [--out runs/gpu-evidence] [--max-minutes 12] [--device cuda] [--tiny]
       [--stages check,epochs] [--data-root FOLDER]
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch

from benchmarks.gpu.report import checks_in
from benchmarks.gpu.runner import OK, SKIPPED, Outcome, Runner
from benchmarks.gpu.stages import RECORDS, Stage, evidence

SUMMARY = "summary.json"
SHOWN = 6  # lines of a stage's output


def summary_of(outcomes: list[Outcome], stages: list[Stage], records: Path, older: int) -> dict[str, Any]:
    """Return what the run has come to so far, with its exit status.

    Args:
        outcomes: of the commands that are over.
        stages: of the run.
        records: file that the stages append to.
        older: lines in it that were there before.
    """
    passed, failed, skipped = checks_in(records, older)
    of_checks = {stage.name for stage in stages if stage.is_check}
    incomplete = [outcome.stage for outcome in outcomes if outcome.stage in of_checks and outcome.status != OK]
    return {
        "checks": {"passed": passed, "failed": failed, "skipped": skipped},
        "stages": [asdict(outcome) for outcome in outcomes],
        "status": 1 if failed or incomplete else 0,
    }


def line_of(outcome: Outcome) -> str:
    """Return one line about a command."""
    of_stage = f" {outcome.command}" if outcome.command > 1 else ""
    line = f"{outcome.stage}{of_stage}: {outcome.status}"
    if outcome.status != SKIPPED:
        line += f", {outcome.seconds:.0f} of {outcome.limit_s:.0f} s, {outcome.records} records"
    return f"{line}; {outcome.reason}" if outcome.reason else line


def stopped(number: int, frame: Any) -> NoReturn:
    """End as after a failure, with the stage under way ended and the summary written."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the stages, write the summary after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-evidence"))
    parser.add_argument("--max-minutes", type=float, default=12.0)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="small networks and few images: tries the stages on a CPU")
    parser.add_argument("--stages", help="comma-separated; default all")
    parser.add_argument("--data-root", help="folder of CIFAR's files; else QTRAIN_DATA names it")
    options = parser.parse_args()
    if options.max_minutes <= 0:
        parser.error(f"--max-minutes must be above 0, but got {options.max_minutes:g}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --tiny tries the stages on a CPU")
    if options.device == "cpu" and not options.tiny:
        parser.error("on a CPU the stages take hours; add --tiny")
    out, begun = options.out.resolve(), time.monotonic()
    records = out / RECORDS
    older = records.read_bytes().count(b"\n") if records.exists() else 0
    with tempfile.TemporaryDirectory() as scratch:
        every = evidence(options.device, out, Path(scratch), tiny=options.tiny, data_root=options.data_root)
        names = [stage.name for stage in every] if options.stages is None else options.stages.split(",")
        if unknown := set(names) - {stage.name for stage in every}:
            known = ", ".join(stage.name for stage in every)
            parser.error(f"unknown stages {', '.join(sorted(unknown))}; there are {known}")
        stages = [stage for stage in every if stage.name in names]

        def told(stage: Stage, outcomes: list[Outcome], last: list[str]) -> None:
            for outcome in outcomes:
                print(line_of(outcome), flush=True)
            failures = [line for line in last if line.startswith("FAIL")]
            for line in [*failures, *last[-SHOWN:]]:
                print(f"    {line[:160]}", flush=True)
            write()

        def write() -> dict[str, Any]:
            found = summary_of(runner.outcomes, stages, records, older)
            facts = {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
                **{"python": platform.python_version(), "torch": torch.__version__, "tiny": options.tiny},
                **{"max_minutes": options.max_minutes, "seconds": round(time.monotonic() - begun, 1)},
            }
            (out / SUMMARY).write_text(json.dumps(facts | found, indent=1) + "\n")
            return found

        signal.signal(signal.SIGTERM, stopped)
        runner = Runner(out, 60 * options.max_minutes, told)
        try:
            runner.run(stages)
        finally:
            found = write()
    checks = found["checks"]
    print(f"\n{time.monotonic() - begun:.0f} s; {out}")
    for outcome in runner.outcomes:
        print(line_of(outcome))
    print(f"{checks['passed']} checks passed, {len(checks['failed'])} failed, {len(checks['skipped'])} groups skipped")
    for line in checks["failed"]:
        print(f"FAIL {line}")
    sys.exit(found["status"])


if __name__ == "__main__":
    main()
