"""Records as Markdown: what the pages made of results/ share."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
NOT_YET = "Not measured yet."


def lines(name: str) -> list[dict[str, Any]]:
    """The records of one file, oldest first."""
    path = RESULTS / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def of(benchmark: str, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of one benchmark, oldest first."""
    return [record for record in records if record["benchmark"] == benchmark]


def newest(records: Iterable[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Of records that are equal in these values the last, where the first of them stood."""
    found = {}
    for record in records:
        found[tuple(record[key] for key in keys)] = record
    return list(found.values())


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def spread(found: dict[str, float], digits: int = 2) -> str:
    """Median with least and largest."""
    return f"{found['median']:,.{digits}f} [{found['min']:,.{digits}f}..{found['max']:,.{digits}f}]"


def untold(record: dict[str, Any]) -> bool:
    """Whether images of one class leave open what lint's "computes wrong" says of a network that FINN takes."""
    return bool(record["accepted"] and record.get("classes") == 1 and record["lint_errors"])


def agree(record: dict[str, Any]) -> bool:
    """Whether lint and the compiler say the same of a network, as far as its images tell."""
    return untold(record) or bool(record["lint_errors"]) != record["accepted"]
