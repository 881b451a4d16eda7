"""A rule of lint: one row of the table, and the five places where its function may look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.export.lint.finding import Finding, Severity, Spot
from qtrain.export.lint.running import Trial
from qtrain.export.lint.streams import GraphView

Spots = Iterator[Spot]


@dataclass(frozen=True)
class Rule:
    """One thing that FINN does not take as it is, and the functions that look for it.

    A function yields where it found something and what FINN says there; what is the same in every case is in the row.

    Attributes:
        id: name of the rule, e.g. ``average-pool``.
        topic: heading under which the documentation lists it.
        severity: of all its findings.
        looks_for: what the rule looks for, for the documentation; without the full stop.
        step: FINN's step in which it happens, or what happens before there is a step.
        mend: the change that mends it.
        module: looks at the torch module, without running it.
        run: looks at what the torch module does with an image.
        file: looks at a QONNX graph as it was read.
        graph: looks at the cleaned graph.
        error: tells what an error means that the export, or the reading of a graph, ended with.
    """

    id: str
    topic: str
    severity: Severity
    looks_for: str
    step: str
    mend: str
    module: Callable[[nn.Module], Spots] | None = None
    run: Callable[[Trial], Spots] | None = None
    file: Callable[[ModelWrapper], Spots] | None = None
    graph: Callable[[GraphView], Spots] | None = None
    error: Callable[[Exception], Spots] | None = None

    def finding(self, spot: Spot) -> Finding:
        """Return the finding at a spot: the row's step and mend hold where the spot has none of its own."""
        return Finding(self.id, self.severity, spot.layer, spot.says, spot.step or self.step, spot.mend or self.mend)
