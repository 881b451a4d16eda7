"""Lint: what FINN would say of a network, before it is trained."""

from qtrain.export.lint.check import lint_graph, lint_module
from qtrain.export.lint.finding import Finding

__all__ = ["Finding", "lint_graph", "lint_module"]
