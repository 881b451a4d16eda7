"""From a trained network to a proven, FINN-ready folder."""

from qtrain.export.compiler.boards import get_board
from qtrain.export.errors import ProofError
from qtrain.export.linted import LintedNetwork, lint_network
from qtrain.export.pipeline import check_target, export_finn, verify
from qtrain.records.manifest import Proof, StageCheck

__all__ = [
    "LintedNetwork",
    "Proof",
    "ProofError",
    "StageCheck",
    "check_target",
    "export_finn",
    "get_board",
    "lint_network",
    "verify",
]
