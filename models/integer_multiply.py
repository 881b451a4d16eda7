"""Multiplication on the integer grid: operands are the quantizers' integers, in as few bits as hold them.

A float32 convolution of dequantized values rounds each product. One of integers rounds nothing while a sum stays below
the output type's largest exact integer, and the scales are applied once, afterwards. The backward pass multiplies the
same integers with the gradients, in bfloat16.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.autograd import Function

from qtrain.models.straight_through import FastQuantizer

Dtypes = tuple[torch.dtype, torch.dtype]  # of the forward and of the backward pass
HALF_LIMIT = 2048  # float16 holds every integer up to it, and of larger ones every second at most
TENSOR_CORES = (7, 0)  # first compute capability that multiplies float16 in them
AMPERE = (8, 0)  # first that has TF32 and bfloat16
_KEEPS_GRID = (nn.MaxPool2d, nn.Flatten, nn.Identity)  # values stay multiples of the same scale


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
    """Convolution or matrix product of two quantized tensors, on their integers."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, x_scale: Any, weight_scale: Any, shape: Any, dtypes: Dtypes
    ) -> Tensor:
        """``shape`` is stride, padding, dilation and groups of a convolution; None is a matrix product."""
        forward, backward = dtypes
        x_int = (x / x_scale).round_()
        weight_int = (weight / weight_scale).round_()
        ctx.save_for_backward(x_int.to(backward), weight_int.to(backward))
        ctx.scales = (x_scale, weight_scale)
        ctx.shape = shape
        x_int = x_int.to(forward)
        weight_int = weight_int.to(forward)
        y = (
            nn.functional.linear(x_int, weight_int)
            if shape is None
            else nn.functional.conv2d(x_int, weight_int, None, *shape)
        )
        return y.float() * (x_scale * _over_outputs(weight_scale, y.dim()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """As if the dequantized values had been multiplied."""
        x, weight = ctx.saved_tensors
        x_scale, weight_scale = ctx.scales
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        low = gradient.to(x.dtype)
        to_x = to_weight = None
        if wants_x and _is_one(weight_scale):
            to_x = _to_input(low, x, weight, ctx.shape).float() * weight_scale
        elif wants_x:
            scaled = (gradient * _over_outputs(weight_scale, gradient.dim())).to(x.dtype)
            to_x = _to_input(scaled, x, weight, ctx.shape).float()
        if wants_weight:
            to_weight = _to_weight(low, x, weight, ctx.shape).float() * x_scale
        return to_x, to_weight, None, None, None, None


def multiply(
    layer: nn.Module, x: Tensor, weight: Tensor, source: FastQuantizer, own: FastQuantizer, dtypes: Dtypes
) -> Tensor:
    """Convolve, or multiply with a matrix, what two quantizers have given; float32, with the layer's bias.

    Args:
        layer: a convolution or a linear layer.
        x: its input, integers times the scale of ``source``.
        weight: integers times the scale of ``own``.
        source: quantizer of the input.
        own: quantizer of the weights.
        dtypes: of the forward and of the backward pass.
    """
    shape = None
    if isinstance(layer, nn.Conv2d):
        shape = (layer.stride, layer.padding, layer.dilation, layer.groups)
    with torch.no_grad():  # the scales' gradients flow through the dequantized values
        scales = source.scale(x), own.scale(cast(Tensor, layer.weight))
    y: Tensor = _Multiply.apply(x, weight, *scales, shape, dtypes)
    bias = layer.bias
    return y if bias is None else y + _over_outputs(bias, y.dim())


def producers(model: nn.Module, layers: Sequence[nn.Module]) -> dict[str, str]:
    """Which quantizer each layer's input comes from, by paths; layers whose input has no one quantizer are absent.

    Args:
        model: traced with torch.fx; where it cannot be, nothing is found.
        layers: quantizers and consumers, none of which is looked into.
    """
    names = {layer: path for path, layer in model.named_modules() if layer in set(layers)}

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, path: str) -> bool:
            return module in names or super().is_leaf_module(module, path)

    try:
        graph = Tracer().trace(model)
    except Exception:  # control flow that depends on values, or whatever else a network does
        return {}
    found = {}
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(model.get_submodule(node.target), nn.Conv2d | nn.Linear):
            continue
        origin = node.args[0]
        while origin.op == "call_module" and isinstance(model.get_submodule(origin.target), _KEEPS_GRID):
            origin = origin.args[0]
        if origin.op != "call_module" or node.target not in names.values() or origin.target not in names.values():
            continue
        if not isinstance(model.get_submodule(origin.target), nn.Conv2d | nn.Linear):
            found[node.target] = origin.target
    return found


def _over_outputs(scale: Any, dims: int) -> Any:
    """One number for each output, shaped for [N, outputs, ...] of so many dimensions; one number stays as it is."""
    if _is_one(scale):
        return scale
    return scale.reshape(1, -1, *[1] * (dims - 2))


def _is_one(scale: Any) -> bool:
    return isinstance(scale, float) or scale.numel() == 1


def _to_input(gradient: Tensor, x: Tensor, weight: Tensor, shape: Any) -> Tensor:
    return gradient @ weight if shape is None else _convolution(gradient, x, weight, shape, (True, False, False))[0]


def _to_weight(gradient: Tensor, x: Tensor, weight: Tensor, shape: Any) -> Tensor:
    return gradient.T @ x if shape is None else _convolution(gradient, x, weight, shape, (False, True, False))[1]


def _convolution(gradient: Tensor, x: Tensor, weight: Tensor, shape: Any, mask: tuple[bool, ...]) -> Any:
    stride, padding, dilation, groups = shape
    arguments = (None, stride, padding, dilation, False, [0, 0], groups, mask)
    return torch.ops.aten.convolution_backward(gradient, x, weight, *arguments)
