"""What an hour of kills, damaged inputs and flipped bits came to, as a section of results/README.md."""

from collections import Counter
from typing import Any

from benchmarks.records import NOT_YET, lines, table

PARTS = ("kills", "mutations", "flips")


class Tried:
    """All that one code was tried with.

    Attributes:
        commits: that held the code.
        counts: of each part, by kind: the command, the input, or the folder whose files were flipped.
        faults: in words.
    """

    def __init__(self) -> None:
        self.commits: list[str] = []
        self.counts: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self.faults: list[str] = []

    def add(self, record: dict[str, Any]) -> None:
        """Count one record."""
        part = record["part"]
        if record["commit"] not in self.commits:
            self.commits.append(record["commit"])
        if part == "mutations":
            self.counts[part][record["what"]] += record["trials"]
        else:
            self.counts[part].update(record[part])
        note = f" ({record['note']})" if record.get("note") else ""
        self.faults += [f"{_fault(fault)}{note}" for fault in record["faults"]]


def torture() -> str:
    """A row for each code that was tried, oldest first; then what all were tried with, by kind, and every fault."""
    by_code: dict[str, Tried] = {}
    for record in lines("torture.jsonl"):
        by_code.setdefault(record["code"], Tried()).add(record)
    if not by_code:
        return NOT_YET
    rows = []
    faults = []
    for code, tried in by_code.items():
        counts = [f"{sum(tried.counts[part].values()):,}" for part in PARTS]
        rows.append([code, ", ".join(tried.commits), *counts, str(len(tried.faults))])
        faults += [f"- {code}: {fault}" for fault in tried.faults]
    every = {part: sum((tried.counts[part] for tried in by_code.values()), Counter[str]()) for part in PARTS}
    parts = [
        table(["code", "commits", "kills", "damaged inputs", "flipped bits", "faults"], rows),
        f"All of them by kind. Kills: {_named(every['kills'])}.",
        f"Damaged inputs: {_named(every['mutations'])}.",
        f"Flipped bits, by the folder whose files they are of: {_named(every['flips'])}.",
    ]
    if faults:
        parts.append("\n".join(["Faults:", "", *faults]))
    return "\n\n".join(parts)


def _named(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _fault(fault: Any) -> str:
    if isinstance(fault, str):  # of a damaged input
        return fault
    if "place" in fault:
        return f"{fault['place']}, seed {fault['seed']}: {fault['wrong']}"
    wrong = "; ".join(fault["wrong"])
    return f"{fault['scenario']}, seed {fault['seed']}: {wrong}"
