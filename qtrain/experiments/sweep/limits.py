"""Limits on a network's hardware: the most of each resource, as a share of the board or a number, and a frame rate."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.export.compiler.boards import Board

RESOURCES = {"max_lut": "LUT", "max_bram": "BRAM_18K", "max_uram": "URAM", "max_dsp": "DSP"}  # option: FINN's name
_LIMIT = re.compile(r"(?P<share>\d+(\.\d+)?)\s*%|(?P<count>\d+)")


@dataclass(frozen=True)
class Limits:
    """What a network's hardware must keep within.

    Attributes:
        most: of LUT, BRAM_18K, URAM and DSP, by those names.
        fps: frames a second that it must reach; None for those that it was folded for.
        accuracy: on validation images, in percent; None for any.
    """

    most: Mapping[str, float]
    fps: int | None = None
    accuracy: float | None = None

    def misses(self, used: Mapping[str, float], fps: float) -> list[str]:
        """Return what of a network's hardware is beyond a limit, in numbers."""
        found = [f"{used[kind]:,.0f} {kind} of {most:,.0f}" for kind, most in self.most.items() if used[kind] > most]
        if self.fps is not None and fps < self.fps * (1 - 1e-9):
            found.append(f"{fps:,.0f} frames/s of {self.fps:,}")
        return found


def limits_of(board: Board, asked: Mapping[str, str | None]) -> dict[str, float]:
    """Return the most of each resource that may be used.

    Args:
        board: that is to be fitted.
        asked: by option of ``RESOURCES``, as ``70%`` of the board or as a number; None for all that there is.

    Raises:
        UserError: no such amount, more than the board has, or of something that it has not.
    """
    found = {kind: float(has) for kind, has in board.resources.items()}
    for option, text in asked.items():
        if text is not None:
            kind = RESOURCES[option]
            found[kind] = _limit(option, text, kind, board)
    return found


def _limit(option: str, text: str, kind: str, board: Board) -> float:
    has = board.resources[kind]
    flag = f"--{option.replace('_', '-')}"
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{flag} must be a share as 70%, or a number as 30000, but got {text!r}")
    if not has:
        raise UserError(f"{board.label} has no {kind}; leave {flag} away")
    share = match["share"]
    most = has * float(share) / 100 if share else float(match["count"])
    if not 0 < most <= has:
        raise UserError(f"{flag} must be above 0 and at most the {has:,} {kind} of {board.label}, but got {text}")
    return most
