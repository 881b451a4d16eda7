"""The graphs that the compiler leaves behind, one a step, each ready to run on pixels."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS
from qtrain.export.execute.operators import top1
from qtrain.export.folder.build_files import BUILD_STEPS
from qtrain.export.proof.matching import threshold_outputs

EXACT_FROM = "step_streamline_scales"  # custom_steps.EXACT_FROM: from here on there are integers alone
PARTITION = "step_create_dataflow_partition"
FOLDED = "hardware_python"  # the partition after folding and the last minimizing of bit widths, as the worker saves it
PARENT = "dataflow_parent"


def classes_of(output: Tensor) -> Tensor:
    """A graph's answer as int64 [N]: a graph of foreign origin may end with logits."""
    return output.flatten() if output.dtype == torch.int64 else top1(output.flatten(1)).flatten()


def step_names() -> list[str]:
    """The steps whose graphs are executed, in order, and the folded hardware behind them."""
    names = [name.rpartition(".")[2] for name in BUILD_STEPS]
    return [*names[: names.index(PARTITION) + 1], FOLDED]


def _signature(nodes: Collection[NodeProto]) -> list[bytes]:
    return [node.SerializeToString(deterministic=True) for node in nodes]


@dataclass(frozen=True)
class Stage:
    """The graph after one of the compiler's steps.

    Attributes:
        step: its name.
        model: the graph; of the partition and the folded hardware, the inside of it.
        channels_last: whether the graph takes [N, H, W, C].
    """

    step: str
    model: ModelWrapper
    channels_last: bool

    def same_as(self, other: "Stage") -> bool:
        """Whether the step left nodes and constants as they were."""
        if _signature(self.model.graph.node) != _signature(other.model.graph.node):
            return False
        ours, theirs = ({i.name: i for i in s.model.graph.initializer} for s in (self, other))
        return ours == theirs

    def runner(self, device: torch.device | None = None) -> "Runner":
        """The graph, ready to run on a device."""
        return Runner(self, device)


class Runner:
    """A stage's graph on batches of pixels.

    Raises:
        ProofError: an operator that is not known here.
    """

    def __init__(self, stage: Stage, device: torch.device | None = None):
        self._executor = Executor(stage.model, FINN_OPERATORS, device)
        self._channels_last = stage.channels_last
        self._thresholds = threshold_outputs(stage.model)

    def _feed(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 2, 3, 1) if self._channels_last else pixels

    def classes(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield the classes int64 [batch] of uint8 ``pixels`` [N, C, H, W], batch by batch."""
        for out in self._executor.batches(self._feed(pixels)):
            yield classes_of(out[self._executor.output])

    def thresholds(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return every threshold layer's output in steps, float64 [N, values], channels first, in graph order."""
        values = self._executor(self._feed(pixels), keep=self._thresholds)
        return {name: kind.in_steps(values[name]) for name, kind in self._thresholds.items()}


def read_stages(build: Path) -> list[Stage]:
    """The stages that a build has reached, in order.

    Args:
        build: FINN's output folder, with its ``intermediate_models``.
    """
    models = build / "intermediate_models"
    found = []
    for step in step_names():
        path = models / f"{step}.onnx"
        if not path.exists():
            break
        inside = step in (PARTITION, FOLDED)
        if inside and not _is_whole(models / f"{PARENT}.onnx"):
            break  # what is left in software stands in the parent; the compiler's verdict tells
        found.append(Stage(step, ModelWrapper(str(path)), inside))
    return found


def _is_whole(parent: Path) -> bool:
    """Whether the parent graph is the partition alone, behind the transpose of the pixels."""
    kinds = [node.op_type for node in ModelWrapper(str(parent)).graph.node] if parent.exists() else []
    return kinds in (["Transpose", "StreamingDataflowPartition"], ["StreamingDataflowPartition"])
