"""What a sweep does with a trained cell: lint, export with its proof, cost, FINN's estimate. Each is part of a row."""

import shutil
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from qtrain.data import image_shape
from qtrain.errors import UserError
from qtrain.experiments.export import export_run
from qtrain.experiments.model import initial_model
from qtrain.experiments.run import load_run
from qtrain.experiments.sweep.planned_cell import Target
from qtrain.export import LintedNetwork, ProofError, get_board, lint_network
from qtrain.export.compiler.cost import NetworkCost, network_cost
from qtrain.export.compiler.estimate import read_estimate
from qtrain.export.compiler.start import estimate_build, find_compiler
from qtrain.export.folder.contents import read_manifest
from qtrain.recipe import Recipe
from qtrain.records.estimate import Estimate
from qtrain.records.files import temporary_folder
from qtrain.training.context import RunContext

FINN = "finn"
ESTIMATE = "estimate"


class Refused(UserError):
    """A stage ended with a refusal.

    Attributes:
        facts: what the row says of it.
    """

    def __init__(self, reason: str, facts: dict[str, Any]):
        super().__init__(reason)
        self.facts = facts


class Deployment:
    """What comes of one trained cell: lint, export and cost share its network, one graph of it, and what lint found.

    Args:
        folder: of the cell's run; the FINN folder is ``finn`` in it, the compiler's output ``estimate``.
        data_root: where to look for the data.
    """

    def __init__(self, folder: Path, data_root: str | Path | None):
        self.folder = folder
        self._data_root = data_root

    @cached_property
    def _loaded(self) -> tuple[Recipe, nn.Module]:
        """The run's recipe and network, read the first time that they are asked for."""
        return load_run(self.folder, self._data_root)

    @cached_property
    def _linted(self) -> LintedNetwork:
        """The run's network, linted the first time that it is asked for."""
        recipe, model = self._loaded
        return lint_network(model, image_shape(recipe.data, self._data_root, recipe.data_options))

    def lint(self) -> dict[str, Any]:
        """Check the run's network against what FINN takes; of an exported one, read what was found then.

        Raises:
            Refused: FINN would refuse it.
        """
        if (self.folder / FINN).is_dir():
            return {"lint": read_manifest(self.folder / FINN)["lint"]}
        facts = {"lint": [asdict(finding) for finding in self._linted.findings]}
        if self._linted.errors:
            first, *others = self._linted.errors
            more = f" ({len(others)} more in the row)" if others else ""
            reason = f"FINN would refuse it at {first.layer} [{first.rule}]: {first.says}; {first.mend}{more}"
            raise Refused(reason, facts)
        return facts

    def export_proven(self, target: Target) -> dict[str, Any]:
        """Export the run to its FINN folder with the proof, unless it is there, and count its cost.

        Raises:
            Refused: the proof failed.
        """
        finn = self.folder / FINN
        if finn.is_dir():
            proof = read_manifest(finn)["proof"]
        else:
            for left in self.folder.glob(f".{FINN}-*"):  # by an export of an earlier qtrain that was killed
                shutil.rmtree(left)
            where: dict[str, Any] = {"board": target.board, "target_fps": target.fps, "clock_ns": target.clock_ns}
            try:
                made: dict[str, Any] = {"loaded": self._loaded, "linted": self._linted}
                exported = export_run(self.folder, finn, **where, context=RunContext(self._data_root), **made)
            except ProofError as error:
                raise Refused(f"proof failed: {error}", {"proven": False}) from None
            proof = asdict(exported)
        return {"proof": proof, "proven": True, "cost": network_cost(finn / "model.onnx").to_dict()}

    def count_cost(self) -> dict[str, Any]:
        """Count what the run's network costs, on the graph that an export would write; nothing is proven or kept."""
        return {"cost": cost_of_linted(self._linted).to_dict()}

    def estimate(self, target: Target) -> dict[str, Any]:
        """Let the FINN compiler estimate the FINN folder of a cell, unless it has, or there is none here.

        Raises:
            Refused: the compiler did not take the network.
        """
        out = self.folder / ESTIMATE
        if not Estimate.is_in(out):
            if find_compiler() is None:
                return {}
            shutil.rmtree(out, ignore_errors=True)  # of a build that was killed
            where: dict[str, Any] = {"target_fps": target.fps, "clock_ns": target.clock_ns}
            build = estimate_build(self.folder / FINN, board=target.board, out=out, **where)
            if not build.accepted:
                reason = " ".join(build.reason.split())
                raise Refused(f"{reason}; see {build.log}", {"finn": {"accepted": False, "reason": reason}})
            found = read_estimate(build, self.folder / FINN / "model.onnx", get_board(target.board), **where)
            found.write(out)
        values = Estimate.read(out).to_json()
        kept = ("fps", "latency_ns", "cycles", "used", "available", "fits", "meets_target", "board", "target_fps")
        return {
            "finn": {"accepted": True, "reason": "the whole network is one dataflow partition"},
            "estimate": {name: values[name] for name in (*kept, "clock_ns")},
        }


def bops_at_start(recipe: Recipe, data_root: str | Path | None) -> float:
    """Count the bit operations an image of a network that is still to be trained.

    Args:
        recipe: of its run.
        data_root: where to look for the data, whose classes and images the network has.

    Raises:
        UserError: there is no graph of it, or no weights to start from.
    """
    model, _ = initial_model(recipe, data_root)
    linted = lint_network(model.eval(), image_shape(recipe.data, data_root, recipe.data_options))
    return float(cost_of_linted(linted).bops)


def cost_of_linted(linted: LintedNetwork) -> NetworkCost:
    """Count a network on the graph that an export would write."""
    with temporary_folder("qtrain-cost-") as temporary:
        path = temporary / "model.onnx"
        linted.graph().save(str(path))
        return network_cost(path)
