"""The fused layers' ways forward and back, for autograd.

Inside, the sums of a layer are integers, or near them where the forward pass multiplies in bfloat16, and what
normalises them applies the scales. The gradient of the sums is kept as that of the scaled sums times the weights'
scale: both products of the backward pass take it so, and scale nothing but the weights' gradients.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from qtrain.models.fast_quantizer import FastQuantizer
from qtrain.models.fused.carried import Dtypes, Integers, Normed, Product, Scale, held, over_outputs
from qtrain.models.fused.operators import split, split_all
from qtrain.models.fused.plain import Scales, Target

ops = torch.ops.qtrain
Shape = tuple[Any, ...] | None  # stride, padding, dilation and groups of a convolution; None is a matrix product


class _Multiply(Function):
    """A layer alone: integers with the integers of weights, times the scales."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, weight_scale: Scale, input_scale: Scale, about: "_About"
    ) -> Tensor:
        """``x`` are integers, ``weight`` float numbers; float32."""
        sums, low, integers = about.sums(x, weight, weight_scale)
        ctx.save_for_backward(low, integers, weight)
        ctx.scales = (weight_scale, input_scale)
        ctx.about = about
        return sums.float() * (input_scale * over_outputs(weight_scale, sums.dim()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """As if the dequantized values had been multiplied; the input's is for its integers."""
        x, integers, weight = ctx.saved_tensors
        weight_scale, input_scale = ctx.scales
        low = (gradient * over_outputs(weight_scale, gradient.dim())).to(x.dtype)
        found = ctx.about.gradients(low, x, integers, weight, weight_scale, input_scale, ctx.needs_input_grad)
        return *found, None, None


class _MultiplyNormQuantize(Function):
    """A layer, its norm and its quantizer; of them stay the sums, the operands' integers, and the statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        weight_scale: Scale,
        gamma: Tensor,
        beta: Tensor,
        scale: Scale,
        input_scale: Scale,
        norm: Any,
        about: "_About",
        target: Target,
        dtype: torch.dtype | None,
    ) -> Tensor:
        """``dtype`` holds the integers; None dequantizes them to float32."""
        sums, low, integers = about.sums(x, weight, weight_scale)
        scales = Scales(input_scale, weight_scale, scale)
        quantized, found = ops.norm_quantize(
            sums,
            gamma,
            beta,
            norm.running_mean,
            norm.running_var,
            norm.num_batches_tracked,
            *split_all(scales),
            norm.eps,
            norm.momentum,
            *target,
            torch.float32 if dtype is None else dtype,
            dtype is None,
        )
        ctx.save_for_backward(low, integers, weight, sums, found, gamma, beta)
        ctx.scales = scales
        ctx.about = about
        ctx.eps = norm.eps
        ctx.target = target
        return quantized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """From the gradient of the dequantized values."""
        x, integers, weight, sums, found, gamma, beta = ctx.saved_tensors
        scales = ctx.scales
        wants_scale = ctx.needs_input_grad[5]
        low, others = ops.norm_quantize_backward(
            gradient, sums, found, gamma, beta, *split_all(scales), ctx.eps, *ctx.target, x.dtype, wants_scale
        )
        products = ctx.about.gradients(low, x, integers, weight, scales.weight, scales.input, ctx.needs_input_grad)
        to_gamma, to_beta, to_scale = others
        to_scale = to_scale.sum().reshape(scales.own.shape) if wants_scale else None
        return *products, to_gamma, to_beta, to_scale, None, None, None, None, None


class _Quantize(Function):
    """Values as the integers of a quantizer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Scale, target: Target, dtype: torch.dtype) -> Tensor:
        """``x`` has any shape of two dimensions and more."""
        ctx.save_for_backward(x)
        ctx.scale = scale
        ctx.target = target
        integers: Tensor = ops.integers(x, *split(scale), *target, dtype)
        return integers

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """From the gradient of the dequantized values."""
        (x,) = ctx.saved_tensors
        wants = ctx.needs_input_grad[1]
        to_x, rows = ops.integers_gradient(gradient, x, *split(ctx.scale), *split(ctx.scale), *ctx.target, wants)
        to_scale = rows.sum().reshape(ctx.scale.shape) if wants else None
        return to_x, to_scale, None, None


class _ToIntegers(Function):
    """Values of a grid as its integers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Scale, dtype: torch.dtype) -> Tensor:
        """``x`` is integers times ``scale``."""
        return (x / scale).round_().to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """It is that of the values already."""
        return gradient.float(), None, None


class _Dequantize(Function):
    """Integers as values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Scale) -> Tensor:
        """Float32."""
        ctx.dtype = values.dtype
        return values.float() * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Integers take the gradient of the values."""
        return gradient.to(ctx.dtype), None


class _About:
    """What a layer multiplies.

    Args:
        layer: a convolution or a linear layer.
        target: of its weights.
        dtypes: of the forward and of the backward pass.
        narrow: the weights' integers in these types, where they are there already.
    """

    def __init__(self, layer: nn.Module, target: Target, dtypes: Dtypes, narrow: tuple[Tensor, Tensor] | None = None):
        self._shape: Shape = None
        if isinstance(layer, nn.Conv2d):
            self._shape = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self._target = target
        self._dtypes = dtypes
        self._narrow = narrow

    def sums(self, x: Tensor, weight: Tensor, scale: Scale) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums, and both operands' integers for the backward pass."""
        forward, backward = self._dtypes
        if self._narrow is None:
            integers = ops.integers(weight, *split(scale), *self._target, backward)
            operands = held(x, forward), held(integers, forward)
        else:
            of_forward, integers = self._narrow
            operands = held(x, forward), of_forward
        if self._shape is None:
            sums = nn.functional.linear(*operands)
        else:
            sums = nn.functional.conv2d(*operands, None, *self._shape)
        return sums, held(x, backward), integers

    def gradients(
        self,
        gradient: Tensor,
        x: Tensor,
        integers: Tensor,
        weight: Tensor,
        scale: Scale,
        input_scale: Scale,
        wants: tuple[bool, ...],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return those of the input, of the weights and of their scale, as far as the first three are wanted."""
        wants_weight = wants[1] or wants[2]
        to_x, to_integers = self._products(gradient, x, integers, (wants[0], wants_weight))
        if to_integers is None:
            return to_x, None, None
        if self._narrow is not None:
            return to_x, to_integers.float() * input_scale, None
        scales = (*split(scale), *split(input_scale))
        to_weight, rows = ops.integers_gradient(to_integers, weight, *scales, *self._target, wants[2])
        to_scale = None
        if wants[2] and isinstance(scale, Tensor):
            to_scale = (rows.sum() if scale.numel() == 1 else rows).reshape(scale.shape)
        return to_x, to_weight, to_scale

    def _products(
        self, gradient: Tensor, x: Tensor, weight: Tensor, wants: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        if self._shape is None:
            return (gradient @ weight if wants[0] else None), (gradient.T @ x if wants[1] else None)
        stride, padding, dilation, groups = self._shape
        arguments = (None, stride, padding, dilation, False, [0, 0], groups, (*wants, False))
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(gradient, x, weight, *arguments)
        return to_x, to_weight


def given(x: Tensor, quantizer: FastQuantizer, dtype: torch.dtype) -> Integers:
    """Return what a quantizer gives for ``x``, as integers in ``dtype``."""
    scale = _scale_of(quantizer, x)
    return Integers(_Quantize.apply(x, scale, target_of(quantizer), dtype), scale)


def integers_of(x: Tensor, quantizer: FastQuantizer, dtype: torch.dtype) -> Integers:
    """Return the integers of values that ``quantizer`` has given."""
    scale = quantizer.present_scale(x)  # whose gradient flows through the values
    return Integers(_ToIntegers.apply(x, scale, dtype), scale)


def dequantized(x: Integers) -> Tensor:
    """Return integers as values, float32."""
    values: Tensor = _Dequantize.apply(x.values, x.scale.detach() if isinstance(x.scale, Tensor) else x.scale)
    return values


def multiplied(product: Product) -> Tensor:
    """Return the dequantized sums of a layer, float32."""
    weight, scale, about = _operand(product)
    values = product.x.values
    if isinstance(product.layer, nn.Linear):  # channels are the last dimension, however many places there are
        values = values.flatten(0, -2)
    found: Tensor = _Multiply.apply(values, weight, scale, _input_scale(product), about)
    return found.unflatten(0, product.x.values.shape[:-1]) if isinstance(product.layer, nn.Linear) else found


def quantized(normed: Normed, quantizer: FastQuantizer, *, hands_on: bool) -> Integers | Tensor:
    """Multiply, normalise and quantize.

    Args:
        normed: what comes to a quantizer.
        quantizer: of the activation.
        hands_on: return integers for layers that take them, in the type of the backward pass; else the dequantized
            values, float32.
    """
    product, norm = normed
    weight, weight_scale, about = _operand(product)
    scale = _scale_of(quantizer, product.x.values)
    values = _MultiplyNormQuantize.apply(
        product.x.values,
        weight,
        weight_scale,
        norm.weight,
        norm.bias,
        scale,
        _input_scale(product),
        norm,
        about,
        target_of(quantizer),
        product.dtypes[1] if hands_on else None,
    )
    return Integers(values, scale) if hands_on else values


def target_of(quantizer: FastQuantizer) -> Target:
    """Return the integers that a quantizer gives, and where gradients pass."""
    first, last = quantizer.edges
    relu = quantizer.relu or first == 0  # where gradients begin at 0, a ReLU is part of the edges
    return Target(quantizer.low, quantizer.high, quantizer.is_sign, last < torch.inf, relu)


def _scale_of(quantizer: FastQuantizer, x: Tensor) -> Scale:
    """Return the scale of what ``x`` becomes; where the network's forward pass has computed it already, that one."""
    found = quantizer.take()
    return quantizer.scale(x) if found is None else found[1]


def _input_scale(product: Product) -> Scale:
    """Return the scale of a product's input, whose gradient flows through the integers."""
    scale = product.x.scale
    return scale.detach() if isinstance(scale, Tensor) else scale


def _operand(product: Product) -> tuple[Tensor, Scale, "_About"]:
    """Return what of a layer's weights takes gradients, their scale, and how they are multiplied.

    Where the network's forward pass has quantized all weights at its start, these integers take the gradient of the
    quantized weights; else the weights and their scale take theirs.
    """
    quantizer = product.quantizer
    target = target_of(quantizer)
    weight: Any = product.layer.weight
    if quantizer.rule is not None and quantizer.rule.learned:
        return weight, _scale_of(quantizer, weight), _About(product.layer, target, product.dtypes)
    found = quantizer.take(weight)
    narrow = None if found is None else found[0].narrow
    if found is None or narrow is None:
        return weight, quantizer.scale(weight), _About(product.layer, target, product.dtypes)
    ready, scale = found
    return cast(Tensor, ready.values), scale.detach(), _About(product.layer, target, product.dtypes, narrow)
