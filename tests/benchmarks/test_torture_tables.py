"""The torture record in words: every code has a row, and no fault is left out."""

from typing import Any

import pytest

from benchmarks.records import NOT_YET
from docs_tools import torture_tables

KILL = {"seed": 7, "scenario": "export", "kills": [3], "wrong": ["a differs", "b is missing"]}
FLIP = {"seed": 9, "place": "finn", "wrong": "model.onnx: taken"}
RECORDS: list[dict[str, Any]] = [
    {"code": "aa", "commit": "1", "part": "kills", "kills": {"train": 3, "export": 2}, "trials": 4, "faults": [KILL]},
    {
        "code": "aa",
        "commit": "2",
        "part": "flips",
        "flips": {"finn": 6},
        "trials": 6,
        "faults": [FLIP],
        "note": "of old",
    },
    {"code": "bb", "commit": "3", "part": "kills", "kills": {"train": 1000}, "trials": 900, "faults": []},
    {"code": "bb", "commit": "3", "part": "kills", "kills": {"train": 50}, "trials": 40, "faults": []},
    {"code": "bb", "commit": "3", "part": "mutations", "what": "run", "trials": 100, "faults": ["case 5 was taken"]},
]


def test_every_code_and_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torture_tables, "lines", lambda _: RECORDS)
    said = torture_tables.torture().splitlines()
    assert "| aa | 1, 2 | 5 | 0 | 6 | 2 |" in said
    assert "| bb | 3 | 1,050 | 100 | 0 | 1 |" in said
    assert "All of them by kind. Kills: export 2, train 1,053." in said
    assert said[-3:] == [
        "- aa: export, seed 7: a differs; b is missing",
        "- aa: finn, seed 9: model.onnx: taken (of old)",
        "- bb: case 5 was taken",
    ]


def test_without_records_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torture_tables, "lines", lambda _: [])
    assert torture_tables.torture() == NOT_YET
