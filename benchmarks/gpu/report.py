"""One line a check on the terminal, and a record of each group of checks as soon as it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import append

Say = Callable[[str, bool, str], None]


class Report:
    """Collects what checks found.

    Args:
        out: JSON lines; each group adds one.
        facts: that every record carries, such as the device.
        minutes: after which no group begins; None for no limit.

    Attributes:
        failed: names of checks that failed.
        skipped: names of groups that were not tried, with the reason.
    """

    def __init__(self, out: Path, facts: dict[str, Any], minutes: float | None = None):
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self._out, self._facts = out, facts
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def group(self, group: str, network: str, check: Callable[[Say], None]) -> None:
        """Run checks that belong together; what they raise is a failed check, and the next group is tried."""
        if self._end is not None and time.monotonic() >= self._end:
            self.skip(group, network, "no time is left")
            return
        with self._recorded(group, network) as say:
            try:
                check(say)
            except Exception as error:
                reason = (str(error).strip() or "no reason given").splitlines()[0]
                say("raises nothing", False, f"{type(error).__name__}: {reason}")

    def skip(self, group: str, network: str, why: str) -> None:
        """Say and record that checks are not tried."""
        print(f"skip {network} {group}: {why}", flush=True)
        self.skipped.append(f"{network} {group}: {why}")
        append("gpu_check", {"group": group, "network": network, **self._facts, "skipped": why}, self._out)

    @contextmanager
    def _recorded(self, group: str, network: str) -> Iterator[Say]:
        lines: list[dict[str, Any]] = []

        def say(name: str, passed: bool, detail: str = "") -> None:
            lines.append({"check": name, "passed": bool(passed), "detail": detail})
            print(f"{'ok  ' if passed else 'FAIL'} {network} {name}{': ' if detail else ''}{detail}", flush=True)
            if not passed:
                self.failed.append(f"{network} {name}")

        begun = time.perf_counter()
        try:
            yield say
        finally:
            seconds = round(time.perf_counter() - begun, 1)
            record = {"group": group, "network": network, **self._facts, "seconds": seconds, "checks": lines}
            append("gpu_check", record, self._out)


def checks_in(path: Path, after: int = 0) -> tuple[int, list[str], list[str]]:
    """Read a file of records: how many checks passed, which failed, and which groups were skipped.

    Args:
        path: of the file, which need not be there.
        after: lines that are older than the run to be judged.
    """
    passed, failed, skipped = 0, list[str](), list[str]()
    lines = path.read_text().splitlines()[after:] if path.exists() else []
    for line in lines:
        record = json.loads(line)
        if record["benchmark"] != "gpu_check":
            continue
        for check in record.get("checks", []):
            passed += check["passed"]
            if not check["passed"]:
                failed.append(f"{record['network']} {check['check']}: {check['detail']}")
        if "skipped" in record:
            skipped.append(f"{record['network']} {record['group']}: {record['skipped']}")
    return passed, failed, skipped
