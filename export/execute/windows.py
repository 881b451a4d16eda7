"""ONNX operators that slide a window over images or pad them: convolutions, pools and ``Pad``, on torch tensors."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.errors import ProofError

Attributes = Mapping[str, Any]
# The largest tensor that an operator may make, in bytes: a batch of ImageNet's largest feature maps is a fifth of it.
LARGEST_TENSOR = 2**31
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def text(a: Attributes, name: str, default: str = "") -> str:
    """A text attribute; ONNX keeps bytes."""
    value = a.get(name, default)
    return value.decode() if isinstance(value, bytes) else value


def check_size(shape: Sequence[int], itemsize: int = 8) -> None:
    """See that a tensor of this shape may be allocated.

    Raises:
        ProofError: it is larger than ``LARGEST_TENSOR``.
    """
    size = math.prod(shape) * itemsize
    if size > LARGEST_TENSOR:
        raise ProofError(f"a tensor of {list(shape)} needs {size / 2**30:.3g} GiB, {LARGEST_TENSOR >> 30} are allowed")


def pad_axes(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the last axes of ``x``; ``pads`` has all their starts, then all their ends, and may be negative."""
    half = len(pads) // 2
    starts = pads[:half]
    ends = pads[half:]
    _check_padded(x, pads)
    # torch wants (start, end) pairs from the last axis.
    torch_order = [p for axis in reversed(range(half)) for p in (starts[axis], ends[axis])]
    return F.pad(x, torch_order, value=value) if any(pads) else x


def _check_padded(x: Tensor, pads: Sequence[int]) -> None:
    half = len(pads) // 2
    kept = x.dim() - half
    axes = zip(x.shape[kept:], pads[:half], pads[half:], strict=True)
    check_size([*x.shape[:kept], *(size + start + end for size, start, end in axes)], x.element_size())


def _ones(x: Tensor) -> list[int]:
    return [1] * (x.dim() - 2)


def _pads(a: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """ONNX's pads, all starts before all ends; ``auto_pad`` makes outputs of size/stride, rounded up."""
    mode = text(a, "auto_pad", "NOTSET")
    none = [0] * 2 * len(size)
    if mode == "NOTSET":
        return list(a.get("pads", none))
    if mode == "VALID":
        return none
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ProofError(f"auto_pad {mode!r} is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    ones = [1] * len(size)
    axes = zip(size, kernel, a.get("strides", ones), a.get("dilations", ones), strict=True)
    totals = [max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in axes]
    less = [total // 2 for total in totals]
    more = [total - total // 2 for total in totals]
    return less + more if mode == "SAME_UPPER" else more + less


def _padded(a: Attributes, x: Tensor, kernel: Sequence[int], value: float) -> Tensor:
    return pad_axes(x, _pads(a, x.shape[2:], kernel), value)


def _spatial(kinds: Mapping[int, Any], x: Tensor) -> Any:
    """The function of ``kinds`` for as many axes as ``x`` [N, C, ...] slides over."""
    if x.dim() - 2 not in kinds:
        raise ProofError(f"its input has {x.dim()} axes; {', '.join(str(n + 2) for n in kinds)} are executed")
    return kinds[x.dim() - 2]


def conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ONNX's Conv over one, two or three axes."""
    kernel = list(weight.shape[2:])
    if list(a.get("kernel_shape", kernel)) != kernel:
        raise ProofError(f"kernel_shape {list(a['kernel_shape'])} is not its weight's {kernel}")
    convolution = _spatial(_CONVOLUTIONS, x)
    ones = _ones(x)
    options = {"stride": a.get("strides", ones), "dilation": a.get("dilations", ones), "groups": a.get("group", 1)}
    pads = _pads(a, x.shape[2:], kernel)
    starts = pads[: len(kernel)]
    if starts == pads[len(kernel) :] and min(starts) >= 0:
        _check_padded(x, pads)
        return convolution(x, weight, bias, padding=starts, **options)
    return convolution(pad_axes(x, pads), weight, bias, **options)


def _ceil_sizes(a: Attributes, x: Tensor, pads: Sequence[int]) -> list[int]:
    """Output sizes where they are rounded up: no window begins in the padding behind the image."""
    half = len(pads) // 2
    ones = _ones(x)
    sizes = []
    for axis, n in enumerate(x.shape[2:]):
        stride = a.get("strides", ones)[axis]
        covered = (a["kernel_shape"][axis] - 1) * a.get("dilations", ones)[axis] + 1
        windows = math.ceil((n + pads[axis] + pads[axis + half] - covered) / stride) + 1
        begins_behind = (windows - 1) * stride >= n + pads[axis]
        sizes.append(windows - begins_behind)
    return sizes


def max_pool(a: Attributes, x: Tensor) -> Tensor:
    """ONNX's MaxPool over one, two or three axes; the values, not their indices."""
    pool = _spatial(_MAX_POOLS, x)
    kernel = a["kernel_shape"]
    pads = _pads(a, x.shape[2:], kernel)
    ones = _ones(x)
    dilations = a.get("dilations", ones)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    if any(pad > limit for pad, limit in zip(pads, reach + reach, strict=True)):
        raise ProofError(f"pads {pads} leave windows of {list(kernel)} with nothing of the image in them")
    rounded_up = bool(a.get("ceil_mode"))
    padded = pad_axes(x if x.is_floating_point() else x.double(), pads, float("-inf"))
    if x.dim() == 4:  # torch's pool is up to twenty times as fast on a CPU where an image's channels lie together
        padded = padded.contiguous(memory_format=torch.channels_last)
    out = pool(padded, kernel, a.get("strides", ones), dilation=dilations, ceil_mode=rounded_up).contiguous()
    if rounded_up:
        for axis, size in enumerate(_ceil_sizes(a, x, pads), 2):
            out = out.narrow(axis, 0, size)
    return out.to(x.dtype)


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    """ONNX's AveragePool over two axes, without ceil_mode and dilations."""
    if a.get("ceil_mode") or any(d != 1 for d in a.get("dilations", [])):
        raise ProofError("an AveragePool with ceil_mode or dilations is not executed")
    if x.dim() != 4:
        raise ProofError(f"an AveragePool of {x.dim()} axes is not executed, only one of 4")
    kernel = a["kernel_shape"]
    strides = a.get("strides", _ones(x))
    counted = 1.0 if a.get("count_include_pad", 0) else 0.0
    image = torch.ones_like(x[:1, :1])
    total = F.avg_pool2d(_padded(a, x, kernel, 0.0), kernel, strides, divisor_override=1)
    count = F.avg_pool2d(_padded(a, image, kernel, counted), kernel, strides, divisor_override=1)
    return total / count


def pads_of_all_axes(x: Tensor, pads: Tensor, axes: Tensor | None) -> list[int]:
    """Starts for every axis of ``x``, then ends, from those of the named axes; zero elsewhere."""
    given = [int(p) for p in pads]
    named = list(range(x.dim())) if axes is None else [int(axis) % x.dim() for axis in axes]
    if len(given) != 2 * len(named) or len(set(named)) != len(named):
        raise ProofError(f"Pad has {len(given)} pads for the axes {named} of {x.dim()}")
    everywhere = [0] * 2 * x.dim()
    for place, axis in enumerate(named):
        everywhere[axis] = given[place]
        everywhere[axis + x.dim()] = given[place + len(named)]
    return everywhere


def pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    """ONNX's Pad with a constant, on all axes or on those named."""
    mode = text(a, "mode", "constant")
    if mode != "constant":
        raise ProofError(f"Pad in mode {mode!r}: only constants are executed")
    return pad_axes(x, pads_of_all_axes(x, pads, axes), 0.0 if value is None else value.item())
