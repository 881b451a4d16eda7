"""Operators of the graphs inside FINN on torch tensors, as ``operators.py``: streamlined ones of qonnx, then hardware.

Semantics are those of qonnx' and finn-plus' own Python models (``execute_node``). Hardware works channels-last on
integers; its products are computed in float32 where no sum can reach 2**24, which is exact.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import OPERATORS as ONNX_OPERATORS
from qtrain.export.execute.operators import Attributes, Operator, text, top1
from qtrain.export.execute.whole_products import EXACT_FLOAT32


def count_reached(x: Tensor, thresholds: Tensor, axis: int) -> Tensor:
    """How many of its channel's thresholds each value has reached, in ``x``'s dtype.

    Args:
        x: any shape.
        thresholds: [channels or 1, steps].
        axis: of the channels.
    """
    ordered = thresholds.to(x.dtype).sort(dim=1).values
    if len(ordered) == 1:
        return torch.searchsorted(ordered[0], x.contiguous(), right=True).to(x.dtype)
    by_channel = x.movedim(axis, 0)
    flat = by_channel.reshape(len(ordered), -1).contiguous()
    counts = torch.searchsorted(ordered, flat, right=True).to(x.dtype)
    return counts.reshape(by_channel.shape).movedim(0, axis)


def _channel_axis(a: Attributes, x: Tensor) -> int:
    layout = text(a, "data_layout") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(x.dim(), "NC")
    return layout.index("C") if "C" in layout else 1


def _multi_threshold(a: Attributes, x: Tensor, thresholds: Tensor) -> Tensor:
    axis = _channel_axis(a, x)
    if len(thresholds) not in (1, x.shape[axis]):
        raise ProofError(f"it has thresholds for {len(thresholds)} channels, its input has {x.shape[axis]}")
    counts = count_reached(x if x.is_floating_point() else x.double(), thresholds, axis)
    return a.get("out_scale", 1.0) * counts + a.get("out_bias", 0.0)


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    """Pad [N, H, W, C] by (top, left, bottom, right)."""
    top, left, bottom, right = pads
    return F.pad(x, (0, 0, left, right, top, bottom), value=value) if any(pads) else x


def _windows(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> Tensor:
    """Every window of [N, H, W, C] as [N, OH, OW, KH * KW * C], channels innermost."""
    n, height, width, channels = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    oh = (height - dh * (kh - 1) - 1) // sh + 1
    ow = (width - dw * (kw - 1) - 1) // sw + 1
    columns = F.unfold(x.permute(0, 3, 1, 2), (kh, kw), dilation=(dh, dw), stride=(sh, sw))
    return columns.view(n, channels, kh * kw, oh, ow).permute(0, 3, 4, 2, 1).reshape(n, oh, ow, kh * kw * channels)


def _im2col(a: Attributes, x: Tensor) -> Tensor:
    x = _padded(x, a.get("pad_amount", [0, 0, 0, 0]), a.get("pad_value", 0))
    return _windows(x, a["kernel_size"], a["stride"], a.get("dilations", [1, 1]))


def _channels_last(operator: Operator) -> Operator:
    def wrapped(a: Attributes, x: Tensor) -> Tensor:
        out = operator(a, x.permute(0, 3, 1, 2))
        assert isinstance(out, Tensor)
        return out.permute(0, 2, 3, 1)

    return wrapped


def integer_product(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight`` of integers [..., K] and [K, M], exact."""
    largest = x.abs().amax() * weight.abs().sum(0).amax()
    if largest < EXACT_FLOAT32:
        return (x.float() @ weight.float()).to(x.dtype)
    return x @ weight


def _equal_bits(x: Tensor, weight: Tensor) -> Tensor:
    """Number of equal bits of 0/1 rows and columns."""
    return (integer_product(2 * x - 1, 2 * weight - 1) + x.shape[-1]) / 2


def _activated(a: Attributes, sums: Tensor, *thresholds: Tensor) -> Tensor:
    """Thresholds inside a matrix unit, where it has them."""
    if a.get("noActivation", 0):
        return sums
    counts = count_reached(sums, thresholds[0], -1)
    return 2 * counts - 1 if text(a, "outputDataType") == "BIPOLAR" else counts + a.get("ActVal", 0)


def _mvau(a: Attributes, x: Tensor, weight: Tensor, *thresholds: Tensor) -> Tensor:
    x = x.reshape(len(x), *a.get("numInputVectors", [1])[1:], a["MW"])
    if a.get("binaryXnorMode", 0):
        return _activated(a, _equal_bits(x, weight), *thresholds)
    if text(a, "inputDataType") == text(a, "weightDataType") == "BIPOLAR":
        return _activated(a, _equal_bits((x + 1) / 2, (weight + 1) / 2), *thresholds)
    return _activated(a, integer_product(x, weight), *thresholds)


def _vvau(a: Attributes, x: Tensor, weight: Tensor, *thresholds: Tensor) -> Tensor:
    (kh, kw), channels = a["Kernel"], a["Channels"]
    windows = x.reshape(*x.shape[:3], kh * kw, channels)  # as the window generator in front leaves them
    sums = torch.einsum("nhwkc,ck->nhwc", windows, weight.reshape(channels, kh * kw))
    if text(a, "inputDataType") == text(a, "weightDataType") == "BIPOLAR":
        sums = (sums + kh * kw) / 2
    return _activated(a, sums, *thresholds)


def _thresholding(a: Attributes, x: Tensor, thresholds: Tensor) -> Tensor:
    return _activated({**a, "noActivation": 0}, x, thresholds)


def _window_generator(a: Attributes, x: Tensor) -> Tensor:
    return _windows(x, a["ConvKernelDim"], a["Stride"], a.get("Dilation", [1, 1]))


def _pool(a: Attributes, x: Tensor) -> Tensor:
    kh, kw = a["KernelSize"]
    windows = x.reshape(*x.shape[:3], kh * kw, a["Channels"])
    kind = text(a, "Function")
    reductions: dict[str, Callable[[], Tensor]] = {
        "MaxPool": lambda: windows.amax(3),
        "AccPool": lambda: windows.sum(3),
        "AvgPool": lambda: windows.mean(3),
        "QuantAvgPool": lambda: (windows.sum(3) / 2 ** _dropped_bits(a, kh * kw)).floor(),
    }
    if kind not in reductions:
        raise ProofError(f"Pool with Function {kind!r}: only {', '.join(reductions)} are executed")
    return reductions[kind]()


def _dropped_bits(a: Attributes, values: int) -> int:
    in_bits, out_bits = (int(text(a, f"{side}DataType").lstrip("UINT")) for side in ("Input", "Output"))
    return max(0, ((2**in_bits - 1) * values).bit_length() - out_bits)


def _label_select(a: Attributes, x: Tensor) -> Tensor:
    return top1(x.reshape(len(x), *a.get("numInputVectors", [1])[1:], a["Labels"]))


FINN_OPERATORS: dict[str, Operator] = {
    **ONNX_OPERATORS,
    "MultiThreshold": _multi_threshold,
    "Im2Col": _im2col,
    "MaxPoolNHWC": _channels_last(ONNX_OPERATORS["MaxPool"]),
    "XnorPopcountMatMul": lambda _, x, weight: _equal_bits(x, weight),
    "MVAU": _mvau,
    "VVAU": _vvau,
    "Thresholding": _thresholding,
    "ConvolutionInputGenerator": _window_generator,
    "FMPadding": lambda a, x: _padded(x, a["Padding"]),
    "Pool": _pool,
    "GlobalAccPool": lambda _, x: x.sum((1, 2), keepdim=True),
    "LabelSelect": _label_select,
    "DuplicateStreams": lambda a, x: (x,) * a["NumOutputStreams"],
    "AddStreams": lambda _, x, y: x + y,
    "ElementwiseAdd": lambda _, x, y: x + y,
    "ElementwiseSub": lambda _, x, y: x - y,
    "ElementwiseMul": lambda _, x, y: x * y,
}
