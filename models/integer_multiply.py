"""Multiplication on the integer grid: operands are the quantizers' integers, in as few bits as hold them.

A float32 convolution of dequantized values rounds each product. One of integers rounds nothing while a sum stays below
the output type's largest exact integer, and the scales are applied once, afterwards. The backward pass multiplies the
same integers with the gradients, in bfloat16.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from qtrain.models.straight_through import FastQuantizer

Dtypes = tuple[torch.dtype, torch.dtype]  # of the forward and of the backward pass
HALF_LIMIT = 2048  # float16 holds every integer up to it, and of larger ones every second at most
TENSOR_CORES = (7, 0)  # first compute capability that multiplies float16 in them
AMPERE = (8, 0)  # first that has TF32 and bfloat16


def grid_dtypes(device: torch.device, x: FastQuantizer, weight: FastQuantizer, values: Tensor) -> Dtypes | None:
    """What a layer multiplies in; None where float32 is all that the device has.

    Args:
        device: of the operands.
        x: the input's quantizer.
        weight: the weights' quantizer.
        values: weights [outputs, ...].
    """
    if device.type == "cuda":
        largest = max(x.largest, weight.largest)
        bound = x.largest * weight.largest * values[0].numel()
        return cuda_dtypes(torch.cuda.get_device_capability(device), largest, bound)
    # On a CPU that has bfloat16 both passes use it: sums are rounded to 8 bits there.
    return (torch.bfloat16, torch.bfloat16) if device.type == "cpu" and _cpu_has_bfloat16() else None


def cuda_dtypes(capability: tuple[int, int], largest: float, bound: float) -> Dtypes | None:
    """What a GPU multiplies integers in; None where float32 is all that helps.

    1 and 2 bits go in float16 while a sum is exact there, more in float32, which tensor cores read as TF32: 8-bit
    integers fit it, and the sums too. Gradients are multiplied in bfloat16. GPUs before compute capability 8.0 have
    neither, and float16 has too narrow a range for gradients: theirs are multiplied in float32.

    Args:
        capability: of the GPU, as torch tells it.
        largest: magnitude of an operand.
        bound: of the magnitude of a sum.
    """
    half = largest <= 2 and bound <= HALF_LIMIT
    if capability >= AMPERE:
        return (torch.float16 if half else torch.float32), torch.bfloat16
    return (torch.float16, torch.float32) if half and capability >= TENSOR_CORES else None


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()


class _Multiply(Function):
    """Convolution or matrix product of two tensors of integers; gradients are those of the dequantized values."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scales: tuple[Any, Any, Any],
        narrow: tuple[Tensor, Tensor] | None,
        shape: Any,
        dtypes: Dtypes,
    ) -> Tensor:
        """Return float32.

        Args:
            ctx: of autograd.
            x: integers.
            weight: integers.
            scales: of the input, of the weights, and the one times the other in a shape that broadcasts over outputs.
            narrow: the weights in the types of the forward and of the backward pass, where they are there already.
            shape: stride, padding, dilation and groups of a convolution; None is a matrix product.
            dtypes: of the forward and of the backward pass.
        """
        forward, backward = dtypes
        weight_forward, weight_backward = narrow or (weight.to(forward), weight.to(backward))
        ctx.save_for_backward(x.to(backward), weight_backward)
        ctx.scales = scales[:2]
        ctx.shape = shape
        x = x.to(forward)
        y = (
            nn.functional.linear(x, weight_forward)
            if shape is None
            else nn.functional.conv2d(x, weight_forward, None, *shape)
        )
        return _times(y, scales[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """As if the dequantized values had been multiplied."""
        x, weight = ctx.saved_tensors
        x_scale, weight_scale = ctx.scales
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        low = gradient.to(x.dtype)
        if _is_one(weight_scale):
            to_x, to_weight = _gradients(low, x, weight, ctx.shape, (wants_x, wants_weight))
            to_x = None if to_x is None else _times(to_x, weight_scale)
        else:
            scaled = (gradient * _over_outputs(weight_scale, gradient.dim())).to(x.dtype) if wants_x else low
            to_x = _gradients(scaled, x, weight, ctx.shape, (wants_x, False))[0]
            to_x = None if to_x is None else to_x.float()
            to_weight = _gradients(low, x, weight, ctx.shape, (False, wants_weight))[1]
        return to_x, None if to_weight is None else _times(to_weight, x_scale), None, None, None, None


def multiply(layer: nn.Module, x: Tensor, source: FastQuantizer, own: FastQuantizer, dtypes: Dtypes) -> Tensor:
    """Convolve, or multiply with a matrix, what a quantizer has given; float32, with the layer's bias.

    Args:
        layer: a convolution or a linear layer.
        x: its input, integers times the scale of ``source``, or the integers alone where the source hands on these.
        source: quantizer of the input.
        own: quantizer of the weights.
        dtypes: of the forward and of the backward pass.
    """
    shape = None
    if isinstance(layer, nn.Conv2d):
        shape = (layer.stride, layer.padding, layer.dilation, layer.groups)
    raw = cast(Tensor, layer.weight)
    found = own.take(raw)
    given = source.ready  # asked for first: the scale of the product was made with it
    x_scale = source.present_scale(x)
    if found is None or found[0].narrow is None:
        live = own.scale(raw)
        weight = own.quantized(raw, live, integers=True)
        weight_scale = live.detach() if isinstance(live, Tensor) else live
        narrow = product = None
    else:
        ready, weight_scale = found
        weight = cast(Tensor, ready.values)
        narrow = ready.narrow
        product = ready.product
    if product is None or (given is None and source.constant is None):
        product = x_scale * _over_outputs(weight_scale, raw.dim())
    if not source.hands_integers:
        x = Integers.apply(x, x_scale)
    y: Tensor = _Multiply.apply(x, weight, (x_scale, weight_scale, product), narrow, shape, dtypes)
    bias = layer.bias
    return y if bias is None else y + _over_outputs(bias, y.dim())


class Integers(Function):
    """Quantized values over their scale; the gradient is that of the values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float | Tensor) -> Tensor:
        """Return the integers of ``x``, which may have any shape."""
        return (x / scale).round_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient as it is."""
        return gradient, None


def _over_outputs(scale: Any, dims: int) -> Any:
    """One number for each output, shaped for [N, outputs, ...] of so many dimensions; one number stays as it is."""
    if _is_one(scale):
        return scale
    return scale.reshape(1, -1, *[1] * (dims - 2))


def _times(x: Tensor, scale: Any) -> Tensor:
    """``x`` of any type times a scale, in float32; in one kernel where the scale is a tensor."""
    if isinstance(scale, float):
        return x.float() * scale
    # A tensor without dimensions would be taken for a number, and the product for one of the type of x.
    return x * scale.reshape([1] * x.dim()) if scale.numel() == 1 else x * scale


def _is_one(scale: Any) -> bool:
    return isinstance(scale, float) or scale.numel() == 1


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, shape: Any, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """To the input and to the weights, each where it is wanted."""
    if not any(wanted):
        return None, None
    if shape is None:
        return gradient @ weight if wanted[0] else None, gradient.T @ x if wanted[1] else None
    stride, padding, dilation, groups = shape
    arguments = (None, stride, padding, dilation, False, [0, 0], groups, (*wanted, False))
    to_x, to_weight, _ = torch.ops.aten.convolution_backward(gradient, x, weight, *arguments)
    return to_x, to_weight
