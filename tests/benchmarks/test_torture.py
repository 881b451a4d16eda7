"""The hour against damage goes on where it stopped, sees what it looks for, and finds nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks import torture_flips
from benchmarks.torture import LONGER, Piece, Torture, summary
from benchmarks.torture_scenarios import Scenario
from qtrain.errors import UserError
from qtrain.records.files import write_json
from qtrain.records.format import Source

ROOT = Path(__file__).parents[2]
ASKED = {"kills": 100, "mutations": 400, "flips": 60}


def record(piece: Piece, count: int) -> dict[str, Any]:
    """Return what a piece would leave."""
    counts = {"kills": {"train": count}} if piece.part == "kills" else {}
    return {"part": piece.part, "what": piece.what, "first": piece.first, "trials": count, "faults": [], **counts}


def all_of(torture: Torture, count: int = 50) -> list[dict[str, Any]]:
    records = []
    while piece := torture.next_piece():
        records.append(record(piece, count))
        torture.note(records[-1])
    return records


def test_pieces_come_until_all_that_was_asked_for_is_on_record() -> None:
    records = all_of(Torture([], ASKED))
    counts = {part: sum(r["trials"] for r in records if r["part"] == part) for part in ASKED}
    assert counts == {"kills": 100, "mutations": 400, "flips": 100}
    assert Torture(records, ASKED).next_piece() is None


def test_it_goes_on_behind_the_seeds_that_were_tried() -> None:
    records = all_of(Torture([], ASKED))
    onward = all_of(Torture(records[:3], ASKED))
    seeds = [(r["part"], r["what"], r["first"]) for r in (*records[:3], *onward)]
    assert len(set(seeds)) == len(seeds)
    assert sum(r["trials"] for r in (*records[:3], *onward) if r["part"] == "kills") == 100


def test_what_takes_long_is_killed_too_and_again_where_the_run_goes_on() -> None:
    asked = {"kills": 900}
    records = all_of(Torture([], asked))
    longer = [place for place, found in enumerate(records) if found["what"] == LONGER]
    assert longer == [4, 9, 14]
    onward = all_of(Torture(records[:4], asked))
    assert onward[0]["what"] == LONGER


def test_scenarios_that_are_named_are_killed_alone_and_go_on_by_their_own_records() -> None:
    asked = {"kills": 40}
    others = all_of(Torture([], asked))
    records = all_of(Torture(others, asked, "fit,fit-clock"), 12)
    assert [(found["what"], found["first"]) for found in records] == [
        ("fit,fit-clock", first) for first in (0, 50, 100, 150)
    ]
    onward = Torture([*others, *records[:2]], asked, "fit,fit-clock").next_piece()
    assert onward is not None
    assert "--scenarios=fit,fit-clock" in onward.words
    assert onward.first == 62  # behind the twelve trials from seed 50


def test_a_fault_on_record_is_a_failure(capsys: pytest.CaptureFixture) -> None:
    piece = Torture([], ASKED).next_piece()
    assert piece is not None
    good = record(piece, 50)
    assert summary([good]) == 0
    assert summary([good, good | {"faults": ["seed 7"]}]) == 1
    assert "seed 7" in capsys.readouterr().out


def prepared(folder: Path) -> None:
    write_json(folder / "kept.json", {"value": 12345})


def believed() -> None:
    print(json.loads(Path("kept.json").read_text(errors="replace")).get("value"))


def checked() -> None:
    source = Source(Path("kept.json").absolute(), "write it again")
    try:
        print(source.parse(source.read_text("the test"))["value"])
    except UserError as error:
        print(f"qtrain: {error}", file=sys.stderr)
        sys.exit(2)


@pytest.mark.parametrize(("what", "is_fooled"), [(believed, True), (checked, False)])
def test_a_reader_that_believes_what_it_reads_is_seen(
    what: Any, is_fooled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torture_flips.PLACES, "here", Scenario(what, prepare=prepared))
    place = torture_flips.Place("here", tmp_path / "work")
    assert place.files == [Path("kept.json")]
    wrong = [place.flip(place.files[0], Random(seed)) for seed in range(12)]
    assert any(wrong) == is_fooled, wrong


@pytest.mark.slow
def test_a_bit_of_every_file_is_no_other_value() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.torture_flips", "--first=5000"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert set(found["flips"]) == set(torture_flips.PLACES)
    assert found["trials"] >= 60
