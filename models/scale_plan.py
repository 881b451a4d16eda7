"""Where each scale and each weight of a network lies in the vectors that all are computed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor

from qtrain.models.fast_quantizer import FastQuantizer
from qtrain.models.scale_rules import ScaleRule, divisor
from qtrain.models.straight_through import Edges, tells

Dtypes = tuple[torch.dtype, torch.dtype]  # of the integers in the forward and in the backward pass


@dataclass(frozen=True)
class Weights:
    """The weights of one layer.

    Attributes:
        shape: [outputs, ...].
        strided: whether they lie channels last in memory.
        dtypes: of their integers, where the layer multiplies these.
    """

    shape: torch.Size
    strided: bool
    dtypes: Dtypes | None = None

    def in_memory_order(self, tensor: Tensor) -> Tensor:
        """Return a tensor of this shape as one row in the order in which the weights lie in memory."""
        return (tensor.permute(0, 2, 3, 1) if self.strided else tensor).reshape(-1)

    def shaped(self, row: Tensor) -> Tensor:
        """Undo `in_memory_order`, without a copy."""
        if not self.strided:
            return row.view(self.shape)
        outputs, inputs, height, width = self.shape
        return row.view(outputs, height, width, inputs).permute(0, 3, 1, 2)

    def lies_like(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape lies in memory as the weights do."""
        return tensor.is_contiguous(memory_format=torch.channels_last) if self.strided else tensor.is_contiguous()


@dataclass(frozen=True)
class Entry:
    """One quantizer whose scale is computed with the others.

    Attributes:
        quantizer: what stands in for Brevitas'.
        shape: of its scale.
        layer: that the quantizer belongs to.
        weights: of the layer; None is an activation.
    """

    quantizer: FastQuantizer
    shape: torch.Size
    layer: Any
    weights: Weights | None = None

    @property
    def rule(self) -> ScaleRule:
        """How the scale is computed."""
        return cast(ScaleRule, self.quantizer.rule)

    @property
    def can_be_together(self) -> bool:
        """Whether the computation knows this quantizer: of clamped weights the errors must tell which were clamped."""
        if self.quantizer.rule is None:
            return False
        if self.weights is None:
            return self.rule.learned and self.shape.numel() == 1
        return not self.quantizer.relu and tells(self.quantizer.low, self.quantizer.high, self.quantizer.edges)


@dataclass(frozen=True)
class Group:
    """Weights that are rounded and clamped together: they lie one behind the other.

    Attributes:
        place: in the row of all weights.
        low: least integer.
        high: largest integer.
        edges: gradients pass where the weights in steps lie strictly between them.
        dtypes: as of `Weights`.
    """

    place: slice
    low: float
    high: float
    edges: Edges
    dtypes: Dtypes | None


class Plan:
    """What of the computation stays the same from step to step.

    All scales are one vector: learned ones first, those of one number before those of a layer's channels, then
    statistics; within each kind those that are rounded to powers of two come last. All weights are one row, in the same
    order.

    Args:
        entries: quantizers whose scales are computed together.
        device: of all tensors.

    Attributes:
        entries: in their order.
        scalars: how many learned scales of one number there are, and how many of these are rounded.
        learned: numbers in learned scales.
        statistics: entries of statistics.
        rounded_statistics: numbers in statistics that are rounded.
        places: of each entry's scale in the vector.
        rows: of each entry's weights in the row; None of an activation.
        groups: of weights.
        divisors: of the ranges, for each number of the vector.
        factors: of the statistics' mean magnitudes.
        least: range of each statistic.
        counts: weights over which each number of the statistics is the mean.
        bounds: of these weights in the row, from its first statistic on.
        multiplies_integers: whether any layer does, which no sum's last bit matters to.
    """

    def __init__(self, entries: Sequence[Entry], device: torch.device):
        self.entries = sorted(entries, key=_order)
        sizes = [entry.shape.numel() for entry in self.entries]
        self.places = _slices(sizes)
        learned = [entry for entry in self.entries if entry.rule.learned]
        scalars = [entry for entry in learned if entry.shape.numel() == 1]
        self.scalars = len(scalars), sum(entry.rule.rounds for entry in scalars)
        self.learned = sum(entry.shape.numel() for entry in learned)
        self.statistics = self.entries[len(learned) :]
        self.rounded_statistics = sum(entry.shape.numel() for entry in self.statistics if entry.rule.rounds)
        lengths = [entry.weights.shape.numel() if entry.weights else 0 for entry in self.entries]
        self.rows = _slices(lengths)
        self.first_statistic = sum(lengths[: len(learned)])
        self.groups = _groups(self.entries, self.rows)
        divisors = [divisor(entry.quantizer.quantizer).reshape(1) for entry in self.entries]
        self.divisors = torch.cat([d.expand(size) for d, size in zip(divisors, sizes, strict=True)]).to(device)
        self.factors = self._of_statistics([entry.rule.factor for entry in self.statistics], device)
        self.least = self._of_statistics([entry.rule.least for entry in self.statistics], device)
        counts = [cast(Weights, entry.weights).shape.numel() / entry.shape.numel() for entry in self.statistics]
        self.counts = self._of_statistics(counts, device)
        self.bounds = torch.cat([self.counts.new_zeros(1), self.counts]).long().cumsum(0)
        self.multiplies_integers = any(group.dtypes is not None for group in self.groups)
        self._spreads = _spreads(self.entries, self.places)

    def spread(self, numbers: Tensor, first: int = 0) -> Tensor:
        """Return for each weight the number of its scale, in the row's order.

        Args:
            numbers: of the vector's part from the weights' scales on.
            first: number of the vector that ``numbers`` begins with; layers before it are left out.
        """
        found = []
        for place, each in self._spreads:
            if place.start >= first:
                part = numbers[place.start - first : place.stop - first]
                found.append(part.reshape(-1, 1).expand(-1, each).reshape(-1))
        return torch.cat(found)

    def group_of(self, number: int) -> int:
        """Return which group the weights of an entry belong to."""
        row = self.rows[number]
        return next(i for i, g in enumerate(self.groups) if g.place.start <= row.start < g.place.stop)

    def part(self, row: Tensor, number: int) -> Tensor:
        """Return an entry's weights, shaped, from the row of their group."""
        start = self.rows[number].start - self.groups[self.group_of(number)].place.start
        layer = cast(Weights, self.entries[number].weights)
        return layer.shaped(row[start : start + layer.shape.numel()])

    def _of_statistics(self, numbers: Sequence[float], device: torch.device) -> Tensor:
        sizes = [entry.shape.numel() for entry in self.statistics]
        spread = [number for number, size in zip(numbers, sizes, strict=True) for _ in range(size)]
        return torch.tensor(spread, dtype=torch.float32).to(device)


def _order(entry: Entry) -> tuple[Any, ...]:
    quantizer = entry.quantizer
    kind = not entry.rule.learned, entry.rule.learned and entry.shape.numel() > 1, entry.rule.rounds
    alike = quantizer.low, quantizer.high, quantizer.edges, str(entry.weights.dtypes if entry.weights else "")
    return *kind, entry.weights is not None, *alike


def _slices(sizes: Sequence[int]) -> list[slice]:
    found = []
    start = 0
    for size in sizes:
        found.append(slice(start, start + size))
        start += size
    return found


def _groups(entries: Sequence[Entry], rows: Sequence[slice]) -> list[Group]:
    layers = [(entry, row) for entry, row in zip(entries, rows, strict=True) if entry.weights is not None]
    found = []
    for (low, high, edges, dtypes), members in groupby(layers, key=_alike):
        places = [row for _, row in members]
        found.append(Group(slice(places[0].start, places[-1].stop), low, high, edges, dtypes))
    return found


def _alike(layer: tuple[Entry, slice]) -> tuple[float, float, Edges, Dtypes | None]:
    entry, _ = layer
    quantizer = entry.quantizer
    return quantizer.low, quantizer.high, quantizer.edges, cast(Weights, entry.weights).dtypes


def _spreads(entries: Sequence[Entry], places: Sequence[slice]) -> list[tuple[slice, int]]:
    """Where the scales of layers lie, and how many weights have each; outputs lie one behind the other in memory."""
    layers = [(entry, place) for entry, place in zip(entries, places, strict=True) if entry.weights is not None]
    return [(place, cast(Weights, entry.weights).shape.numel() // entry.shape.numel()) for entry, place in layers]
