"""Quantizers as one autograd function each: rounded on the way forward, straight through on the way back.

They compute what Brevitas' modules compute, in the same order and so to the same bits, and keep for the backward pass
their input alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.function_wrapper import Identity, RoundSte, TensorClamp, TensorClampSte
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant, RescalingIntQuant
from brevitas.core.quant.delay import _NoDelay
from brevitas.core.scaling import ConstScaling
from brevitas.core.zero_point import ZeroZeroPoint
from torch import Tensor, nn
from torch.autograd import Function

Edges = tuple[float, float]  # gradients pass where the input lies strictly between them
_ALL: Edges = (-torch.inf, torch.inf)


class Sign(Function):
    """``scale`` where x >= 0, else ``-scale``; the scale is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``, which may have any shape."""
        ctx.save_for_backward(x)
        ctx.scale = scale
        ctx.edges = edges
        # A fifth of torch.where's time on a CPU. Adding 0 makes -0 the 0 that it counts as.
        return torch.copysign(x.new_full((), scale), x + 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient times the scale, between the edges."""
        (x,) = ctx.saved_tensors
        passed = gradient if ctx.edges == _ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed if ctx.scale == 1 else passed * ctx.scale, None, None


class Fixed(Function):
    """Integers of a constant scale, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: float, high: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``, which may have any shape."""
        ctx.save_for_backward(x)
        ctx.edges = edges
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient, between the edges."""
        (x,) = ctx.saved_tensors
        passed = gradient if ctx.edges == _ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed, None, None, None, None


class Scaled(Function):
    """Integers of a scale that is trained or follows the weights, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float, clamps: bool) -> Tensor:
        """``scale`` is one number or one for each output channel, in a shape that broadcasts."""
        ctx.save_for_backward(x, scale)
        ctx.low = low
        ctx.high = high
        ctx.clamps = clamps
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """To the input where it was not clamped, and to the scale: the integer less what the input passes on."""
        x, scale = ctx.saved_tensors
        steps = x / scale
        rounded = steps.round()
        integer = rounded.clamp(ctx.low, ctx.high)
        passes = rounded == integer if ctx.clamps else torch.ones_like(rounded, dtype=torch.bool)
        to_scale = gradient * torch.where(passes, integer - steps, integer)
        return gradient * passes, to_scale.sum_to_size(scale.shape), None, None, None


def edges_of(scale: float, low: float, high: float) -> Edges:
    """The floats next to the first and the last that rounds to an integer from ``low`` to ``high``.

    Found on the floats themselves: a bound computed as (high + 0.5) * scale misses ties and the last bit.
    """

    def beyond(limit: float, direction: float) -> float:
        away = torch.tensor(direction * torch.inf)
        at = torch.tensor((limit + direction * 0.5) * scale, dtype=torch.float32)
        while direction * (at / scale).round() > direction * limit:
            at = torch.nextafter(at, -away)
        while direction * (at / scale).round() <= direction * limit:
            at = torch.nextafter(at, away)
        return float(at)

    return beyond(low, -1.0), beyond(high, 1.0)


@dataclass
class FastQuantizer:
    """What stands in for a Brevitas quantizer.

    It holds the quantizer's owner, so that a copy of the network reads the copy's scales, and a network that has loaded
    a state the loaded ones: Brevitas makes its quantizers anew for that.

    Attributes:
        proxy: Brevitas' module that owns the quantizer and may replace it.
        low: least integer.
        high: largest integer.
        constant: the scale, where it is one.
        edges: where gradients pass, of a constant scale.
        clamps: whether gradients pass only what was not clamped.
        relu: a ReLU comes before it.
    """

    proxy: nn.Module
    low: float
    high: float
    constant: float | None
    edges: Edges = _ALL
    clamps: bool = False
    relu: bool = False

    @property
    def quantizer(self) -> nn.Module:
        """Brevitas' own, asked for scales that are trained or follow the weights."""
        return tensor_quantizer(self.proxy)

    @property
    def largest(self) -> float:
        """Return the largest magnitude of an integer."""
        return max(-self.low, self.high)

    @property
    def is_sign(self) -> bool:
        """Whether there are two values, which lack the 0."""
        return isinstance(self.quantizer, BinaryQuant | ClampedBinaryQuant)

    def scale(self, x: Tensor) -> float | Tensor:
        """Of the integers that ``x`` becomes."""
        return _scale(self.quantizer, x) if self.constant is None else self.constant

    def values(self, x: Tensor) -> Tensor:
        """``x``, of any shape, quantized."""
        if self.constant is None:
            x = torch.relu(x) if self.relu else x
            return Scaled.apply(x, _scale(self.quantizer, x), self.low, self.high, self.clamps)
        if self.is_sign:
            return Sign.apply(x, self.constant, self.edges)
        return Fixed.apply(x, self.constant, self.low, self.high, self.edges)


def tensor_quantizer(proxy: Any) -> nn.Module:
    """Return the quantizer that a layer's ``act_quant`` or ``weight_quant`` has at present."""
    fused = getattr(proxy, "fused_activation_quant_proxy", None)
    quantizer: nn.Module = (proxy if fused is None else fused).tensor_quant
    return quantizer


def fast_quantizer(proxy: nn.Module, *, relu: bool = False) -> FastQuantizer | None:
    """Read a Brevitas tensor quantizer; None where it does something that is not known here.

    Args:
        proxy: Brevitas' ``act_quant`` or ``weight_quant`` of a layer.
        relu: a ReLU comes before it.
    """
    quantizer = tensor_quantizer(proxy)
    if isinstance(quantizer, BinaryQuant | ClampedBinaryQuant):
        return _sign(proxy, quantizer) if not relu else None
    if isinstance(quantizer, RescalingIntQuant):
        return _integers(proxy, quantizer, relu)
    return None


def _sign(proxy: nn.Module, quantizer: Any) -> FastQuantizer | None:
    if not isinstance(quantizer.scaling_impl, ConstScaling) or not _at_once(quantizer):
        return None
    scale = float(quantizer.scaling_impl(torch.zeros(1, device=_device(quantizer))))
    clamps = type(quantizer) is ClampedBinaryQuant
    limits = torch.tensor([-scale, scale])
    low, high = torch.nextafter(limits, limits * torch.inf).tolist()
    return FastQuantizer(proxy, -1.0, 1.0, scale, (low, high) if clamps else _ALL, clamps)


def _integers(proxy: nn.Module, quantizer: Any, relu: bool) -> FastQuantizer | None:
    inner = quantizer.int_quant
    known = (
        isinstance(quantizer.zero_point_impl, ZeroZeroPoint)
        and isinstance(quantizer.msb_clamp_bit_width_impl, BitWidthConst)
        and type(inner.float_to_int_impl) is RoundSte
        and type(inner.tensor_clamp_impl) in (TensorClamp, TensorClampSte)
        and isinstance(inner.input_view_impl, Identity)
        and _at_once(inner)
        and not quantizer.observer_only
    )
    if not known:
        return None
    bits = quantizer.msb_clamp_bit_width_impl()
    clamps = type(inner.tensor_clamp_impl) is TensorClamp
    low = float(inner.min_int(bits))
    high = float(inner.max_int(bits))
    if relu and low != 0:
        return None
    if not isinstance(quantizer.scaling_impl, ConstScaling):
        return FastQuantizer(proxy, low, high, None, clamps=clamps, relu=relu)
    scale = float(_scale(quantizer, torch.zeros(1, device=_device(quantizer))))
    edges = edges_of(scale, low, high) if clamps else _ALL
    if relu:  # whose gradient is 0 at 0
        edges = (0.0, edges[1])
    return FastQuantizer(proxy, low, high, scale, edges, clamps, relu)


def _scale(quantizer: Any, x: Tensor) -> Tensor:
    steps = quantizer.int_scaling_impl(quantizer.msb_clamp_bit_width_impl())
    scale: Tensor = quantizer.scaling_impl(x, steps)
    return scale


def _at_once(quantizer: Any) -> bool:
    return isinstance(quantizer.delay_wrapper.delay_impl, _NoDelay)


def _device(quantizer: nn.Module) -> torch.device:
    tensors = [*quantizer.parameters(), *quantizer.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
