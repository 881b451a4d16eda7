# mypy: disable-error-code="no-untyped-def"
"""BatchNorm and quantizer in Triton: the kernels behind ``plain``'s forms, which say what each computes.

Tensors are seen as rows of channels, which they are in memory where channels come last. A program has a block of
channels and some tiles of rows. The way forward reads the sums twice, for the statistics and for the integers, and the
way back reads sums and gradient twice, for the totals and for the gradient: batch statistics depend on all rows.

Triton is imported here, so this module is imported on a GPU or by tests alone.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from qtrain.models.fused.kernel_parts import clamped, norm_of, passing, rounded, scale_of, steps_of, tile_of
from qtrain.models.fused.launch import empty_channels_last, rows_of, scale_argument, scale_kind
from qtrain.models.fused.plain import Scales, Target

TILE = 4096  # numbers of a tile; 16 a thread, which need no more registers than there are
WARPS = 8
MOST_PARTS = 256  # programs over the rows of a reduction, whose results one more tile adds
FINISH_COLUMNS = 16


@triton.jit
def moments_kernel(sums, parts, rows, channels, tiles, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Mean and sum of squared deviations of each channel over this program's tiles, merged tile by tile (Chan)."""
    part = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    count = 0.0
    mean = tl.zeros([COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    tile = part * tiles
    while tile < part * tiles + tiles:  # the interpreter has no range of its own numbers
        mask, at = tile_of(tile * ROWS + tl.arange(0, ROWS), column, rows, channels)
        values = tl.load(sums + at, mask=mask, other=0.0).to(tl.float32)
        here = tl.minimum(tl.maximum(rows - tile * ROWS, 0), ROWS).to(tl.float32)
        if here > 0:
            own = tl.sum(values, 0) / here
            apart = tl.where(mask, values - own[None, :], 0.0)
            both = count + here
            offset = own - mean
            squares += tl.sum(apart * apart, 0) + offset * offset * (count * here / both)
            mean += offset * (here / both)
            count = both
        tile += 1
    tl.store(parts + (part * 2) * channels + column, mean, mask=column < channels)
    tl.store(parts + (part * 2 + 1) * channels + column, squares, mask=column < channels)


@triton.jit
def statistics_kernel(
    parts,
    statistics,
    running_mean,
    running_var,
    counter,
    input_scale,
    input_constant,
    weight_scale,
    weight_constant,
    eps,
    share,
    rows,
    channels,
    part_rows,
    count_of_parts,
    INPUT: tl.constexpr,
    WEIGHT: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Mean and inverse deviation of the scaled sums from those of all parts; the running statistics' next values."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    part = tl.arange(0, PARTS)
    mask = (part < count_of_parts)[:, None] & there[None, :]
    at = (part * 2)[:, None] * channels + column[None, :]
    means = tl.load(parts + at, mask=mask, other=0.0)
    squares = tl.load(parts + at + channels, mask=mask, other=0.0)
    counts = tl.minimum(tl.maximum(rows - part * part_rows, 0), part_rows).to(tl.float32)[:, None]
    total = rows.to(tl.float32)
    mean = tl.sum(means * counts, 0) / total
    apart = tl.where(mask, means - mean[None, :], 0.0)
    variance = (tl.sum(squares, 0) + tl.sum(apart * apart * counts, 0)) / total
    product = scale_of(input_scale, input_constant, column, channels, INPUT)
    product = product * scale_of(weight_scale, weight_constant, column, channels, WEIGHT)
    mean = mean * product
    variance = variance * product * product
    tl.store(statistics + column, mean, mask=there)
    tl.store(statistics + channels + column, 1.0 / tl.sqrt(variance + eps), mask=there)
    old_mean = tl.load(running_mean + column, mask=there, other=0.0)
    old_var = tl.load(running_var + column, mask=there, other=0.0)
    unbiased = variance * (total / tl.maximum(total - 1.0, 1.0))
    tl.store(running_mean + column, old_mean + share * (mean - old_mean), mask=there)
    tl.store(running_var + column, old_var + share * (unbiased - old_var), mask=there)
    if tl.program_id(0) == 0:
        tl.store(counter, tl.load(counter) + 1)


@triton.jit
def quantize_kernel(
    sums,
    statistics,
    gamma,
    beta,
    out,
    input_scale,
    input_constant,
    weight_scale,
    weight_constant,
    scale,
    constant,
    low,
    high,
    rows,
    channels,
    INPUT: tl.constexpr,
    WEIGHT: tl.constexpr,
    OWN: tl.constexpr,
    SIGN: tl.constexpr,
    DEQUANTIZES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The integers of one tile, in the type of ``out``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask, at = tile_of(row, column, rows, channels)
    product = scale_of(input_scale, input_constant, column, channels, INPUT)
    product = product * scale_of(weight_scale, weight_constant, column, channels, WEIGHT)
    own = scale_of(scale, constant, column, channels, OWN)
    mean, _, slope, offset = norm_of(statistics, gamma, beta, column, channels)
    values = tl.load(sums + at, mask=mask, other=0.0).to(tl.float32)
    steps = steps_of(values, product, mean, slope, offset, own)
    integers = clamped(rounded(steps, low, high, SIGN), low, high)
    if DEQUANTIZES:
        integers = integers * own[None, :]
    tl.store(out + at, integers.to(out.dtype.element_ty), mask=mask)


@triton.jit
def totals_kernel(
    gradient,
    sums,
    statistics,
    gamma,
    beta,
    parts,
    input_scale,
    input_constant,
    weight_scale,
    weight_constant,
    scale,
    constant,
    low,
    high,
    rows,
    channels,
    tiles,
    INPUT: tl.constexpr,
    WEIGHT: tl.constexpr,
    OWN: tl.constexpr,
    SIGN: tl.constexpr,
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradients of gamma, beta and the scale over this program's tiles."""
    part = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    product = scale_of(input_scale, input_constant, column, channels, INPUT)
    product = product * scale_of(weight_scale, weight_constant, column, channels, WEIGHT)
    own = scale_of(scale, constant, column, channels, OWN)
    mean, inverse, slope, offset = norm_of(statistics, gamma, beta, column, channels)
    to_gamma = tl.zeros([COLUMNS], tl.float32)
    to_beta = tl.zeros([COLUMNS], tl.float32)
    to_scale = tl.zeros([COLUMNS], tl.float32)
    tile = part * tiles
    while tile < part * tiles + tiles:  # the interpreter has no range of its own numbers
        mask, at = tile_of(tile * ROWS + tl.arange(0, ROWS), column, rows, channels)
        values = tl.load(sums + at, mask=mask, other=0.0).to(tl.float32)
        given = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        steps = steps_of(values, product, mean, slope, offset, own)
        integers = rounded(steps, low, high, SIGN)
        passes = passing(steps, integers, low, high, SIGN, CLAMPS, RELU)
        passed = given * passes
        if SIGN:
            passed = passed * own[None, :]
        to_gamma += tl.sum(passed * ((values * product[None, :] - mean[None, :]) * inverse[None, :]), 0)
        to_beta += tl.sum(passed, 0)
        to_scale += tl.sum(given * (clamped(integers, low, high) - steps * passes), 0)
        tile += 1
    place = parts + (part * 3) * channels + column
    tl.store(place, to_gamma, mask=there)
    tl.store(place + channels, to_beta, mask=there)
    tl.store(place + 2 * channels, to_scale, mask=there)


@triton.jit
def gradient_kernel(
    gradient,
    sums,
    statistics,
    gamma,
    beta,
    totals,
    out,
    input_scale,
    input_constant,
    weight_scale,
    weight_constant,
    scale,
    constant,
    low,
    high,
    rows,
    channels,
    INPUT: tl.constexpr,
    WEIGHT: tl.constexpr,
    OWN: tl.constexpr,
    SIGN: tl.constexpr,
    CLAMPS: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The gradient of one tile's sums, in the type of ``out``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask, at = tile_of(row, column, rows, channels)
    weights = scale_of(weight_scale, weight_constant, column, channels, WEIGHT)
    product = scale_of(input_scale, input_constant, column, channels, INPUT) * weights
    own = scale_of(scale, constant, column, channels, OWN)
    mean, inverse, slope, offset = norm_of(statistics, gamma, beta, column, channels)
    there = column < channels
    mean_normed = tl.load(totals + column, mask=there, other=0.0) / rows
    mean_passed = tl.load(totals + channels + column, mask=there, other=0.0) / rows
    values = tl.load(sums + at, mask=mask, other=0.0).to(tl.float32)
    given = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
    steps = steps_of(values, product, mean, slope, offset, own)
    passed = given * passing(steps, rounded(steps, low, high, SIGN), low, high, SIGN, CLAMPS, RELU)
    if SIGN:
        passed = passed * own[None, :]
    normed = (values * product[None, :] - mean[None, :]) * inverse[None, :]
    result = (passed - mean_passed[None, :] - normed * mean_normed[None, :]) * (slope * weights)[None, :]
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)


def norm_quantize(
    sums: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    counter: Tensor,
    scales: Scales,
    eps: float,
    share: float,
    target: Target,
    dtype: torch.dtype,
    dequantizes: bool,
) -> tuple[Tensor, Tensor]:
    """Return what ``plain.norm_quantize`` returns; three launches, of which two read the sums."""
    flat = rows_of(sums)
    rows, channels = flat.shape
    row, column = _tile(channels)
    tiles, count = _shares(rows, row)
    parts = torch.empty(count, 2, channels, device=sums.device)
    moments_kernel[(count, triton.cdiv(channels, column))](
        flat, parts, rows, channels, tiles, ROWS=row, COLUMNS=column, **_OPTIONS
    )
    statistics = torch.empty(2, channels, device=sums.device)
    statistics_kernel[(triton.cdiv(channels, FINISH_COLUMNS),)](
        parts,
        statistics,
        running_mean,
        running_var,
        counter,
        *_arguments(scales, gamma)[:4],
        eps,
        share,
        rows,
        channels,
        tiles * row,
        count,
        INPUT=scale_kind(scales.input),
        WEIGHT=scale_kind(scales.weight),
        PARTS=triton.next_power_of_2(count),
        COLUMNS=FINISH_COLUMNS,
        **_OPTIONS,
    )
    out = empty_channels_last(sums, dtype)
    quantize_kernel[(triton.cdiv(rows, row), triton.cdiv(channels, column))](
        flat,
        statistics,
        gamma,
        beta,
        rows_of(out),
        *_arguments(scales, gamma),
        target.low,
        target.high,
        rows,
        channels,
        **_kinds(scales),
        SIGN=target.sign,
        DEQUANTIZES=dequantizes,
        ROWS=row,
        COLUMNS=column,
        **_OPTIONS,
    )
    return out, statistics


def norm_quantize_backward(
    gradient: Tensor,
    sums: Tensor,
    statistics: Tensor,
    gamma: Tensor,
    beta: Tensor,
    scales: Scales,
    eps: float,
    target: Target,
    dtype: torch.dtype,
    wants_scale: bool,
) -> tuple[Tensor, Tensor]:
    """Return what ``plain.norm_quantize_backward`` returns; three launches, of which two read gradient and sums."""
    flat = rows_of(sums)
    rows, channels = flat.shape
    row, column = _tile(channels)
    tiles, count = _shares(rows, row)
    given = rows_of(gradient)
    fixed = {"SIGN": target.sign, "CLAMPS": target.clamps, "RELU": target.relu, "ROWS": row, "COLUMNS": column}
    parts = torch.empty(count, 3, channels, device=sums.device)
    totals_kernel[(count, triton.cdiv(channels, column))](
        given,
        flat,
        statistics,
        gamma,
        beta,
        parts,
        *_arguments(scales, gamma),
        target.low,
        target.high,
        rows,
        channels,
        tiles,
        **_kinds(scales),
        **fixed,
        **_OPTIONS,
    )
    totals = parts.sum(0)
    out = empty_channels_last(sums, dtype)
    gradient_kernel[(triton.cdiv(rows, row), triton.cdiv(channels, column))](
        given,
        flat,
        statistics,
        gamma,
        beta,
        totals,
        rows_of(out),
        *_arguments(scales, gamma),
        target.low,
        target.high,
        rows,
        channels,
        **_kinds(scales),
        **fixed,
        **_OPTIONS,
    )
    return out, totals


# Products and sums are rounded one by one, as they are written.
_OPTIONS: dict[str, Any] = {"num_warps": WARPS, "enable_fp_fusion": False}


def _tile(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile."""
    columns = min(64, triton.next_power_of_2(channels))
    return TILE // columns, columns


def _shares(rows: int, row: int) -> tuple[int, int]:
    """Tiles of each program of a reduction, and programs."""
    tiles = triton.cdiv(rows, row)
    each = triton.cdiv(tiles, MOST_PARTS)
    return each, triton.cdiv(tiles, each)


def _arguments(scales: Scales, any_tensor: Tensor) -> list[Any]:
    return [part for scale in scales for part in scale_argument(scale, any_tensor)]


def _kinds(scales: Scales) -> dict[str, int]:
    return {name: scale_kind(scale) for name, scale in zip(("INPUT", "WEIGHT", "OWN"), scales, strict=True)}
