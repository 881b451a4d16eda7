# mypy: disable-error-code="no-untyped-def"
"""What several kernels compute, in Triton: places in a tile, a channel's numbers, steps, integers, what passes."""

import triton
import triton.language as tl

ROUNDER = tl.constexpr(12582912.0)  # 1.5 * 2**23: adding it leaves no place for what lies behind the point


@triton.jit
def tile_of(row, column, rows, channels):
    """Which numbers of a tile of these rows and columns there are, and where they lie."""
    mask = (row < rows)[:, None] & (column < channels)[None, :]
    return mask, row.to(tl.int64)[:, None] * channels + column[None, :]


@triton.jit
def scale_of(pointer, constant, column, channels, KIND: tl.constexpr):
    """A scale for each of the columns: a constant (0), one number (1), or one for each channel (2)."""
    if KIND == 0:
        return tl.zeros_like(column).to(tl.float32) + constant
    if KIND == 1:
        return tl.zeros_like(column).to(tl.float32) + tl.load(pointer)
    return tl.load(pointer + column, mask=column < channels, other=1.0)


@triton.jit
def norm_of(statistics, gamma, beta, column, channels):
    """Mean, inverse deviation, slope and offset for each of the columns."""
    there = column < channels
    mean = tl.load(statistics + column, mask=there, other=0.0)
    inverse = tl.load(statistics + channels + column, mask=there, other=0.0)
    slope = tl.load(gamma + column, mask=there, other=0.0) * inverse
    offset = tl.load(beta + column, mask=there, other=0.0)
    return mean, inverse, slope, offset


@triton.jit
def steps_of(sums, product, mean, slope, beta, own):
    """The normalised sums in units of the quantizer's scale; arguments but the sums by channel."""
    normed = (sums * product[None, :] - mean[None, :]) * slope[None, :] + beta[None, :]
    return tl.div_rn(normed, tl.zeros_like(normed) + own[None, :])


@triton.jit
def rounded(steps, low, high, SIGN: tl.constexpr):
    """Integers from one below ``low`` to one above ``high``: what lies further out is as good as that; NaN stays."""
    if SIGN:
        return tl.where(steps >= 0, 1.0, -1.0)
    near = tl.minimum(tl.maximum(steps, low - 1.0), high + 1.0)
    return tl.where(steps == steps, (near + ROUNDER) - ROUNDER, steps)


@triton.jit
def clamped(integers, low, high):
    """Integers from ``low`` to ``high``; NaN stays."""
    inside = tl.minimum(tl.maximum(integers, low), high)
    return tl.where(integers == integers, inside, integers)


@triton.jit
def passing(steps, integers, low, high, SIGN: tl.constexpr, CLAMPS: tl.constexpr, RELU: tl.constexpr):
    """1 where gradients pass, else 0."""
    passes = steps == steps
    if CLAMPS:
        passes = tl.abs(steps) <= 1.0 if SIGN else (integers >= low) & (integers <= high)
    else:
        passes = passes | (steps != steps)
    if RELU:
        passes = passes & (steps > 0)
    return passes.to(tl.float32)
