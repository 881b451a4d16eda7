"""The QONNX graph of a network, stage by stage: as exported, then after each of the exporter's passes."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class _Draws:
    """Random numbers of an export's own: qonnx names tensors by them, and one network is to give one folder.

    Attributes:
        state: of Python's generator, between two passes.
    """

    state: tuple[Any, ...] = field(default_factory=lambda: random.Random(0).getstate())

    @contextmanager
    def own(self) -> Iterator[None]:
        """Inside, Python's generator draws the export's numbers; outside it goes on as if nothing had been drawn."""
        theirs = random.getstate()
        random.setstate(self.state)
        try:
            yield
        finally:
            self.state = random.getstate()
            random.setstate(theirs)


def graph_stages(model: nn.Module, shape: tuple[int, ...]) -> Iterator[Stage]:
    """Yield a network's graph as exported, then after each pass, the same each time; made when it is asked for.

    Args:
        model: takes float images [N, C, H, W] in [0, 1]; left as it is.
        shape: of one image, (C, H, W).

    Raises:
        UserError: as ``to_qonnx`` does.
    """
    draws = _Draws()
    with draws.own():
        graph = to_qonnx(model, shape)
    yield Stage("exported", graph, takes_pixels=False)
    for step in PASSES:
        with draws.own():
            graph = step.apply(copy.deepcopy(graph))
        yield Stage(step.name, graph, step.pixels)
