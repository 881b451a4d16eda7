"""Every kind of file that is recorded in results/ is read by what reads it today."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtrain.experiments.paper.cells import read_results
from qtrain.experiments.sweep.file import plan_file, read_plan
from qtrain.recipe import recipe_from_dict
from qtrain.records.checksum import without_checksum
from qtrain.records.format import Source, from_json
from qtrain.records.no_retuning import NoRetuningFile
from qtrain.records.runs import Epoch, Result
from qtrain.report.comparison.no_retuning import read_no_retuning
from qtrain.report.sweep.rows import read_sweep

RESULTS = Path(__file__).parents[2] / "results"
SWEEPS = sorted(path.parent for path in RESULTS.glob("sweeps/*/sweep.json"))


# what records of before pruning, and of before proposals, do not have, and how they are read
NEWER = {"pruner": "none", "knows": 0, "start": "random", "proposal": 0}


def check_kept(recorded: Any, written: Any) -> None:
    """What is on record is written again, beside it nothing but what is newer than the record, at its default."""
    if isinstance(recorded, dict):
        added = {name: value for name, value in written.items() if name not in recorded}
        assert added.items() <= NEWER.items()
        for name, value in recorded.items():
            check_kept(value, written[name])
    elif isinstance(recorded, list):
        for ours, theirs in zip(recorded, written, strict=True):
            check_kept(ours, theirs)
    else:
        assert recorded == written


@pytest.mark.parametrize("folder", SWEEPS, ids=lambda folder: folder.name)
def test_sweeps(folder: Path) -> None:
    data = read_sweep(folder)
    assert len(data.rows) + len(data.waiting) == len(data.plan["cells"])
    recorded = without_checksum(json.loads((folder / "sweep.json").read_text()))
    written = plan_file(read_plan(folder)).to_json()
    for name in recorded.keys() - {"recipe"}:
        check_kept(recorded[name], written[name])
    lines = [without_checksum(json.loads(line)) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    for row, line in zip(data.rows, lines, strict=True):
        assert {name: row[name] for name in line} == line


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("no_retuning/*")), ids=lambda folder: folder.name)
def test_no_retuning(folder: Path) -> None:
    recorded = without_checksum(json.loads((folder / "no_retuning.json").read_text()))
    written = NoRetuningFile.read(folder).to_json()
    assert {name: written[name] for name in recorded} == recorded
    assert len(read_no_retuning(folder).networks) == len(recorded["widths"])


def test_the_papers_runs() -> None:
    lines = (RESULTS / "reproduce.jsonl").read_text().splitlines()
    assert len(read_results(RESULTS / "reproduce.jsonl")) == len(lines) > 0


def test_comparisons_and_their_recipes() -> None:
    for line in (RESULTS / "comparisons.jsonl").read_text().splitlines():
        recipe_from_dict(json.loads(line)["recipe"], "comparisons.jsonl")


def test_the_campaigns_runs() -> None:
    files = sorted(RESULTS.glob("campaign/*.jsonl"))
    assert files
    for path in files:
        source = Source(path, "")
        records = [json.loads(line) for line in path.read_text().splitlines()]
        epochs = [from_json(Epoch, record, source) for record in records if record["type"] == "epoch"]
        assert [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
        for record in records:
            if record["type"] == "result":
                from_json(Result, record, source)
