"""A search's bar: which trials lie beyond the front of the sweep's own cells, in the tables and on the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtrain.report.sweep.bar import BAR, BAR_NOTE, beyond_bar
from qtrain.report.sweep.page import render_sweep
from qtrain.report.sweep.rows import read_sweep
from qtrain.report.sweep.search import front_table, search_sentence
from qtrain.report.sweep.tables import points_table, print_sweep, sweep_markdown
from tests.experiments.sweep.sweep_data import edit_rows, write_sweep

OWN = ((100.0, 70.0), (400.0, 90.0))  # BOPs, validation accuracy
TRIALS = ((100.0, 70.0), (200.0, 80.0), (450.0, 89.0))  # as an own cell, beyond, behind


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    out = write_sweep(tmp_path / "out", widths=(1, 2), seeds=(0,), warm=False, search=3, board=False)

    def change(rows: list[dict[str, Any]]) -> None:
        own = [row for row in rows if row["start"] == "scratch"]
        del rows[2 : len(own)]
        for row, (bops, accuracy) in zip(rows, (*OWN, *TRIALS), strict=True):
            row.update(state="done", stage=None, error=None, test_accuracy=accuracy, validation_accuracy=accuracy)
            row["cost"] = {"macs": 1, "bops": bops, "weight_bits": 1}

    edit_rows(out, change)
    path = out / "sweep.json"
    search = {"trials": 3, "cost": "bops", "epochs": 1, "pruner": "none", "start": "sensitivity"}
    plan = json.loads(path.read_text())
    rows = [json.loads(line) for line in (out / "sweep.jsonl").read_text().splitlines()]
    trials = [{"name": rows[3]["cell"], "proposal": 1}]
    path.write_text(json.dumps({**plan, "search": search, "trials": trials, "cells": [row["cell"] for row in rows]}))
    return out


def test_a_trial_is_beyond_where_no_own_cell_reaches_it(searched: Path) -> None:
    data = read_sweep(searched)
    assert beyond_bar(data) == {data.rows[3]["cell"]}
    marked = [row for row in points_table(data).rows if BAR in row[1]]
    assert [row[0] for row in marked] == [f"{data.rows[3]['network']} {data.rows[3]['bits']}"]
    assert [row[1] for row in front_table(data).rows] == [
        "from scratch",
        "search",
        f"sensitivity {BAR}",
        "from scratch",
    ]
    said = (
        "1 of the trials lie beyond the front of the sweep's own cells (▲), of the 1 that the sensitivities proposed 1."
    )
    assert search_sentence(data).endswith(said)


def test_the_mark_is_explained_wherever_it_stands(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "beyond the front of the sweep" in render_sweep(read_sweep(searched))
    assert BAR in sweep_markdown(searched)
    print_sweep(searched)
    assert BAR_NOTE in " ".join(capsys.readouterr().out.split())


def test_without_a_search_there_is_no_bar(searched: Path) -> None:
    path = searched / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"search": None}))
    data = read_sweep(searched)
    assert beyond_bar(data) == set()
    assert "beyond the front" not in render_sweep(data)
