"""The quantizers of every network, named once.

Going from 8 bits to 1 changes no other argument: 1 bit is the sign (binary), 2 bits and more are signed, narrow
integers around zero. All scales are per tensor and all zero points 0, as FINN asks.

``scaling="constant"`` fixes the range to [-1, 1], as in Brevitas' bnn_pynq; ``"learned"`` starts there and trains the
scale in the logarithmic domain, so that it stays positive.
"""

from typing import Literal, get_args

from brevitas.core.bit_width import BitWidthImplType
from brevitas.core.quant import QuantType
from brevitas.core.restrict_val import FloatToIntImplType, RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.inject import ExtendedInjector, value
from brevitas.nn import QuantIdentity
from brevitas.quant.solver import ActQuantSolver, WeightQuantSolver

from qtrain.errors import UserError
from qtrain.models.bits import check_bits

Scaling = Literal["constant", "learned"]
SCALINGS: tuple[str, ...] = get_args(Scaling)


class _Signed(ExtendedInjector):
    bit_width_impl_type = BitWidthImplType.CONST
    zero_point_impl = ZeroZeroPoint
    float_to_int_impl_type = FloatToIntImplType.ROUND
    scaling_per_output_channel = False
    narrow_range = True
    signed = True

    @value
    def quant_type(bit_width):  # type: ignore[no-untyped-def]  # brevitas injects it by name
        return QuantType.BINARY if bit_width == 1 else QuantType.INT


class _Constant(_Signed):
    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.FP


class _Learned(_Signed):
    scaling_impl_type = ScalingImplType.PARAMETER
    restrict_scaling_type = RestrictValueType.LOG_FP


class ConstantWeight(_Constant, WeightQuantSolver):
    """Weights in [-1, 1]; the network clips them there after each optimizer step."""

    scaling_const = 1.0


class LearnedWeight(_Learned, WeightQuantSolver):
    """Weights in [-scale, scale], the scale trained from 1."""

    scaling_init = 1.0


class ConstantAct(_Constant, ActQuantSolver):
    """Activations in [-1, 1]."""

    min_val = -1.0
    max_val = 1.0


class LearnedAct(_Learned, ActQuantSolver):
    """Activations in [-scale, scale], the scale trained from 1."""

    min_val = -1.0
    max_val = 1.0


_WEIGHT = {"constant": ConstantWeight, "learned": LearnedWeight}
_ACT = {"constant": ConstantAct, "learned": LearnedAct}


def check_scaling(scaling: str) -> str:
    """Return ``scaling`` where it is a known kind, else raise a UserError."""
    if scaling not in SCALINGS:
        raise UserError(f"scaling must be one of {', '.join(SCALINGS)}, but got {scaling!r}")
    return scaling


def weight_quantizer(bits: int, scaling: Scaling = "constant") -> dict[str, object]:
    """Keyword arguments for the weights of a Brevitas layer. One bit has no use for a learned range: its scale is 1."""
    kind = "constant" if check_bits("the weights", bits) == 1 else check_scaling(scaling)
    return {"weight_quant": _WEIGHT[kind], "weight_bit_width": bits}


def activation(bits: int, scaling: Scaling = "constant") -> QuantIdentity:
    """A signed activation quantizer; one bit is the sign function."""
    kind = "constant" if check_bits("the activations", bits) == 1 else check_scaling(scaling)
    return QuantIdentity(act_quant=_ACT[kind], bit_width=bits)


def input_quantizer(bits: int) -> QuantIdentity:
    """Fixed point Q1.(bits-1) over [-1, 1): a power-of-two scale, so that no 8-bit pixel lands on a rounding tie."""
    if check_bits("the input", bits) == 1:
        return activation(1)
    return QuantIdentity(
        act_quant=ConstantAct,
        bit_width=bits,
        min_val=-1.0,
        max_val=1.0 - 2.0 ** (1 - bits),
        narrow_range=False,
        restrict_scaling_type=RestrictValueType.POWER_OF_TWO,
    )
