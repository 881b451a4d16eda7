"""A sweep's plan: which cells there are, from which weights they start, and the one line that refuses a wrong one."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import parse_expressions, parse_widths
from qtrain.experiments.sweep.command import rebuild_command
from qtrain.experiments.sweep.file import read_plan, write_plan
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.recipe import default_recipe
from qtrain.records.sweep import SweepFile


def plan(network: str = "CNV", **changes: Any) -> SweepPlan:
    return plan_sweep(network, **{"data": "digits", "epochs": 12} | changes)


def names(found: SweepPlan) -> list[str]:
    return [cell.name for cell in found.cells()]


@pytest.mark.parametrize(
    ("network", "axes", "cells"),
    [
        ("CNV", {"weight_bits": [1, 2], "act_bits": [2]}, ["CNV_1W2A-seed0", "CNV_2W2A-seed0"]),
        ("cnv", {"weight_bits": [4, 1]}, ["CNV_4W4A-seed0", "CNV_1W1A-seed0"]),
        ("CNV_1W2A", {"seeds": 2}, ["CNV_1W2A-seed0", "CNV_1W2A-seed1"]),
        ("cnv-w1a2", {"seed": 7, "seeds": 2}, ["CNV_1W2A-seed7", "CNV_1W2A-seed8"]),
        (
            "TFC_1W1A",
            {"expressions": ("", "first=8,last=8", "fc2=1w4a")},
            ["TFC_1W1A-seed0", "TFC_1W1A-first8-last8-seed0", "TFC_1W1A-fc21w4a-seed0"],
        ),
        ("TFC_1W1A", {"bits": "fc2=4w"}, ["TFC_1W1A-fc24w-seed0"]),
        (
            "CNV",
            {"weight_bits": [1, 8], "warm_from": 8},
            ["CNV_1W1A-seed0", "CNV_1W1A-warm-seed0", "CNV_8W8A-seed0"],
        ),
    ],
)
def test_cells_are_the_product_of_the_axes_in_the_order_given(network: str, axes: dict, cells: list[str]) -> None:
    assert names(plan(network, **axes)) == cells


@pytest.mark.parametrize(
    ("cell", "parent", "total"),
    [
        ("CNV_4W4A-warm-seed0", "CNV_8W8A-seed0", 24),
        ("CNV_4W8A-warm-seed0", "CNV_8W8A-seed0", 24),
        ("CNV_2W8A-warm-seed0", "CNV_4W8A-warm-seed0", 36),
        ("CNV_1W1A-warm-seed0", "CNV_2W2A-warm-seed0", 48),
        ("CNV_1W8A-warm-seed0", "CNV_2W8A-warm-seed0", 48),
        ("CNV_8W1A-warm-seed0", "CNV_8W2A-warm-seed0", 48),
    ],
)
def test_a_warm_cell_descends_from_the_next_higher_widths(cell: str, parent: str, total: int) -> None:
    found = {c.name: c for c in plan(weight_bits=[1, 2, 4, 8], act_bits=[1, 2, 4, 8], warm_from=8).cells()}
    warm, twin = found[cell], found[cell.replace("-warm", "")]
    assert (warm.parent, warm.start, warm.epochs, warm.total_epochs) == (parent, "warm", 12, total)
    assert (twin.parent, twin.start, twin.epochs, twin.total_epochs) == (None, "scratch", total, total)
    assert warm.total_epochs == warm.epochs + found[parent].total_epochs
    assert found["CNV_8W8A-seed0"].epochs == 12
    assert "CNV_8W8A-warm-seed0" not in found


def test_a_parent_has_the_same_expression_and_seed() -> None:
    cells = plan(weight_bits=[1, 8], warm_from=8, seeds=2, expressions=("", "last=8")).cells()
    warm = {cell.name: cell.parent for cell in cells if cell.start == "warm"}
    assert warm["CNV_1W1A-last8-warm-seed1"] == "CNV_8W8A-last8-seed1"
    assert warm["CNV_1W1A-warm-seed0"] == "CNV_8W8A-seed0"


def test_the_recipe_is_the_familys_and_the_same_for_every_cell(tmp_path: Path) -> None:
    found = plan(weight_bits=[1, 2, 8], warm_from=8, epochs=3)
    shared = default_recipe("CNV_8W8A", "digits").replace(epochs=3)
    for cell in found.cells():
        recipe = found.recipe_of(cell, tmp_path)
        start = None if cell.parent is None else str(tmp_path / "cells" / cell.parent)
        assert recipe == shared.replace(network=cell.network, epochs=cell.epochs, init_from=start)


def test_a_plan_is_read_back_equal(tmp_path: Path) -> None:
    for found in (
        plan(weight_bits=[2, 1], act_bits=[4], seeds=2, seed=5, board="ZCU104", target_fps=500, clock_ns=5.0),
        plan(weight_bits=[1, 8], warm_from=8, expressions=("", "first=8"), scheduler_options={"a": 1}, lr="auto"),
    ):
        write_plan(tmp_path, found)
        assert read_plan(tmp_path) == found
        assert names(read_plan(tmp_path)) == json.loads((tmp_path / SweepFile.FILE).read_text())["cells"]


def test_axes_are_read_as_people_write_them() -> None:
    assert parse_widths("weight_bits", "8, 1") == (8, 1)
    assert parse_widths("act_bits", None) == ()
    assert parse_expressions("first=8,last=8; stage2.*=4 ;none;") == ("first=8,last=8", "stage2.*=4", "")


@pytest.mark.parametrize(
    ("network", "axes", "says"),
    [
        ("CNV", {}, "--weight-bits 1,2,4,8"),
        ("CNV", {"weight_bits": [0]}, "1 to 8 bits, but got 0"),
        ("CNV", {"weight_bits": [1, 9]}, "1 to 8 bits, but got 9"),
        ("CNV", {"weight_bits": [1, 1]}, "each once"),
        ("CNV", {"weight_bits": [1], "act_bits": [2, 2]}, "each once"),
        ("CNV_1W1A", {"weight_bits": [1]}, "name the family alone, CNV"),
        ("CNV_FLOAT", {}, "unknown family"),
        ("CNN", {"weight_bits": [1]}, "families are TFC"),
        ("CNV", {"weight_bits": [1], "seeds": 0}, "seeds must be 1 or more, but got 0"),
        ("CNV", {"weight_bits": [1], "board": "ZCU105"}, "did you mean ZCU104"),
        ("CNV", {"weight_bits": [1], "board": "ZCU104", "target_fps": 0}, "target_fps"),
        ("CNV", {"weight_bits": [1, 8], "warm_from": 4}, "which is 8, but got 4"),
        ("CNV", {"weight_bits": [1, 8], "act_bits": [1, 4], "warm_from": 8}, "highest of act_bits (1,4)"),
        ("CNV", {"weight_bits": [1, 8], "warm_from": 8, "init_from": "x"}, "give one of them"),
        ("CNV", {"weight_bits": [1], "expressions": ("first=8", "first=8")}, "each once"),
        ("CNV", {"weight_bits": [1], "expressions": ("first",)}, "is not LAYERS=BITS"),
        ("CNV", {"weight_bits": [1], "expressions": ("stage*=8", "stage?=8")}, "same folder"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_line(network: str, axes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=r"\S") as refused:
        plan(network, **axes)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "1,,2", "1;2", "one", "1.5", "-1"])
def test_widths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="weight_bits must be widths"):
        parse_widths("weight_bits", text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is no sweep"),
        ("{", "is damaged"),
        ("[]", "a JSON object is expected"),
        ('{"format": 2}', "has format 2, this qtrain reads 1"),
        ('{"format": 1, "family": "CNV"}', "is damaged"),
    ],
)
def test_a_damaged_plan_is_refused_in_one_line(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / SweepFile.FILE).write_text(content)
    with pytest.raises(UserError, match=says):
        read_plan(tmp_path)


def test_a_command_says_only_what_the_shipped_recipe_does_not() -> None:
    found = plan("TFC_1W2A", board="ZCU104", width=0.5, bits="last=8", scheduler_options={"patience": 5}, augment=False)
    cells = {cell.name: cell for cell in found.cells()}
    (cell,) = cells.values()
    folder, lr = f"runs/rebuilt/{cell.name}", found.recipe.lr
    assert rebuild_command(found, cell, cells) == (
        f"qtrain train TFC_1W2A --data=digits --epochs=12 --lr={lr} --seed=0 "
        "'--scheduler-options={\"patience\": 5}' --augment=false --width=0.5 --bits=last=8 "
        f"--out={folder} && qtrain export {folder} --board=ZCU104 --target-fps=1000 --clock-ns=10 "
        f"&& qtrain estimate {folder}/finn"
    )
