"""QONNX's quantizers on torch tensors, value by value as qonnx' own Python models."""

from collections.abc import Callable

import torch
from torch import Tensor

from qtrain.export.errors import ProofError
from qtrain.export.execute.integer_grid import WIDEST, limits
from qtrain.export.execute.windows import Attributes, text

_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round,  # half to even, as numpy's and Brevitas'
    "HALF_EVEN": torch.round,
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "DOWN": torch.trunc,
    "UP": lambda x: x.sign() * x.abs().ceil(),
    "HALF_UP": lambda x: x.sign() * (x.abs() + 0.5).floor(),
    "HALF_DOWN": lambda x: x.sign() * (x.abs() - 0.5).ceil(),
}


def _rounding(a: Attributes, default: str = "ROUND") -> Callable[[Tensor], Tensor]:
    mode = text(a, "rounding_mode", default).upper()
    if mode not in _ROUNDING:
        raise ProofError(f"rounding mode {mode!r} is not one of {', '.join(_ROUNDING)}")
    return _ROUNDING[mode]


def _width(bits: Tensor) -> int:
    """A bit width, which must be one whole number."""
    width = float(bits)
    if not 1 <= width <= WIDEST or width != int(width):
        raise ProofError(f"a bit width must be a whole number from 1 to {WIDEST}, but it is {width:g}")
    return int(width)


def quant(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, bits: Tensor) -> Tensor:
    """Round to integers of ``bits`` bits times ``scale``, as qonnx does; one bit with a sign gives the scale's sign."""
    y = steps_of(a, x, scale, zero_point, bits)
    if bool(zero_point.any()):
        return (y - zero_point) * scale
    return y.mul_(scale) if scale.numel() == 1 else y * scale


def steps_of(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, bits: Tensor) -> Tensor:
    """Return the integers that ``quant`` scales, zero point included, as a new tensor."""
    signed = bool(a.get("signed", 1))
    narrow = bool(a.get("narrow", 1))
    width = _width(bits)
    y = x / scale  # a new tensor: what follows may work in it
    if bool(zero_point.any()):
        y = y + zero_point
    if width == 1 and signed:
        return torch.where(y >= 0, 1.0, -1.0).to(x.dtype)
    return _rounding(a)(y.clamp_(*limits(width, signed, narrow)))


def trunc(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, *rest: Tensor) -> Tensor:
    """Drop the low bits of integers. Version 1 gives both bit widths, version 2 an output scale between them."""
    rounding = _rounding(a, "FLOOR")
    integers = torch.round(x / scale + zero_point)
    if len(rest) == 2:
        in_bits, out_bits = rest
        return (rounding(integers / 2.0 ** (in_bits - out_bits)) - zero_point) * scale
    _, out_scale, out_bits = rest
    factor = 2 ** torch.round(torch.log2(out_scale / scale))
    ends = limits(_width(out_bits), bool(a.get("signed", 1)), bool(a.get("narrow", 0)))
    return (rounding((integers / factor).clamp(*ends)) - zero_point / factor) * out_scale


def bipolar_quant(_: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    """The scale, with the sign of ``x``; zero counts as positive."""
    return torch.where(x >= 0, scale, -scale)
