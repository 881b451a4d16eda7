"""One cell of a sweep before it runs, and what FINN is to build for."""

import re
from dataclasses import dataclass

from qtrain.models.names import folder_name
from qtrain.records.sweep import Start

SCRATCH: Start = "scratch"
WARM: Start = "warm"
SEARCH: Start = "search"


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a sweep.

    Attributes:
        name: unique in the sweep; that of its folder.
        network: with its bit widths.
        weight_bits: of all weights that no expression names.
        act_bits: of all hidden activations that no expression names.
        bits: expression for single layers; empty where there is none.
        seed: of its recipe.
        start: where its weights come from: scratch, warm or search.
        parent: the cell whose best weights it starts from.
        epochs: that it trains.
        total_epochs: with those of its ancestors.
        depth: how many ancestors it has.
        knows: of a trial that may be pruned, how many trials had ended when it was planned.
        proposal: of a trial that the sensitivities propose, its number in ``proposals.json``, from 1; else 0.
    """

    name: str
    network: str
    weight_bits: int
    act_bits: int
    bits: str
    seed: int
    start: Start
    parent: str | None
    epochs: int
    total_epochs: int
    depth: int
    knows: int = 0
    proposal: int = 0


@dataclass(frozen=True)
class Target:
    """What FINN builds for.

    Attributes:
        board: FINN's name.
        fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
    """

    board: str
    fps: int
    clock_ns: float


def cell_name(family: str, pair: tuple[int, int], bits: str, seed: int, start: str) -> str:
    """Return a cell's name, which is that of its folder too: ``CNV_1W2A-first8-last8-warm-seed0``."""
    weights, acts = pair
    parts = [folder_name(f"{family}_{weights}W{acts}A")]
    if bits:
        parts.append(_slug(bits))
    if start == WARM:
        parts.append(WARM)
    parts.append(f"seed{seed}")
    return "-".join(parts)


def _slug(bits: str) -> str:
    """Return an expression as a part of a folder's name: ``first=8,last=8`` is ``first8-last8``."""
    return re.sub(r"[^A-Za-z0-9_.]", "-", bits.replace("=", ""))
