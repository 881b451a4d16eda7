"""What an epoch on a GPU is expected to take, computed from counts of one step, as a table of docs/speed.md.

A step's calls are counted on the meta device. Each takes as long as the longest of three: its bytes at the device's
bandwidth, its operations at the rate of their arithmetic, and its launches in a graph. Nothing overlaps.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry

import qtrain.models.fast_forward as forward
from benchmarks.gpu.traffic import Traffic
from benchmarks.records import table
from qtrain.data.crop_operator import LAUNCHES as CROPS
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.models.integer_multiply import cuda_dtypes

NETWORK = "CNV_4W4A"
BATCH_SIZES = (100, 1024)
IMAGES = 45_000  # of CIFAR-10's training images
CAPABILITY = (9, 0)
# Reached on an H200 by a large copy and by large products, and the share of it that such small ones are taken to reach.
GB_PER_S = 4300
TFLOP_PER_S = {torch.float32: 395, torch.float16: 790, torch.bfloat16: 790}  # float32 as TF32
SHARE_OF_BANDWIDTH = 0.7
SHARE_OF_RATE = 0.4
LAUNCH_US = 2.5  # from the start of one kernel in a graph to that of the next, where neither has work
UPDATE_BYTES = 20  # a parameter: it, its gradient and its momentum are read, it and its momentum written
OTHERS = 6  # launches: the table's position, the sum of losses, and the copy of the rates


@dataclass(frozen=True)
class Call:
    """One call of a step: operations, bytes and launches, and the arithmetic."""

    operations: int
    bytes: int
    launches: int
    dtype: torch.dtype

    @property
    def seconds(self) -> float:
        """At the rates above."""
        moving = self.bytes / (GB_PER_S * 1e9 * SHARE_OF_BANDWIDTH)
        rate = TFLOP_PER_S.get(self.dtype, TFLOP_PER_S[torch.float32])
        return max(moving, self.operations / (rate * 1e12 * SHARE_OF_RATE), self.launches * LAUNCH_US / 1e6)


class _Calls(Traffic):
    """Lists the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Call] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.bytes, self.calls
        out = super().__torch_dispatch__(function, types, args, kwargs)
        counted = flop_registry.get(function.overloadpacket)
        operations = counted(*args, **(kwargs or {}), out_val=out) if counted else 0
        dtype = next((a.dtype for a in args if isinstance(a, Tensor)), torch.float32)
        if self.calls > before[1]:
            self.found.append(Call(operations, self.bytes - before[0], self.calls - before[1], dtype))
        return out


def calls_of_a_step(network: str, batch_size: int, capability: tuple[int, int] = CAPABILITY) -> list[Call]:
    """Count a step of a network in precision "fast" on the meta device, data and update included."""

    def dtypes(device: object, x: Any, weight: Any, values: Tensor) -> Any:
        largest = max(x.largest, weight.largest)
        return cuda_dtypes(capability, largest, x.largest * weight.largest * values[0].numel())

    model = build_model(network).train()
    fast_forward(model, "fast")
    model.to("meta").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    padded = torch.empty(IMAGES, 3, 40, 40, dtype=torch.uint8, device="meta")
    labels = torch.empty(IMAGES, dtype=torch.int64, device="meta")
    table_ = torch.empty(IMAGES, 4, dtype=torch.int32, device="meta")
    position = torch.zeros((), dtype=torch.int64, device="meta")
    images, shown = torch.ops.qtrain.crop_flip(padded, labels, table_, position, batch_size, 32, 32)
    with patch.object(forward, "grid_dtypes", dtypes), _Calls() as calls:
        F.cross_entropy(model(images), shown).backward()
    crop = Call(0, images.numel() * 5, CROPS, torch.float32)  # a byte is read, four are written
    parameters = sum(p.numel() for p in model.parameters())
    update = Call(0, UPDATE_BYTES * parameters, 1, torch.float32)
    others = Call(0, 0, OTHERS, torch.float32)
    return [*calls.found, crop, update, others]


def expected() -> str:
    """The table."""
    rows = []
    for batch_size in BATCH_SIZES:
        calls = calls_of_a_step(NETWORK, batch_size)
        step = sum(call.seconds for call in calls)
        steps = IMAGES // batch_size
        rows.append(
            [
                f"{NETWORK}, fast",
                f"{batch_size:,}",
                f"{sum(call.launches for call in calls)}",
                f"{sum(call.bytes for call in calls) / 1e6:,.0f} MB",
                f"{sum(call.operations for call in calls) / 1e9:,.0f} GFLOP",
                f"{1e6 * step:,.0f} us",
                f"{step * steps:.2f} s",
            ]
        )
    head = ["network", "batch", "launches", "bytes", "operations", "step", "epoch"]
    about = (
        f"Computed, not measured: an epoch of {IMAGES:,} images on an H200, of which {GB_PER_S / 1000:g} TB/s, "
        f"{TFLOP_PER_S[torch.float32]} TFLOP/s in TF32 and {TFLOP_PER_S[torch.bfloat16]} in bfloat16 are known; "
        f"{SHARE_OF_BANDWIDTH:.0%} of the bandwidth and {SHARE_OF_RATE:.0%} of the products' rate are taken for "
        f"reached, and {LAUNCH_US} us for a kernel in a graph. Nothing overlaps; validation is not in it."
    )
    return f"{textwrap.fill(about, 120)}\n\n{table(head, rows)}"
