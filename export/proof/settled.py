"""A network in evaluation mode without what it would compute for each batch anew though it is always the same.

Brevitas quantizes the weights in every forward and clamps by two selections; torch pools images whose channels lie
apart at a tenth of the speed. The numbers are the same to the bit; layers, quantizers and scales stay the network's.
"""

from collections.abc import Callable
from typing import Any

import torch
from brevitas.core.function_wrapper.clamp import TensorClamp
from brevitas.nn.mixin.parameter import QuantWeightMixin
from torch import Tensor, nn


class _OnceQuantized:
    """A layer's ``quant_weight`` that quantizes at its first call and remembers."""

    def __init__(self, layer: QuantWeightMixin):
        self._quantize = layer.quant_weight
        self._found: Any = None

    def __call__(self, quant_input: Any = None, subtensor_slice_list: Any = None) -> Any:
        if subtensor_slice_list is not None:
            return self._quantize(quant_input, subtensor_slice_list)
        if self._found is None:
            self._found = self._quantize(quant_input)
        return self._found


def _clamped(x: Tensor, min_val: Tensor, max_val: Tensor) -> Tensor:
    return torch.clamp(x, min_val.type_as(x), max_val.type_as(x))


class _PooledChannelsLast:
    """A max-pool's forward that turns the images around for it, and back."""

    def __init__(self, pool: nn.MaxPool2d):
        self._pool = pool.forward

    def __call__(self, x: Any) -> Any:
        if type(x) is not Tensor or x.dim() != 4 or not x.is_contiguous():
            return self._pool(x)
        pooled = self._pool(x.contiguous(memory_format=torch.channels_last))
        return pooled.contiguous() if type(pooled) is Tensor else pooled


def _replace(module: Any, method: str, by: Callable[..., Any]) -> None:
    """Let this one module, not its class, have another method."""
    setattr(module, method, by)


def settle(network: nn.Module) -> None:
    """Let a network quantize its weights once, and clamp and pool the fast way.

    Args:
        network: in evaluation mode, a copy of one's own: its weights, scales and device must not change any more.
    """
    for module in network.modules():
        if isinstance(module, QuantWeightMixin) and getattr(module, "weight", None) is not None:
            _replace(module, "quant_weight", _OnceQuantized(module))
        if type(module) is TensorClamp:
            _replace(module, "forward", _clamped)
        if type(module) is nn.MaxPool2d:
            _replace(module, "forward", _PooledChannelsLast(module))
