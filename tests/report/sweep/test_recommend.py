"""Which point of a sweep is recommended, and the reason that is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.report.sweep.recommend import recommend
from qtrain.report.sweep.rows import read_sweep
from tests.experiments.sweep.sweep_data import edit_rows, write_sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four networks, whose validation accuracies and look-up tables are round numbers."""
    folder = write_sweep(tmp_path / "out", widths=(1, 2), seeds=(0, 1), warm=False)
    numbers = {"CNV_1W1A": (80.0, 1000), "CNV_1W2A": (89.2, 2000), "CNV_2W1A": (89.5, 3000), "CNV_2W2A": (90.0, 4000)}

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            accuracy, lut = numbers[row["network"]]
            row.update(validation_accuracy=accuracy, test_accuracy=100 - accuracy, state="done", stage=None, error=None)
            row.update(proven=True, cost={"bops": lut // 10, "weight_bits": 1, "macs": 1})
            row["estimate"] = {"fps": 2000.0, "used": {"LUT": lut}, "fits": True, "meets_target": True}

    edit_rows(folder, change)
    return folder


def each(network: str, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["network"] == network:
                row.update(values)

    return change


def test_the_cheapest_within_a_point_of_the_best_by_validation_images(folder: Path) -> None:
    found = recommend(read_sweep(folder))
    assert found.point is not None
    assert found.point.name == "CNV_1W2A"
    assert found.reason == (
        "CNV_1W2A, 2k look-up tables: it has the fewest look-up tables of the 3 within 1 point of the best mean "
        "validation accuracy (89.20 %; best 90.00 %, CNV_2W2A)."
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"proven": False, "state": "failed", "stage": "export"}, "the proof failed (1)"),
        ({"finn": {"accepted": False, "reason": "no"}, "estimate": None}, "FINN refuses it (1)"),
        ({"estimate": {"used": {"LUT": 2000}, "fits": False, "meets_target": True}}, "it does not fit the board (1)"),
        (
            {"estimate": {"used": {"LUT": 2000}, "fits": True, "meets_target": False}},
            "it is slower than was asked for (1)",
        ),
        (
            {"validation_accuracy": None, "test_accuracy": None, "state": "failed", "stage": "train"},
            "training failed (1)",
        ),
    ],
)
def test_what_anything_speaks_against_takes_no_part_and_is_told(
    folder: Path, values: dict[str, Any], says: str
) -> None:
    edit_rows(folder, each("CNV_1W2A", **values))
    found = recommend(read_sweep(folder))
    assert found.point is not None
    assert found.point.name == "CNV_2W1A"
    assert found.reason.endswith(f" 1 of 4 points took no part: {says}.")


def test_without_a_compiler_bit_operations_decide(folder: Path) -> None:
    edit_rows(folder, lambda rows: [row.update(estimate=None, finn=None) for row in rows])
    found = recommend(read_sweep(folder))
    assert found.reason.startswith("CNV_1W2A, 200 bit operations: it has the fewest bit operations")


def test_the_best_alone_is_recommended_as_that(folder: Path) -> None:
    edit_rows(folder, each("CNV_2W2A", validation_accuracy=95.0))
    found = recommend(read_sweep(folder))
    assert found.reason == (
        "CNV_2W2A, 4k look-up tables: it has the best mean validation accuracy (95.00 %), and no other is within "
        "1 point of it."
    )


def test_where_all_failed_none_is_recommended_and_why_is_told(folder: Path) -> None:
    edit_rows(folder, lambda rows: [row.update(proven=False) for row in rows])
    found = recommend(read_sweep(folder))
    assert (found.point, found.reason) == (None, "None is recommended: the proof failed.")
