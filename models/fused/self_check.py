"""Whether the Triton kernels give the plain forms' numbers on a device, seen before anything is trained with them.

A kernel that compiles may still be wrong there: another version of Triton, another GPU. Each kernel is run on small
random tensors and held to its plain form.
"""

from typing import Any

import torch
from torch import Tensor

from qtrain.models.fused import plain
from qtrain.models.fused.carried import Scale
from qtrain.models.fused.plain import Scales, Target
from qtrain.triton_kernels import Checks

CLOSE = 1e-3  # of the largest number; float32 sums in another order lie nearer by far
NEAR_A_TIE = 1e-3  # how far a value may lie from where it rounds otherwise, in steps, to be rounded otherwise
# Channels that fill no block, rows that fill several; each kind of quantizer, trained scales and constants. Every case
# is compiled, so that there are few.
CASES = (
    ((4, 16, 9, 9), Target(-7, 7, sign=False, clamps=True, relu=False), False),
    ((200, 70), Target(0, 255, sign=False, clamps=True, relu=True), True),
    ((3, 8, 5, 4), Target(-7, 7, sign=False, clamps=False, relu=False), True),
    ((4, 16, 9, 9), Target(-1, 1, sign=True, clamps=True, relu=False), False),
)


def comparisons(device: torch.device) -> Checks:
    """Run each kernel and its plain form; yield what was compared, and whether they agree."""
    from qtrain.models.fused import magnitude_kernels, norm_kernels, rounding_kernels

    for shape, target, trained in CASES:
        scales = _scales(shape[1], device) if trained else Scales(0.13, 0.05, 0.3)
        yield from _norm(norm_kernels, shape, target, scales, device)
        scale = scales.weight
        rows = scale.reshape(-1, *[1] * (len(shape) - 1)) if isinstance(scale, Tensor) else scale
        yield from _rounding(rounding_kernels, shape, target, rows, device)
    row = torch.randn(50_000).to(device)
    bounds = torch.tensor([0, 1, 40, 49_000, 50_000], device=device)
    found = [form.mean_magnitudes(row, bounds) for form in (plain, magnitude_kernels)]
    yield "mean_magnitudes", _close(found[1], found[0])


def _scales(channels: int, device: torch.device) -> Scales:
    """Trained ones: of the layer's input, of each of its outputs, and of the quantizer."""
    one, each, own = torch.tensor(0.13), torch.rand(channels).add_(0.1), torch.tensor([0.3])
    return Scales(one.to(device), each.to(device), own.to(device))


def _norm(kernels: Any, shape: tuple[int, ...], target: Target, scales: Scales, device: torch.device) -> Checks:
    sums = _ordered(torch.randint(-90, 91, shape).float(), device)
    gradient = _ordered(torch.randn(shape), device)
    channels = shape[1]
    gamma = torch.rand(channels).add_(0.5).to(device)
    beta = torch.randn(channels).mul_(0.3).to(device)
    found = []
    for form in (plain, kernels):
        counter = torch.zeros((), dtype=torch.int64, device=device)
        moving = torch.zeros(channels, device=device), torch.ones(channels, device=device), counter
        options = scales, 1e-4, 0.1, target, torch.float32, False
        integers, statistics = form.norm_quantize(sums, gamma, beta, *moving, *options)
        found.append((integers, statistics, *moving))
    (integers, statistics, *moved), (own, own_statistics, *own_moved) = found
    steps = _steps(sums, statistics, gamma, beta, scales)
    yield f"norm_quantize of {shape}", _equal_but_at_ties(own, integers, steps, target)
    yield f"the statistics of {shape}", _close(own_statistics, statistics)
    yield "the running statistics", all(map(_close, own_moved, moved))
    given = gradient, sums, statistics, gamma, beta, scales, 1e-4, target, torch.float32, not target.sign
    (to_sums, totals), (own_to_sums, own_totals) = (form.norm_quantize_backward(*given) for form in (plain, kernels))
    yield f"norm_quantize_backward of {shape}", _mostly_close(own_to_sums, to_sums)
    rows = 2 if target.sign else 3
    yield f"the totals of {shape}", all(map(_mostly_close, own_totals[:rows], totals[:rows]))


def _rounding(kernels: Any, shape: tuple[int, ...], target: Target, scale: Scale, device: torch.device) -> Checks:
    if isinstance(scale, Tensor):
        shape = (len(scale), *shape[1:])
    values = _ordered(torch.randn(shape), device)
    gradient = _ordered(torch.randn(shape), device)
    integers = [form.integers(values, scale, target, torch.float32) for form in (plain, kernels)]
    yield f"integers of {shape}", torch.equal(*integers)
    given = gradient, values, scale, 0.3, target, not target.sign
    (to_values, rows), (own_to_values, own_rows) = (form.integers_gradient(*given) for form in (plain, kernels))
    yield f"integers_gradient of {shape}", _close(own_to_values, to_values)
    if not target.sign:
        yield f"the scale's gradient of {shape}", _close(own_rows, rows)


def _ordered(tensor: Tensor, device: torch.device) -> Tensor:
    """As training has it: channels last."""
    tensor = tensor.to(device)
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _steps(sums: Tensor, statistics: Tensor, gamma: Tensor, beta: Tensor, scales: Scales) -> Tensor:
    """What is rounded, in float64."""

    def channels(values: Any) -> Any:
        if not isinstance(values, Tensor) or values.numel() == 1:
            return values
        return values.double().reshape(1, -1, *[1] * (sums.dim() - 2))

    values = sums.double() * channels(scales.input) * channels(scales.weight)
    mean, inverse = statistics
    normed = (values - channels(mean)) * channels(inverse) * channels(gamma) + channels(beta)
    return normed / channels(scales.own)


def _equal_but_at_ties(found: Tensor, wanted: Tensor, steps: Tensor, target: Target) -> bool:
    from_a_tie = steps.abs() if target.sign else (steps - steps.floor() - 0.5).abs()
    differ = found != wanted
    return bool((~differ | (from_a_tie < NEAR_A_TIE)).all()) and bool(differ.float().mean() < 0.01)


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= CLOSE * wanted.abs().max().clamp(min=1e-6))


def _mostly_close(found: Tensor, wanted: Tensor) -> bool:
    """Close, but for a thousandth: at the edge of a range one form may pass a gradient that the other does not."""
    apart = (found - wanted).abs() > CLOSE * wanted.abs().max().clamp(min=1e-6)
    return bool(apart.float().mean() <= 0.001) or int(apart.sum()) == 0
