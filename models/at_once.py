"""The scales of all quantizers of a network, and its quantized weights, in one computation a forward pass.

Layer by layer a scale is a dozen kernels on one number, and as many on the way back. Here they are as many for the
whole network. Each number is computed by the operations that Brevitas computes it by, in its order, so that it has the
same bits; sums are taken layer by layer, because a sum's bits depend on how it is taken.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from qtrain.models.fused.operators import ROOM
from qtrain.models.scale_plan import Plan, Weights
from qtrain.models.straight_through import ALL, TOLD_APART, errors
from qtrain.triton_kernels import trusted

LN2 = math.log(2)


@dataclass
class Aside:
    """What a forward pass computes besides its outputs, all without gradients.

    Attributes:
        scales: the vector of all.
        narrow: of each group that hands on integers, these in the types of the forward and of the backward pass.
    """

    scales: Tensor = field(default_factory=lambda: torch.zeros(0))
    narrow: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class AtOnce(Function):
    """Scales of activations and quantized weights, from the numbers of learned scales and the weights."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, aside: Aside, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return, in the plan's order, an activation's scale and a layer's quantized weights.

        Args:
            ctx: of autograd.
            plan: of the computation.
            aside: is filled.
            tensors: the numbers of the learned scales, then all weights, each in the plan's order.
        """
        ctx.set_materialize_grads(False)  # what a forward pass leaves out gets no gradient, and not one of 0
        learned = len(plan.entries) - len(plan.statistics)
        layers = [entry.weights for entry in plan.entries if entry.weights is not None]
        rows = [w.in_memory_order(tensor) for w, tensor in zip(layers, tensors[learned:], strict=True)]
        row = torch.cat(rows) if rows else plan.divisors[:0]
        ranges = _ranges(ctx, plan, tensors[:learned], row)
        aside.scales = ranges / plan.divisors
        values = _quantize(ctx, plan, aside, row)
        # Kept without save_for_backward, which allows one backward pass: two losses may share no more than this.
        ctx.plan = plan
        ctx.powers = ranges
        ctx.row = row if plan.statistics else None
        return tuple(_outputs(plan, aside.scales, values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """To the numbers of the learned scales and to the weights."""
        plan: Plan = ctx.plan
        to_scales, to_row = _of_layers(ctx, plan, gradients)
        to_ranges = torch.cat(to_scales) / plan.divisors
        to_values = to_ranges[: plan.learned] * (ctx.powers[: plan.learned] * LN2)
        if plan.statistics:
            _add_statistics(ctx, plan, to_ranges[plan.learned :], to_row)
        found: list[Tensor | None] = []
        for entry, place, gradient in zip(plan.entries, plan.places, gradients, strict=True):
            if entry.rule.learned:
                found.append(None if gradient is None else to_values[place].reshape(entry.shape))
        for entry, place, gradient in zip(plan.entries, plan.rows, gradients, strict=True):
            if entry.weights is not None:
                found.append(None if gradient is None else entry.weights.shaped(to_row[place]))
        return None, None, *found


def _ranges(ctx: Any, plan: Plan, values: tuple[Tensor, ...], row: Tensor) -> Tensor:
    """Return all ranges as one vector; what the backward pass needs of the way there is kept."""
    parts = []
    count, rounded = plan.scalars
    if count:
        exponents = torch.stack([value.reshape(()) for value in values[:count]])
        if rounded:
            exponents[count - rounded :].round_()
        # On a CPU torch raises long rows to powers by another algorithm than single numbers, with other last bits.
        # Numbers that do not lie side by side it takes one by one.
        apart = exponents.new_empty(count, 2)[:, 0]
        parts.append(torch.pow(2.0, exponents, out=apart))
    for value, entry in zip(values[count:], plan.entries[count : len(values)], strict=True):
        parts.append((2.0 ** (value.round() if entry.rule.rounds else value)).reshape(-1))
    if not plan.statistics:
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    ctx.means = torch.maximum(_means(plan, row) * plan.factors, plan.least)
    start = len(ctx.means) - plan.rounded_statistics
    parts.append(ctx.means[:start])
    if plan.rounded_statistics:
        ctx.powers_of_two = 2.0 ** ctx.means[start:].log2().round_()
        parts.append(torch.maximum(ctx.powers_of_two, plan.least[start:]))
    return torch.cat(parts)


def _means(plan: Plan, row: Tensor) -> Tensor:
    """Return the mean magnitudes of weights: of layers, or of their outputs."""
    if plan.multiplies_integers and trusted(ROOM, row.device):
        together: Tensor = torch.ops.qtrain.mean_magnitudes(row[plan.first_statistic :], plan.bounds)
        return together
    magnitudes = row[plan.first_statistic :].abs()
    found = []
    start = 0
    for entry in plan.statistics:
        layer = cast(Weights, entry.weights)
        stop = start + layer.shape.numel()
        magnitude = layer.shaped(magnitudes[start:stop])  # summed in the order of dimensions, as Brevitas does
        if entry.rule.per_channel:
            found.append(magnitude.reshape(layer.shape[0], -1).mean(dim=1))
        else:
            found.append(magnitude.reshape(-1).mean().reshape(1))
        start = stop
    return torch.cat(found)


def _quantize(ctx: Any, plan: Plan, aside: Aside, row: Tensor) -> list[Tensor]:
    """Return each group's quantized weights, or their integers, as one row; errors are kept for the backward pass."""
    if not plan.groups:
        return []
    each = plan.spread(aside.scales)
    steps = row / each
    integers = steps.round()
    kept = []
    found = []
    for number, group in enumerate(plan.groups):
        mine = integers[group.place].clamp_(group.low, group.high)
        if any(ctx.needs_input_grad):
            kept.append(errors(mine, steps[group.place], group.edges))
        if group.dtypes is None:
            mine.mul_(each[group.place])
        else:
            forward, backward = group.dtypes
            aside.narrow[number] = mine.to(forward), mine.to(backward)
        found.append(mine)
    if kept:
        ctx.errors = kept[0] if len(kept) == 1 else torch.cat(kept)
    return found


def _outputs(plan: Plan, scales: Tensor, values: list[Tensor]) -> Iterator[Tensor]:
    for number, (entry, place) in enumerate(zip(plan.entries, plan.places, strict=True)):
        if entry.weights is None:
            yield scales[place].reshape(entry.shape)
        else:
            yield plan.part(values[plan.group_of(number)], number)


def _of_layers(ctx: Any, plan: Plan, gradients: tuple[Tensor | None, ...]) -> tuple[list[Tensor], Tensor]:
    """Return the gradients of all scales, and what passes through the quantizers to the row of weights."""
    rows = []
    for entry, place, gradient in zip(plan.entries, plan.rows, gradients, strict=True):
        if entry.weights is not None and gradient is None:
            rows.append(plan.divisors.new_zeros(place.stop - place.start))
        elif entry.weights is not None:
            rows.append(entry.weights.in_memory_order(cast(Tensor, gradient)))
    to_row = torch.cat(rows) if rows else plan.divisors[:0]
    products = to_row * ctx.errors if rows else to_row
    to_scales = []
    for entry, place, gradient in zip(plan.entries, plan.rows, gradients, strict=True):
        if gradient is None:
            found = plan.divisors.new_zeros(entry.shape)
        elif entry.weights is None:
            found = gradient
        elif entry.weights.lies_like(gradient):
            found = entry.weights.shaped(products[place]).sum_to_size(entry.shape)
        else:  # a sum's bits depend on the order in memory, which is the gradient's
            found = (gradient * entry.weights.shaped(ctx.errors[place])).sum_to_size(entry.shape)
        to_scales.append(found.reshape(-1))
    for group in plan.groups:
        if group.edges != ALL:
            mine = to_row[group.place]
            error = ctx.errors[group.place]
            torch.ops.aten.hardtanh_backward(mine, error, -TOLD_APART, TOLD_APART, grad_input=mine)
    return to_scales, to_row


def _add_statistics(ctx: Any, plan: Plan, to_ranges: Tensor, to_row: Tensor) -> None:
    """Add the gradients that go through the statistics to those of the weights."""
    start = len(to_ranges) - plan.rounded_statistics
    if plan.rounded_statistics:
        through = to_ranges[start:] * (ctx.powers_of_two * LN2) / (ctx.means[start:] * LN2)
        to_ranges = torch.cat([to_ranges[:start], through])
    to_means = to_ranges * plan.factors / plan.counts
    each = plan.spread(to_means, plan.learned)
    to_row[plan.first_statistic :].add_(each.mul_(ctx.row[plan.first_statistic :].sgn()))
