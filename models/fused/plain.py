"""The plain forms: what the kernels compute, in PyTorch, for any device and any layout.

They are torch's own BatchNorm, and the quantizers as ``straight_through`` has them. Channels are dimension 1. A layer's
sums are taken times the scales of its input and of its weights, before they are normalised.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from qtrain.models.fused.carried import Scale, over_outputs
from qtrain.models.straight_through import Edges, edges_of


class Target(NamedTuple):
    """The integers that a quantizer gives, and where gradients pass.

    Attributes:
        low: least integer.
        high: largest integer.
        sign: there are -1 and 1 alone.
        clamps: gradients pass only what was not clamped.
        relu: a ReLU comes before the quantizer.
    """

    low: float
    high: float
    sign: bool
    clamps: bool
    relu: bool


class Scales(NamedTuple):
    """What integers are multiplied with.

    Attributes:
        input: of the layer's input; one number.
        weight: of its weights; one number, or one for each output.
        own: of the quantizer behind the norm; one number.
    """

    input: Scale
    weight: Scale
    own: Scale


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
    """Return the integers of the normalised sums in ``dtype``, and mean and inverse deviation, float32 [2, C].

    Args:
        sums: [N, C] or [N, C, H, W].
        gamma: the norm's weight, [C].
        beta: the norm's bias, [C].
        running_mean: [C], moved in place.
        running_var: [C], likewise.
        counter: of batches, which is one more then.
        scales: of the sums and of the quantizer.
        eps: the norm's.
        share: how far the running statistics move, 0 to 1.
        target: of the quantizer.
        dtype: of the result.
        dequantizes: return the integers times their scale.
    """
    counter += 1
    norm = gamma, beta, running_mean, running_var
    normed, mean, inverse = torch.native_batch_norm(_scaled(sums, scales), *norm, True, share, eps)
    found = _rounded(normed.div_(scales.own), target)
    return (found * scales.own if dequantizes else found).to(dtype), torch.stack([mean, inverse])


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
    """Return the gradient of the sums in ``dtype``, and by channel those of gamma, beta and the scale, float32 [3, C].

    The sums' is that of the scaled ones times the weights' scale, which both products of the layer ask for.

    Args:
        gradient: of the dequantized values.
        sums: of the forward pass.
        statistics: that the forward pass has returned.
        gamma: the norm's weight.
        beta: the norm's bias.
        scales: of the sums and of the quantizer.
        eps: the norm's.
        target: of the quantizer.
        dtype: of the result.
        wants_scale: else the last row is undefined.
    """
    values = _scaled(sums, scales)
    steps = torch.native_batch_norm(values, gamma, beta, None, None, True, 0.0, eps)[0].div_(scales.own)
    gradient = gradient.float()
    passed = _passed(gradient, steps, target)
    if target.sign and scales.own != 1.0:
        passed = passed * scales.own
    mean, inverse = statistics
    to_values, to_gamma, to_beta = torch.ops.aten.native_batch_norm_backward(
        passed, values, gamma, None, None, mean, inverse, True, eps, [True, True, True]
    )
    to_scale = to_beta
    if wants_scale:
        over = [d for d in range(sums.dim()) if d != 1]
        to_scale = (gradient * _rounded(steps, target) - passed * steps).sum(over)
    to_sums = to_values.mul_(over_outputs(scales.weight, sums.dim()))
    return to_sums.to(dtype), torch.stack([to_gamma, to_beta, to_scale])


def _scaled(sums: Tensor, scales: Scales) -> Tensor:
    product = scales.input * over_outputs(scales.weight, sums.dim())
    return sums * product if sums.dtype == torch.float32 else sums.float().mul_(product)


def integers(values: Tensor, scale: Scale, target: Target, dtype: torch.dtype) -> Tensor:
    """Return ``values`` over ``scale``, which broadcasts with them, as integers in ``dtype``."""
    if target.sign:
        return torch.where(values >= 0, 1.0, -1.0).to(dtype)
    return (values / scale).round_().clamp_(target.low, target.high).to(dtype)


def integers_gradient(
    gradient: Tensor, values: Tensor, scale: Scale, factor: Scale, target: Target, wants_scale: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the values, and that of the scale in each row of them, float32 [rows].

    Args:
        gradient: ``factor`` over ``scale`` times it is the gradient of the quantized values.
        values: of the forward pass, float [rows, ...].
        scale: of them, broadcasting.
        factor: one number.
        target: of the quantizer.
        wants_scale: else that of the scale is undefined.
    """
    to_quantized = gradient.float() * (factor / scale)
    steps = values / scale
    passed = _passed(to_quantized, steps, target)
    if target.sign:
        passed = passed * scale
    if not wants_scale:
        return passed, values.new_empty(len(values))
    to_scale = to_quantized * _rounded(steps, target) - passed * steps
    return passed, to_scale.flatten(1).sum(1)


def mean_magnitudes(row: Tensor, bounds: Tensor) -> Tensor:
    """Return the mean magnitude of each part of a row, from which scales by statistics follow, float32 [parts].

    Args:
        row: float32 [n], the weights of all layers one after the other.
        bounds: int64 [parts + 1], where each part begins; the last is n.
    """
    return torch.segment_reduce(row.abs(), "mean", offsets=bounds)


def _rounded(steps: Tensor, target: Target) -> Tensor:
    if target.sign:
        return torch.where(steps >= 0, 1.0, -1.0)
    return steps.round().clamp_(target.low, target.high)


def _passed(gradient: Tensor, steps: Tensor, target: Target) -> Tensor:
    """The gradient where it passes the quantizer, else 0."""
    edges = _edges(target)
    passed: Tensor = gradient
    if edges != (-torch.inf, torch.inf):
        passed = torch.ops.aten.hardtanh_backward(gradient, steps, *edges)
    return passed


@cache
def _edges(target: Target) -> Edges:
    """Gradients pass where a value, in units of the scale, lies strictly between these."""
    low, high = -torch.inf, torch.inf
    if target.clamps and target.sign:
        outwards = torch.nextafter(torch.tensor([-1.0, 1.0]), torch.tensor([-torch.inf, torch.inf]))
        low, high = outwards.tolist()
    elif target.clamps:
        low, high = edges_of(1.0, target.low, target.high)
    return (0.0 if target.relu else low), high
