"""The page and the console of a fit say what its records say, finished or not."""

from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.records.fit import Candidate, CandidatesFile, FitFile
from qtrain.report.fit.page import print_fit, render_fit, write_fit_report
from qtrain.report.fit.read import read_fit
from qtrain.report.fit.tables import candidates_table, errors_table, layers_table, sensitivity_table, verdict
from tests.experiments.fit.fit_data import sensitivities

BITS = {"a": 8, "b": 2, "c": 4, "act1": 4, "act2": 2}
ERROR = {"networks": 4, "lut": 0.012, "lut_most": 0.05, "layer_lut": 0.02, "bram": 0.6, "dsp": 0.0, "cycles": 0.0}


def candidate(name: str, accuracy: float, lut: int, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "name": name,
        "round": 1,
        "bits": BITS,
        "folding": {"a": [1, 3], "b": [2, 8], "c": [1, 1]},
        "predicted": {"LUT": lut - 10.0, "BRAM_18K": 5.0, "DSP": 0.0, "cycles": 100.0, "change": 0.1},
        "bound": 2000.0,
        "state": "done",
        "validation_accuracy": accuracy,
        "test_accuracy": accuracy - 1,
        "fps": 1200.0,
        "used": {"LUT": lut, "BRAM_18K": 5, "URAM": 0, "DSP": 0},
        "own_folding": True,
    }
    return Candidate(**values | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a fit in its first round."""
    FitFile(
        recipe=Recipe("CNV_8W8A", data="digits").to_dict(),
        run=None,
        board="Pynq-Z2",
        min_fps=1000,
        clock_ns=10.0,
        limits={"LUT": 2000.0, "BRAM_18K": 280.0, "URAM": 0.0, "DSP": 220.0},
        min_accuracy=None,
        hours=2.0,
        rounds=None,
        at_once=3,
        widths=(2, 4, 8),
        candidate_epochs=4,
        command="qtrain fit CNV <b>",
    ).write(tmp_path)
    return tmp_path


def finish(folder: Path) -> None:
    sensitivities().write(folder)
    found = (
        candidate("base", 97.0, 5000, round=0),
        candidate("round1-1", 95.5, 1900),
        candidate("round1-2", 93.0, 1500),
        candidate("round1-3", 0.0, 0, state="failed", error="train: the loss is nan", used=None),
    )
    front = [{"predicted": {"LUT": 1500.0}, "change": 0.4}, {"predicted": {"LUT": 1900.0}, "change": 0.1}]
    CandidatesFile(
        candidates=found, fronts=(front,), errors=(ERROR,), spent=1800.0, winner="round1-1", command="qtrain train"
    ).write(folder)


def test_the_winner_and_every_candidate_are_on_the_page(folder: Path) -> None:
    finish(folder)
    page = write_fit_report(folder).read_text()
    assert "round1-1: 95.50 % of the validation images, 94.50 % of the test images, 1,200 of 1,000 frames/s" in page
    assert "1,900 of 2,000 LUT" in page
    assert "round1-1 ★" in page
    assert "failed: train: the loss is nan" in page
    assert "qtrain fit CNV &lt;b&gt;" in page  # words of a user's are no markup
    assert "0.50 of 2" in page
    assert "<script src" not in page


def test_the_tables_say_what_the_records_say(folder: Path) -> None:
    finish(folder)
    data = read_fit(folder)
    rows = {row[0]: row for row in candidates_table(data).rows}
    assert rows["base"][-1] == "does not fit"
    assert rows["round1-2"][1:5] == ("93.00", "92.00", "1,500", "1,490")
    assert ("b", "2", "2", "8", "+0.1") in layers_table(data).rows
    assert errors_table(data).rows == (("1", "4", "1.20%", "5.00%", "2.00%", "0.6", "0.0", "0.00%"),)
    assert sensitivity_table(data).head == ("quantizer", "of", "4 bits", "2 bits")
    assert [one.name for one in data.front()] == ["round1-2", "round1-1", "base"]


def test_a_fit_that_has_just_begun_has_a_page_too(folder: Path) -> None:
    data = read_fit(folder)
    assert verdict(data) == ("undecided", "No network is chosen yet; 0 have been trained.")
    assert "What was asked" in render_fit(data)


def test_the_console_names_the_winner(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(folder)
    print_fit(folder)
    said = capsys.readouterr().out
    assert "round1-1: 95.50 % of the validation images" in said
    assert "The cost model was 1.2% off in LUT (median of 4 networks)." in said


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no fit"):
        read_fit(tmp_path)


def test_the_console_has_room_for_the_table_in_80_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(folder)
    print_fit(folder)
    table = capsys.readouterr().out.splitlines()
    names = next(line for line in table if line.startswith("network")).split()
    assert names == ["network", "%", "%", "LUT", "BRAM_18K", "DSP", "frames/s", "verdict"]
    winner = next(line for line in table if "★" in line)
    assert winner.split()[:2] == ["round1-1", "★"]
    assert len(winner) <= 80
