"""The quantizers of every network, named once.

Going from 8 bits to 1 changes no other argument: 1 bit is the sign (binary), 2 bits and more are integers around zero
(weights, signed activations) or from zero up (after a ReLU). Zero points are 0 and activation scales per tensor, as
FINN asks.

A quantizer's *range* is the largest magnitude it can give. ``Scaling`` says where it comes from:

- "constant": fixed when the network is built,
- "learned": starts there and is trained, in the logarithmic domain so that it stays positive,
- "statistics": weights use the mean magnitude of the weights they quantize, times the factor that is best for a
  normal distribution; activations are learned.

One bit has no use for a range: its scale is a constant.
"""

from dataclasses import dataclass

from brevitas.core.bit_width import BitWidthImplType
from brevitas.core.quant import QuantType
from brevitas.core.restrict_val import FloatToIntImplType, RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.core.stats.stats_op import register_stats_implementation
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.inject import ExtendedInjector, value
from brevitas.inject.enum import StatsOp
from brevitas.nn import QuantIdentity, QuantReLU
from brevitas.quant.solver import ActQuantSolver, WeightQuantSolver
from torch import Tensor, nn

from qtrain.models.bits import check_bits
from qtrain.models.scalings import Scaling, check_scaling, gaussian_range

_MEAN_MAGNITUDE = 0.79788  # of a normal distribution, in standard deviations


@register_stats_implementation(signed=False)
class MeanMagnitude(nn.Module):
    """``factor`` times the mean magnitude, of the whole tensor or of each output channel.

    The largest magnitude, Brevitas' usual statistic, leaves most 2-bit weights at zero.
    """

    def __init__(self, factor: float, stats_reduce_dim: int | None = None):
        super().__init__()
        self.factor = factor
        self.stats_reduce_dim = stats_reduce_dim

    def forward(self, x: Tensor) -> Tensor:
        """Threshold of ``x``: a scalar, or one value a row."""
        mean = x.abs().mean() if self.stats_reduce_dim is None else x.abs().mean(dim=self.stats_reduce_dim)
        return self.factor * mean


class _Quantizer(ExtendedInjector):
    bit_width_impl_type = BitWidthImplType.CONST
    zero_point_impl = ZeroZeroPoint
    float_to_int_impl_type = FloatToIntImplType.ROUND
    scaling_per_output_channel = False
    narrow_range = True
    signed = True

    @value
    def quant_type(bit_width):  # type: ignore[no-untyped-def]  # brevitas injects it by name
        return QuantType.BINARY if bit_width == 1 else QuantType.INT


class _Constant(_Quantizer):
    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.FP


class _Learned(_Quantizer):
    scaling_impl_type = ScalingImplType.PARAMETER
    restrict_scaling_type = RestrictValueType.LOG_FP


class _Statistics(_Quantizer):
    scaling_impl_type = ScalingImplType.STATS
    restrict_scaling_type = RestrictValueType.FP
    scaling_stats_op = StatsOp.AVE
    scaling_stats_impl = MeanMagnitude
    scaling_min_val = 1e-8  # all weights zero must not divide by zero


class ConstantWeight(_Constant, WeightQuantSolver):
    """Weights in a fixed range; the network clips them there after each optimizer step."""


class LearnedWeight(_Learned, WeightQuantSolver):
    """Weights in a trained range."""


class StatisticsWeight(_Statistics, WeightQuantSolver):
    """Weights in a range that follows their mean magnitude."""


class ConstantAct(_Constant, ActQuantSolver):
    """Activations in a fixed range."""


class LearnedAct(_Learned, ActQuantSolver):
    """Activations in a trained range."""


_WEIGHT = {"constant": ConstantWeight, "learned": LearnedWeight, "statistics": StatisticsWeight}
_ACT = {"constant": ConstantAct, "learned": LearnedAct, "statistics": LearnedAct}


@dataclass(frozen=True)
class Scales:
    """How all quantizers of a network get their scales.

    Attributes:
        scaling: where ranges come from.
        power_of_two: round every scale of 2 bits and more to a power of two.
        per_channel: one scale for each output channel of a convolution's statistics or learned scale; FINN takes that
            everywhere but in the last layer.
    """

    scaling: Scaling = "constant"
    power_of_two: bool = False
    per_channel: bool = False

    def __post_init__(self) -> None:
        check_scaling(self.scaling)

    def _restriction(self) -> dict[str, object]:
        return {"restrict_scaling_type": RestrictValueType.POWER_OF_TWO} if self.power_of_two else {}

    def weights(
        self, bits: int, limit: float, *, binary_scale: float, channels: int | None = None
    ) -> dict[str, object]:
        """Keyword arguments for the weights of a Brevitas layer.

        Args:
            bits: 1 to 8.
            limit: the range of 2 bits and more, at the start where it is learned.
            binary_scale: magnitude of 1-bit weights.
            channels: output channels, where the layer may have a scale for each.
        """
        kind = "constant" if check_bits("the weights", bits) == 1 else self.scaling
        found: dict[str, object] = {} if bits == 1 else self._restriction()
        if channels and self.per_channel and kind != "constant":
            found |= {"scaling_per_output_channel": True}
        if kind == "constant":
            found |= {"scaling_const": binary_scale if bits == 1 else limit}
        elif kind == "learned":
            found |= {"scaling_init": limit}
        else:
            found |= {"factor": gaussian_range(bits) / _MEAN_MAGNITUDE}
        options = {f"weight_{name}": given for name, given in found.items()}
        return {"weight_quant": _WEIGHT[kind], "weight_bit_width": bits, **options}

    def _activation(self, bits: int, low: float, high: float) -> dict[str, object]:
        kind = "constant" if check_bits("the activations", bits) == 1 else self.scaling
        restriction = {} if bits == 1 else self._restriction()
        return {"act_quant": _ACT[kind], "bit_width": bits, "min_val": low, "max_val": high, **restriction}

    def signed(self, bits: int, limit: float = 1.0) -> nn.Module:
        """Activations in [-limit, limit]; one bit is the sign function."""
        limit = 1.0 if bits == 1 else limit
        return QuantIdentity(**self._activation(bits, -limit, limit))

    def relu(self, bits: int) -> nn.Module:
        """Activations from zero up; one bit is the sign, whose two values serve binary weights better than 0 and 1."""
        if bits == 1:
            return self.signed(1)
        options = self._activation(bits, 0.0, gaussian_range(bits, signed=False))
        return QuantReLU(**options, signed=False, narrow_range=False)


def fixed_point_input(bits: int) -> nn.Module:
    """Fixed point Q1.(bits-1) over [-1, 1): a power-of-two scale, so that no 8-bit pixel lands on a rounding tie."""
    if check_bits("the input", bits) == 1:
        return Scales().signed(1)
    return QuantIdentity(
        act_quant=ConstantAct,
        bit_width=bits,
        min_val=-1.0,
        max_val=1.0 - 2.0 ** (1 - bits),
        narrow_range=False,
        restrict_scaling_type=RestrictValueType.POWER_OF_TWO,
    )
