# mypy: disable-error-code="no-untyped-def"
"""Values to integers and gradients back, in Triton: the kernels behind ``plain``'s forms of the same names.

They serve weights, and activations behind no norm. A row is what shares a scale: an output's weights, or an image.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from qtrain.models.fused.carried import Scale
from qtrain.models.fused.kernel_parts import clamped, passing, rounded
from qtrain.models.fused.launch import scale_argument, scale_kind
from qtrain.models.fused.plain import Target

BLOCK = 1024
WARPS = 4
_OPTIONS: dict[str, Any] = {"num_warps": WARPS, "enable_fp_fusion": False}


@triton.jit
def integers_kernel(
    values, scale, constant, out, low, high, size, SIGN: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr
):
    """The integers of a part of one row, whose scale is a constant (0), that of all rows (1), or its own (2)."""
    row = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    place = row.to(tl.int64) * size + at
    found = tl.load(values + place, mask=mask, other=0.0)
    own = constant
    if KIND == 1:
        own = tl.load(scale)
    if KIND == 2:
        own = tl.load(scale + row)
    steps = tl.div_rn(found, tl.zeros_like(found) + own)
    integers = clamped(rounded(steps, low, high, SIGN), low, high)
    tl.store(out + place, integers.to(out.dtype.element_ty), mask=mask)


@triton.jit
def gradient_kernel(
    gradient,
    values,
    scale,
    constant,
    factor,
    factor_constant,
    out,
    to_scale,
    low,
    high,
    size,
    SIGN: tl.constexpr,
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,
    KIND: tl.constexpr,
    FACTOR_KIND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient of one row's values, and that of the scale over the row."""
    row = tl.program_id(0)
    own = constant
    if KIND == 1:
        own = tl.load(scale)
    if KIND == 2:
        own = tl.load(scale + row)
    given = factor_constant
    if FACTOR_KIND == 1:
        given = tl.load(factor)
    total = tl.zeros([BLOCK], tl.float32)
    start = 0
    while start < size:  # the interpreter has no range of its own numbers
        at = start + tl.arange(0, BLOCK)
        mask = at < size
        place = row.to(tl.int64) * size + at
        found = tl.load(values + place, mask=mask, other=0.0)
        ratio = tl.div_rn(tl.zeros_like(found) + given, tl.zeros_like(found) + own)
        to_quantized = tl.load(gradient + place, mask=mask, other=0.0).to(tl.float32) * ratio
        steps = tl.div_rn(found, tl.zeros_like(found) + own)
        integers = rounded(steps, low, high, SIGN)
        passes = passing(steps, integers, low, high, SIGN, CLAMPS, RELU)
        if SIGN:
            tl.store(out + place, to_quantized * own * passes, mask=mask)
        else:
            tl.store(out + place, to_quantized * passes, mask=mask)
            total += to_quantized * (clamped(integers, low, high) - steps * passes)
        start += BLOCK
    tl.store(to_scale + row, tl.sum(total, 0))


def integers(values: Tensor, scale: Scale, target: Target, dtype: torch.dtype) -> Tensor:
    """Return what ``plain.integers`` returns; one launch."""
    values = values.contiguous(memory_format=_order(values))
    out = torch.empty_like(values, dtype=dtype)
    rows, size = _shape(values)
    pointer, constant = scale_argument(scale, values)
    integers_kernel[(rows, triton.cdiv(size, BLOCK))](
        values,
        pointer,
        constant,
        out,
        target.low,
        target.high,
        size,
        SIGN=target.sign,
        KIND=scale_kind(scale),
        BLOCK=BLOCK,
        **_OPTIONS,
    )
    return out


def integers_gradient(
    gradient: Tensor, values: Tensor, scale: Scale, factor: Scale, target: Target, wants_scale: bool
) -> tuple[Tensor, Tensor]:
    """Return what ``plain.integers_gradient`` returns; one launch."""
    order = _order(values)
    values = values.contiguous(memory_format=order)
    out = torch.empty_like(values)
    rows, size = _shape(values)
    to_scale = torch.empty(rows, device=values.device)
    gradient_kernel[(rows,)](
        gradient.contiguous(memory_format=order),
        values,
        *scale_argument(scale, values),
        *scale_argument(factor, values),
        out,
        to_scale,
        target.low,
        target.high,
        size,
        SIGN=target.sign,
        CLAMPS=target.clamps,
        RELU=target.relu,
        KIND=scale_kind(scale),
        FACTOR_KIND=scale_kind(factor),
        BLOCK=BLOCK,
        **_OPTIONS,
    )
    return out, to_scale


def _order(values: Tensor) -> torch.memory_format:
    """The order in memory that values and gradients are brought to; rows come first in both."""
    last = values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _shape(values: Tensor) -> tuple[int, int]:
    """Rows, and numbers of each."""
    return len(values), values.numel() // len(values)
