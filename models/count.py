"""How large a network is: parameters, multiplications, weight bits, layer by layer."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qtrain.models.bits import FLOAT

_WEIGHTED = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class LayerCount:
    """Of one layer, for one image.

    Attributes:
        path: in the network.
        weights: how many.
        weight_bits: each, 32 where they are not quantized.
        macs: multiply-accumulates.
        output: shape of its output without the batch.
    """

    path: str
    weights: int
    weight_bits: int
    macs: int
    output: tuple[int, ...]


@dataclass(frozen=True)
class NetworkCount:
    """Of a network, for one image.

    Attributes:
        parameters: all that training changes: weights, norms, quantizer ranges.
        layers: convolutions and fully connected layers, in order of execution.
    """

    parameters: int
    layers: tuple[LayerCount, ...]

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Bits that all weights take."""
        return sum(layer.weights * layer.weight_bits for layer in self.layers)


def weight_bits(layer: nn.Module) -> int:
    """Bits of a layer's weights, 32 where they are not quantized."""
    quantizer = getattr(layer, "weight_quant", None)
    return int(quantizer.bit_width().detach()) if quantizer is not None and quantizer.is_quant_enabled else FLOAT


@torch.no_grad()
def count(model: nn.Module, shape: tuple[int, int, int]) -> NetworkCount:
    """Count a network by running a copy of it once.

    Args:
        model: takes float images [N, C, H, W]; one without quantizers may be on torch's meta device, where it has
            shapes and no weights.
        shape: of one image, (C, H, W).
    """
    device = torch.device("meta" if any(p.is_meta for p in model.parameters()) else "cpu")
    model = copy.deepcopy(model).to(device).eval()
    found: list[LayerCount] = []
    with ExitStack() as stack:
        for path, module in model.named_modules():
            if isinstance(module, _WEIGHTED):

                def note(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor, path: str = path) -> None:
                    weight: Tensor = layer.weight  # type: ignore[assignment]
                    positions = out[0, 0].numel()  # a weight is used once for each of them
                    shape = tuple(out.shape[1:])
                    found.append(
                        LayerCount(path, weight.numel(), weight_bits(layer), positions * weight.numel(), shape)
                    )

                stack.callback(module.register_forward_hook(note).remove)
        model(torch.zeros(1, *shape, device=device))
    return NetworkCount(sum(p.numel() for p in model.parameters()), tuple(found))
