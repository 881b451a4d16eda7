# mypy: disable-error-code="no-untyped-def"
"""Mean magnitudes of the parts of a row in Triton: the kernel behind ``plain.mean_magnitudes``."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
SHARES = 32  # programs of a part: one alone would read a large layer for as long as all others together
_OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def magnitude_kernel(row, bounds, sums, SHARES: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of magnitudes over one share of a part, divided by the part's length."""
    part = tl.program_id(0)
    share = tl.program_id(1)
    first = tl.load(bounds + part)
    last = tl.load(bounds + part + 1)
    total = tl.zeros([BLOCK], tl.float32)
    start = first + share * BLOCK
    while start < last:  # the interpreter has no range of its own numbers
        at = start + tl.arange(0, BLOCK)
        total += tl.abs(tl.load(row + at, mask=at < last, other=0.0))
        start += SHARES * BLOCK
    tl.store(sums + part * SHARES + share, tl.sum(total, 0) / (last - first).to(tl.float32))


def mean_magnitudes(row: Tensor, bounds: Tensor) -> Tensor:
    """Return what ``plain.mean_magnitudes`` returns; two launches, one of which reads the row."""
    parts = len(bounds) - 1
    sums = torch.empty(parts, SHARES, device=row.device)
    magnitude_kernel[(parts, SHARES)](row, bounds, sums, SHARES=SHARES, BLOCK=BLOCK, **_OPTIONS)
    return sums.sum(1)
