"""Brevitas' answers in evaluation mode from fewer operations: weights are quantized once, activations in four passes.

For validation while a network trains. The numbers are Brevitas' to the bit: the weights are its own, or where their
scale is a constant those of the fast forward pass, which are the same; and an activation is divided, rounded, clamped
and multiplied as it does, without the zero points that it adds and takes away again.
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
    fast = FastEvaluation(model)
    fast.prepare()
    with fast.used():
        yield


class FastEvaluation:
    """What ``fast_evaluation`` does in parts, for a network that is evaluated again and again.

    What is computed ahead stays where it is in memory, so that a CUDA graph can write it there, or read it.

    Args:
        model: that ``fast_forward`` was called for, with the layers that it has now.
    """

    def __init__(self, model: nn.Module):
        self._layers: list[_Activation | _Weighted] = []
        for layer in model.modules():
            if isinstance(layer, _ACTIVATIONS):
                self._layers.append(_Activation(layer))
            elif isinstance(layer, _WEIGHTED):
                self._layers.append(_Weighted(layer))

    @torch.no_grad()
    def prepare(self) -> None:
        """Quantize all weights as they are now, and compute the trained scales; launches alone, but the first time."""
        for fast in self._layers:
            fast.prepare()

    def prepared(self) -> None:
        """Take what lies there for that of the present weights: a graph has prepared it."""
        for fast in self._layers:
            fast.prepared()

    def tensors(self) -> tuple[Tensor, ...]:
        """Return what ``prepare`` writes."""
        kept = [fast.kept for fast in self._layers]
        return tuple(tensor for tensor in kept if tensor is not None)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, the layers compute so."""
        try:
            for fast in self._layers:
                fast.layer.__dict__["forward"] = fast.forward  # its hooks and its class stay
            yield
        finally:
            for fast in self._layers:
                fast.layer.__dict__.pop("forward", None)


_ACTIVATIONS = (FastIdentity, FastReLU)
_WEIGHTED = (FastConv2d, FastLinear)


class _Activation:
    """Evaluates a quantized activation.

    Attributes:
        layer: that it stands in for.
        kept: the trained scale; None where it is constant, or follows the activations.
    """

    def __init__(self, layer: Any):
        self.layer = layer
        self.kept: Tensor | None = None
        self._quantizer: FastQuantizer = layer.fast

    def prepare(self) -> None:
        """Compute the trained scale, where there is one."""
        own: Any = self._quantizer.quantizer
        if self._quantizer.constant is None and type(own.scaling_impl) is ParameterScaling:
            self.kept = _written(self._quantizer.scale(own.scaling_impl.value), self.kept)

    def prepared(self) -> None:
        """Nothing depends on when that was."""

    def forward(self, x: Any) -> Any:
        """Return ``x``, of any shape, quantized."""
        if self.layer.training or isinstance(x, QuantTensor):
            return type(self.layer).forward(self.layer, x)
        quantizer = self._quantizer
        if quantizer.is_sign and quantizer.constant is not None:
            # Adding 0 makes -0 the 0 that it counts as.
            return torch.copysign(x.new_full((), quantizer.constant), x + 0)
        if quantizer.relu:
            x = torch.relu(x)
        scale: float | Tensor | None = self.kept
        if quantizer.constant is not None:
            scale = quantizer.constant_on(x.device)
        elif scale is None:
            scale = quantizer.scale(x)
        return (x / scale).round_().clamp_(quantizer.low, quantizer.high).mul_(scale)


class _Weighted:
    """Evaluates a convolution or a fully connected layer.

    Attributes:
        layer: that it stands in for.
        kept: its weights, quantized.
    """

    def __init__(self, layer: Any):
        self.layer = layer
        self.kept: Tensor | None = None

    def prepare(self) -> None:
        """Quantize the weights, as Brevitas does at every call."""
        self.kept = _written(self._values(), self.kept)
        self.prepared()

    def _values(self) -> Any:
        quantizer: FastQuantizer = self.layer.fast
        if quantizer.constant is not None:  # which Brevitas copies from the host each time, and no graph can hold that
            return quantizer.weights(self.layer.weight)
        return self.layer.quant_weight().value

    def prepared(self) -> None:
        """Note which weights these are of."""
        self._weight = self.layer.weight
        self._version = self._weight._version

    def forward(self, x: Any) -> Any:
        """Return the layer's output for a batch."""
        if self.layer.training or isinstance(x, QuantTensor):
            return type(self.layer).forward(self.layer, x)
        if self.layer.weight is not self._weight or self._weight._version != self._version:
            self.prepare()
        return self.layer.inner_forward_impl(x, self.kept, self.layer.bias)


def _written(values: Any, place: Tensor | None) -> Tensor:
    """Write ``values`` to where they were before, or the first time to a place of their own."""
    if place is None:
        own: Tensor = values.clone()
        return own
    return place.copy_(values)
