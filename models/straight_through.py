"""Quantizers as one autograd function each: rounded on the way forward, straight through on the way back.

They compute what Brevitas' modules compute, in the same order and so to the same bits, and keep for the backward pass
one tensor of their input's size; after a ReLU, whose gradient goes through it, two.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Edges = tuple[float, float]  # gradients pass where the input lies strictly between them
ALL: Edges = (-torch.inf, torch.inf)


# Where a gradient passes, an integer and what it was rounded from are at most a half apart; where it was clamped, they
# count as one apart and more. Anything between tells the two cases from each other.
TOLD_APART = 0.75


class Sign(Function):
    """``scale`` where x >= 0, else ``-scale``; the scale is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``, which may have any shape."""
        ctx.save_for_backward(x)
        ctx.scale = scale
        ctx.edges = edges
        # A fifth of torch.where's time on a CPU. Adding 0 makes -0 the 0 that it counts as.
        return torch.copysign(x.new_full((), scale), x + 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient times the scale, between the edges."""
        (x,) = ctx.saved_tensors
        passed = gradient if ctx.edges == ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed if ctx.scale == 1 else passed * ctx.scale, None, None


class Fixed(Function):
    """Integers of a constant scale, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float | Tensor, low: float, high: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``, which may have any shape; ``scale`` as ``constant_on`` gives it."""
        ctx.save_for_backward(x)
        ctx.edges = edges
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient, between the edges."""
        (x,) = ctx.saved_tensors
        passed = gradient if ctx.edges == ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed, None, None, None, None


class Scaled(Function):
    """Integers of a scale that is trained or follows the weights, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``.

        What the scale's gradient is made of is computed here, where ``x`` lies in the cache, and kept in its place.

        Args:
            ctx: of autograd.
            x: of any shape.
            scale: one number, or one for each output channel, in a shape that broadcasts.
            low: least integer.
            high: largest integer.
            edges: gradients pass where ``x / scale`` lies strictly between them.
        """
        steps = x / scale
        found = steps.round().clamp_(low, high)
        if any(ctx.needs_input_grad[:2]):
            told = tells(low, high, edges)
            if told:
                error = errors(found, steps, edges)
            else:
                passed = torch.ops.aten.hardtanh_backward(steps, steps, *edges)
                error = torch.sub(found, passed, out=passed)
            ctx.save_for_backward(error, None if told else steps)
            ctx.edges = edges
            ctx.shape = scale.shape
        return found.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """To the input where it was not clamped, and to the scale: the integer less what the input passes on."""
        error, steps = ctx.saved_tensors
        to_scale = (gradient * error).sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None
        return passed_on(gradient, error, steps, ctx.edges), to_scale, None, None, None


def errors(found: Tensor, steps: Tensor, edges: Edges) -> Tensor:
    """Return the scale's gradient at each number: the integer, less the number in steps where that is passed on.

    Args:
        found: the integers.
        steps: what they were rounded and clamped from; the errors take its place.
        edges: as `Scaled` takes them.
    """
    if edges != ALL:  # used for its forward form: 0 beyond the edges
        torch.ops.aten.hardtanh_backward(steps, steps, *edges, grad_input=steps)
    return torch.sub(found, steps, out=steps)


def passed_on(gradient: Tensor, error: Tensor, steps: Tensor | None, edges: Edges) -> Tensor:
    """Return the input's gradient.

    Args:
        gradient: of the values.
        error: as `errors` gives it.
        steps: where ``error`` does not tell what was clamped.
        edges: as `Scaled` takes them.
    """
    if edges == ALL:
        return gradient
    if steps is None:
        told: Tensor = torch.ops.aten.hardtanh_backward(gradient, error, -TOLD_APART, TOLD_APART)
        return told
    if edges[0] != 0:
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, steps, *edges)
        return passed
    # A ReLU's gradient lies in memory as its input does, whatever the order of the gradient that it gets. Sums behind
    # it are taken in that order.
    behind = torch.empty_like(steps)
    return torch.ops.aten.hardtanh_backward(gradient, steps, *edges, grad_input=behind)


def tells(low: float, high: float, edges: Edges) -> bool:
    """Whether an error alone says if its number was clamped: it is then the least or the largest integer itself."""
    return edges == ALL or (low <= -1 and high >= 1)


@cache
def edges_of(scale: float, low: float, high: float) -> Edges:
    """The floats next to the first and the last that rounds to an integer from ``low`` to ``high``.

    Found on the floats themselves: a bound computed as (high + 0.5) * scale misses ties and the last bit.
    """

    def beyond(limit: float, direction: float) -> float:
        away = torch.tensor(direction * torch.inf)
        at = torch.tensor((limit + direction * 0.5) * scale, dtype=torch.float32)
        while direction * (at / scale).round() > direction * limit:
            at = torch.nextafter(at, -away)
        while direction * (at / scale).round() <= direction * limit:
            at = torch.nextafter(at, away)
        return float(at)

    return beyond(low, -1.0), beyond(high, 1.0)
