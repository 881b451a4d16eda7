"""What stands in for a Brevitas quantizer in the fast forward pass, read from Brevitas' own modules."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.function_wrapper import Identity, RoundSte, TensorClamp, TensorClampSte
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant, RescalingIntQuant
from brevitas.core.quant.delay import _NoDelay
from brevitas.core.scaling import ConstScaling
from brevitas.core.zero_point import ZeroZeroPoint
from torch import Tensor, nn

from qtrain.models.scale_rules import ScaleRule, scale_rule
from qtrain.models.straight_through import ALL, Edges, Fixed, Scaled, Sign, edges_of


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
