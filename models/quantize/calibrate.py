"""Float weights and fitting ranges for a network that `quantize` made, from some images; nothing is trained.

1. Weights and norms are the float network's; each weight range is the one with the least squared error.
2. The float network runs over the images; each activation range is the one with the least squared error on what its
   quantizer will get.
3. With few bits the norms' statistics are estimated again behind the quantized layers.
4. The last layer, which has no bias, is fitted so that the quantized network's logits are nearest to the float one's
   (ridge regression from the float weights): that takes in the lost bias and a part of the rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.layers import ScalarNorm
from qtrain.models.network import Network
from qtrain.models.quantize.fit_head import BATCH, batches, fit_head, fit_weights
from qtrain.models.quantize.heads import with_norm
from qtrain.models.quantize.ops import Op, Plan
from qtrain.models.quantize.pixels import folded, offset_behind

LEAST_IMAGES = 32
MOST_IMAGES = 2048
FEW_BITS = 4  # with so many or fewer, norms are estimated again
_SAMPLE = 200_000  # values kept of what a quantizer gets
_RANGES = 60  # tried for an activation


@torch.no_grad()
def load_float(network: nn.Module, plan: Plan) -> None:
    """Give a network the float module's weights and norms, with what was folded into them.

    Args:
        network: built from the plan's source, in float or quantized.
        plan: knows the float layers.
    """
    for op in plan.ops:
        if op.kind in ("conv", "linear", "head", "head_conv"):
            _load_weights(network.get_submodule(op.path), op)
        elif op.kind in ("norm", "row_norm"):
            _load_norm(network.get_submodule(op.path), op)


def _load_weights(layer: nn.Module, op: Op) -> None:
    weight, bias = folded(op, cast(Any, op.layer))
    weight, bias = with_norm(op, weight, bias)
    cast(Tensor, layer.weight).copy_(weight)
    own = cast(Tensor | None, layer.bias)
    if own is not None:
        own.copy_(torch.zeros_like(own) if bias is None else bias)


def _load_norm(norm: nn.Module, op: Op) -> None:
    norm.load_state_dict(norm.state_dict() | cast(nn.Module, op.layer).state_dict())
    offset = offset_behind(op.source)
    if offset is not None:
        cast(Tensor, norm.running_mean).sub_(offset)


def calibrated(network: Network, float_network: Network, plan: Plan, images: Tensor) -> Network:
    """Return a quantized network with the float one's weights and fitting ranges.

    Args:
        network: quantized, just built.
        float_network: the same in float, with its weights.
        plan: of both.
        images: uint8 [N, C, H, W].

    Raises:
        UserError: there are too few images.
    """
    if len(images) < LEAST_IMAGES:
        raise UserError(f"calibration needs {LEAST_IMAGES} images or more, but got {len(images)}")
    images = _spread(images)
    load_float(network, plan)
    network.eval()
    fit_weights(network)
    _fit_activations(network, float_network, images)
    if _fewest_bits(network) <= FEW_BITS:
        _estimate_norms(network, images)
    fit_head(network, float_network, plan, images)
    return network.eval()


def _spread(images: Tensor) -> Tensor:
    """Return at most so many images, from all over."""
    return images[:: max(1, len(images) // MOST_IMAGES)][:MOST_IMAGES]


def _quantizers(network: nn.Module) -> dict[str, QuantNonLinearActLayer]:
    """Return the quantizers of activations whose range is a parameter, by path."""
    found = {}
    for path, module in network.named_modules():
        if isinstance(module, QuantNonLinearActLayer) and _range_of(module) is not None:
            found[path] = module
    return found


def _range_of(module: nn.Module) -> nn.Parameter | None:
    """Return the logarithm of a trained range."""
    named = dict(module.named_parameters())
    return next((value for name, value in named.items() if name.endswith(".scaling_impl.value")), None)


def _fewest_bits(network: nn.Module) -> int:
    bits = [
        int(m.weight_quant.bit_width()) for m in network.modules() if isinstance(m, QuantWeightBiasInputOutputLayer)
    ]
    acts = [int(m.act_quant.bit_width()) for m in network.modules() if isinstance(m, QuantNonLinearActLayer)]
    return min(bits + acts)


@torch.no_grad()
def _fit_activations(network: nn.Module, float_network: nn.Module, images: Tensor) -> None:
    """Set each trained range of activations to the one with the least squared error on the float network's values."""
    quantizers = _quantizers(network)
    seen: dict[str, list[Tensor]] = {path: [] for path in quantizers}
    share = max(1, _SAMPLE * BATCH // len(images))

    def keep(path: str, relu: bool) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            flat = output.flatten()
            seen[path].append(flat[:: max(1, flat.numel() // share)])

        return hook

    hooks = [float_network.get_submodule(p).register_forward_hook(keep(p, False)) for p in quantizers]
    try:
        for batch in batches(images):
            float_network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for path, module in quantizers.items():
        value = cast(nn.Parameter, _range_of(module))
        signed = bool(cast(Any, module).act_quant.is_signed)
        best = _best_activation_range(torch.cat(seen[path]), int(module.act_quant.bit_width()), signed)
        value.copy_(best.log2().reshape(value.shape))


def _best_activation_range(values: Tensor, bits: int, signed: bool) -> Tensor:
    """Return the range with the least squared error: of a narrow signed quantizer, or from zero up."""
    levels = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -levels if signed else 0
    largest = values.abs().max().clamp(min=1e-4)
    best = largest
    least = torch.tensor(torch.inf)
    for i in range(_RANGES):
        limit = largest * (1 - i / _RANGES)
        step = limit / levels
        error = ((values / step).round().clamp(low, levels) * step - values).square().mean()
        if error < least:
            best, least = limit, error
    return best


@contextmanager
def _averaging(network: nn.Module) -> Iterator[list[Any]]:
    """Put the norms alone into training mode, with their momenta free to be set."""
    norms: list[Any] = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d | ScalarNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.train()
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


@torch.no_grad()
def _estimate_norms(network: nn.Module, images: Tensor) -> None:
    """Set the norms' statistics to their averages over the images, behind quantized weights and activations."""
    with _averaging(network) as norms:
        for i, batch in enumerate(batches(images)):
            if len(batch) < 2:
                continue
            for norm in norms:
                norm.momentum = 1 / (i + 1)
            network(batch)
