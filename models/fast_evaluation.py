"""Brevitas' answers in evaluation mode from fewer operations: weights are quantized once, activations in four passes.

For validation while a network trains. The numbers are Brevitas' to the bit: the weights are its own, and an activation
is divided, rounded, clamped and multiplied as it does, without the zero points that it adds and takes away again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from brevitas.core.scaling import ParameterScaling
from brevitas.quant_tensor import QuantTensor
from torch import Tensor, nn

from qtrain.models.fast_forward import FastConv2d, FastIdentity, FastLinear, FastReLU
from qtrain.models.fast_quantizer import FastQuantizer


@contextmanager
def fast_evaluation(model: nn.Module) -> Iterator[None]:
    """Inside, a network that ``fast_forward`` was called for is evaluated faster; its other layers are Brevitas' own.

    Weights that change inside are quantized anew; trained scales of activations are those of the beginning.

    Args:
        model: that is evaluated without gradients; in training mode it computes as always.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _ACTIVATIONS + _WEIGHTED)]
    try:
        with torch.no_grad():
            for layer in layers:
                fast: Any = _Activation(layer) if isinstance(layer, _ACTIVATIONS) else _Weighted(layer)
                layer.__dict__["forward"] = fast.forward  # its hooks and its class stay
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


_ACTIVATIONS = (FastIdentity, FastReLU)
_WEIGHTED = (FastConv2d, FastLinear)


class _Activation:
    """Evaluates a quantized activation."""

    def __init__(self, layer: Any):
        self._layer = layer
        self._quantizer: FastQuantizer = layer.fast
        self._scale: float | Tensor | None = self._quantizer.constant
        own: Any = self._quantizer.quantizer
        if self._scale is None and type(own.scaling_impl) is ParameterScaling:
            self._scale = self._quantizer.scale(own.scaling_impl.value)

    def forward(self, x: Any) -> Any:
        """Return ``x``, of any shape, quantized."""
        if self._layer.training or isinstance(x, QuantTensor):
            return type(self._layer).forward(self._layer, x)
        quantizer = self._quantizer
        if quantizer.is_sign and self._scale is not None:
            # Adding 0 makes -0 the 0 that it counts as.
            return torch.copysign(x.new_full((), self._scale), x + 0)
        if quantizer.relu:
            x = torch.relu(x)
        scale = self._scale
        if quantizer.constant is not None:
            scale = quantizer.constant_on(x.device)
        elif scale is None:
            scale = quantizer.scale(x)
        return (x / scale).round_().clamp_(quantizer.low, quantizer.high).mul_(scale)


class _Weighted:
    """Evaluates a convolution or a fully connected layer."""

    def __init__(self, layer: Any):
        self._layer = layer
        self._keep()

    def _keep(self) -> None:
        """Quantize the weights, as Brevitas does at every call."""
        self._weight = self._layer.weight
        self._version = self._weight._version
        self._quantized: Tensor = self._layer.quant_weight().value

    def forward(self, x: Any) -> Any:
        """Return the layer's output for a batch."""
        if self._layer.training or isinstance(x, QuantTensor):
            return type(self._layer).forward(self._layer, x)
        if self._layer.weight is not self._weight or self._weight._version != self._version:
            self._keep()
        return self._layer.inner_forward_impl(x, self._quantized, self._layer.bias)
