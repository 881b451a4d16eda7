"""The boards there are: their FPGA, the shell flow that makes a bitfile for them, and what the FPGA holds.

Installed packages add boards by entry points of the group ``qtrain.boards`` (``qtrain.plugins``).

Names and parts of qtrain's own are those of finn-plus 1.6.1 (``finn.util.basic``: ``pynq_part_map``,
``alveo_part_map``, ``part_map``); a test compares them where finn-plus is installed. ``retired`` follows Xilinx/finn
pull request 1659 (August 2026): Pynq-Z1 and Pynq-Z2 need an opt-in there, U280 gave way to U55C; finn-plus still builds
for all three.

Resources are those of the whole device. For fourteen boards a test holds them to FINN's figures of the same device
(``finn.util.platforms``; by the device in the part number, so Ultra96-V2 and RFSoC2x2 too). The other five are the
"available" columns of utilization reports of AMD's tools, as published with designs for exactly these devices:
VEK280 (Vitis HLS 2025.2 for xcve2802-vsvh1760-2MP-e-S, packet_sender among AMD's own Vitis examples), KV260_SOM (the
KR260's post-implementation table in AMD's kria-apps-docs; both carry a K26), VCK190, RFSoC4x2 and V80 (several public
designs each, whose reports agree on every figure). None was read from a data sheet.

A data-center card's shell takes up to a fifth of them, so what fits by this table can still be too large; FINN's own
figures for the part left to the user lie between 80 % and 101 % of these.

A part without a board is a ``Board`` as well: of the part's number as its name, without a shell flow. FINN then makes
estimates, a stitched IP and its synthesis; the rest needs a board that FINN knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.export.compiler.parts import EXAMPLE, looks_like_part, read_part, table_resources, written
from qtrain.plugins import Registry

ZYNQ = "vivado_zynq"
ALVEO = "vitis_alveo"


@dataclass(frozen=True)
class Board:
    """A board as FINN names it, or a part alone.

    Attributes:
        name: FINN's board string; of a part its number, with the resources where they were given.
        part: FPGA part number.
        shell_flow_type: ``vivado_zynq``, ``vitis_alveo``, or None where FINN has no flow to a bitfile.
        lut: look-up tables of the device.
        bram_18k: block RAMs of 18 Kb (half a 36 Kb block).
        uram: UltraRAMs of 288 Kb.
        dsp: DSP slices.
        retired: whether official FINN no longer supports it by default.

    Raises:
        UserError: no name or part, a flow that FINN has not, or resources that are no counts.
    """

    name: str
    part: str
    shell_flow_type: str | None
    lut: int
    bram_18k: int
    uram: int
    dsp: int
    retired: bool = False

    def __post_init__(self) -> None:
        for what in ("name", "part"):
            value = getattr(self, what)
            if not isinstance(value, str) or not value:
                raise UserError(f"{what} of a board must be text, but got {value!r}")
        if self.shell_flow_type not in (ZYNQ, ALVEO, None):
            raise UserError(f"shell_flow_type must be {ZYNQ}, {ALVEO} or None, but got {self.shell_flow_type!r}")
        for what, value in self.resources.items():
            if not isinstance(value, int) or value < 0:
                raise UserError(f"{what} of a board must be a whole number, 0 or more, but got {value!r}")

    @property
    def resources(self) -> dict[str, int]:
        """What the device has, by the names of FINN's reports."""
        return {"LUT": self.lut, "BRAM_18K": self.bram_18k, "URAM": self.uram, "DSP": self.dsp}

    @property
    def is_part(self) -> bool:
        """Whether this is a part without a board."""
        return self.name.partition(":")[0] == self.part

    @property
    def label(self) -> str:
        """What it is called in sentences: the board's name or the part's number."""
        return self.part if self.is_part else self.name


# fmt: off
_ALL = (
    #     name           part                         flow   lut        bram  uram  dsp
    Board("Ultra96",     "xczu3eg-sbva484-1-e",       ZYNQ,  70_560,    432,  0,    360),
    Board("Ultra96-V2",  "xczu3eg-sbva484-1-i",       ZYNQ,  70_560,    432,  0,    360),
    Board("Pynq-Z1",     "xc7z020clg400-1",           ZYNQ,  53_200,    280,  0,    220, retired=True),
    Board("Pynq-Z2",     "xc7z020clg400-1",           ZYNQ,  53_200,    280,  0,    220, retired=True),
    Board("ZCU102",      "xczu9eg-ffvb1156-2-e",      ZYNQ,  274_080,   1824, 0,    2520),
    Board("ZCU104",      "xczu7ev-ffvc1156-2-e",      ZYNQ,  230_400,   624,  96,   1728),
    Board("ZCU111",      "xczu28dr-ffvg1517-2-e",     ZYNQ,  425_280,   2160, 80,   4272),
    Board("RFSoC2x2",    "xczu28dr-ffvg1517-2-e",     ZYNQ,  425_280,   2160, 80,   4272),
    Board("RFSoC4x2",    "xczu48dr-ffvg1517-2-e",     ZYNQ,  425_280,   2160, 80,   4272),
    Board("KV260_SOM",   "xck26-sfvc784-2LV-c",       ZYNQ,  117_120,   288,  64,   1248),
    Board("AUP-ZU3_8GB", "xczu3eg-sfvc784-2-e",       ZYNQ,  70_560,    432,  0,    360),
    Board("U50",         "xcu50-fsvh2104-2L-e",       ALVEO, 871_680,   2688, 640,  5952),
    Board("U200",        "xcu200-fsgd2104-2-e",       ALVEO, 1_182_240, 4320, 960,  6840),
    Board("U250",        "xcu250-figd2104-2L-e",      ALVEO, 1_728_000, 5376, 1280, 12_288),
    Board("U280",        "xcu280-fsvh2892-2L-e",      ALVEO, 1_303_680, 4032, 960,  9024, retired=True),
    Board("U55C",        "xcu55c-fsvh2892-2L-e",      ALVEO, 1_303_680, 4032, 960,  9024),
    Board("VEK280",      "xcve2802-vsvh1760-2MP-e-S", None,  520_704,   1200, 264,  1312),
    Board("VCK190",      "xcvc1902-vsva2197-2MP-e-S", None,  899_840,   1934, 463,  1968),
    Board("V80",         "xcv80-lsva4737-2MHP-e-s",   None,  2_574_208, 7482, 1925, 10_848),
)
# fmt: on

BOARDS = Registry("board", "qtrain.boards", Board, {board.name: board for board in _ALL})


def get_board(name: str) -> Board:
    """Return the board of this name, or a part by its number.

    Args:
        name: FINN's board string; case counts, as it does in FINN. Or a part as Vivado writes it
            (``xc7z010clg400-1``), with its resources where they are in no table
            (``xc7vx330tffg1157-1:LUT=204000,BRAM_18K=1500,URAM=0,DSP=1120``).

    Raises:
        UserError: there is no such board, and the message lists the names, or its package is broken; a part that is
            none, or whose resources nobody said.
    """
    if name not in BOARDS and looks_like_part(name):
        return _part(name)
    if name not in BOARDS:
        raise UserError(f"unknown board {name!r}: choose one of {', '.join(BOARDS.names())}{BOARDS.hint(name)}")
    board = BOARDS.get(name)
    if board.name != name:
        raise UserError(f"{BOARDS.origin(name)} is named {board.name} in its row; give both the same name")
    return board


def _part(text: str) -> Board:
    """Return the part that a text names; given resources win over the tables'."""
    part, given = read_part(text)
    name = written(part, given) if given else part
    resources = given or _of_board(part) or table_resources(part)
    if resources is None:
        raise UserError(
            f"what {part} holds is in no table of qtrain; give it with --resources {EXAMPLE}, in Python as "
            f"'{part}:LUT=...' (Vivado's report_utilization says it, BRAM_18K is twice the number of RAMB36)"
        )
    lut, bram_18k, uram, dsp = resources.values()
    return Board(name, part, None, lut, bram_18k, uram, dsp)


def _of_board(part: str) -> dict[str, int] | None:
    """Return the resources of a board of the same device, None where there is none."""
    device = part.partition("-")[0]
    same = [board for board in BOARDS.built_in.values() if board.part.partition("-")[0] == device]
    return same[0].resources if same else None


def build_target(board: Board) -> dict[str, str | None]:
    """Return what a build configuration of FINN says of a board: of one that FINN may not know, its part too."""
    if board.is_part:
        return {"fpga_part": board.part}
    target = {"board": board.name, "shell_flow_type": board.shell_flow_type}
    return target if board.name in BOARDS.built_in else {**target, "fpga_part": board.part}
