# mypy: disable-error-code="no-untyped-def"
"""The update of many parameters in one launch, and their range: the kernels behind ``update.plain``.

A program has a block of one tensor. Which one, it finds among the starts of all: pointers come as arguments, so that
nothing has to be copied to the device before a launch, and a CUDA graph holds them.

Triton is imported here, so this module is imported on a GPU or by tests alone.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
MOST_TENSORS = 48  # of a launch, whose arguments may take 4 KB
_OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def sgd_kernel(
    parameters,
    gradients,
    buffers,
    starts,
    sizes,
    groups,
    limits,
    rates,
    momentum,
    decay,
    COUNT: tl.constexpr,
    MOMENTUM: tl.constexpr,
    NESTEROV: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """SGD with momentum; a limit of infinity clips nothing."""
    program = tl.program_id(0)
    parameter = parameters[0].to(tl.int64)
    gradient = gradients[0].to(tl.int64)
    buffer = buffers[0].to(tl.int64)
    start = starts[0]
    size = sizes[0]
    group = groups[0]
    limit = limits[0]
    for i in tl.static_range(1, COUNT):
        own = program >= starts[i]
        parameter = tl.where(own, parameters[i].to(tl.int64), parameter)
        gradient = tl.where(own, gradients[i].to(tl.int64), gradient)
        buffer = tl.where(own, buffers[i].to(tl.int64), buffer)
        start = tl.where(own, starts[i], start)
        size = tl.where(own, sizes[i], size)
        group = tl.where(own, groups[i], group)
        limit = tl.where(own, limits[i], limit)
    at = (program - start) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    place = parameter.to(tl.pointer_type(tl.float32)) + at
    values = tl.load(place, mask=mask, other=0.0)
    step = tl.load(gradient.to(tl.pointer_type(tl.float32)) + at, mask=mask, other=0.0) + decay * values
    if MOMENTUM:
        kept = buffer.to(tl.pointer_type(tl.float32)) + at
        moved = momentum * tl.load(kept, mask=mask, other=0.0) + step
        tl.store(kept, moved, mask=mask)
        step = step + momentum * moved if NESTEROV else moved
    values = values - tl.load(rates + group) * step
    inside = tl.minimum(tl.maximum(values, -limit), limit)
    tl.store(place, tl.where(values == values, inside, values), mask=mask)


@triton.jit
def adam_kernel(
    parameters,
    gradients,
    means,
    squares,
    counts,
    starts,
    sizes,
    groups,
    limits,
    rates,
    beta_1,
    beta_2,
    eps,
    decay,
    COUNT: tl.constexpr,
    DECOUPLED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adam, whose counts of steps have been moved on; decoupled, the decay is AdamW's."""
    program = tl.program_id(0)
    parameter = parameters[0].to(tl.int64)
    gradient = gradients[0].to(tl.int64)
    mean = means[0].to(tl.int64)
    square = squares[0].to(tl.int64)
    count = counts[0].to(tl.int64)
    start = starts[0]
    size = sizes[0]
    group = groups[0]
    limit = limits[0]
    for i in tl.static_range(1, COUNT):
        own = program >= starts[i]
        parameter = tl.where(own, parameters[i].to(tl.int64), parameter)
        gradient = tl.where(own, gradients[i].to(tl.int64), gradient)
        mean = tl.where(own, means[i].to(tl.int64), mean)
        square = tl.where(own, squares[i].to(tl.int64), square)
        count = tl.where(own, counts[i].to(tl.int64), count)
        start = tl.where(own, starts[i], start)
        size = tl.where(own, sizes[i], size)
        group = tl.where(own, groups[i], group)
        limit = tl.where(own, limits[i], limit)
    steps = tl.load(count.to(tl.pointer_type(tl.float32)))
    correction_1 = 1.0 - tl.exp2(steps * tl.log2(beta_1))
    correction_2 = tl.sqrt(1.0 - tl.exp2(steps * tl.log2(beta_2)))
    at = (program - start) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    place = parameter.to(tl.pointer_type(tl.float32)) + at
    mean_place = mean.to(tl.pointer_type(tl.float32)) + at
    square_place = square.to(tl.pointer_type(tl.float32)) + at
    values = tl.load(place, mask=mask, other=0.0)
    step = tl.load(gradient.to(tl.pointer_type(tl.float32)) + at, mask=mask, other=0.0)
    if DECOUPLED:
        values = values - tl.load(rates + group) * decay * values
    else:
        step = step + decay * values
    first = tl.load(mean_place, mask=mask, other=0.0)
    first = first + (1.0 - beta_1) * (step - first)
    second = beta_2 * tl.load(square_place, mask=mask, other=0.0) + (1.0 - beta_2) * step * step
    tl.store(mean_place, first, mask=mask)
    tl.store(square_place, second, mask=mask)
    rate = tl.load(rates + group) / correction_1
    values = values - rate * first / (tl.sqrt(second) / correction_2 + eps)
    inside = tl.minimum(tl.maximum(values, -limit), limit)
    tl.store(place, tl.where(values == values, inside, values), mask=mask)


def sgd(
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    rates: Tensor,
    groups: list[int],
    limits: list[float],
    momentum: float,
    decay: float,
    nesterov: bool,
) -> None:
    """Do what ``update.plain_sgd`` does; a launch for every ``MOST_TENSORS`` parameters."""
    for part, starts, programs in _parts(parameters):
        sgd_kernel[(programs,)](
            tuple(parameters[part]),
            tuple(gradients[part]),
            tuple((buffers or parameters)[part]),
            starts,
            tuple(tensor.numel() for tensor in parameters[part]),
            tuple(groups[part]),
            tuple(limits[part]),
            rates,
            momentum,
            decay,
            COUNT=len(starts),
            MOMENTUM=bool(buffers),
            NESTEROV=nesterov,
            BLOCK=BLOCK,
            **_OPTIONS,
        )


def adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    counts: list[Tensor],
    rates: Tensor,
    groups: list[int],
    limits: list[float],
    beta_1: float,
    beta_2: float,
    eps: float,
    decay: float,
    decoupled: bool,
) -> None:
    """Do what ``update.plain_adam`` does, but for the counts; a launch for every ``MOST_TENSORS`` parameters."""
    for part, starts, programs in _parts(parameters):
        adam_kernel[(programs,)](
            tuple(parameters[part]),
            tuple(gradients[part]),
            tuple(means[part]),
            tuple(squares[part]),
            tuple(counts[part]),
            starts,
            tuple(tensor.numel() for tensor in parameters[part]),
            tuple(groups[part]),
            tuple(limits[part]),
            rates,
            beta_1,
            beta_2,
            eps,
            decay,
            COUNT=len(starts),
            DECOUPLED=decoupled,
            BLOCK=BLOCK,
            **_OPTIONS,
        )


def _parts(parameters: list[Tensor]) -> list[tuple[slice, tuple[int, ...], int]]:
    """Which tensors each launch has, the first program of each, and how many programs."""
    found = []
    for first in range(0, len(parameters), MOST_TENSORS):
        part = slice(first, first + MOST_TENSORS)
        starts = [0]
        for tensor in parameters[part]:
            starts.append(starts[-1] + triton.cdiv(tensor.numel(), BLOCK))
        found.append((part, tuple(starts[:-1]), starts[-1]))
    return found
