"""A network with what lint found and the graph that lint looked at, so that export and cost need no second one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError
from qtrain.export.lint.check import lint_with_stages
from qtrain.export.lint.finding import Finding
from qtrain.export.proof.digests import weights_digest
from qtrain.export.stages import Stage, graph_stages
from qtrain.library_warnings import hushed


@dataclass(frozen=True)
class LintedNetwork:
    """A network that was linted once; ``lint_network`` makes it.

    Attributes:
        model: the network.
        shape: of one image, (C, H, W).
        weights: checksum of the network's weights at the time.
        findings: of lint, errors first.
        made: the graph's stages; none where lint ended before it had a graph.
    """

    model: nn.Module
    shape: tuple[int, ...]
    weights: str
    findings: tuple[Finding, ...]
    made: tuple[Stage, ...]

    @property
    def errors(self) -> list[Finding]:
        """Return the findings that say what FINN would refuse."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def stages(self) -> Iterator[Stage]:
        """Yield the graph's stages, copies of those that lint looked at; made now where lint had none.

        Raises:
            UserError: the network's weights are others by now, or as ``graph_stages`` does.
        """
        self.check_same(self.model, self.shape)
        if not self.made:
            yield from graph_stages(self.model, self.shape)
        for stage in self.made:
            yield replace(stage, graph=copy.deepcopy(stage.graph))

    def graph(self) -> ModelWrapper:
        """Return the graph of the last stage, which an export writes.

        Raises:
            UserError: as ``stages`` does.
        """
        if not self.made:
            return list(self.stages())[-1].graph
        self.check_same(self.model, self.shape)
        return copy.deepcopy(self.made[-1].graph)

    def check_same(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        """See that a network has the weights that were linted, and images the same shape.

        Raises:
            UserError: it has others.
        """
        if shape != self.shape:
            raise UserError(f"the network was linted for images of {self.shape}, not of {shape}; lint it for these")
        if weights_digest(model) != self.weights:
            raise UserError("the network was linted with other weights than it has now; lint it again")


@hushed()
def lint_network(model: nn.Module, shape: tuple[int, ...]) -> LintedNetwork:
    """Lint a network, and keep the graph that this takes.

    Args:
        model: takes float images [N, C, H, W] in [0, 1] and returns logits [N, classes]; left as it is.
        shape: of one image, (C, H, W).

    Raises:
        UserError: as ``lint_module`` does.
    """
    findings, stages = lint_with_stages(model, shape)
    return LintedNetwork(model, shape, weights_digest(model), findings, stages)
