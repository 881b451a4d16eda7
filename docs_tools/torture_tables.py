"""What an hour of kills, damaged inputs and flipped bits came to, as a section of results/README.md."""

from collections import Counter
from typing import Any

from benchmarks.records import NOT_YET, lines, table


def torture() -> str:
    """A row for each code that was tried, oldest first; then what the last one was tried with, and every fault."""
    by_code: dict[str, list[dict[str, Any]]] = {}
    for record in lines("torture.jsonl"):
        by_code.setdefault(record["code"], []).append(record)
    if not by_code:
        return NOT_YET
    head = ["code", "commits", "kills", "damaged inputs", "flipped bits", "faults"]
    parts = [table(head, [_row(code, records) for code, records in by_code.items()])]
    last = [*by_code.values()][-1]
    parts.append(f"The last of them by kind. Kills: {_named(_kills(last))}.")
    parts.append(f"Damaged inputs: {_named(_counts(last, 'mutations', 'what'))}.")
    parts.append(f"Flipped bits, by the folder whose files they are of: {_named(_flips(last))}.")
    all_faults = ((code, fault) for code, records in by_code.items() for r in records for fault in r["faults"])
    faults = [f"- {code}: {_fault(fault)}" for code, fault in all_faults]
    return "\n\n".join(parts + (["\n".join(["Faults:", "", *faults])] if faults else []))


def _row(code: str, records: list[dict[str, Any]]) -> list[str]:
    commits = ", ".join(dict.fromkeys(record["commit"] for record in records))
    counts = (_kills(records), _counts(records, "mutations", "what"), _flips(records))
    faults = sum(len(record["faults"]) for record in records)
    return [code, commits, *(f"{sum(found.values()):,}" for found in counts), str(faults)]


def _kills(records: list[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(record["kills"]) for record in records if record["part"] == "kills"), Counter())


def _flips(records: list[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(record["flips"]) for record in records if record["part"] == "flips"), Counter())


def _counts(records: list[dict[str, Any]], part: str, name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in records:
        if record["part"] == part:
            found[record[name]] += record["trials"]
    return found


def _named(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _fault(fault: Any) -> str:
    if isinstance(fault, str):
        return fault
    where = fault.get("scenario") or fault.get("place")
    wrong = fault["wrong"] if isinstance(fault["wrong"], str) else "; ".join(fault["wrong"])
    return f"{where}, seed {fault['seed']}: {wrong}"
