# mypy: disable-error-code="no-untyped-def"
"""Crop, flip and conversion in Triton: the kernel behind ``crop_operator.plain``.

Triton is imported here, so this module is imported on a GPU or by tests alone.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
_OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def crop_kernel(
    padded,
    labels,
    table,
    position,
    images,
    shown,
    channels,
    padded_height,
    padded_width,
    height,
    width,
    BLOCK: tl.constexpr,
):
    """A part of one image, in the order of the result; the first program of an image copies its label."""
    image = tl.program_id(0)
    row = (tl.load(position) + image) * 4
    index = tl.load(table + row).to(tl.int64)
    top = tl.load(table + row + 1)
    left = tl.load(table + row + 2)
    mirrored = tl.load(table + row + 3)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = at < channels * height * width
    x = at % width
    y = (at // width) % height
    channel = at // (width * height)
    x = tl.where(mirrored > 0, width - 1 - x, x)
    place = (channel * padded_height + y + top) * padded_width + x + left
    pixels = tl.load(padded + index * channels * padded_height * padded_width + place, mask=mask, other=0)
    values = pixels.to(tl.float32)
    values = tl.div_rn(values, tl.zeros_like(values) + 255.0)
    tl.store(images + image.to(tl.int64) * channels * height * width + at, values, mask=mask)
    if tl.program_id(1) == 0:
        tl.store(shown + image, tl.load(labels + index))


def crop_flip(
    padded: Tensor, labels: Tensor, table: Tensor, position: Tensor, count: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return what ``crop_operator.plain`` returns; one launch."""
    _, channels, padded_height, padded_width = padded.shape
    images = torch.empty(count, channels, height, width, device=padded.device)
    shown = torch.empty(count, dtype=torch.int64, device=padded.device)
    crop_kernel[(count, triton.cdiv(channels * height * width, BLOCK))](
        padded.contiguous(),
        labels,
        table,
        position,
        images,
        shown,
        channels,
        padded_height,
        padded_width,
        height,
        width,
        BLOCK=BLOCK,
        **_OPTIONS,
    )
    return images, shown
