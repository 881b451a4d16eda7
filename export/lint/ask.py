"""Asking the rules of the table, each in the place where it may look, and making findings of what they find."""

from __future__ import annotations

from collections.abc import Iterable

from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.export.lint.finding import SEVERITIES, Finding
from qtrain.export.lint.running import Trial
from qtrain.export.lint.streams import GraphView
from qtrain.export.lint.table import BY_ID, GRAPH_ORDER

Findings = tuple[Finding, ...]


def ask_module(network: nn.Module, *ids: str) -> list[Finding]:
    """Ask rules about a torch module, in the order in which they are named."""
    found = []
    for rule in map(BY_ID.__getitem__, ids):
        assert rule.module is not None, rule.id
        found += [rule.finding(spot) for spot in rule.module(network)]
    return found


def ask_run(trial: Trial, *ids: str) -> list[Finding]:
    """Ask rules about what a torch module does with images, in the order in which they are named."""
    found = []
    for rule in map(BY_ID.__getitem__, ids):
        assert rule.run is not None, rule.id
        found += [rule.finding(spot) for spot in rule.run(trial)]
    return found


def ask_file(model: ModelWrapper, *ids: str) -> list[Finding]:
    """Ask rules about a graph as it was read, in the order in which they are named."""
    found = []
    for rule in map(BY_ID.__getitem__, ids):
        assert rule.file is not None, rule.id
        found += [rule.finding(spot) for spot in rule.file(model)]
    return found


def ask_graph(graph: GraphView) -> list[Finding]:
    """Ask all rules about a cleaned graph, in the table's order; what those of one line find stands layer by layer."""
    found = []
    for line in GRAPH_ORDER:
        spots = []
        for rule in map(BY_ID.__getitem__, line):
            assert rule.graph is not None, rule.id
            spots += [(spot.position, rule.finding(spot)) for spot in rule.graph(graph)]
        spots.sort(key=lambda pair: pair[0])  # a stable sort: at one node they stay in the line's order
        found += [finding for _, finding in spots]
    return found


def ask_error(error: Exception, rule_id: str) -> list[Finding]:
    """Ask a rule what an error means."""
    rule = BY_ID[rule_id]
    assert rule.error is not None, rule.id
    return [rule.finding(spot) for spot in rule.error(error)]


def in_order(found: Iterable[Finding]) -> Findings:
    """Return each finding once, errors first, else in the order of the rules; one a rule and layer."""
    unique = {(finding.rule, finding.layer): finding for finding in reversed(list(found))}
    return tuple(sorted(reversed(unique.values()), key=lambda finding: SEVERITIES.index(finding.severity)))
