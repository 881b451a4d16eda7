"""The winner of a sweep's finished cells within limits, and what the nearest cell misses where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.sweep.file import write_plan
from qtrain.experiments.sweep.limits import Limits
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.row import new_row, write_rows
from qtrain.experiments.sweep.winner import sweep_winner
from tests.checks import check_refusal
from tests.experiments.sweep.test_sweep import TINY

FEW = Limits({"LUT": 2000.0, "BRAM_18K": 100.0}, fps=1000)


def swept(out: Path, found: dict[tuple[int, int], tuple[float, int, float]]) -> SweepPlan:
    """Write a sweep whose cells, by weight bits and seed, have this validation accuracy, LUTs and frames/s."""
    plan = plan_sweep("TFC", **TINY, weight_bits=[1, 2, 4], seeds=2, board="Pynq-Z2")
    out.mkdir()
    write_plan(out, plan)
    rows = []
    for cell in plan.cells():
        accuracy, lut, fps = found[cell.weight_bits, cell.seed]
        used = {"LUT": lut, "BRAM_18K": 10, "URAM": 0, "DSP": 0}
        known: dict[str, Any] = {"validation_accuracy": accuracy, "test_accuracy": 50.0, "proven": True}
        rows.append(new_row(cell) | known | {"estimate": {"used": used, "fps": fps}})
    write_rows(out, rows)
    return plan


def test_the_winner_is_of_the_best_point_over_its_seeds(tmp_path: Path) -> None:
    cells = {(1, 0): (95.0, 900, 2000.0), (1, 1): (60.0, 900, 2000.0), (2, 0): (80.0, 1500, 2000.0)}
    cells |= {(2, 1): (85.0, 1500, 2000.0), (4, 0): (99.0, 2500, 2000.0), (4, 1): (99.0, 2500, 2000.0)}
    swept(tmp_path / "out", cells)
    assert sweep_winner(tmp_path / "out", FEW)["cell"] == "TFC_2W2A-seed1"
    assert sweep_winner(tmp_path / "out", Limits({"LUT": 3000.0}))["cell"] == "TFC_4W4A-seed0"


def test_limits_that_no_cell_keeps_name_the_nearest(tmp_path: Path) -> None:
    cells = {(bits, seed): (80.0, 1000 * bits + 1500, 2000.0) for bits in (1, 2, 4) for seed in (0, 1)}
    swept(tmp_path / "out", cells)
    with pytest.raises(UserError, match=r"the nearest, TFC_1W1A-seed0, needs 2,500 LUT of 2,000"):
        sweep_winner(tmp_path / "out", FEW)
    with pytest.raises(UserError, match=r"needs 2,000 frames/s of 5,000"):
        sweep_winner(tmp_path / "out", Limits({}, fps=5000))
    with pytest.raises(UserError, match=r"reaches 90 % of the validation images; the best, TFC_1W1A-seed0, has 80.00"):
        sweep_winner(tmp_path / "out", Limits({}, accuracy=90.0))


def test_cells_that_were_not_estimated_say_nothing(tmp_path: Path) -> None:
    plan = swept(tmp_path / "out", {(bits, seed): (80.0, 900, 2000.0) for bits in (1, 2, 4) for seed in (0, 1)})
    write_rows(tmp_path / "out", [new_row(cell) | {"test_accuracy": 50.0} for cell in plan.cells()])
    with pytest.raises(UserError, match=r"no cell of .* was estimated"):
        sweep_winner(tmp_path / "out", FEW)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--max-lut", "50%"), "--max-lut need FINN's estimates; name a board with --board"),
        (("--board", "Pynq-Z2", "--max-lut", "half"), "--max-lut must be a share as 70%, or a number as 30000"),
        (("--board", "Pynq-Z2", "--max-uram", "1"), "Pynq-Z2 has no URAM; leave --max-uram away"),
    ],
)
def test_limits_that_make_no_sense_are_refused_before_anything_is_trained(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal(cli("sweep", "TFC", "--weight-bits", "1,2", "--data", "digits", *words), 2, says)
    assert list(tmp_path.iterdir()) == []
