"""A network is linted once, and what that made is exported; with other weights it is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError
from qtrain.export import export_finn, lint_network
from qtrain.export.lint.check import lint_module
from qtrain.export.passes import PASSES
from qtrain.export.qonnx import to_qonnx
from tests.export.lint.probes import PROBES
from tests.exported_folders import moved_tfc
from tests.sampled import sampled

SHAPE = (3, 28, 28)
IMAGES = 6


def content(graph: ModelWrapper) -> list[Any]:
    """Nodes with their constants; qonnx draws the names of some tensors."""
    found = []
    for node in graph.graph.node:
        constants = [graph.get_initializer(name) for name in node.input]
        values = [None if value is None else value.tobytes() for value in constants]
        found.append((node.name, node.op_type, [str(attribute) for attribute in node.attribute], values))
    return found


def passed(model: nn.Module, shape: tuple[int, ...]) -> list[list[Any]]:
    """The graph as exported and after each pass, without anybody else looking at it."""
    graph = to_qonnx(model, shape)
    found = [content(graph)]
    for step in PASSES:
        graph = step.apply(graph)
        found.append(content(graph))
    return found


@pytest.mark.parametrize(
    "name", sampled(["base", "residual_pre", "binary_clamped", "avgpool_middle"], ["residual_pre"])
)
def test_the_stages_are_those_of_an_export_of_its_own(name: str) -> None:
    model = PROBES[name].make().eval()
    linted = lint_network(model, PROBES[name].shape)
    assert linted.findings == lint_module(model, PROBES[name].shape)
    assert [content(stage.graph) for stage in linted.stages()] == passed(model, PROBES[name].shape)
    assert content(linted.graph()) == passed(model, PROBES[name].shape)[-1]


def test_where_lint_needs_no_graph_the_stages_are_made_when_they_are_asked_for(
    exports: Callable[[], int],
) -> None:
    model = PROBES["float_twin"].make().eval()
    linted = lint_network(model, (3, 8, 8))
    assert [finding.rule for finding in linted.errors] == ["not-quantized"]
    assert exports() == 0
    assert [stage.name for stage in linted.stages()] == ["exported", *(step.name for step in PASSES)]
    assert exports() == 1


def test_who_changes_a_graph_changes_no_other() -> None:
    model = PROBES["base"].make().eval()
    linted = lint_network(model, (3, 8, 8))
    for stage in linted.stages():
        del stage.graph.graph.node[:]
    assert [content(stage.graph) for stage in linted.stages()] == passed(model, (3, 8, 8))


@pytest.mark.parametrize("linted_before", [True, False])
def test_an_export_makes_one_graph(tmp_path: Path, exports: Callable[[], int], linted_before: bool) -> None:
    model, pixels, labels = moved_tfc(IMAGES)
    linted = lint_network(model, SHAPE) if linted_before else None
    export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels, linted=linted)
    assert exports() == 1
    found = json.loads((tmp_path / "finn" / "manifest.json").read_text())["lint"]
    assert found == [vars(finding) for finding in lint_module(model, SHAPE)]


@pytest.mark.parametrize("refused_too", [True, False])
def test_a_graph_of_other_weights_is_refused(tmp_path: Path, refused_too: bool) -> None:
    model, pixels, labels = moved_tfc(IMAGES)
    linted = lint_network(model, SHAPE)
    options = {"pixels": pixels, "labels": labels, "refused_too": refused_too}
    with torch.no_grad():
        next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d)).bias[0] += 1
    with pytest.raises(UserError, match="linted with other weights than it has now; lint it again"):
        export_finn(model, tmp_path / "finn", linted=linted, **options)
    with pytest.raises(UserError, match="linted with other weights"):
        linted.graph()
    assert not list(tmp_path.iterdir())


def test_a_graph_of_other_images_is_refused(tmp_path: Path) -> None:
    model, pixels, labels = moved_tfc(IMAGES)
    linted = lint_network(model, SHAPE)
    with pytest.raises(UserError, match=r"linted for images of \(3, 28, 28\), not of \(3, 27, 28\)"):
        export_finn(model, tmp_path / "finn", pixels=pixels[:, :, 1:], labels=labels, linted=linted)
    assert not list(tmp_path.iterdir())


def test_weights_in_bfloat16_are_exported_and_told_from_others(tmp_path: Path) -> None:
    model, pixels, labels = moved_tfc(IMAGES)
    linted = lint_network(model.bfloat16(), SHAPE)
    assert export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels, linted=linted).equal == IMAGES
    with pytest.raises(UserError, match="linted with other weights"):
        linted.check_same(moved_tfc(IMAGES)[0], SHAPE)
