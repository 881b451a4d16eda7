"""Quantizers as one autograd function each: rounded on the way forward, straight through on the way back.

They compute what Brevitas' modules compute, in the same order and so to the same bits, and keep for the backward pass
one tensor of their input's size; after a ReLU, whose gradient goes through it, two.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.function_wrapper import Identity, RoundSte, TensorClamp, TensorClampSte
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant, RescalingIntQuant
from brevitas.core.quant.delay import _NoDelay
from brevitas.core.scaling import ConstScaling
from brevitas.core.zero_point import ZeroZeroPoint
from torch import Tensor, nn
from torch.autograd import Function

from qtrain.models.scale_rules import ScaleRule, scale_rule

Edges = tuple[float, float]  # gradients pass where the input lies strictly between them
ALL: Edges = (-torch.inf, torch.inf)


# Where a gradient passes, an integer and what it was rounded from are at most a half apart; where it was clamped, they
# count as one apart and more. Anything between tells the two cases from each other.
TOLD_APART = 0.75


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
        passed = gradient if ctx.edges == ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed if ctx.scale == 1 else passed * ctx.scale, None, None


class Fixed(Function):
    """Integers of a constant scale, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float | Tensor, low: float, high: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``, which may have any shape; ``scale`` as ``constant_on`` gives it."""
        ctx.save_for_backward(x)
        ctx.edges = edges
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient, between the edges."""
        (x,) = ctx.saved_tensors
        passed = gradient if ctx.edges == ALL else torch.ops.aten.hardtanh_backward(gradient, x, *ctx.edges)
        return passed, None, None, None, None


class Scaled(Function):
    """Integers of a scale that is trained or follows the weights, times that scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float, edges: Edges) -> Tensor:
        """Return the quantized values of ``x``.

        What the scale's gradient is made of is computed here, where ``x`` lies in the cache, and kept in its place.

        Args:
            ctx: of autograd.
            x: of any shape.
            scale: one number, or one for each output channel, in a shape that broadcasts.
            low: least integer.
            high: largest integer.
            edges: gradients pass where ``x / scale`` lies strictly between them.
        """
        steps = x / scale
        found = steps.round().clamp_(low, high)
        if any(ctx.needs_input_grad[:2]):
            told = tells(low, high, edges)
            if told:
                error = errors(found, steps, edges)
            else:
                passed = torch.ops.aten.hardtanh_backward(steps, steps, *edges)
                error = torch.sub(found, passed, out=passed)
            ctx.save_for_backward(error, None if told else steps)
            ctx.edges = edges
            ctx.shape = scale.shape
        return found.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """To the input where it was not clamped, and to the scale: the integer less what the input passes on."""
        error, steps = ctx.saved_tensors
        to_scale = (gradient * error).sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None
        return passed_on(gradient, error, steps, ctx.edges), to_scale, None, None, None


def errors(found: Tensor, steps: Tensor, edges: Edges) -> Tensor:
    """Return the scale's gradient at each number: the integer, less the number in steps where that is passed on.

    Args:
        found: the integers.
        steps: what they were rounded and clamped from; the errors take its place.
        edges: as `Scaled` takes them.
    """
    if edges != ALL:  # used for its forward form: 0 beyond the edges
        torch.ops.aten.hardtanh_backward(steps, steps, *edges, grad_input=steps)
    return torch.sub(found, steps, out=steps)


def passed_on(gradient: Tensor, error: Tensor, steps: Tensor | None, edges: Edges) -> Tensor:
    """Return the input's gradient.

    Args:
        gradient: of the values.
        error: as `errors` gives it.
        steps: where ``error`` does not tell what was clamped.
        edges: as `Scaled` takes them.
    """
    if edges == ALL:
        return gradient
    if steps is None:
        told: Tensor = torch.ops.aten.hardtanh_backward(gradient, error, -TOLD_APART, TOLD_APART)
        return told
    if edges[0] != 0:
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, steps, *edges)
        return passed
    # A ReLU's gradient lies in memory as its input does, whatever the order of the gradient that it gets. Sums behind
    # it are taken in that order.
    behind = torch.empty_like(steps)
    return torch.ops.aten.hardtanh_backward(gradient, steps, *edges, grad_input=behind)


def tells(low: float, high: float, edges: Edges) -> bool:
    """Whether an error alone says if its number was clamped: it is then the least or the largest integer itself."""
    return edges == ALL or (low <= -1 and high >= 1)


@cache
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


@dataclass(eq=False)
class Ready:
    """What a quantizer finds computed at the start of a forward pass of the whole network.

    Attributes:
        scales: of its integers, one for each call of the layer; the first call takes the last. All are equal, but the
            gradients of each are multiplied before they are added, as where each call computes its own.
        sources: the tensors that they were computed from.
        versions: how often each of them had been written to.
        values: of a layer's weights, quantized; or their integers, with the gradients of the quantized weights.
        narrow: the integers in the types of the forward and of the backward pass, where ``values`` are integers.
        calls: of the layer, up to now.
    """

    scales: list[Tensor]
    sources: tuple[Tensor, ...]
    versions: tuple[int, ...]
    values: Tensor | None = None
    narrow: tuple[Tensor, Tensor] | None = None
    calls: int = 0

    def is_of(self, sources: tuple[Tensor, ...]) -> bool:
        """Whether it was computed from just these tensors, and none of them has been written to since."""
        if len(sources) != len(self.sources):  # it was computed without the weights
            return False
        same = all(now is then for now, then in zip(sources, self.sources, strict=True))
        return same and all(now._version == then for now, then in zip(sources, self.versions, strict=True))


@dataclass(eq=False)
class FastQuantizer:
    """What stands in for a Brevitas quantizer.

    It holds the quantizer's owner, so that a copy of the network reads the copy's scales, and a network that has loaded
    a state the loaded ones: Brevitas makes its quantizers anew for that.

    Attributes:
        proxy: Brevitas' module that owns the quantizer and may replace it.
        low: least integer.
        high: largest integer.
        constant: the scale, where it is one.
        edges: where gradients pass: of the input where the scale is constant, else of the input over the scale.
        relu: a ReLU comes before it, and is not in the edges.
        rule: how its scale is computed, where that is known.
        ready: while a whole network computes, what was computed for this quantizer at the start.
    """

    proxy: nn.Module
    low: float
    high: float
    constant: float | None
    edges: Edges = ALL
    relu: bool = False
    rule: ScaleRule | None = None
    ready: Ready | None = field(default=None, repr=False)
    _constant: Tensor | None = field(default=None, repr=False)

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

    @property
    def parameter(self) -> Tensor:
        """The trained number behind a learned scale."""
        found: Tensor = self.quantizer.scaling_impl.value  # type: ignore[union-attr, assignment]
        return found

    def sources(self, weight: Tensor | None) -> tuple[Tensor, ...]:
        """Return the tensors that the scale follows from, and the weights themselves."""
        learned = self.rule is not None and self.rule.learned
        return tuple(found for found in (weight, self.parameter if learned else None) if found is not None)

    def constant_on(self, device: torch.device) -> float | Tensor:
        """The constant scale as a divisor: beside a CPU a tensor, as Brevitas has it.

        A GPU would multiply by the reciprocal of a number, and round otherwise.
        """
        constant = cast(float, self.constant)
        if device.type == "cpu":
            return constant
        if self._constant is None or self._constant.device != device:
            self._constant = torch.full((), constant, device=device)
        return self._constant

    def scale(self, x: Tensor) -> float | Tensor:
        """Of the integers that ``x`` becomes."""
        return _scale(self.quantizer, x) if self.constant is None else self.constant

    def present_scale(self, x: Tensor) -> float | Tensor:
        """As ``scale``, without gradients; where the network's forward pass has computed it already, that one."""
        if self.ready is not None:
            return self.ready.scales[0].detach()
        with torch.no_grad():
            return self.scale(x)

    def take(self, weight: Tensor | None = None) -> tuple[Ready, Tensor] | None:
        """Return what was computed for this quantizer at the start of the network's forward pass, and the call's scale.

        None where nothing was, where what it was computed from has changed since, and at more calls than it was
        computed for.

        Args:
            weight: what is quantized, where it is a layer's weights.
        """
        found = self.ready
        if found is None:
            return None
        if not found.is_of(self.sources(weight)):
            self.ready = None
            return None
        found.calls += 1
        return (found, found.scales[-found.calls]) if found.calls <= len(found.scales) else None

    def activations(self, x: Tensor) -> Tensor:
        """``x``, of any shape, quantized."""
        found = self.take()
        return self.quantized(x, self.scale(x) if found is None else found[1])

    def weights(self, weight: Tensor) -> Tensor:
        """A layer's weights, quantized."""
        found = self.take(weight)
        if found is None or found[0].values is None or found[0].narrow is not None:
            return self.quantized(weight, self.scale(weight))
        return found[0].values

    def quantized(self, x: Tensor, scale: float | Tensor) -> Tensor:
        """``x``, of any shape, quantized with a scale."""
        if isinstance(scale, Tensor):
            x = torch.relu(x) if self.relu else x
            found: Tensor = Scaled.apply(x, scale, self.low, self.high, self.edges)
            return found
        if self.is_sign:
            return Sign.apply(x, scale, self.edges)
        return Fixed.apply(x, self.constant_on(x.device), self.low, self.high, self.edges)


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
    return FastQuantizer(proxy, -1.0, 1.0, scale, (low, high) if clamps else ALL)


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
    constant = isinstance(quantizer.scaling_impl, ConstScaling)
    scale = float(_scale(quantizer, torch.zeros(1, device=_device(quantizer)))) if constant else 1.0
    edges = edges_of(scale, low, high) if clamps else ALL
    if relu and (clamps or constant):  # whose gradient is 0 at 0
        edges = (0.0, edges[1])
        relu = False
    if constant:
        return FastQuantizer(proxy, low, high, scale, edges)
    return FastQuantizer(proxy, low, high, None, edges, relu, scale_rule(quantizer))


def _scale(quantizer: Any, x: Tensor) -> Tensor:
    steps = quantizer.int_scaling_impl(quantizer.msb_clamp_bit_width_impl())
    scale: Tensor = quantizer.scaling_impl(x, steps)
    return scale


def _at_once(quantizer: Any) -> bool:
    return isinstance(quantizer.delay_wrapper.delay_impl, _NoDelay)


def _device(quantizer: nn.Module) -> torch.device:
    tensors = [*quantizer.parameters(), *quantizer.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
