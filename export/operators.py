"""ONNX and QONNX operators on torch tensors: ``(attributes, *inputs) -> output``, as their specifications say."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.errors import ProofError

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]
TIE = 1e-9
_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round,  # half to even, as numpy's and Brevitas'
    "HALF_EVEN": torch.round,
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "DOWN": torch.trunc,
}


def text(a: Attributes, name: str, default: str = "") -> str:
    """A text attribute; ONNX keeps bytes."""
    value = a.get(name, default)
    return value.decode() if isinstance(value, bytes) else value


def _rounding(a: Attributes) -> Callable[[Tensor], Tensor]:
    mode = text(a, "rounding_mode", "ROUND").upper()
    if mode not in _ROUNDING:
        raise ProofError(f"rounding mode {mode!r} is not one of {', '.join(_ROUNDING)}")
    return _ROUNDING[mode]


def _limits(width: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Smallest and largest integer of ``width`` bits."""
    if signed:
        return -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
    return 0, 2**width - 1 - narrow


def _quant(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, bits: Tensor) -> Tensor:
    signed, narrow, width = bool(a.get("signed", 1)), bool(a.get("narrow", 1)), int(bits)
    shifted = bool(zero_point.any())
    y = x / scale  # a new tensor: what follows may work in it
    if shifted:
        y = y + zero_point
    if width == 1 and signed:
        y = torch.where(y >= 0, 1.0, -1.0).to(x.dtype)
    else:
        y = _rounding(a)(y.clamp_(*_limits(width, signed, narrow)))
    return (y - zero_point) * scale if shifted else y.mul_(scale) if scale.numel() == 1 else y * scale


def _trunc(a: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor, *rest: Tensor) -> Tensor:
    """Drop the low bits of integers. Version 1 gives both bit widths, version 2 an output scale between them."""
    integers = torch.round(x / scale + zero_point)
    if len(rest) == 2:
        in_bits, out_bits = rest
        return (_rounding(a)(integers / 2.0 ** (in_bits - out_bits)) - zero_point) * scale
    _, out_scale, out_bits = rest
    factor = 2 ** torch.round(torch.log2(out_scale / scale))
    limits = _limits(int(out_bits), bool(a.get("signed", 1)), bool(a.get("narrow", 0)))
    return (_rounding(a)((integers / factor).clamp(*limits)) - zero_point / factor) * out_scale


def _bipolar_quant(_: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    return torch.where(x >= 0, scale, -scale)


def _pads(a: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """ONNX's pads, all starts before all ends; ``auto_pad`` makes outputs of size/stride, rounded up."""
    mode = text(a, "auto_pad", "NOTSET")
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return list(a.get("pads", [0] * 2 * len(size))) if mode == "NOTSET" else [0] * 2 * len(size)
    ones = [1] * len(size)
    axes = zip(size, kernel, a.get("strides", ones), a.get("dilations", ones), strict=True)
    totals = [max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in axes]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if mode == "SAME_UPPER" else more + less


def _padded(a: Attributes, x: Tensor, kernel: Sequence[int], value: float) -> Tensor:
    pads = _pads(a, x.shape[2:], kernel)
    half = len(pads) // 2
    # torch wants (start, end) pairs from the last axis.
    torch_order = [p for axis in reversed(range(half)) for p in (pads[axis], pads[axis + half])]
    return F.pad(x, torch_order, value=value) if any(pads) else x


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = _padded(a, x, weight.shape[2:], 0.0)
    options = {"stride": a.get("strides", [1, 1]), "dilation": a.get("dilations", [1, 1]), "groups": a.get("group", 1)}
    return F.conv2d(x, weight, bias, **options)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x = _padded(a, x, a["kernel_shape"], float("-inf"))
    return F.max_pool2d(
        x,
        a["kernel_shape"],
        a.get("strides", [1, 1]),
        dilation=a.get("dilations", 1),
        ceil_mode=bool(a.get("ceil_mode")),
    )


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * len(a["kernel_shape"]))
    ones = torch.ones_like(x[:1, :1])
    counted = bool(a.get("count_include_pad", 0))
    if a.get("ceil_mode") or any(d != 1 for d in a.get("dilations", [])):
        raise ProofError("an AveragePool with ceil_mode or dilations is not executed")
    total = F.avg_pool2d(_padded(a, x, kernel, 0.0), kernel, strides, divisor_override=1)
    count = F.avg_pool2d(_padded(a, ones, kernel, 1.0 if counted else 0.0), kernel, strides, divisor_override=1)
    return total / count


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    if (mode := text(a, "mode", "constant")) != "constant":
        raise ProofError(f"Pad in mode {mode!r}: only constants are executed")
    half = len(pads) // 2
    order = [int(p) for axis in reversed(range(half)) for p in (pads[axis], pads[axis + half])]
    return F.pad(x, order, value=0.0 if value is None else float(value))


def _concat(a: Attributes, *xs: Tensor) -> Tensor:
    images = max(len(x) for x in xs)  # a constant was exported for one image
    return torch.cat([x.expand(images, *x.shape[1:]) if a["axis"] else x for x in xs], a["axis"])


def _clip(_: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(low, high)


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    x, y = (x.T if a.get("transA") else x), (y.T if a.get("transB") else y)
    out = a.get("alpha", 1.0) * (x @ y)
    return out if c is None else out + a.get("beta", 1.0) * c


def top1(logits: Tensor, axis: int = -1) -> Tensor:
    """Index of the largest value, the lowest one among equals, axis kept.

    Two classes with equal integer sums tie exactly in hardware, where the lower index wins; float64 leaves up to 1e-15
    between them, so that values closer than ``TIE`` count as equal. Distinct sums are a quantizer's step apart.
    """
    return tied(logits, axis).int().argmax(axis, keepdim=True)


def tied(logits: Tensor, axis: int = -1) -> Tensor:
    """Where the value equals the largest one, as bool of the same shape."""
    best = logits.amax(axis, keepdim=True)
    return logits >= best - TIE * best.abs().clamp(min=1)


def _top_k(a: Attributes, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    axis = a.get("axis", -1)
    if int(k) != 1 or not a.get("largest", 1):
        raise ProofError(f"TopK with k={int(k)}: only the largest one is executed")
    index = top1(x, axis)
    return x.gather(axis, index), index


def _new_shape(a: Attributes, x: Tensor, shape: Tensor) -> list[int]:
    """ONNX's, where 0 keeps a size unless ``allowzero``."""
    return [x.shape[i] if n == 0 and not a.get("allowzero", 0) else n for i, n in enumerate(shape.tolist())]


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[0], *_new_shape(a, x, shape)[1:]])  # graphs are exported for one image


# Where no image passes, no axis is that of the images.
ON_CONSTANTS: dict[str, Operator] = {"Reshape": lambda a, x, shape: x.reshape(_new_shape(a, x, shape))}
OPERATORS: dict[str, Operator] = {
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "Div": lambda _, x, y: x / y,
    "Sqrt": lambda _, x: x.sqrt(),
    "Relu": lambda _, x: x.relu(),
    "Identity": lambda _, x: x,
    "MatMul": lambda _, x, y: x @ y,
    "Transpose": lambda a, x: x.permute(a["perm"]) if "perm" in a else x.permute(*reversed(range(x.dim()))),
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Reshape": _reshape,
    "Conv": _conv,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Clip": _clip,
    "Concat": _concat,
    "GlobalAveragePool": lambda _, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "Quant": _quant,
    "BipolarQuant": _bipolar_quant,
    "Trunc": _trunc,
    "TopK": _top_k,
}
