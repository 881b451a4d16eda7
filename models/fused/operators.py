"""The fused computations as operators of torch, ``torch.ops.qtrain``: one call each, whoever computes it.

A call has a plain form (``plain``) and a kernel in Triton (``norm_kernels``, ``rounding_kernels``). The kernels are
taken for devices that are trusted with them, where ``self_check`` has seen the plain forms' numbers. As operators they
are one node each for whatever records calls: a count of bytes, a compiler, the tests' stand-in for CUDA's graphs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from qtrain.models.fused import plain
from qtrain.models.fused.carried import Scale
from qtrain.models.fused.plain import Scales, Target
from qtrain.triton_kernels import trusted

Split = tuple[Tensor | None, float]  # a scale as operators take it

_TARGET = "float low, float high, bool sign, bool clamps, bool relu"
_SCALES = (
    "Tensor? input_scale, float input_constant, Tensor? weight_scale, float weight_constant, Tensor? scale, "
    "float constant"
)
_SCHEMAS = {
    "norm_quantize": (
        "(Tensor sums, Tensor gamma, Tensor beta, Tensor(a!) running_mean, Tensor(b!) running_var, "
        f"Tensor(c!) counter, {_SCALES}, float eps, float share, {_TARGET}, ScalarType dtype, bool dequantizes) "
        "-> (Tensor, Tensor)"
    ),
    "norm_quantize_backward": (
        f"(Tensor gradient, Tensor sums, Tensor statistics, Tensor gamma, Tensor beta, {_SCALES}, float eps, "
        f"{_TARGET}, ScalarType dtype, bool wants_scale) -> (Tensor, Tensor)"
    ),
    "integers": f"(Tensor values, Tensor? scale, float constant, {_TARGET}, ScalarType dtype) -> Tensor",
    "integers_gradient": (
        f"(Tensor gradient, Tensor values, Tensor? scale, float constant, Tensor? factor, float factor_constant, "
        f"{_TARGET}, bool wants_scale) -> (Tensor, Tensor)"
    ),
    "mean_magnitudes": "(Tensor row, Tensor bounds) -> Tensor",
}
# How often the kernels read their inputs: what is normalised depends on the statistics of all of it, and what goes back
# on sums over all of it. Bytes are counted with it.
READS = {"norm_quantize": 2, "norm_quantize_backward": 2, "integers": 1, "integers_gradient": 1, "mean_magnitudes": 1}
# Kernels that a call launches, some of which read a few numbers a channel alone.
LAUNCHES = {
    "norm_quantize": 3,
    "norm_quantize_backward": 3,
    "integers": 1,
    "integers_gradient": 1,
    "mean_magnitudes": 2,
}
_library = Library("qtrain", "DEF")
ROOM = "of normalisation and rounding"


def split(scale: Scale) -> Split:
    """A scale as two arguments."""
    return (scale, 0.0) if isinstance(scale, Tensor) else (None, scale)


def split_all(scales: Scales) -> tuple[Any, ...]:
    """All scales as arguments."""
    return *split(scales.input), *split(scales.weight), *split(scales.own)


def _scales(*arguments: Any) -> Scales:
    return Scales(*(_joined(*arguments[i : i + 2]) for i in (0, 2, 4)))


def _joined(scale: Tensor | None, constant: float) -> Scale:
    return constant if scale is None else scale


def _norms(tensor: Tensor) -> Any:
    if not trusted(ROOM, tensor.device):
        return plain
    from qtrain.models.fused import norm_kernels

    return norm_kernels


def _rounding(tensor: Tensor) -> Any:
    if not trusted(ROOM, tensor.device):
        return plain
    from qtrain.models.fused import rounding_kernels

    return rounding_kernels


def _norm_quantize(
    sums: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, counter: Tensor, *more: Any
) -> tuple[Tensor, Tensor]:
    eps, share, *target = more[6:13]
    options = _scales(*more[:6]), eps, share, Target(*target), *more[13:]
    out: tuple[Tensor, Tensor] = _norms(sums).norm_quantize(sums, gamma, beta, mean, var, counter, *options)
    return out


def _norm_quantize_backward(
    gradient: Tensor, sums: Tensor, statistics: Tensor, gamma: Tensor, beta: Tensor, *more: Any
) -> tuple[Tensor, Tensor]:
    eps, *target = more[6:12]
    options = _scales(*more[:6]), eps, Target(*target), *more[12:]
    out: tuple[Tensor, Tensor] = _norms(sums).norm_quantize_backward(gradient, sums, statistics, gamma, beta, *options)
    return out


def _integers(values: Tensor, scale: Tensor | None, constant: float, *target_and_dtype: Any) -> Tensor:
    *target, dtype = target_and_dtype
    out: Tensor = _rounding(values).integers(values, _joined(scale, constant), Target(*target), dtype)
    return out


def _integers_gradient(
    gradient: Tensor,
    values: Tensor,
    scale: Tensor | None,
    constant: float,
    factor: Tensor | None,
    factor_constant: float,
    *target_and_wants: Any,
) -> tuple[Tensor, Tensor]:
    *target, wants = target_and_wants
    scales = _joined(scale, constant), _joined(factor, factor_constant)
    out: tuple[Tensor, Tensor] = _rounding(values).integers_gradient(gradient, values, *scales, Target(*target), wants)
    return out


def _mean_magnitudes(row: Tensor, bounds: Tensor) -> Tensor:
    if not trusted(ROOM, row.device):
        return plain.mean_magnitudes(row, bounds)
    from qtrain.models.fused import magnitude_kernels

    return magnitude_kernels.mean_magnitudes(row, bounds)


def _shape_of_norm_quantize(sums: Tensor, gamma: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sums, dtype=more[-2]), gamma.new_empty((2, len(gamma)))


def _shape_of_norm_quantize_backward(gradient: Tensor, sums: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sums, dtype=more[-2]), more[0].new_empty((3, sums.shape[1]))


def _shape_of_integers(values: Tensor, *more: Any) -> Tensor:
    return torch.empty_like(values, dtype=more[-1])


def _shape_of_integers_gradient(gradient: Tensor, values: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(values), values.new_empty(len(values))


_COMPUTED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "norm_quantize": (_norm_quantize, _shape_of_norm_quantize),
    "norm_quantize_backward": (_norm_quantize_backward, _shape_of_norm_quantize_backward),
    "integers": (_integers, _shape_of_integers),
    "integers_gradient": (_integers_gradient, _shape_of_integers_gradient),
    "mean_magnitudes": (_mean_magnitudes, lambda row, bounds: row.new_empty(len(bounds) - 1)),
}
for _name, (_compute, _shape) in _COMPUTED.items():
    _library.define(_name + _SCHEMAS[_name])
    _library.impl(_name, _compute, "CompositeExplicitAutograd")
    _library.impl(_name, _shape, "Meta")
