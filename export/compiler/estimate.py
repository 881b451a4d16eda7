"""What FINN estimates of a network on a board, layer by layer, read from the reports of an estimate build.

All of it is computed from formulas by the compiler, before synthesis; real designs come out larger and slower.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.export.compiler.boards import Board
from qtrain.export.compiler.layer_names import places
from qtrain.export.compiler.result import BuildResult
from qtrain.export.compiler.start import MVAU_WWIDTH_MAX
from qtrain.records.estimate import Estimate, LayerEstimate, share_of

LABEL = "FINN's estimate, not synthesis: real designs come out larger and slower"
RESOURCES = {"lut": "LUT", "bram_18k": "BRAM_18K", "uram": "URAM", "dsp": "DSP"}  # ours: FINN's
LAST_STEP = "step_generate_estimate_reports"
STYLES = ("ram_style", "ram_style_thresholds", "resType", "depth_trigger_bram", "depth_trigger_uram")
AUTO_FOLDING, APPLIED_FOLDING = "auto_folding_config", "applied_folding_config"


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
    styles = _styles(out)
    return Estimate(
        label=LABEL,
        board=board.label,
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
        fits=all(share_of(used[kind], has) <= max_utilization for kind, has in board.resources.items()),
        layers=tuple(
            _layer(name, cycles, resources, found, styles.get(name, {}))
            for name in dict.fromkeys([*cycles, *resources])
        ),
        versions=build.versions,
        probes=build.probes,
        all_faster_tried=build.all_faster_tried,
        in_own_styles={kind: round(amount) for kind, amount in best.get("own", {}).items()},
    )


def _styles(out: Path) -> dict[str, dict[str, Any]]:
    """Return what a folding that was given to FINN has set otherwise than FINN itself, by layer; PE and SIMD apart."""
    if not _report_file(out, APPLIED_FOLDING).exists():
        return {}
    own = _report(out, AUTO_FOLDING)
    changed = {}
    for name, layer in _report(out, APPLIED_FOLDING).items():
        before = own.get(name, {})
        changed[name] = {key: layer[key] for key in STYLES if key in layer and layer[key] != before.get(key)}
    return changed


def folding_report(out: Path) -> Path:
    """Return the folding of a build, as FINN wrote it: the one that it was given, else its own."""
    applied = _report_file(out, APPLIED_FOLDING)
    return applied if applied.exists() else _report_file(out, AUTO_FOLDING)


def _layer(
    name: str, cycles: dict[str, Any], resources: dict[str, Any], found: dict[str, str], styles: dict[str, Any]
) -> LayerEstimate:
    amounts = {ours: round(resources.get(name, {}).get(theirs, 0)) for ours, theirs in RESOURCES.items()}
    operator = name.rpartition("_")[0]
    cycles_here = int(cycles.get(name, 0))
    return LayerEstimate(name, operator, found.get(name, ""), cycles=cycles_here, **amounts, styles=styles)


def _report_file(out: Path, name: str) -> Path:
    return out / "report" / f"{name}.json"


def _report(out: Path, name: str) -> dict[str, Any]:
    path = _report_file(out, name)
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); let `qtrain estimate` build into a new folder") from None
    return report
