"""``estimate.json``: what FINN estimates of a network on a board, layer by layer."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from qtrain.records.format import JsonFile


@dataclass(frozen=True)
class LayerEstimate:
    """One layer of the hardware.

    Attributes:
        name: FINN's.
        operator: FINN's kind of layer, as ``MVAU_hls``.
        place: layer of the network that it is, or stands before or after; empty where that cannot be told.
        cycles: clock cycles a frame.
        lut: look-up tables.
        bram_18k: block RAMs of 18 Kb.
        uram: UltraRAMs.
        dsp: DSP slices.
        styles: FINN's attributes of memories and multipliers that are not as FINN sets them, as ``ram_style``.
    """

    name: str
    operator: str
    place: str
    cycles: int
    lut: int
    bram_18k: int
    uram: int
    dsp: int
    styles: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate(JsonFile):
    """What FINN estimates of a whole network on a board.

    Attributes:
        label: what these figures are and are not.
        board: FINN's name of it.
        part: its FPGA.
        clock_ns: clock period in nanoseconds.
        target_fps: frames/s that were folded for.
        mvau_wwidth_max: bits of a weight stream, up to which FINN widened matrix units; None for a given folding.
        fps: frames/s at the clock, those of the slowest layer.
        cycles: of the slowest layer, for a frame.
        latency_ns: nanoseconds from a frame's first input to its result.
        slowest: FINN's name of that layer.
        used: totals by FINN's names: LUT, BRAM_18K, URAM, DSP.
        available: what the board has of each.
        max_utilization: share of the board that may be used.
        fits: whether every total is within it.
        layers: in order of execution.
        versions: of what computed this.
        probes: targets that a search tried, in order, as ``BuildResult`` has them.
        all_faster_tried: whether a search tried every folding faster than this, at the widths of its probes.
        in_own_styles: what a search's folding would take in FINN's own styles, in which it does not fit; empty where
            it has them.
    """

    FILE: ClassVar[str] = "estimate.json"
    MADE_BY: ClassVar[str] = "qtrain estimate"
    MEND: ClassVar[str] = "delete it and run qtrain estimate again"

    label: str
    board: str
    part: str
    clock_ns: float
    target_fps: int
    mvau_wwidth_max: int | None
    fps: float
    cycles: int
    latency_ns: float
    slowest: str
    used: dict[str, int]
    available: dict[str, int]
    max_utilization: float
    fits: bool
    layers: tuple[LayerEstimate, ...]
    versions: dict[str, str]
    probes: tuple[dict[str, Any], ...] = field(default=())
    all_faster_tried: bool = False
    in_own_styles: dict[str, int] = field(default_factory=dict)

    @property
    def styled(self) -> list[LayerEstimate]:
        """Layers that are not built in FINN's own styles."""
        return [layer for layer in self.layers if layer.styles]

    @property
    def shares(self) -> dict[str, float]:
        """Used of available, by FINN's names; infinite where the board has none and some is used."""
        return {kind: share_of(self.used[kind], has) for kind, has in self.available.items()}

    @property
    def meets(self) -> bool:
        """Whether the network is as fast as the target asks for."""
        return self.fps >= self.target_fps * (1 - 1e-9)

    def problems(self) -> list[str]:
        """What speaks against this folding, one clause each; empty where it fits and is fast enough."""
        found = []
        over = {kind: share for kind, share in self.shares.items() if share > self.max_utilization}
        if over:
            limit = "" if self.max_utilization == 1 else f" within {self.max_utilization:.0%} of it"
            needs = ", ".join(_amount(kind, self.used[kind], self.available[kind]) for kind in over)
            found.append(f"it does not fit {self.board}{limit}: {needs}")
        if not self.meets:
            slow = next(layer for layer in self.layers if layer.name == self.slowest)
            where = f"{self.slowest} ({slow.place})" if slow.place else self.slowest
            found.append(
                f"it reaches {self.fps:,.0f} of {self.target_fps:,} frames/s: {where} takes {self.cycles:,} cycles"
            )
            if self.mvau_wwidth_max is not None and slow.operator.startswith("MVAU"):
                found[-1] += f" (FINN may fold it further with --mvau-wwidth-max above {self.mvau_wwidth_max})"
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the plain values that the file holds, with the shares and whether the target is met."""
        shares = {kind: None if share == float("inf") else round(share, 4) for kind, share in self.shares.items()}
        return super().to_json() | {"shares": shares, "meets_target": self.meets}


def share_of(used: int, available: int) -> float:
    """Return used of available; infinite where the board has none and some is used."""
    if available:
        return used / available
    return float("inf") if used else 0.0


def _amount(kind: str, used: int, available: int) -> str:
    share = f" ({used / available:.0%})" if available else ""
    return f"{used:,} of {available:,} {kind}{share}"
