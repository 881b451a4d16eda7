"""What FINN estimates of a network on a board, layer by layer, read from the reports of an estimate build.

All of it is computed from formulas by the compiler, before synthesis; real designs come out larger and slower.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.export.compiler.boards import Board
from qtrain.export.compiler.layer_names import places
from qtrain.export.compiler.result import BuildResult
from qtrain.export.compiler.start import MVAU_WWIDTH_MAX

LABEL = "FINN's estimate, not synthesis: real designs come out larger and slower"
RESOURCES = {"lut": "LUT", "bram_18k": "BRAM_18K", "uram": "URAM", "dsp": "DSP"}  # ours: FINN's
LAST_STEP = "step_generate_estimate_reports"


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
    """

    name: str
    operator: str
    place: str
    cycles: int
    lut: int
    bram_18k: int
    uram: int
    dsp: int


@dataclass(frozen=True)
class Estimate:
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
    """

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

    @property
    def shares(self) -> dict[str, float]:
        """Used of available, by FINN's names; infinite where the board has none and some is used."""
        return {kind: _share(self.used[kind], has) for kind, has in self.available.items()}

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

    def to_json(self) -> str:
        """The whole estimate, with its shares, as JSON."""
        shares = {kind: None if share == float("inf") else round(share, 4) for kind, share in self.shares.items()}
        return json.dumps({**asdict(self), "shares": shares, "meets_target": self.meets}, indent=2) + "\n"


def read_estimate(
    build: BuildResult,
    model: Path,
    board: Board,
    *,
    target_fps: int,
    clock_ns: float,
    max_utilization: float = 1.0,
    mvau_wwidth_max: int | None = MVAU_WWIDTH_MAX,
) -> Estimate:
    """Read the estimate of a build that wrote one.

    Args:
        build: of ``estimate_build``; its reports lie beside its log.
        model: the exported graph, for the names of the layers.
        board: that was built for.
        target_fps: frames/s that were asked for; that of the search's best, where there was a search.
        clock_ns: clock period in nanoseconds.
        max_utilization: share of the board that may be used, above 0 and at most 1.
        mvau_wwidth_max: as it was asked for; that of the search's best, where there was a search.

    Raises:
        UserError: there are no reports, or they cannot be read.
    """
    out = build.log.parent
    cycles = _report(out, "estimate_layer_cycles")
    resources = _report(out, "estimate_layer_resources")
    speed = _report(out, "estimate_network_performance")
    total = resources.pop("total")
    found = places(out / "intermediate_models" / f"{LAST_STEP}.onnx", model)
    best = build.best or {}
    used = {kind: round(total.get(kind, 0)) for kind in RESOURCES.values()}
    return Estimate(
        label=LABEL,
        board=board.name,
        part=board.part,
        clock_ns=clock_ns,
        target_fps=best.get("target_fps", target_fps),
        mvau_wwidth_max=best.get("mvau_wwidth_max", mvau_wwidth_max),
        fps=speed["estimated_throughput_fps"],
        cycles=speed["max_cycles"],
        latency_ns=speed["estimated_latency_ns"],
        slowest=speed["max_cycles_node_name"],
        used=used,
        available=board.resources,
        max_utilization=max_utilization,
        fits=all(_share(used[kind], has) <= max_utilization for kind, has in board.resources.items()),
        layers=tuple(_layer(name, cycles, resources, found) for name in dict.fromkeys([*cycles, *resources])),
        versions=build.versions,
        probes=build.probes,
        all_faster_tried=build.all_faster_tried,
    )


def _layer(name: str, cycles: dict[str, Any], resources: dict[str, Any], found: dict[str, str]) -> LayerEstimate:
    amounts = {ours: round(resources.get(name, {}).get(theirs, 0)) for ours, theirs in RESOURCES.items()}
    operator = name.rpartition("_")[0]
    return LayerEstimate(name, operator, found.get(name, ""), cycles=int(cycles.get(name, 0)), **amounts)


def _report(out: Path, name: str) -> dict[str, Any]:
    path = out / "report" / f"{name}.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); let `qtrain estimate` build into a new folder") from None
    return report


def _share(used: int, available: int) -> float:
    if available:
        return used / available
    return float("inf") if used else 0.0


def _amount(kind: str, used: int, available: int) -> str:
    share = f" ({used / available:.0%})" if available else ""
    return f"{used:,} of {available:,} {kind}{share}"
