"""Which quantizer of the network a tensor inside the compiler is, and where the two first differ.

FINN renames tensors, moves scales through them and turns them channels-last, so a quantizer is recognised by its
values: counted in steps, every threshold layer's output must be some quantizer's, up to an offset and the sign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS
from qtrain.export.execute.operators import text

ALIKE = 0.9  # share of equal values from which a tensor is surely the quantizer's; by chance a sign has half
SAMPLE = 4096
COUNTED = 2**16  # different numbers, up to which they are counted; beyond, they are sorted
_HARDWARE = ("Thresholding", "MVAU", "VVAU")


@dataclass(frozen=True, eq=False)
class Quantizer:
    """What a quantizer of the exported graph did with some images.

    Attributes:
        name: of its output, in the network's words.
        output: in steps, float64 [images, values an image], channels first.
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
    executor = Executor(model, FINN_OPERATORS)
    nodes = [
        node
        for node in model.graph.node
        if node.op_type in ("Quant", "BipolarQuant") and node.output[0] not in executor.constants
    ]
    values = executor(pixels, keep={name for node in nodes for name in (node.input[0], node.output[0])})
    found = []
    for node in nodes:
        scale, *rest = (executor.constants[name] for name in node.input[1:])
        before, output = (values[name] / scale for name in (node.input[0], node.output[0]))
        if node.op_type == "BipolarQuant":  # from -1 to 1 is one step
            before = before / 2
            output = output / 2 + 0.5
            boundary = torch.zeros(())
        else:
            boundary = (before + rest[0]).floor() + 0.5 - rest[0]
        found.append(Quantizer(node.output[0], output.round().flatten(1), (before - boundary).abs().flatten(1)))
    return found


@dataclass(frozen=True)
class ThresholdOutput:
    """What a threshold layer's output looks like.

    Attributes:
        step: between two of its levels.
        channels_last: whether it is [N, H, W, C].
    """

    step: float
    channels_last: bool

    def in_steps(self, value: Tensor) -> Tensor:
        """Whole steps above the least value, as [images, values an image] in the order of [C, H, W]."""
        turned = value.permute(0, 3, 1, 2) if self.channels_last and value.dim() == 4 else value
        return ((turned - turned.amin()).flatten(1) / self.step).round()


def threshold_outputs(model: ModelWrapper) -> dict[str, ThresholdOutput]:
    """The output of every threshold layer, in graph order."""
    found = {}
    for node in model.graph.node:
        a = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "MultiThreshold":
            kind = ThresholdOutput(a.get("out_scale", 1.0), text(a, "data_layout") == "NHWC")
        elif node.op_type in _HARDWARE and not a.get("noActivation", 0):
            kind = ThresholdOutput(2.0 if text(a, "outputDataType") == "BIPOLAR" else 1.0, channels_last=True)
        else:
            continue
        thresholds = model.get_initializer(node.input[-1])
        if thresholds is not None and thresholds.shape[1] == 2 and (thresholds[:, 0] == thresholds[:, 1]).all():
            kind = ThresholdOutput(2 * kind.step, kind.channels_last)  # a sign in two bits counts 0 or 2
        found[node.output[0]] = kind
    return found


def most_frequent(whole: Tensor) -> Tensor:
    """Return the most frequent of whole numbers, the least one where several are."""
    least, most = (float(end) for end in whole.aminmax())
    if not most - least < COUNTED:  # also where one is no number
        return whole.flatten().mode().values
    return (whole.flatten() - least).long().bincount().argmax() + least


def _off(value: Tensor, output: Tensor) -> Tensor:
    """By how many steps each value is off, with the sign and the offset that leave the fewest."""
    best = None
    for sign in (1, -1):
        difference = value - sign * output
        difference = difference - most_frequent(difference)
        if best is None or difference.count_nonzero() < best.count_nonzero():
            best = difference
    assert best is not None
    return best


def _share(value: Tensor, output: Tensor, sample: int | None = SAMPLE) -> float:
    """Share of equal values: of a sample, which is enough to tell most quantizers apart, or of all."""
    every = max(1, value.numel() // sample) if sample else 1
    off = _off(value.flatten()[::every], output.flatten()[::every])
    return 1 - off.count_nonzero().item() / off.numel()


def _pairs(values: Mapping[str, Tensor], references: Sequence[Quantizer]) -> dict[str, Quantizer]:
    """Each tensor's quantizer: the most alike; where a tensor is too far off for that, the next one that is left."""
    found: dict[str, Quantizer] = {}
    for name, value in values.items():
        fitting = [(_share(value, r.output), r) for r in references if r.output.shape == value.shape]
        alike = [reference for share, reference in fitting if share >= ALIKE]
        if len(alike) > 1:  # one that quantizes another's output again differs from it in a few values only
            alike.sort(key=lambda reference: _share(value, reference.output, None), reverse=True)
        if alike:
            found[name] = alike[0]
    left = [reference for reference in references if reference not in found.values()]
    for name, value in values.items():
        fits = [reference for reference in left if reference.output.shape == value.shape]
        if name not in found and fits:
            found[name] = fits[0]
            left.remove(fits[0])
    return found


def compare(values: Mapping[str, Tensor], references: Sequence[Quantizer]) -> tuple[int, list[TensorDifference]]:
    """Find each tensor's quantizer and what differs.

    Args:
        values: in steps, as ``ThresholdOutput.in_steps`` gives them, by name, in graph order.
        references: of the same images.

    Returns:
        How many tensors have a quantizer, and those that differ from theirs, in graph order.
    """
    pairs = _pairs(values, references)
    differences = []
    for name in (name for name in values if name in pairs):
        off = _off(values[name], pairs[name].output)
        reference = pairs[name]
        if wrong := int(off.count_nonzero()):
            boundary = float(reference.to_boundary[off != 0].max())
            largest = float(off.abs().max())
            differences.append(TensorDifference(name, reference.name, wrong, off.numel(), largest, boundary))
    return len(pairs), differences
