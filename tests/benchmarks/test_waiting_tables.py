"""The section on what one waits for says what the records say, and nothing where there are none."""

from typing import Any

import pytest

from benchmarks.records import NOT_YET
from docs_tools import waiting_tables


def numbers(median: float) -> dict[str, float]:
    return {"median": median, "min": median / 2, "max": median * 2}


RECORDS: list[dict[str, Any]] = [
    {"benchmark": "start", "times": {"old": {arm: numbers(9.0) for arm in ("before", "now", "ratio")}}},
    {
        "benchmark": "start",
        "times": {"torch alone": {"before": numbers(4.0), "now": numbers(2.0), "ratio": numbers(0.5)}},
    },
    {
        "benchmark": "checkpoint",
        "network": "CNV_2W2A",
        "megabytes": 12.5,
        "times": {"in the loop": numbers(30.0), "left to a thread": numbers(6.0), "ratio": numbers(0.2)},
    },
    {
        "benchmark": "evaluation",
        "network": "CNV_2W2A",
        "width": 0.25,
        "images": 1000,
        "times": {"brevitas, batch 500": numbers(2.0), "fast, batch 100": numbers(0.5)},
        "ratios": {"fast, batch 100": numbers(0.25)},
    },
]


def test_the_last_record_of_each_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_tables, "lines", lambda _: RECORDS)
    text = waiting_tables.waiting()
    assert "| torch alone | 4.00 [2.00..8.00] | 2.00 [1.00..4.00] | 0.50 [0.25..1.00] |" in text
    assert "| old |" not in text
    assert "CNV_2W2A (12.5 MB) holds the loop for 6.0 [3.0..12.0] ms" in text
    assert "| CNV_2W2A | 0.25 | 2.000 | 0.500 | 0.25 [0.12..0.50] |" in text


def test_without_records_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_tables, "lines", lambda _: [])
    assert waiting_tables.waiting() == NOT_YET
