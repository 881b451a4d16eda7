"""What can be asked of a fit: limits as shares or numbers, and each contradiction in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.experiments.fit.plan import nearest, plan_fit, read_plan
from qtrain.experiments.fit.state import begin
from qtrain.experiments.sweep.limits import limits_of
from qtrain.export import get_board
from qtrain.recipe import Recipe
from tests.checks import check_refusal

FLAGS = ("fit", "TFC", "--data", "digits", "--board", "Pynq-Z2", "--min-fps", "1000")


def plan(tiny: Callable[..., Recipe], **changes: Any) -> Any:
    given: dict[str, Any] = {"board": "Pynq-Z2", "min_fps": 1000, **changes}
    return plan_fit(tiny(network=given.pop("network", "TFC_1W1A"), bits=given.pop("bits", "")), **given)


def test_limits_are_shares_of_the_board_or_numbers() -> None:
    board = get_board("Pynq-Z2")
    asked = {"max_lut": "70%", "max_bram": "100", "max_uram": None, "max_dsp": "12.5 %"}
    assert limits_of(board, asked) == {"LUT": 37240.0, "BRAM_18K": 100.0, "URAM": 0.0, "DSP": 27.5}
    assert limits_of(board, {}) == {"LUT": 53200.0, "BRAM_18K": 280.0, "URAM": 0.0, "DSP": 220.0}


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("max_lut", "0.7", "--max-lut must be a share as 70%, or a number as 30000, but got '0.7'"),
        ("max_lut", "0%", "--max-lut must be above 0 and at most the 53,200 LUT of Pynq-Z2, but got 0%"),
        ("max_lut", "60000", "at most the 53,200 LUT of Pynq-Z2, but got 60000"),
        ("max_bram", "120%", "at most the 280 BRAM_18K of Pynq-Z2, but got 120%"),
        ("max_uram", "50%", "Pynq-Z2 has no URAM; leave --max-uram away"),
    ],
)
def test_a_limit_that_makes_no_sense_is_one_line(option: str, text: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        limits_of(get_board("Pynq-Z2"), {option: text})
    assert says in str(refused.value)


def test_a_plan_begins_at_the_widest_bits(tiny: Callable[..., Recipe]) -> None:
    found = plan(tiny, widths=(8, 2, 4))
    assert found.recipe.network == "TFC_8W8A"
    assert found.widths == (2, 4, 8)
    assert found.candidate_epochs == found.recipe.epochs
    assert found.cycles == pytest.approx(100_000)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"widths": (1, 2)}, "with 8 among them"),
        ({"widths": (8,)}, "two or more"),
        ({"hours": 0.0}, "hours must be above 0"),
        ({"min_accuracy": 101.0}, "min_accuracy must be from 0 to 100 %"),
        ({"rounds": 0}, "rounds must be 1 or more"),
        ({"board": "Pynq-Z9"}, "unknown board 'Pynq-Z9'"),
        ({"min_fps": 0}, "min_fps must be 1 frame a second or more, but got 0"),
        ({"min_fps": 200_000_000}, "at most 100000000, one frame in each clock cycle"),
        ({"bits": "fc1=4"}, "leave out bits fc1=4"),
    ],
)
def test_a_plan_that_contradicts_itself_is_one_line(
    tiny: Callable[..., Recipe], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError) as refused:
        plan(tiny, **changes)
    assert says in str(refused.value)


def test_a_plan_is_read_as_it_was_written(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    asked = plan(tiny, limits={"max_lut": "70%"}, min_accuracy=80.0, rounds=2)
    begin(asked, tmp_path / "out")
    assert read_plan(tmp_path / "out") == asked
    begin(asked, tmp_path / "out")  # the same command goes on
    longer = plan(tiny, limits={"max_lut": "70%"}, min_accuracy=80.0, rounds=3, hours=4.0)
    begin(longer, tmp_path / "out")
    assert read_plan(tmp_path / "out") == longer


def test_a_folder_that_holds_something_else_is_refused(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    begin(plan(tiny), tmp_path / "out")
    with pytest.raises(UserError, match=r"holds another fit \(min_fps 1000, not 500\)"):
        begin(plan(tiny, min_fps=500), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other things already"):
        begin(plan(tiny), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_damaged_plan_is_said_to_be(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    begin(plan(tiny), tmp_path)
    path = tmp_path / "fit.json"
    path.write_text(path.read_text().replace('"min_fps": 1000', '"min_fps": 1001'))
    with pytest.raises(UserError, match="is damaged"):
        read_plan(tmp_path)


def test_the_nearest_network_is_named_with_what_it_misses(tiny: Callable[..., Recipe]) -> None:
    asked = plan(tiny, limits={"max_lut": "1000"})
    used = {"LUT": 1500, "BRAM_18K": 10, "URAM": 0, "DSP": 0}
    far = {**used, "LUT": 9000}
    assert asked.misses(used, 900.0) == ["1,500 LUT of 1,000", "900 frames/s of 1,000"]
    assert nearest([("far", far, 1000.0), ("near", used, 1000.0)], asked) == "near needs 1,500 LUT of 1,000"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fit",), "name a family, for instance: qtrain fit CNV"),
        (("fit", "TFC", "--data", "digits"), "name the board to fit with --board"),
        (FLAGS[:6], "--min-fps"),
        ((*FLAGS, "--max-uram", "10"), "Pynq-Z2 has no URAM"),
        ((*FLAGS, "--widths", "1,2"), "with 8 among them"),
        (("fit", "--resume", "nowhere"), "nowhere is no fit"),
        (("fit", "--resume", "nowhere", "--min-fps", "5"), "leave out --min-fps"),
        (("fit", "TFC", "--run", "runs/a", "--board", "Pynq-Z2", "--min-fps", "1"), "leave out TFC"),
    ],
)
def test_a_command_that_cannot_be_is_one_line(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal(cli(*words), 2, says)
    assert list(tmp_path.iterdir()) == []
