"""The record of what quantizers cost, and the row that the results' page makes of it."""

import json
from pathlib import Path

import pytest

import benchmarks.records as records
from benchmarks.common import append
from benchmarks.quantizing_cost import ARMS, FLOAT, OURS, measure
from docs_tools.speed_tables import quantizing


def test_a_record_has_every_arm_and_becomes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure("CNV_4W4A", 0.125, batch_size=4, rounds=2, steps=1)
    assert found["first_loss_equal"] is True
    append("quantizing_cost", found, tmp_path / "benchmarks.jsonl")
    record = json.loads((tmp_path / "benchmarks.jsonl").read_text())
    assert set(record["ms_a_step"]) == set(ARMS)
    assert set(record["times_brevitas"]) == {OURS, FLOAT}
    assert all(ratio["min"] <= ratio["median"] <= ratio["max"] for ratio in record["times_brevitas"].values())
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    head, _, row = quantizing().splitlines()
    assert row.startswith("| CNV_4W4A, width 0.125 | 4 |")
    assert row.count("|") == head.count("|")
    assert row.endswith("| equal |")
