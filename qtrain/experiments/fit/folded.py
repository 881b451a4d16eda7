"""What the compiler says of a trained candidate, with the folding that FINN finds and with the solver's."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtrain.experiments.fit.hardware import folding_config, network_of
from qtrain.experiments.sweep.deploy import ESTIMATE, FINN
from qtrain.experiments.sweep.planned_cell import Target
from qtrain.export import get_board
from qtrain.export.compiler.estimate import read_estimate
from qtrain.export.compiler.start import MVAU_WWIDTH_MAX, estimate_build
from qtrain.records.estimate import Estimate
from qtrain.records.files import write_whole
from qtrain.records.fit import CompiledNetwork

FOLDED = "folded"  # the compiler's output with the solver's folding
FOLDING = "folding.json"


def by_finn(cell: Path, bits: Mapping[str, int]) -> CompiledNetwork:
    """Read what the compiler said of a cell with the folding that it found.

    Args:
        cell: folder of a cell that was estimated.
        bits: of every quantizer that may have others.

    Raises:
        UserError: the estimate is damaged.
    """
    build = cell / ESTIMATE
    return network_of(cell.name, build, Estimate.read(build), bits, width=MVAU_WWIDTH_MAX)


def by_solver(
    cell: Path, bits: Mapping[str, int], folding: Mapping[str, Sequence[int]], nodes: Mapping[str, str], target: Target
) -> CompiledNetwork | None:
    """Let the compiler estimate a cell with the solver's folding, unless it has.

    Args:
        cell: folder of a cell that was estimated.
        bits: of every quantizer that may have others.
        folding: PE and SIMD by layer.
        nodes: a layer's name in graphs, by its path.
        target: what FINN builds for.

    Returns:
        None where FINN does not take that folding.

    Raises:
        UserError: a file is damaged.
    """
    out = cell / FOLDED
    started = time.perf_counter()
    if not Estimate.is_in(out):
        shutil.rmtree(out, ignore_errors=True)  # of a build that was killed
        layers = Estimate.read(cell / ESTIMATE).layers
        write_config(cell / FOLDING, folding_config(cell / ESTIMATE, layers, folding, nodes))
        where: dict[str, Any] = {"target_fps": target.fps, "clock_ns": target.clock_ns}
        build = estimate_build(cell / FINN, board=target.board, out=out, folding=cell / FOLDING, **where)
        if not build.accepted:
            return None
        model = cell / FINN / "model.onnx"
        read_estimate(build, model, get_board(target.board), mvau_wwidth_max=None, **where).write(out)
    name = f"{cell.name} {FOLDED}"
    seconds = time.perf_counter() - started
    return network_of(name, out, Estimate.read(out), bits, folding=folding, width=MVAU_WWIDTH_MAX, seconds=seconds)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a folding for FINN, which takes each entry for a layer, so that it has no checksum."""
    write_whole(path, json.dumps(config, indent=2).encode())
