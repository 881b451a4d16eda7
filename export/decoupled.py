"""Weights that are normed before they are quantized, as those that are aware of the accumulator's width (A2Q).

Brevitas exports them as they are before the norm, rounded where the network truncates: another network. What the
quantizer gives lies on its grid, where rounding changes nothing, so that this is what is exported and computed with.
"""

from contextlib import ExitStack

import torch
from brevitas.nn.mixin.parameter import QuantWeightMixin
from brevitas.proxy.parameter_quant import DecoupledWeightQuantProxyFromInjector
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor, nn


def is_decoupled(layer: nn.Module) -> bool:
    """Whether a layer norms its weights before it quantizes them."""
    return isinstance(layer, QuantWeightMixin) and isinstance(layer.weight_quant, DecoupledWeightQuantProxyFromInjector)


@torch.no_grad()
def decoupled_weights(network: nn.Module, image: Tensor) -> dict[str, IntQuantTensor]:
    """Return the quantized weights of each such layer, by path, as a forward computes them.

    Args:
        network: in evaluation mode.
        image: that it takes; the input's width and sign decide, which are the same for every image.
    """
    found: dict[str, IntQuantTensor] = {}
    chosen = {path: layer for path, layer in network.named_modules() if is_decoupled(layer)}
    with ExitStack() as stack:
        for path, layer in chosen.items():
            proxy: nn.Module = layer.weight_quant
            handle = proxy.register_forward_hook(lambda _module, _args, out, path=path: found.__setitem__(path, out))
            stack.callback(handle.remove)
        if chosen:
            network(image)
    return found


def in_float64(weight: IntQuantTensor, device: torch.device) -> IntQuantTensor:
    """The same quantized weights in float64, on a device."""
    parts = (weight.value, weight.scale, weight.zero_point, weight.bit_width)
    return IntQuantTensor(*(part.to(device, torch.float64) for part in parts), weight.signed, weight.training)
