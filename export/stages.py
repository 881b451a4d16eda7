"""The QONNX graph of a network, stage by stage: as exported, then after each of the exporter's passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.export.passes import PASSES
from qtrain.export.qonnx import to_qonnx


@dataclass(frozen=True)
class Stage:
    """A network's graph at one point of the export.

    Attributes:
        name: of the pass that made it, ``exported`` for the first.
        graph: of its own; no later stage changes it.
        takes_pixels: whether it takes 0..255 pixels, else images in [0, 1].
    """

    name: str
    graph: ModelWrapper
    takes_pixels: bool


def graph_stages(model: nn.Module, shape: tuple[int, ...]) -> Iterator[Stage]:
    """Yield a network's graph as exported, then after each pass; each is made when it is asked for.

    Args:
        model: takes float images [N, C, H, W] in [0, 1]; left as it is.
        shape: of one image, (C, H, W).

    Raises:
        UserError: as ``to_qonnx`` does.
    """
    graph = to_qonnx(model, shape)
    yield Stage("exported", graph, takes_pixels=False)
    for step in PASSES:
        graph = step.apply(copy.deepcopy(graph))
        yield Stage(step.name, graph, step.pixels)
