"""What a sweep does with a trained cell: lint, export with its proof, cost, FINN's estimate. Each is part of a row."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qtrain.data import image_size
from qtrain.errors import UserError
from qtrain.experiments.export import export_run
from qtrain.experiments.run import load_run
from qtrain.experiments.sweep.planned_cell import Target
from qtrain.export import ProofError, get_board
from qtrain.export.compiler.cost import network_cost
from qtrain.export.compiler.estimate import read_estimate
from qtrain.export.compiler.start import estimate_build, find_compiler
from qtrain.export.folder.contents import read_manifest
from qtrain.export.lint.check import lint_module
from qtrain.export.passes import PASSES
from qtrain.export.qonnx import to_qonnx
from qtrain.records.files import write_whole
from qtrain.training.context import RunContext

FINN, ESTIMATE = "finn", "estimate"
CHANNELS = 3


class Refused(UserError):
    """A stage ended with a refusal.

    Attributes:
        facts: what the row says of it.
    """

    def __init__(self, reason: str, facts: dict[str, Any]):
        super().__init__(reason)
        self.facts = facts


def lint(folder: Path, data_root: str | Path | None) -> dict[str, Any]:
    """Check the run's network against what FINN takes; of an exported one, read what was found then.

    Raises:
        Refused: FINN would refuse it.
    """
    if (folder / FINN).is_dir():
        return {"lint": read_manifest(folder / FINN)["lint"]}
    recipe, model = load_run(folder, data_root)
    size = image_size(recipe.data)
    findings = lint_module(model, (CHANNELS, size, size))
    facts = {"lint": [asdict(finding) for finding in findings]}
    if errors := [finding for finding in findings if finding.severity == "error"]:
        first, more = errors[0], f" ({len(errors) - 1} more in the row)" if errors[1:] else ""
        raise Refused(f"FINN would refuse it at {first.layer} [{first.rule}]: {first.says}; {first.mend}{more}", facts)
    return facts


def export_proven(folder: Path, target: Target, data_root: str | Path | None) -> dict[str, Any]:
    """Export the run to its FINN folder with the proof, unless it is there, and count its cost.

    Raises:
        Refused: the proof failed.
    """
    finn = folder / FINN
    if finn.is_dir():
        proof = read_manifest(finn)["proof"]
    else:
        for left in folder.glob(f".{FINN}-*"):  # by an export that was killed
            shutil.rmtree(left)
        where: dict[str, Any] = {"board": target.board, "target_fps": target.fps, "clock_ns": target.clock_ns}
        try:
            proof = asdict(export_run(folder, finn, **where, context=RunContext(data_root)))
        except ProofError as error:
            raise Refused(f"proof failed: {error}", {"proven": False}) from None
    return {"proof": proof, "proven": True, "cost": network_cost(finn / "model.onnx").to_dict()}


def count_cost(folder: Path, data_root: str | Path | None) -> dict[str, Any]:
    """Count what the run's network costs, on the graph that an export would write; nothing is proven or kept."""
    recipe, model = load_run(folder, data_root)
    size = image_size(recipe.data)
    graph = to_qonnx(model, (CHANNELS, size, size))
    for step in PASSES:
        graph = step.apply(graph)
    with tempfile.TemporaryDirectory(prefix="qtrain-cost-") as temporary:
        path = Path(temporary) / "model.onnx"
        graph.save(str(path))
        return {"cost": network_cost(path).to_dict()}


def estimate(folder: Path, target: Target) -> dict[str, Any]:
    """Let the FINN compiler estimate the FINN folder of a cell, unless it has, or there is none here.

    Raises:
        Refused: the compiler did not take the network.
    """
    out, written = folder / ESTIMATE, folder / ESTIMATE / "estimate.json"
    if not written.is_file():
        if find_compiler() is None:
            return {}
        shutil.rmtree(out, ignore_errors=True)  # of a build that was killed
        where: dict[str, Any] = {"target_fps": target.fps, "clock_ns": target.clock_ns}
        build = estimate_build(folder / FINN, board=target.board, out=out, **where)
        if not build.accepted:
            reason = " ".join(build.reason.split())
            raise Refused(f"{reason}; see {build.log}", {"finn": {"accepted": False, "reason": reason}})
        found = read_estimate(build, folder / FINN / "model.onnx", get_board(target.board), **where)
        write_whole(written, found.to_json().encode())
    values = json.loads(written.read_text())
    kept = ("fps", "latency_ns", "cycles", "used", "available", "fits", "meets_target", "board", "target_fps")
    return {
        "finn": {"accepted": True, "reason": "the whole network is one dataflow partition"},
        "estimate": {name: values[name] for name in (*kept, "clock_ns")},
    }
