"""The board table equals FINN's own, and a wrong name is answered with the right ones."""

import json
import subprocess

import pytest

from qtrain.errors import UserError
from qtrain.export.compiler.boards import BOARDS, build_target, get_board
from qtrain.export.compiler.parts import table_resources
from qtrain.export.compiler.start import compiler_environment
from qtrain.export.pipeline import check_target
from tests.installed_packages import Site

DUMP = """
import json
from finn.util.basic import alveo_part_map, part_map, pynq_part_map
from finn.util.platforms import platforms
free = {name: platform().compute_resources for name, platform in platforms.items()}
print(json.dumps([part_map, sorted(pynq_part_map), sorted(alveo_part_map), free]))
"""


@pytest.fixture(scope="module")
def finn_tables(finn_plus, tmp_path_factory):
    env = compiler_environment(tmp_path_factory.mktemp("home"))
    answer = subprocess.run([finn_plus, "-P", "-c", DUMP], env=env, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def test_names_and_parts_equal_finns(finn_tables):
    assert {name: board.part for name, board in BOARDS.built_in.items()} == finn_tables[0]


def test_shell_flows_follow_finns_maps(finn_tables):
    _, zynq, alveo, _ = finn_tables
    assert sorted(b.name for b in BOARDS.built_in.values() if b.shell_flow_type == "vivado_zynq") == zynq
    assert sorted(b.name for b in BOARDS.built_in.values() if b.shell_flow_type == "vitis_alveo") == alveo


def device(name):
    """The die, as part numbers begin: xczu3eg in xczu3eg-sbva484-1-e."""
    return BOARDS.get(name).part.partition("-")[0]


def test_resources_agree_with_what_finn_leaves_to_the_user(finn_tables):
    by_device = {device(name): regions for name, regions in finn_tables[3].items()}
    checked = [name for name in BOARDS.built_in if device(name) in by_device]
    assert len(checked) == 14
    for name in checked:
        lut, _, bram, uram, dsp = (sum(column) for column in zip(*by_device[device(name)], strict=True))
        board = BOARDS.get(name)
        pairs = ((lut, board.lut), (bram, board.bram_18k), (uram, board.uram), (dsp, board.dsp))
        for theirs, ours in pairs:
            assert theirs == ours == 0 or 0.8 <= theirs / ours <= 1.01, (name, theirs, ours)


@pytest.mark.parametrize("name", list(BOARDS.built_in))
def test_every_board_is_found_by_its_name(name):
    board = get_board(name)
    assert board.name == name
    assert board.shell_flow_type in ("vivado_zynq", "vitis_alveo", None)


@pytest.mark.parametrize(
    ("given", "meant"), [("zcu104", "ZCU104"), ("PYNQ-Z1", "Pynq-Z1"), ("KV260", "KV260_SOM"), ("U55", "U55C")]
)
def test_a_close_name_is_suggested(given, meant):
    with pytest.raises(UserError, match=f"did you mean {meant}"):
        get_board(given)


def test_an_unknown_name_lists_all_and_suggests_none():
    with pytest.raises(UserError) as caught:
        get_board("DE10-Nano")
    message = str(caught.value)
    assert all(name in message for name in BOARDS.built_in)
    assert "DE10-Nano" in message
    assert "did you mean" not in message


def test_the_retired_boards_are_those_official_finn_gave_up():
    assert {b.name for b in BOARDS.built_in.values() if b.retired} == {"Pynq-Z1", "Pynq-Z2", "U280"}


ROW = "from qtrain.export.compiler.boards import Board\nROW = Board({})\n"
ZCU106 = "'ZCU106', 'xczu7ev-ffvc1156-2-e', None, 230_400, 624, 96, 1728"


def test_a_packages_board_is_a_target_and_a_build_is_told_its_part(site_packages: Site) -> None:
    site_packages.add("qtrain.boards", "ZCU106", ROW.format(ZCU106))
    with pytest.raises(UserError, match=r"unknown board 'zcu106': .*V80, ZCU106; did you mean ZCU106\?$"):
        get_board("zcu106")
    board = check_target("ZCU106", 1000, 10.0)
    assert board.resources == get_board("ZCU104").resources
    assert build_target(board)["fpga_part"] == "xczu7ev-ffvc1156-2-e"
    assert build_target(get_board("ZCU104")) == {"board": "ZCU104", "shell_flow_type": "vivado_zynq"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 / 0", r"cannot be loaded from qtrain_zcu106:ROW \(ZeroDivisionError: "),
        ("ROW = 'ZCU106'", "must be a qtrain.export.compiler.boards.Board, but qtrain_zcu106:ROW is of type str"),
        (ROW.format(ZCU106.replace("ZCU106", "ZCU105")), "is named ZCU105 in its row; give both the same name"),
        (
            ROW.format(ZCU106.replace("None", "'zynq'")),
            "cannot be loaded .*shell_flow_type must be vivado_zynq, vitis_",
        ),
        (
            ROW.format(ZCU106.replace("624", "-1")),
            "cannot be loaded .*BRAM_18K of a board must be a whole number, 0 or",
        ),
        (ROW.format("'ZCU106', 7, None, 1, 1, 1, 1"), "cannot be loaded .*part of a board must be text, but got 7"),
    ],
)
def test_a_packages_broken_board_is_one_line_that_names_the_package(
    site_packages: Site, source: str, says: str
) -> None:
    site_packages.add("qtrain.boards", "ZCU106", source)
    with pytest.raises(UserError, match=f"^board ZCU106 of the package qtrain-zcu106 {says}") as error:
        get_board("ZCU106")
    assert "\n" not in str(error.value)


# --- Parts without a board --------------------------------------------------------------------------------------------


def test_a_part_is_a_target_without_a_shell() -> None:
    part = get_board("xc7z010clg400-1")
    assert (part.name, part.label, part.part, part.shell_flow_type) == (*["xc7z010clg400-1"] * 3, None)
    assert part.is_part
    assert part.resources == {"LUT": 17_600, "BRAM_18K": 120, "URAM": 0, "DSP": 80}
    assert build_target(part) == {"fpga_part": "xc7z010clg400-1"}
    assert not any(board.is_part for board in BOARDS.built_in.values())


@pytest.mark.parametrize("name", list(BOARDS.built_in))
def test_every_boards_part_is_known_without_its_board(name: str) -> None:
    board = get_board(name)
    assert get_board(board.part).resources == board.resources
    if not board.part.startswith(("xck26", "xcu", "xcv", "xcve")):
        assert table_resources(board.part) == board.resources


@pytest.mark.parametrize(
    ("part", "lut"),
    [
        ("xc7a35ticsg324-1L", 20_800),
        ("xa7z010clg225-1Q", 17_600),
        ("xc7z045ffg900-2", 218_600),
        ("xc7s100fgga484-2", 64_000),
        ("xczu1cg-sbva484-1-e", 37_440),
        ("xczu15eg-ffvb1156-2-i", 341_280),
        ("xcku5p-ffvb676-2-e", 216_960),
        ("xcvu9p-flga2104-2L-e", 1_182_240),
    ],
)
def test_grades_and_packages_of_a_device_hold_the_same(part: str, lut: int) -> None:
    assert get_board(part).lut == lut


def test_given_resources_travel_in_the_name() -> None:
    given = get_board("xc7vx330tffg1157-1:DSP=1120,LUT=204000,BRAM_18K=1500,URAM=0")
    assert given.name == "xc7vx330tffg1157-1:LUT=204000,BRAM_18K=1500,URAM=0,DSP=1120"
    assert given.label == "xc7vx330tffg1157-1"
    assert get_board(given.name) == given
    assert check_target(given.name, 1000, 10.0) == given
    assert get_board("xc7z010clg400-1:LUT=1,BRAM_18K=2,URAM=3,DSP=4").resources["LUT"] == 1


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("xc7z010", "no part number as Vivado writes one"),
        ("xc7z010-1", "no part number as Vivado writes one"),
        ("XC7Z010CLG400-1", "in lower case"),
        ("xc7vx330tffg1157-1", "is in no table of qtrain; give it with --resources LUT="),
        ("xc7z0100clg400-1", "is in no table"),
        ("xcku5-ffvb676-2-e", "is in no table"),
        ("xc7z010clg400-1:LUT=5", "no BRAM_18K and no URAM and no DSP"),
        ("xc7z010clg400-1:LUT=-5,BRAM_18K=1,URAM=1,DSP=1", "whole number, but got 'LUT=-5'"),
        ("xc7z010clg400-1:BRAM=5", "got 'BRAM=5'; BRAM_18K counts halves"),
        ("xc7z010clg400-1:LUT=5,LUT=6", "each once"),
        ("xc7z010clg400-1:", "got ''"),
    ],
)
def test_a_part_that_is_none_is_one_line(part: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        get_board(part)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
