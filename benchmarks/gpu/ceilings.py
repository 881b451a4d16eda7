"""What a device can do at most: bytes a second of a large copy, operations a second of a large product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from qtrain.training.tf32 import tf32

REPEATS = 10


def ceilings(device: torch.device, tiny: bool) -> dict[str, float]:
    """Measure both, on random numbers: zeros run faster.

    Args:
        device: cuda or cpu.
        tiny: sizes that a CPU has done in a moment, which measure nothing of worth.

    Returns:
        GB/s of a copy, bytes read and written, and TFLOP/s of a product by its arithmetic.
    """
    numbers, edge = (2**20, 256) if tiny else (2**29, 8192)
    found = {"copy_gb_per_s": _copied(numbers, device) / 1e9}
    for name, dtype, allowed in (
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
        with tf32(allowed):
            seconds = median_seconds(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        found[f"{name}_tflop_per_s"] = 2 * edge**3 / seconds / 1e12
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _copied(numbers: int, device: torch.device) -> float:
    """Bytes a second, read and written."""
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    return 2 * source.numel() * source.element_size() / seconds


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time it some times after warming up, on the device's own clock where it has one."""
    for _ in range(3):
        work()
    return statistics.median(_timed(work, device) for _ in range(REPEATS))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000
