"""Which quantizer of the network a tensor inside the compiler is, and where the two first differ.

FINN renames tensors, moves scales through them and turns them channels-last, so a quantizer is recognised by its
values: every threshold layer's output must be some quantizer's, up to one scale and one offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.execute import Executor
from qtrain.export.operators import text

ALIKE = 0.9  # share of equal values from which a tensor counts as the quantizer's; by chance a sign has half
SAMPLE = 4096
_THRESHOLDS = ("MultiThreshold", "Thresholding", "MVAU", "VVAU")


@dataclass(frozen=True)
class Quantizer:
    """What a quantizer of the exported graph did with some images.

    Attributes:
        name: of its output, in the network's words.
        output: float64 [images, values an image], channels first.
        to_boundary: distance of each value before it from the nearest boundary between two of its outputs, in steps.
    """

    name: str
    output: Tensor
    to_boundary: Tensor


@dataclass(frozen=True)
class TensorDifference:
    """A tensor inside the compiler that is not what its quantizer gave.

    Attributes:
        tensor: its name in the compiler's graph.
        quantizer: name of the quantizer's output in the exported graph.
        values: how many values differ.
        of: how many there are.
        largest: the largest difference, in steps of the quantizer.
        to_boundary: the farthest that a differing value lies from its quantizer's boundary, in steps: 1e-7 is rounding
            of float32, more is a wrong graph.
    """

    tensor: str
    quantizer: str
    values: int
    of: int
    largest: float
    to_boundary: float

    def __str__(self) -> str:
        return (
            f"tensor {self.tensor!r}, the network's {self.quantizer!r}: {self.values} of {self.of} values differ, by "
            f"up to {self.largest:g} steps, where the value to quantize is up to {self.to_boundary:.1g} steps from a "
            "boundary"
        )


def quantizers(model: ModelWrapper, pixels: Tensor) -> list[Quantizer]:
    """Run the exported graph on uint8 ``pixels`` and read what every activation quantizer did."""
    executor = Executor(model)
    nodes = [
        node
        for node in model.graph.node
        if node.op_type in ("Quant", "BipolarQuant") and node.output[0] not in executor.constants
    ]
    values = executor(pixels, keep={name for node in nodes for name in (node.input[0], node.output[0])})
    found = []
    for node in nodes:
        scale, *rest = (executor.constants[name] for name in node.input[1:])
        steps = values[node.input[0]] / scale + (rest[0] if rest else 0)
        middle = torch.zeros_like(steps) if node.op_type == "BipolarQuant" else steps.floor() + 0.5
        output = values[node.output[0]]
        found.append(Quantizer(node.output[0], output.flatten(1), (steps - middle).abs().flatten(1)))
    return found


def threshold_outputs(model: ModelWrapper) -> dict[str, bool]:
    """Map the output of every threshold layer, in graph order, to whether it is channels-last."""
    found = {}
    for node in model.graph.node:
        if node.op_type not in _THRESHOLDS:
            continue
        attributes = {a.name: a.s if a.s else a.i for a in node.attribute}
        if not attributes.get("noActivation", 0):
            found[node.output[0]] = node.op_type != "MultiThreshold" or text(attributes, "data_layout") == "NHWC"
    return found


def channels_first(value: Tensor, channels_last: bool) -> Tensor:
    """[images, values an image] in the order of [C, H, W]."""
    return (value.permute(0, 3, 1, 2) if channels_last and value.dim() == 4 else value).flatten(1)


def _wrong(value: Tensor, output: Tensor) -> tuple[Tensor, float] | None:
    """Where ``value`` is not a scale and an offset of ``output``, and its step; None where it has no scale."""
    levels = value.unique()
    if len(levels) < 2:
        return None
    step = float(levels.diff().min())
    kept = torch.ones_like(value, dtype=torch.bool)
    for _ in range(2):  # once more without those that were off
        x, y = output[kept], value[kept]
        variance = float(x.var())
        if not variance > 0:
            return None
        slope = float(((x - x.mean()) * (y - y.mean())).mean()) / float(x.var(correction=0))
        kept = (value - y.mean() - slope * (output - x.mean())).abs() <= step / 2
        if not kept.any():
            return None
    return ~kept, step


def _alike(value: Tensor, output: Tensor) -> bool:
    """Whether a sample of the values fits, which spares most pairs the whole comparison."""
    sample = slice(None, None, max(1, value.numel() // SAMPLE))
    found = _wrong(value.flatten()[sample], output.flatten()[sample])
    return found is None or float(found[0].double().mean()) <= 2 * (1 - ALIKE)


def compare(values: Mapping[str, Tensor], references: Sequence[Quantizer]) -> tuple[int, list[TensorDifference]]:
    """Find each tensor's quantizer and what differs.

    Args:
        values: by name, in graph order, as ``channels_first`` gives them.
        references: of the same images.

    Returns:
        How many tensors were recognised, and those that differ, in graph order.
    """
    recognised, differences = 0, []
    for name, value in values.items():
        best: tuple[int, Quantizer, Tensor, float] | None = None
        for reference in references:
            if reference.output.shape != value.shape or not _alike(value, reference.output):
                continue
            if (found := _wrong(value, reference.output)) is None:
                continue
            wrong, step = found
            count = int(wrong.sum())
            if count <= (1 - ALIKE) * value.numel() and (best is None or count < best[0]):
                best = count, reference, wrong, step
        if best is None:
            continue
        recognised += 1
        if best[0]:
            differences.append(_difference(name, value, *best))
    return recognised, differences


def _difference(
    name: str, value: Tensor, count: int, reference: Quantizer, wrong: Tensor, step: float
) -> TensorDifference:
    x, y = reference.output[~wrong], value[~wrong]
    slope = float(((x - x.mean()) * (y - y.mean())).mean()) / float(x.var(correction=0))
    expected = y.mean() + slope * (reference.output[wrong] - x.mean())
    return TensorDifference(
        tensor=name,
        quantizer=reference.name,
        values=count,
        of=value.numel(),
        largest=float(((value[wrong] - expected) / step).abs().max().round()),
        to_boundary=float(reference.to_boundary[wrong].max()),
    )
