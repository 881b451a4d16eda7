"""Sums of products of whole numbers, exact in float32.

float32 holds every whole number below 2**24, so that a convolution of whole numbers is exact in it while no partial
sum can leave that range, in whatever order it is added: it then costs an eighth of one in float64. The range is
computed for each output from its weights and from the least and the largest input. Where it is too wide, the weights
are taken apart into a high and a low half, whose sums both fit, and which are put together in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT_FLOAT32 = 2**24
Multiply = Callable[[Tensor], Tensor]


def largest_sums(filters: Tensor, least: float, most: float) -> Tensor:
    """Return the largest magnitude that any partial sum of each output can reach, float64 [outputs].

    Args:
        filters: whole weights, float64 [outputs, ...].
        least: of the inputs, which may also be 0 where an image is padded.
        most: of the inputs.
    """
    weights = filters.flatten(1)
    positive = weights.clamp(min=0).sum(1)
    negative = positive - weights.sum(1)
    up = max(most, 0)
    down = -min(least, 0)
    highest = positive * up + negative * down
    lowest = positive * down + negative * up
    return torch.maximum(highest, lowest)


@dataclass(frozen=True)
class WholeProduct:
    """Whole weights in the parts that are multiplied.

    Attributes:
        low: float32 [outputs, ...]; of outputs that are split the low half, of others all of their weights.
        high: the high half of the split ones, float32 [split, ...]; None where none is.
        factor: of the high half.
        split: numbers of the split outputs, int64.
    """

    low: Tensor
    high: Tensor | None = None
    factor: float = 1.0
    split: Tensor | None = None

    def __call__(self, multiply: Multiply, axis: int) -> Tensor:
        """Return the sums in float64.

        Args:
            multiply: gives the float32 sums of filters [n, ...], with n outputs along ``axis``.
            axis: of the outputs.
        """
        sums = multiply(self.low).double()
        if self.high is None or self.split is None:
            return sums
        high = multiply(self.high).double().mul_(self.factor)
        if len(self.high) == len(self.low):
            return sums.add_(high)
        return sums.index_add_(axis, self.split, high)

    def on(self, device: torch.device) -> WholeProduct:
        """Return the same product on a device."""
        high = None if self.high is None else self.high.to(device)
        split = None if self.split is None else self.split.to(device)
        return WholeProduct(self.low.to(device), high, self.factor, split)


def whole_product(filters: Tensor, least: float, most: float, *, together: bool = False) -> WholeProduct | None:
    """Return how to multiply whole weights with whole inputs exactly; None where float32 cannot, even in halves.

    Args:
        filters: float64 [outputs, ...].
        least: of the inputs.
        most: of the inputs.
        together: split all outputs or none, for a product whose outputs cannot be taken apart.
    """
    largest = largest_sums(filters, least, most)
    if not bool(largest.isfinite().all()):
        return None
    over = largest >= EXACT_FLOAT32
    if not bool(over.any()):
        return WholeProduct(filters.float())
    if together:
        over = torch.ones_like(over)
    bits = int(filters.abs().amax()).bit_length()
    factor = 2.0 ** ((bits + 1) // 2)
    split = over.nonzero().flatten()
    high = (filters[split] / factor).round()
    low = filters.clone()
    low[split] -= high * factor
    parts = (low, high)
    if any(bool((largest_sums(part, least, most) >= EXACT_FLOAT32).any()) for part in parts):
        return None
    return WholeProduct(low.float(), high.float(), factor, split)
