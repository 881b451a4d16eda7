"""FPGA parts by their numbers: what a part's device holds, from a table or as it is given.

A part is written as Vivado does (``xc7z010clg400-1``, ``xczu7ev-ffvc1156-2-e``). With resources of its own it is
``xc7vx330tffg1157-1:LUT=204000,BRAM_18K=1500,URAM=0,DSP=1120``, one text that options, manifests and plans can keep.

The table's figures are those of a public copy of the tables in Wikipedia's "List of Xilinx FPGAs", which cite AMD's
product tables (read 2026-11-29); block RAMs of 36 Kb are counted there and halves here. A test holds every device that
is a FINN board's, too, to that board's row, whose sources ``boards.py`` names. Seven more were compared with other
public sources and agree: 7Z007S, 7Z010, 7Z045 and VU9P with the platform files of fpgaConvNet, 7A35T, 7A100T and 7A200T
with "available" columns of Vivado's utilization reports. None was read from a data sheet, and devices whose figures are
rounded there are left out; ``report_utilization`` of any design on a part says what it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from qtrain.errors import UserError

KINDS = ("LUT", "BRAM_18K", "URAM", "DSP")  # by the names of FINN's reports
EXAMPLE = "LUT=134600,BRAM_18K=730,URAM=0,DSP=740"

# fmt: off
_SERIES_7 = {  # LUT, BRAM_18K, URAM, DSP; the package follows the device's name
    "xc7s6": (3752, 10, 0, 10),            "xc7s15": (8000, 20, 0, 20),           "xc7s25": (14_600, 90, 0, 80),
    "xc7s50": (32_600, 150, 0, 120),       "xc7s75": (48_000, 180, 0, 140),       "xc7s100": (64_000, 240, 0, 160),
    "xc7a12t": (8000, 40, 0, 40),          "xc7a15t": (10_400, 50, 0, 45),        "xc7a25t": (14_600, 90, 0, 80),
    "xc7a35t": (20_800, 100, 0, 90),       "xc7a50t": (32_600, 150, 0, 120),      "xc7a75t": (47_200, 210, 0, 180),
    "xc7a100t": (63_400, 270, 0, 240),     "xc7a200t": (134_600, 730, 0, 740),
    "xc7k70t": (41_000, 270, 0, 240),      "xc7k160t": (101_400, 650, 0, 600),    "xc7k325t": (203_800, 890, 0, 840),
    "xc7k355t": (222_600, 1430, 0, 1440),  "xc7k410t": (254_200, 1590, 0, 1540),
    "xc7k420t": (260_600, 1670, 0, 1680),  "xc7k480t": (298_600, 1910, 0, 1920),
    "xc7vx485t": (303_600, 2060, 0, 2800), "xc7vx690t": (433_200, 2940, 0, 3600),
    "xc7z007s": (14_400, 100, 0, 66),      "xc7z012s": (34_400, 144, 0, 120),     "xc7z014s": (40_600, 214, 0, 170),
    "xc7z010": (17_600, 120, 0, 80),       "xc7z015": (46_200, 190, 0, 160),      "xc7z020": (53_200, 280, 0, 220),
    "xc7z030": (78_600, 530, 0, 400),      "xc7z035": (171_900, 1000, 0, 900),    "xc7z045": (218_600, 1090, 0, 900),
    "xc7z100": (277_400, 1510, 0, 2020),
}
_ULTRASCALE_PLUS = {  # the package follows behind a hyphen, behind cg, eg or ev in a Zynq MPSoC
    "xcau15p": (77_760, 288, 0, 576),      "xcau25p": (141_000, 600, 0, 1200),
    "xcku3p": (162_720, 720, 48, 1368),    "xcku5p": (216_960, 960, 64, 1824),    "xcku9p": (274_080, 1824, 0, 2520),
    "xcku11p": (298_560, 1200, 80, 2928),  "xcku13p": (341_280, 1488, 112, 3528),
    "xcku15p": (522_720, 1968, 128, 1968),
    "xcvu3p": (394_080, 1440, 320, 2280),  "xcvu9p": (1_182_240, 4320, 960, 6840),
    "xczu1": (37_440, 216, 0, 216),        "xczu2": (47_232, 300, 0, 240),        "xczu3": (70_560, 432, 0, 360),
    "xczu4": (87_840, 256, 48, 728),       "xczu5": (117_120, 288, 64, 1248),     "xczu6": (214_604, 1428, 0, 1973),
    "xczu7": (230_400, 624, 96, 1728),     "xczu9": (274_080, 1824, 0, 2520),     "xczu11": (298_560, 1200, 80, 2928),
    "xczu15": (341_280, 1488, 112, 3528),  "xczu17": (423_403, 1592, 102, 1590),
    "xczu19": (522_720, 1968, 128, 1968),
    "xczu28dr": (425_280, 2160, 80, 4272), "xczu48dr": (425_280, 2160, 80, 4272),
}
# fmt: on

_PART = re.compile(r"x[acq][a-z0-9]+(-[A-Za-z0-9]+){1,4}")
_BARE = re.compile(r"x[acq]7[a-z]+\d+[a-z]?-\d.*")  # a device of the 7 series and a speed grade, without a package
_PACKAGE_7 = re.compile(r"[il]?[a-z]{2,4}\d{3,4}")
_MPSOC = re.compile(r"(cg|eg|ev)?")


def looks_like_part(text: str) -> bool:
    """Whether a text is meant as a part's number rather than as a board's name."""
    return text[:2].lower() in ("xc", "xa", "xq") and any(letter.isdigit() for letter in text)


def table_resources(part: str) -> dict[str, int] | None:
    """Return what the table says of a part's device by ``KINDS``, None where it is not in there."""
    first = "xc" + part.partition("-")[0][2:]  # automotive and defence grades are of the same devices
    tables = ((_SERIES_7, _PACKAGE_7), (_ULTRASCALE_PLUS, _MPSOC))
    for table, ending in tables:
        for device, amounts in table.items():
            if first.startswith(device) and ending.fullmatch(first[len(device) :]):
                return dict(zip(KINDS, amounts, strict=True))
    return None


def read_resources(text: str) -> dict[str, int]:
    """Read ``LUT=134600,BRAM_18K=730,URAM=0,DSP=740``, in any order.

    Raises:
        UserError: a kind is missing, unknown or twice there, or no whole number.
    """
    found: dict[str, int] = {}
    for entry in text.split(","):
        kind, _, amount = entry.partition("=")
        kind = kind.strip()
        if kind not in KINDS or kind in found or not amount.strip().isascii() or not amount.strip().isdecimal():
            raise UserError(
                f"resources must be {EXAMPLE} in any order, each once and a whole number, but got {entry[:40]!r}; "
                "BRAM_18K counts halves of 36 Kb blocks"
            )
        found[kind] = int(amount)
    if missing := [kind for kind in KINDS if kind not in found]:
        raise UserError(f"resources must be {EXAMPLE}, but there is no {' and no '.join(missing)} in {text[:80]!r}")
    return {kind: found[kind] for kind in KINDS}


def read_part(text: str) -> tuple[str, dict[str, int] | None]:
    """Read a part's number, alone or with resources behind a colon.

    Returns:
        The number, and the resources that were given with it.

    Raises:
        UserError: it is none, and the message says how one is written.
    """
    part, colon, given = text.partition(":")
    if not _PART.fullmatch(part) or _BARE.fullmatch(part):
        raise UserError(
            f"{part[:60]!r} is no part number as Vivado writes one: device and package in lower case, then the speed "
            "grade, as xc7z010clg400-1 or xczu7ev-ffvc1156-2-e"
        )
    return part, read_resources(given) if colon else None


def written(part: str, resources: Mapping[str, int]) -> str:
    """Return a part and resources of its own as the one text that ``read_part`` reads."""
    return f"{part}:" + ",".join(f"{kind}={resources[kind]}" for kind in KINDS)
